#!/usr/bin/env python3
"""Two proxies on a Redis that three sentinels watch: what clients notice of a fail-over.

The master is killed under load; later, when it is back as a replica, its successor is replaced while it lives. Needs
redis-server and wrk. Prints plain figures; the exit status is 1 where a request for a known host failed, or where a
proxy did not find the new master. Times are told, not judged.
"""

import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.proxies import CORES, Load, Proxy, ask_once
from acceptance.redis import Redis
from acceptance.sentinels import Sentinels
from bench import machine

SITE = "site.example"
MOVED = "moved.example"
# Of these each is asked for once: hosts that are routed, but that no proxy knows yet.
STRANGERS = "stranger%05d.example"
STRANGERS_COUNT = 5_000
CONNECTIONS = 8
WARM_UP_SECONDS = 2
# Load goes on that long after the master is lost; a fail-over takes some 2 s.
LOAD_SECONDS = 20
KNOWN = 40
# A change is in force where that many answers in a row, over a new connection each, are by the new route.
IN_FORCE_AFTER = 10 * CORES
PATIENCE_SECONDS = 10
PAUSE_SECONDS = 0.02


class Scene:
    """Sentinels, two proxies and two backends. Leaving the context ends all of them."""

    def __init__(self, binary: Path, directory: Path):
        self.sentinels = Sentinels(directory)
        self.old, self.new = Backend("old"), Backend("new")
        self.proxies: list[Proxy] = []
        self._binary, self._directory = binary, directory
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> "Scene":
        with contextlib.ExitStack() as ends:
            for backend in (self.old, self.new):
                ends.callback(backend.kill)
                backend.live()
            ends.enter_context(self.sentinels)
            self.fill(self.sentinels.master)
            for name in ("first", "second"):
                proxy = Proxy.start(name, self._binary, self.sentinels.settings(), self._directory)
                ends.callback(proxy.process.stop)
                self.proxies.append(proxy)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._ends.close()

    def fill(self, master: Redis) -> None:
        for host in (SITE, *(STRANGERS % number for number in range(STRANGERS_COUNT))):
            master.route(host, [self.old.url])

    def make_known(self, host: str) -> None:
        """Has every core look the host up."""
        for proxy in self.proxies:
            for _ in range(KNOWN):
                ask_once(proxy, host)


class Strangers:
    """Asks a proxy for a new host every few milliseconds until told to stop, and notes when one was refused."""

    def __init__(self, proxy: Proxy, numbers: range):
        self.proxy, self.asked, self.refused = proxy, 0, []
        self._numbers, self._done = numbers, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in self._numbers:
            if self._done.wait(PAUSE_SECONDS):
                return
            status, _ = ask_once(self.proxy, STRANGERS % number)
            self.asked += 1
            if status != 200:
                self.refused.append(time.monotonic())

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def fail_over(scene: Scene, what: str, begin: Callable[[], None], strangers: range) -> bool:
    """Begins a fail-over under load: errors, and how soon the proxies follow the new master."""
    scene.sentinels.master.route(MOVED, [scene.old.url])
    scene.make_known(SITE)
    for proxy in scene.proxies:
        wait_in_force(proxy, scene.old.name)
    switches, before = scene.sentinels.switches(), scene.sentinels.master
    loads = [Load(proxy, SITE, CONNECTIONS, WARM_UP_SECONDS + LOAD_SECONDS) for proxy in scene.proxies]
    time.sleep(WARM_UP_SECONDS)
    halves = strangers[::2], strangers[1::2]
    askers = [Strangers(proxy, numbers) for proxy, numbers in zip(scene.proxies, halves)]
    began = time.monotonic()
    begin()
    switched = switches.first_since(began)
    if switched is None:
        raise RuntimeError("the sentinels did not switch the master")
    master = scene.sentinels.master
    master.route(MOVED, [scene.new.url])
    changed = time.monotonic()
    in_force = [wait_in_force(proxy, scene.new.name) for proxy in scene.proxies]
    results = [load.result() for load in loads]
    for asker in askers:
        asker.stop()
    print(f"{what} under load of 2 x {CONNECTIONS} clients: from port {before.port} to {master.port}")
    print(f"  the sentinels switched after {milliseconds(switched - began)}")
    failed = report_load(loads, results)
    for proxy, at in zip(scene.proxies, in_force):
        late = "never" if at is None else f"{milliseconds(at - changed)} after it was made"
        print(f"  the changed route was in force on the {proxy.name} {late}")
    for asker in askers:
        print(f"  new hosts on the {asker.proxy.name}: {told(asker, began, switched)}")
    follows = all(asker.refused[-1:] < [switched + PATIENCE_SECONDS] for asker in askers)
    return failed == 0 and None not in in_force and follows and master is not before


def wait_in_force(proxy: Proxy, name: str) -> float | None:
    """When the first of many answers in a row was sent that all came from this backend."""
    first, in_row, deadline = None, 0, time.monotonic() + PATIENCE_SECONDS
    while in_row < IN_FORCE_AFTER:
        if (sent := time.monotonic()) > deadline:
            return None
        is_new = ask_once(proxy, MOVED) == (200, name)
        first, in_row = (first if in_row else sent, in_row + 1) if is_new else (None, 0)
    return first


def told(asker: Strangers, began: float, switched: float) -> str:
    if not asker.refused:
        return f"{asker.asked} asked, none refused"
    first, last = asker.refused[0] - began, asker.refused[-1]
    return (f"{asker.asked} asked, {len(asker.refused)} refused, from {milliseconds(first)} after the beginning "
            f"to {milliseconds(last - switched)} after the switch")


def report_load(loads: list[Load], results: list[tuple[int, int]]) -> int:
    for load, (answered, failed) in zip(loads, results):
        print(f"  {load.proxy.name} proxy: {answered} requests answered, {failed} failed, wanted 0")
    return sum(failed for _, failed in results)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def main() -> int:
    parser = options.parser(__doc__)
    chosen = parser.parse_args()
    if absent := machine.missing(["wrk", "redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-") as directory:
        with Scene(chosen.binary.resolve(), Path(directory)) as scene:
            half = STRANGERS_COUNT // 2
            lost = scene.sentinels.master
            kept = fail_over(scene, "the master killed", lost.kill, range(half))
            lost.start()
            scene.sentinels.wait_until_whole()
            # On a machine that stalls the sentinels may have switched once more by themselves.
            print(f"the killed one is back; the master is on port {scene.sentinels.master.port} now")
            begin = scene.sentinels.fail_over
            kept &= fail_over(scene, "a fail-over by hand", begin, range(half, STRANGERS_COUNT))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
