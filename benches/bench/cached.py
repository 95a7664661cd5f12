"""What cached routes hold in memory: of one route, and whether a full cache stays in its bound."""

from pathlib import Path

from . import measure, report, scenarios, store
from .asking import Asker
from .peers import Peer
from .rounds import Bench

SMALL_CACHE = 10_000
HEADINGS = (
    "cache", "hosts asked for", "cached", "+MB", "bytes each", f"first {SMALL_CACHE:,} +MB", "to the first",
)


def run(bench: Bench, name: str, directory: Path) -> list[dict]:
    """Figures of a cache that holds every host, and of one that holds a part; each on a process of its own."""
    return [_with_cache(bench, name, directory / str(size), size) for size in (scenarios.ZIPF.count, SMALL_CACHE)]


def _with_cache(bench: Bench, name: str, directory: Path, size: int) -> dict:
    directory.mkdir(parents=True)
    peer = bench.start(name, directory, cache=size)
    try:
        return {"size": size} | _filled(bench, peer, size)
    finally:
        peer.process.stop()


def _filled(bench: Bench, peer: Peer, size: int) -> dict:
    hosts, pid = scenarios.ZIPF.names, peer.process.pid
    with Asker(peer.vhosts, "/1k") as asker:
        # What the connections themselves hold is there before.
        _all_ok(asker.ask_on_each([scenarios.PLAIN_HOST] * 100))
        before = measure.resident_bytes(pid)
        _all_ok(asker.ask(hosts[:SMALL_CACHE]))
        first = measure.resident_bytes(pid) - before
        _all_ok(asker.ask(hosts[SMALL_CACHE:]))
        reads = store.reads(bench.redis_port)
        # The last of them first: in order, each would push out the one that is asked for next.
        _all_ok(asker.ask(reversed(hosts)))
        cached = len(hosts) - (store.reads(bench.redis_port) - reads)
        grown = measure.resident_bytes(pid) - before
    return {"hosts": len(hosts), "cached": cached, "first_bytes": first, "grown_bytes": grown}


def _all_ok(statuses) -> None:
    if set(statuses) != {200}:
        raise RuntimeError(f"expected 200 for every host, got {dict(statuses)}")


def text(document: dict) -> str:
    return "\n".join(f"{name}\n{report.aligned(HEADINGS, _rows(found))}" for name, found in document["routes"].items())


def markdown(document: dict) -> str:
    lines = []
    for name, found in document["routes"].items():
        lines += [f"### cached routes of {name}", "", *report.table(HEADINGS, _rows(found)), ""]
    return "\n".join(lines)


def _rows(found: list[dict]) -> list[tuple[str, ...]]:
    return [
        (
            f"{each['size']:,}",
            f"{each['hosts']:,}",
            f"{each['cached']:,}",
            f"{each['grown_bytes'] / scenarios.MEGABYTE:.1f}",
            f"{each['grown_bytes'] / min(each['size'], each['hosts']):.0f}",
            f"{each['first_bytes'] / scenarios.MEGABYTE:.1f}",
            f"{each['grown_bytes'] / each['first_bytes']:.2f}" if each["size"] < each["hosts"] else "",
        )
        for each in found
    ]
