#!/usr/bin/env python3
"""Two proxies on one Redis, three backends: what clients notice when a backend is killed, and when Redis is.

Needs redis-server and wrk. Prints plain figures; the exit status is 1 where a request failed that must not, or a dead
backend was asked more often than once per core and TTL. Times are told, not judged.
"""

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend, Grave
from acceptance.proxies import CORES, Client, Load, Proxy, ask_once, last_answered
from acceptance.redis import Redis, routing
from bench import machine

SITE = "site.example"
MOVED = "moved.example"
TTL = 2
# In flight when the mark was made; on a busy machine a request may be older than it looks.
IN_FLIGHT_SECONDS = 0.25
WARM_UP_SECONDS = 2
KNOWN = 40


class Scene:
    """Redis, two proxies and three backends. Leaving the context ends all of them."""

    def __init__(self, binary: Path, directory: Path):
        self.redis = Redis(directory)
        self.backends = [Backend(name) for name in ("a", "b", "c")]
        self.proxies: list[Proxy] = []
        self._binary, self._directory = binary, directory
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> "Scene":
        with contextlib.ExitStack() as ends:
            for backend in self.backends:
                ends.callback(backend.kill)
                backend.live()
            ends.enter_context(self.redis)
            self.redis.route(SITE, [backend.url for backend in self.backends])
            for name in ("first", "second"):
                proxy = Proxy.start(name, self._binary, {"port": self.redis.port}, self._directory, deadBackendTTL=TTL)
                ends.callback(proxy.process.stop)
                self.proxies.append(proxy)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._ends.close()

    def make_known(self, host: str) -> None:
        """Has every core look the host up."""
        for proxy in self.proxies:
            for _ in range(KNOWN):
                ask_once(proxy, host)

    def load(self, seconds: int, connections: int) -> list[Load]:
        return [Load(proxy, SITE, connections, seconds) for proxy in self.proxies]


def kill_under_load(scene: Scene, seconds: int) -> bool:
    """A backend is killed under load: errors, and who still reaches it."""
    heard, dead = scene.redis.hear("dead"), scene.backends[0]
    loads = scene.load(WARM_UP_SECONDS + seconds, connections=16)
    time.sleep(WARM_UP_SECONDS)
    with Grave(dead) as grave:
        killed = time.monotonic()
        dead.kill()
        marked = heard.first_since(killed)
        results = [load.result() for load in loads]
    print(f"a backend killed under load of 2 x 16 clients, TTL {TTL} s, {seconds} s")
    failed = report_load(loads, results)
    if marked is None:
        print("  no mark was made")
        return False
    print(f"  marked {milliseconds(marked - killed)} after the kill")
    late = [arrival for arrival in grave.arrivals if arrival.at > marked + IN_FLIGHT_SECONDS]
    print(f"  requests to the dead one in flight then: {len(grave.arrivals) - len(late)}")
    periods = int((seconds - (marked - killed)) / TTL) + 1
    bound = periods * CORES * len(scene.proxies)
    print(f"  later: {len(late)} in {periods} TTLs, wanted at most {bound}")
    for proxy in scene.proxies:
        print(f"    by the {proxy.name}: {sum(arrival.proxy_port == proxy.port for arrival in late)}")
    return failed == 0 and len(late) <= bound


def avoid_by_hearsay(scene: Scene, rounds: int) -> None:
    """A backend that is dead for the first proxy alone: how soon the second, for which it lives, avoids it."""
    (first, second), odd = scene.proxies, scene.backends[0]
    odd.live(dead_for=first.port)
    heard, delays = scene.redis.hear("dead"), []
    for _ in range(rounds):
        scene.redis.ask(("DEL", f"dead:{SITE}"))
        probe = Probe(second, odd.name)
        probe.wait_for_use()
        asked = [time.monotonic()]
        while not any(at >= asked[0] for at, _ in heard.messages):
            asked.append(time.monotonic())
            ask_once(first, SITE)
        marked = heard.first_since(asked[0])
        # Another request may have been begun before the mark of the last one was heard.
        fatal = [sent for sent in asked if sent <= marked][-2:][0]
        last = probe.finish(0.3)
        delays.append((max(0.0, last - marked), max(0.0, last - fatal)))
    print(f"a death that only the first proxy saw, {rounds} times: when the second sent its last request there")
    for what, values in zip(("after the mark was heard", "after the fatal request was sent"), zip(*delays)):
        print(f"  {what}: median {milliseconds(statistics.median(values))}, most {milliseconds(max(values))}")


