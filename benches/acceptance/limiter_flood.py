#!/usr/bin/env python3
"""A flood of client addresses: what counting them costs, and whether another client notices.

One proxy of two cores. A flood names 200,000 addresses in X-Forwarded-For, each once, and goes on with more until another
client is through with its thousand requests. Needs redis-server. Prints plain figures; the exit status is 1 where a target
is missed.
"""

import multiprocessing
import sys
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.limited import Scene, addresses, statuses, told, took
from acceptance.pace import Client, Paced, Target, evenly
from acceptance.redis import Redis
from bench import machine, measure
from bench.asking import Asker

RATE_LIMIT = {"window": 60, "tiers": {"anonymous": 500, "premium": 100_000}}
KEY = "regular"
REQUESTS = 1_000
REQUESTS_PER_SECOND = 100
FLOOD_STEP = 4_096
FLOOD_CONNECTIONS = 64
FLOOD_SECONDS_MAX = 120
# What a core remembers of clients is bounded: 65,536 of them, at some 600 bytes with what the heap does not pack tight.
GROWTH_MAX_BYTES = 80 * 2**20
SAMPLE_SECONDS = 0.1

_fork = multiprocessing.get_context("fork")


class Flood:
    """Asks once for each address, in a process of its own, until it has named so many and is told to stop."""

    def __init__(self, target: Target, count: int):
        self._done, self._results = _fork.Event(), _fork.SimpleQueue()
        arguments = (target, count, self._done, self._results)
        self._process = _fork.Process(target=_flood, args=arguments, daemon=True)
        self._process.start()

    def stop(self) -> Counter:
        self._done.set()
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError("the flood broke off")
        return self._results.get()


def _flood(target: Target, count: int, done, results) -> None:
    named, found, deadline = addresses("20.0.0.0"), Counter(), time.monotonic() + FLOOD_SECONDS_MAX
    fields = lambda address: f"Host: {target.host}\r\nX-Forwarded-For: {address}\r\n"
    with Asker(target.proxy.port, connections=FLOOD_CONNECTIONS, fields=fields) as asker:
        while (found.total() < count or not done.is_set()) and time.monotonic() < deadline:
            found += asker.ask(islice(named, FLOOD_STEP))
    results.put(found)


class Sampled:
    """The most that the proxy held, and that stood in Redis, while the context lasts."""

    def __init__(self, pid: int, redis: Redis):
        self.resident = self.keys = self.redis_bytes = 0
        self._pid, self._redis, self._done = pid, redis, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Sampled":
        self.before = measure.resident_bytes(self._pid)
        self.redis_before = self._redis.bytes_used()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.resident = max(self.resident, measure.resident_bytes(self._pid))
            self.keys = max(self.keys, self._redis.ask(("DBSIZE",))[0])
            self.redis_bytes = max(self.redis_bytes, self._redis.bytes_used())


def withstand(scene: Scene, count: int) -> bool:
    (target,) = scene.targets
    regular, pid = Client(next(addresses("10.9.0.1")), KEY), target.proxy.process.pid
    with Sampled(pid, scene.redis) as most:
        began, flood = time.monotonic(), Flood(target, count)
        plan = evenly(regular, [target], REQUESTS_PER_SECOND, REQUESTS / REQUESTS_PER_SECOND)
        asked = Paced(plan).result()
        found = flood.stop()
        seconds = time.monotonic() - began
    flooded, answered, growth = found.total(), statuses(asked), most.resident - most.before
    print(f"{flooded} client addresses in {seconds:.1f} s ({flooded / seconds:.0f} a second), wanted {count} at least")
    print(f"  answered: {told(found)}, wanted 200 alone")
    print(f"  another client meanwhile: {told(answered)}, wanted 200: {REQUESTS}; {took(asked)}")
    print(f"  resident: {measure.mb(most.before)} before, {measure.mb(most.resident)} at most; growth "
          f"{measure.mb(growth)}, wanted less than {measure.mb(GROWTH_MAX_BYTES)}")
    redis_growth = most.redis_bytes - most.redis_before
    print(f"  Redis: {most.keys} keys at most, {measure.mb(redis_growth)} more than before, "
          f"{redis_growth / flooded:.0f} bytes for each address")
    return (flooded >= count and set(found) == {200} and answered == {200: REQUESTS}
            and growth < GROWTH_MAX_BYTES and target.proxy.process.alive)


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="client addresses (200000)")
    chosen = parser.parse_args()
    if absent := machine.missing(["redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with Scene(chosen.binary.resolve(), RATE_LIMIT, [Backend("site")]) as scene:
        scene.redis.ask(("SADD", "premium", KEY))
        return 0 if withstand(scene, chosen.count) else 1


if __name__ == "__main__":
    sys.exit(main())
