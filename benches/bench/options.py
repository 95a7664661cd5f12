"""What both programs take on the command line, and where their figures go."""

import argparse
import json
import sys
import time
from pathlib import Path

from . import machine, peers

ROOT = Path(__file__).resolve().parent.parent.parent


def parser(about: str) -> argparse.ArgumentParser:
    """The options about proxies and results."""
    found = argparse.ArgumentParser(description=about)
    found.add_argument("--binary", type=Path, default=ROOT / "target/release/cjs-proxy", help="the cjs-proxy to run")
    found.add_argument("--binary-b", type=Path, help="a second build of cjs-proxy, to compare with the first")
    found.add_argument("--without", action="append", default=[], choices=peers.NAMES, help="leave this proxy out")
    found.add_argument("--json", type=Path, help="where the figures go (benches/results/<time>.json)")
    return found


def contenders(options: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """The builds of cjs-proxy by name, and the names of all proxies that take part."""
    builds = {"cjs-proxy": options.binary}
    if options.binary_b:
        builds["cjs-proxy-b"] = options.binary_b
    builds = {name: binary.resolve() for name, binary in builds.items() if name not in options.without}
    for name, binary in builds.items():
        if not binary.is_file():
            sys.exit(f"{binary} is missing: run cargo build --release, or pass --without {name}")
    others = {"nginx", "haproxy", "nginx-lua", "relay"} - set(options.without)
    if "nginx-lua" in others and not peers.has_lua():
        others.remove("nginx-lua")
        print("nginx-lua is left out: libnginx-mod-http-lua is not installed", file=sys.stderr)
    names = [name for name in peers.NAMES if name in builds or name in others]
    for tool in (peers.RELAY, peers.WEBSOCKET):
        if not tool.is_file():
            sys.exit(f"{tool} is missing: run just bench, which builds it")
    if not names:
        sys.exit("no proxy is left to run")
    _require(["wrk", "h2load", "openssl", "nginx", *sorted(others & {"haproxy"}), *(["redis-server"] if builds else [])])
    return builds, names


def _require(tools: list[str]) -> None:
    if absent := machine.missing(tools):
        sys.exit(f"not installed: {', '.join(absent)} (just bench installs them)")


def document(kind: str, builds: dict[str, Path]) -> dict:
    """The head of a results document: when, where, and which builds."""
    return {
        "kind": kind,
        "taken": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": machine.describe(),
        "builds": {
            name: {"binary": str(binary), "version": machine.version([str(binary), "--version"])}
            for name, binary in builds.items()
        },
    }


def write(results: dict, path: Path | None) -> None:
    """Writes the results beside the benchmark, or where the command line says."""
    path = path or ROOT / "benches/results" / time.strftime(f"%Y%m%d-%H%M%S-{results['kind']}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"figures: {path}")
