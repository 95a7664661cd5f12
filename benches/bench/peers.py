"""The backend and the proxies: their configs, their start, and the ports they answer on."""

import dataclasses
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import scenarios
from .process import Process, free_ports

TEMPLATES = Path(__file__).resolve().parent.parent / "peers"
TOOLS = Path(__file__).resolve().parent.parent.parent / "target/release/examples"
# Relays bytes without a look at them: the floor.
RELAY = TOOLS / "relay"
# Echoes and sends WebSocket messages.
WEBSOCKET = TOOLS / "websocket"
NAMES = ("cjs-proxy", "cjs-proxy-b", "nginx", "haproxy", "nginx-lua", "relay")
# Behind the name of a build: the same without limits.
UNLIMITED = "-unlimited"
# Where Debian has what nginx-lua loads.
LUA_MODULES = Path("/usr/lib/nginx/modules")


@dataclass(frozen=True)
class Peer:
    """A proxy that runs. `plain` serves the one host, `vhosts` the many, maybe on the same port; `secure` is HTTPS."""

    name: str
    process: Process
    plain: int
    vhosts: int
    secure: int
    asks_redis: bool = False
    tells_of_limit: bool = False
    """Its answers do, in a `RateLimit` field."""

    def port(self, scenario: scenarios.Scenario) -> int:
        if scenario.tls:
            return self.secure
        return self.vhosts if scenario.hosts else self.plain


@dataclass(frozen=True)
class Site:
    """Where peers are started: their core, their directory, and what stands behind them."""

    core: int
    directory: Path
    backend: int
    certificates: Path
    """The directory that holds the certificate of HTTPS."""
    redis: int | None
    cache: int | None = None
    """Routes that cjs-proxy keeps; otherwise as many as it does by itself."""
    limits: scenarios.Limits | None = None
    """What cjs-proxy and nginx-lua count by."""
    logged: bool = False
    """Whether access logs are written."""


def make_certificate(directory: Path) -> None:
    """Makes a P-256 certificate for the plain host: apart from its key, and together in one file as HAProxy wants it."""
    certificate, key = directory / scenarios.CERTIFICATE, directory / scenarios.KEY
    argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "30",
            "-subj", f"/CN={scenarios.PLAIN_HOST}", "-addext", f"subjectAltName=DNS:{scenarios.PLAIN_HOST}",
            "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    (directory / scenarios.PAIR).write_bytes(certificate.read_bytes() + key.read_bytes())


def start_backend(core: int, directory: Path) -> tuple[Process, int]:
    """Starts the nginx that answers every proxied request; returns it with its port."""
    (port,) = free_ports(1)
    files = directory / "files"
    files.mkdir()
    (files / "1m").write_bytes(b"m" * scenarios.MEGABYTE)
    (files / "10m").write_bytes(b"t" * 10 * scenarios.MEGABYTE)
    (files / "50m").write_bytes(b"M" * 50 * scenarios.MEGABYTE)
    config = _fill(
        "backend.conf", directory / "backend.conf", DIR=directory, PORT=port,
        KILOBYTE=scenarios.KILOBYTE, POSTED=scenarios.POSTED.replace("\n", "\\n"), USER=_user(),
    )
    backend = Process("backend", _nginx(config), core, directory)
    backend.wait_for_port(port)
    return backend, port


def start_echo(core: int, directory: Path) -> tuple[Process, int]:
    """Starts the backend of WebSocket messages; returns it with its port."""
    (port,) = free_ports(1)
    echo = Process("echo", [str(WEBSOCKET), "echo", str(port)], core, directory)
    echo.wait_for_port(port)
    return echo, port


def start(name: str, binary: Path | None, site: Site) -> Peer:
    """Starts the named proxy; `binary` is for builds of cjs-proxy only."""
    if name == "nginx":
        return _start_nginx(name, site)
    if name == "nginx-lua":
        peer = _start_nginx(name, site, MODULES=_lua_modules(), LUA=_lua_limit(site) if site.limits else _lua_look_up(site))
        # What it looks up it does not have in its config.
        return dataclasses.replace(peer, asks_redis=True, vhosts=peer.vhosts if site.limits else peer.plain)
    if name == "relay":
        (port,) = free_ports(1)
        return _running(name, [str(RELAY), str(port), str(site.backend)], site, [port] * 3)
    if name == "haproxy":
        return _start_haproxy(site)
    return _start_cjs_proxy(name, binary, site)