class Probe:
    """Asks a proxy over several connections in turn until told to finish, and notes who answered last and when."""

    def __init__(self, proxy: Proxy, name: str):
        self._clients = [Client(proxy) for _ in range(4 * CORES)]
        self._name, self._used, self._done = name, [], threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.is_set():
            for client in self._clients:
                sent = time.monotonic()
                if client.ask(SITE)[1] == self._name:
                    self._used.append(sent)

    def wait_for_use(self) -> None:
        """Returns once the backend has answered a few times."""
        before = len(self._used)
        while len(self._used) < before + 20:
            time.sleep(0.001)

    def finish(self, seconds: float) -> float:
        """Goes on for so long; when the last request was sent that the backend answered."""
        time.sleep(seconds)
        self._done.set()
        self._thread.join()
        for client in self._clients:
            client.__exit__()
        return self._used[-1]


def redis_outage(scene: Scene, seconds: int) -> bool:
    """Redis is killed under load and comes back with a route that changed meanwhile."""
    old, new = scene.backends[1], scene.backends[2]
    scene.backends[0].live()
    scene.redis.ask(("DEL", f"dead:{SITE}"))
    scene.redis.route(MOVED, [old.url])
    scene.make_known(SITE)
    scene.make_known(MOVED)
    loads = scene.load(WARM_UP_SECONDS + seconds + 4, connections=8)
    time.sleep(WARM_UP_SECONDS)
    scene.redis.kill()
    killed = time.monotonic()
    unknown = ask_once(scene.proxies[0], "unknown.example")[0]
    time.sleep(max(0.0, seconds - (time.monotonic() - killed)))
    scene.redis.change_unseen(*routing(MOVED, [new.url]))
    probes = [LastAnswer(proxy, old.name) for proxy in scene.proxies]
    back = scene.redis.start()
    results = [load.result() for load in loads]
    print(f"Redis killed for {back - killed:.1f} s under load of 2 x 8 clients")
    failed = report_load(loads, results)
    print(f"  an unknown host meanwhile: {unknown}, wanted 503")
    for probe in probes:
        late = probe.last() - back
        print(f"  the changed route was in force on the {probe.proxy.name} {milliseconds(late)} after the return")
    return failed == 0 and unknown == 503


class LastAnswer:
    """Asks a proxy for the moved host for some seconds, and notes when the old backend answered last."""

    def __init__(self, proxy: Proxy, old: str):
        self.proxy = proxy
        self._last: float | None = None
        self._thread = threading.Thread(target=self._run, args=(old,))
        self._thread.start()

    def _run(self, old: str) -> None:
        self._last = last_answered(self.proxy, MOVED, old, seconds=4)

    def last(self) -> float:
        self._thread.join()
        if self._last is None:
            raise RuntimeError(f"the {self.proxy.name} proxy did not know the old route")
        return self._last


def report_load(loads: list[Load], results: list[tuple[int, int]]) -> int:
    for load, (answered, failed) in zip(loads, results):
        print(f"  {load.proxy.name} proxy: {answered} requests answered, {failed} failed, wanted 0")
    return sum(failed for _, failed in results)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="seconds of load after a backend is killed (10)")
    parser.add_argument("--rounds", type=int, default=20, help="deaths that only one proxy sees (20)")
    parser.add_argument("--outage", type=int, default=60, help="seconds without Redis (60)")
    chosen = parser.parse_args()
    if absent := machine.missing(["wrk", "redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-") as directory:
        with Scene(chosen.binary.resolve(), Path(directory)) as scene:
            scene.make_known(SITE)
            kept = kill_under_load(scene, chosen.seconds)
            avoid_by_hearsay(scene, chosen.rounds)
            kept &= redis_outage(scene, chosen.outage)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
