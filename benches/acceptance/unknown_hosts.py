#!/usr/bin/env python3
"""A flood of unknown hosts: what it costs in memory, and whether known hosts stay known.

One proxy of two cores on one Redis. A client asks for a million hosts that have no route, each once, while another asks
for known hosts all the time. Needs redis-server. Prints plain figures; the exit status is 1 where a target is missed.
"""

import contextlib
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.proxies import Proxy
from acceptance.redis import Redis
from bench import machine, measure, store
from bench.asking import Asker

KNOWN = [f"known{number}.example" for number in range(1_000)]
# Each stays with the core that took it: with so many, every core has some.
KNOWN_CONNECTIONS = 16
# Strangers after which the caches of both cores are full, of 100,000 rows each, however connections spread over them.
FULL_AFTER = 500_000
# Growth from then on: rows come and go, and the heap is never packed tight.
GROWTH_MAX = 1.10
# Known hosts that may have to be read again, of those asked for over every connection: none but by accident.
READS_MAX = len(KNOWN) // 100
SAMPLE_SECONDS = 0.1

_fork = multiprocessing.get_context("fork")


class Flood:
    """Asks for hosts that have no route, in a process of its own."""

    def __init__(self, proxy: Proxy, count: int):
        self._asked, self._results = _fork.Value("Q", 0, lock=False), _fork.SimpleQueue()
        arguments = (proxy.port, count, self._asked, self._results)
        self._process = _fork.Process(target=_ask_for_strangers, args=arguments, daemon=True)
        self._process.start()

    @property
    def asked(self) -> int:
        return self._asked.value

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def result(self) -> Counter:
        self._process.join()
        if self._results.empty():
            raise RuntimeError("the flood broke off")
        return self._results.get()


def _ask_for_strangers(port: int, count: int, asked, results) -> None:
    found = Counter()
    with Asker(port) as asker:
        for start in range(0, count, 10_000):
            end = min(start + 10_000, count)
            found += asker.ask(f"stranger{number}.example" for number in range(start, end))
            asked.value = end
    results.put(found)


class Regulars:
    """Asks for the known hosts over every connection, again and again until told to stop."""

    def __init__(self, asker: Asker):
        self.found, self._asker, self._done = Counter(), asker, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.is_set():
            self.found += self._asker.ask_on_each(KNOWN)

    def stop(self) -> Counter:
        self._done.set()
        self._thread.join()
        return self.found


def flood(proxy: Proxy, redis: Redis, count: int) -> bool:
    pid = proxy.process.pid
    with Asker(proxy.port, connections=KNOWN_CONNECTIONS) as asker:
        # The first time fills the rows, the second shows that they are asked for again.
        asker.ask_on_each(KNOWN)
        asker.ask_on_each(KNOWN)
        before, began = measure.resident_bytes(pid), time.monotonic()
        regulars, strangers = Regulars(asker), Flood(proxy, count)
        samples = watch(strangers, pid)
        answers, seconds = strangers.result(), time.monotonic() - began
        known = regulars.stop()
        after, reads = measure.resident_bytes(pid), store.reads(redis.port)
        known_after = asker.ask_on_each(KNOWN)
        reads = store.reads(redis.port) - reads
    full = max((resident for asked, resident in samples if asked <= FULL_AFTER), default=before)
    most = max(resident for _, resident in samples)
    print(f"{count} unknown hosts, each asked for once, in {seconds:.1f} s ({count / seconds:.0f} a second)")
    print(f"  answered: {told(answers)}, wanted 400: {count}")
    print(f"  known hosts meanwhile: {told(known)}, wanted 200 alone")
    print(f"  resident: {measure.mb(before)} before, {measure.mb(full)} once the caches were full, "
          f"{measure.mb(most)} at most, {measure.mb(after)} after")
    print(f"  growth since the caches were full: {most / full:.2f}, wanted at most {GROWTH_MAX}")
    print(f"  known hosts once more, over {KNOWN_CONNECTIONS} connections: {told(known_after)}, "
          f"read from Redis: {reads} of {len(KNOWN)}, wanted at most {READS_MAX}")
    return (answers == {400: count} and set(known) == set(known_after) == {200}
            and most <= GROWTH_MAX * full and reads <= READS_MAX)


def watch(strangers: Flood, pid: int) -> list[tuple[int, int]]:
    """Hosts asked for so far and bytes resident, until the flood is over."""
    samples = []
    while strangers.alive:
        samples.append((strangers.asked, measure.resident_bytes(pid)))
        time.sleep(SAMPLE_SECONDS)
    return samples + [(strangers.asked, measure.resident_bytes(pid))]


def told(statuses: Counter) -> str:
    return ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="unknown hosts (1000000)")
    chosen = parser.parse_args()
    if absent := machine.missing(["redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with contextlib.ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
        redis, backend = ends.enter_context(Redis(directory)), Backend("known")
        ends.callback(backend.kill)
        backend.live()
        for host in KNOWN:
            redis.route(host, [backend.url])
        proxy = Proxy.start("proxy", chosen.binary.resolve(), {"port": redis.port}, directory)
        ends.callback(proxy.process.stop)
        return 0 if flood(proxy, redis, chosen.count) else 1


if __name__ == "__main__":
    sys.exit(main())