def has_lua() -> bool:
    """Whether nginx-lua can be started."""
    return (LUA_MODULES / "ngx_http_lua_module.so").exists()


def _lua_modules() -> str:
    return "\n".join(f"load_module {LUA_MODULES}/{module}.so;" for module in ("ndk_http_module", "ngx_http_lua_module"))


def _lua_limit(site: Site) -> str:
    script = _fill(
        "count.lua", site.directory / "count.lua", REDIS=site.redis, REQUESTS=site.limits.requests,
        WINDOW=site.limits.window,
    )
    return f"access_by_lua_file {script};"


def _lua_look_up(site: Site) -> str:
    script = _fill("route.lua", site.directory / "route.lua", REDIS=site.redis)
    return f"access_by_lua_file {script};"


def _start_nginx(name: str, site: Site, MODULES: str = "", LUA: str = "") -> Peer:
    ports = plain, vhosts, secure = free_ports(3)
    names = "".join(f"server_name {host};\n" for host in scenarios.VHOSTS.names)
    (site.directory / "nginx-names.conf").write_text(names, encoding="ascii")
    config = _fill(
        "nginx.conf", site.directory / f"{name}.conf", DIR=site.directory, NAME=name, PLAIN=plain, VHOSTS=vhosts,
        SECURE=secure, CERTIFICATE=site.certificates / scenarios.CERTIFICATE, KEY=site.certificates / scenarios.KEY,
        BACKEND=site.backend, USER=_user(), MODULES=MODULES, LUA=LUA,
        LOG=f"{site.directory}/{name}-access.log combined buffer=64k flush=1s" if site.logged else "off",
    )
    return _running(name, _nginx(config), site, ports)


def _start_haproxy(site: Site) -> Peer:
    ports = plain, vhosts, secure = free_ports(3)
    names = "".join(f"{host} backend\n" for host in scenarios.VHOSTS.names)
    (site.directory / "haproxy-names.map").write_text(names, encoding="ascii")
    config = _fill(
        "haproxy.cfg", site.directory / "haproxy.cfg", DIR=site.directory, PLAIN=plain, VHOSTS=vhosts,
        SECURE=secure, PAIR=site.certificates / scenarios.PAIR, BACKEND=site.backend,
        LOG="log stdout format raw local0" if site.logged else "", LOGGED="log global\n    option httplog" if site.logged else "",
    )
    return _running("haproxy", ["haproxy", "-db", "-f", str(config)], site, ports)


def _start_cjs_proxy(name: str, binary: Path, site: Site) -> Peer:
    config = site.directory / f"{name}.json"
    settings = {
        "server": {
            "port": 0,
            "bind": "127.0.0.1",
            "workers": 1,
            "accessLog": str(site.directory / f"{name}-access.log") if site.logged else None,
            "maxSockets": 512,
            "https": {
                "port": 0,
                "cert": str(site.certificates / scenarios.CERTIFICATE),
                "key": str(site.certificates / scenarios.KEY),
            },
        },
        "redis": {"host": "127.0.0.1", "port": site.redis},
    }
    if site.cache:
        settings["server"]["lruCache"] = {"size": site.cache}
    if site.limits:
        settings["rateLimit"] = {"window": site.limits.window, "tiers": {"everyone": site.limits.requests}}
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    process = Process(name, [str(binary), "run", "-c", str(config)], site.core, site.directory)
    try:
        plain, secure = (
            int(process.wait_for_line(rf"listening on 127\.0\.0\.1:(\d+){what}\n")[1]) for what in ("", " for HTTPS")
        )
        process.wait_for_port(plain)
        process.wait_for_port(secure)
    except BaseException:
        process.stop()
        raise
    return Peer(name, process, plain, plain, secure, asks_redis=True, tells_of_limit=site.limits is not None)


def _running(name: str, argv: list[str], site: Site, ports: list[int]) -> Peer:
    process = Process(name, argv, site.core, site.directory)
    try:
        for port in ports:
            process.wait_for_port(port)
    except BaseException:
        process.stop()
        raise
    return Peer(name, process, *ports)


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
