"""What a proxy holds in memory: under load, over large bodies, and for connections that are idle."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import clients, load, measure, report, scenarios
from .peers import Peer
from .rounds import Bench

SMALL = scenarios.ALL["small"]
IDLE_SECONDS = 5
# Buffers that large bodies need are taken once; what counts is whether they grow with the body.
HEADINGS = (
    "proxy", "start MB", "64 clients MB", "50 MB upload +MB", "50 MB download +MB",
    "idle connections", "KB each", "idle CPU ms/s", "with connections ms/s",
)


@dataclass(frozen=True)
class Plan:
    """How long load lasts before the resident size is read, and how many connections idle."""

    seconds: int
    connections: int


def run(bench: Bench, name: str, plan: Plan, directory: Path) -> dict:
    """All figures of one proxy, each on a process of its own."""
    figures = _fresh(bench, name, directory / "load", lambda peer: _under_load(bench, peer, plan))
    figures |= _fresh(bench, name, directory / "download", _over_download)
    figures |= _fresh(bench, name, directory / "idle", lambda peer: _with_idle(peer, plan))
    with clients.SlowBackend() as slow:
        figures |= _fresh(bench, name, directory / "upload", _over_upload, slow.port)
    return figures


def _fresh(bench: Bench, name: str, directory: Path, measured: Callable[[Peer], dict], backend=None) -> dict:
    directory.mkdir(parents=True)
    peer = bench.start(name, directory, backend)
    try:
        return measured(peer)
    finally:
        peer.process.stop()


def _under_load(bench: Bench, peer: Peer, plan: Plan) -> dict:
    pid = peer.process.pid
    start = measure.resident_bytes(pid)
    load.Checker(SMALL, bench.backend_port, bench.directory).check(peer.name, peer.plain)
    load.run(SMALL, peer.plain, plan.seconds, bench.cores.others, bench.directory)
    return {"start_mb": _mb(start), "loaded_mb": _mb(measure.peak_bytes(pid)), "idle_cpu_ms": _idle_cpu(pid)}


def _over_download(peer: Peer) -> dict:
    return {"download_mb": _growth(peer, clients.download)}


def _over_upload(peer: Peer) -> dict:
    return {"upload_mb": _growth(peer, clients.upload)}


def _growth(peer: Peer, transfer: Callable[[int], None]) -> float:
    """The peak during the transfer over what was resident after a first small request."""
    pid = peer.process.pid
    clients.open_idle(peer.plain, 1)[0].close()
    before = measure.resident_bytes(pid)
    measure.reset_peak(pid)
    transfer(peer.plain)
    return _mb(measure.peak_bytes(pid) - before)


def _with_idle(peer: Peer, plan: Plan) -> dict:
    pid = peer.process.pid
    clients.open_idle(peer.plain, 1)[0].close()
    before = measure.resident_bytes(pid)
    connections = clients.open_idle(peer.plain, plan.connections)
    grown = measure.resident_bytes(pid) - before
    cpu = _idle_cpu(pid)
    held = clients.still_open(connections)
    for connection in connections:
        connection.close()
    return {"idle_connections": held, "idle_kb_each": grown / 1024 / plan.connections, "held_cpu_ms": cpu}


def _idle_cpu(pid: int) -> float:
    """Milliseconds of processor time per second in which nothing happens."""
    before = measure.cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    return (measure.cpu_seconds(pid) - before) * 1000 / IDLE_SECONDS


def _mb(size: int) -> float:
    return size / scenarios.MEGABYTE


def text(document: dict) -> str:
    return report.aligned(HEADINGS, _rows(document))


def markdown(document: dict) -> str:
    return "\n".join(["### memory", "", *report.table(HEADINGS, _rows(document))]) + "\n"


def _rows(document: dict) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{figures['start_mb']:.1f}",
            f"{figures['loaded_mb']:.1f}",
            f"{figures['upload_mb']:.1f}",
            f"{figures['download_mb']:.1f}",
            f"{figures['idle_connections']}",
            f"{figures['idle_kb_each']:.1f}",
            f"{figures['idle_cpu_ms']:.0f}",
            f"{figures['held_cpu_ms']:.0f}",
        )
        for name, figures in document["proxies"].items()
    ]
