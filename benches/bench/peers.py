"""The backend and the proxies: their configs, their start, and the ports they answer on."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from . import scenarios
from .process import Process, free_ports

TEMPLATES = Path(__file__).resolve().parent.parent / "peers"
NAMES = ("cjs-proxy", "cjs-proxy-b", "nginx", "haproxy")


@dataclass(frozen=True)
class Peer:
    """A proxy that runs. `plain` serves the one host, `vhosts` the many; they may be the same port."""

    name: str
    process: Process
    plain: int
    vhosts: int

    def port(self, hosts: scenarios.Hosts | None) -> int:
        return self.vhosts if hosts else self.plain


@dataclass(frozen=True)
class Site:
    """Where peers are started: their core, their directory, and what stands behind them."""

    core: int
    directory: Path
    backend: int
    redis: int | None
    cache: int | None = None
    """Routes that cjs-proxy keeps; otherwise as many as it does by itself."""


def start_backend(core: int, directory: Path) -> tuple[Process, int]:
    """Starts the nginx that answers every proxied request; returns it with its port."""
    (port,) = free_ports(1)
    files = directory / "files"
    files.mkdir()
    (files / "1m").write_bytes(b"m" * scenarios.MEGABYTE)
    (files / "50m").write_bytes(b"M" * 50 * scenarios.MEGABYTE)
    config = _fill(
        "backend.conf", directory / "backend.conf", DIR=directory, PORT=port,
        KILOBYTE=scenarios.KILOBYTE, POSTED=scenarios.POSTED.replace("\n", "\\n"), USER=_user(),
    )
    backend = Process("backend", _nginx(config), core, directory)
    backend.wait_for_port(port)
    return backend, port


def start(name: str, binary: Path | None, site: Site) -> Peer:
    """Starts the named proxy; `binary` is for builds of cjs-proxy only."""
    if name == "nginx":
        return _start_nginx(site)
    if name == "haproxy":
        return _start_haproxy(site)
    return _start_cjs_proxy(name, binary, site)


def _start_nginx(site: Site) -> Peer:
    plain, vhosts = free_ports(2)
    names = "".join(f"server_name {host};\n" for host in scenarios.VHOSTS.names)
    (site.directory / "nginx-names.conf").write_text(names, encoding="ascii")
    config = _fill(
        "nginx.conf", site.directory / "nginx.conf", DIR=site.directory, PLAIN=plain, VHOSTS=vhosts,
        BACKEND=site.backend, USER=_user(),
    )
    return _running("nginx", _nginx(config), site, plain, vhosts)


def _start_haproxy(site: Site) -> Peer:
    plain, vhosts = free_ports(2)
    names = "".join(f"{host} backend\n" for host in scenarios.VHOSTS.names)
    (site.directory / "haproxy-names.map").write_text(names, encoding="ascii")
    config = _fill(
        "haproxy.cfg", site.directory / "haproxy.cfg", DIR=site.directory, PLAIN=plain, VHOSTS=vhosts,
        BACKEND=site.backend,
    )
    return _running("haproxy", ["haproxy", "-db", "-f", str(config)], site, plain, vhosts)


def _start_cjs_proxy(name: str, binary: Path, site: Site) -> Peer:
    config = site.directory / f"{name}.json"
    settings = {
        "server": {
            "port": 0,
            "bind": "127.0.0.1",
            "workers": 1,
            "accessLog": str(site.directory / f"{name}-access.log"),
            "maxSockets": 512,
        },
        "redis": {"host": "127.0.0.1", "port": site.redis},
    }
    if site.cache:
        settings["server"]["lruCache"] = {"size": site.cache}
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    process = Process(name, [str(binary), "run", "-c", str(config)], site.core, site.directory)
    try:
        port = int(process.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")[1])
        process.wait_for_port(port)
    except BaseException:
        process.stop()
        raise
    return Peer(name, process, port, port)


def _running(name: str, argv: list[str], site: Site, plain: int, vhosts: int) -> Peer:
    process = Process(name, argv, site.core, site.directory)
    try:
        process.wait_for_port(plain)
        process.wait_for_port(vhosts)
    except BaseException:
        process.stop()
        raise
    return Peer(name, process, plain, vhosts)


def _nginx(config: Path) -> list[str]:
    return ["nginx", "-e", "stderr", "-p", str(config.parent), "-c", str(config)]


def _user() -> str:
    """nginx started by root would serve as nobody, who cannot read the work directory."""
    return "user root;" if os.geteuid() == 0 else ""


def _fill(template: str, target: Path, **values) -> Path:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    target.write_text(text, encoding="utf-8")
    return target
