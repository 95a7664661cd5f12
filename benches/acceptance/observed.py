#!/usr/bin/env python3
"""What it costs to look at a proxy, and that nobody who looks delays a request.

One proxy of two cores. First wrk asks an exact number of times: the access log and /metrics must come to the same. Then the
admin listener's processor time is measured at full load, at a scrape a second, and at what the status page asks. Last a
client asks at an even pace while others never finish asking for metrics, never take what they asked for, or the disk
under the access log is full. Needs redis-server and wrk. Prints plain figures; the exit status is 1 where a target is missed.
"""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Iterator

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.limited import addresses, statuses, told, took
from acceptance.pace import Asked, Client, Paced, Target, evenly
from acceptance.proxies import LUA, Load, Proxy
from acceptance.redis import Redis
from bench import machine
from bench.asking import Asker

HOST = "site.example"
# One connection a thread: each can stop at an exact number of answers.
THREADS = 8
COST_MAX = 0.01
CONNECTIONS = 64
PAGE = ["/metrics", "/api/v1/cores", "/api/v1/limits", "/api/v1/frontends"]
# As many as a busy platform has in use; the answer to all of them is larger than any socket's buffer.
FRONTENDS = 10_000
LONG = "/api/v1/frontends?limit=10000"
# More connections than the admin listener holds at once.
HALF_ASKED = 40
NEVER_TAKEN = 8
PACE_PER_SECOND = 400
# By which the slowest hundredth may be slower: less than one turn of any thread but the cores' own.
DELAY_MAX_MS = 5.0
COUNT_SECONDS_MAX = 120


class Observed:
    """A proxy with an admin listener, and what it tells."""

    def __init__(self, name: str, binary: Path, redis: Redis, directory: Path, **server):
        self.proxy = Proxy.start(name, binary, {"port": redis.port}, directory, admin={"port": 0}, **server)
        self.admin = int(self.proxy.process.wait_for_line(r"listening on 127\.0\.0\.1:(\d+) for admin")[1])

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def counted(self, name: str) -> int:
        """The sum of all samples of a metric."""
        lines = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", self.get("/metrics"), re.MULTILINE)
        return int(sum(map(float, lines)))

    def admin_seconds(self) -> float:
        """Processor time of the thread that answers."""
        for task in Path(f"/proc/{self.proxy.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == "admin":
                return int((task / "schedstat").read_text().split()[0]) / 1e9
        raise RuntimeError("the proxy has no admin thread")

    def core_seconds(self) -> float:
        """Processor time of all cores together."""
        tasks = Path(f"/proc/{self.proxy.process.pid}/task").iterdir()
        cores = [task for task in tasks if (task / "comm").read_text().startswith("core-")]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in cores) / 1e9


def count(observed: Observed, log: Path, wanted: int) -> bool:
    each = wanted // THREADS
    argv = ["wrk", f"-t{THREADS}", f"-c{THREADS}", f"-d{COUNT_SECONDS_MAX}s", "-s", "exactly.lua", "-H", f"Host: {HOST}",
            f"http://127.0.0.1:{observed.proxy.port}/", "--", str(each)]
    wrk = subprocess.Popen(argv, cwd=LUA, stdout=subprocess.PIPE, text=True)
    by_metrics = lambda: observed.counted("cjs_proxy_requests_total")
    by_log = lambda: log.read_bytes().count(b"\n")
    deadline = time.monotonic() + COUNT_SECONDS_MAX
    while not wanted == by_metrics() == by_log() and time.monotonic() < deadline:
        time.sleep(0.1)
    # Its threads have stopped; it would sleep to the end of its time.
    wrk.send_signal(signal.SIGINT)
    by_wrk = json.loads(re.search(r"SUMMARY (.*)", wrk.communicate()[0])[1])["requests"]
    durations = observed.counted("cjs_proxy_request_duration_seconds_count")
    per_core = re.findall(r'^cjs_proxy_requests_total\{core="(\d+)",class="2xx"\} (\d+)', observed.get("/metrics"), re.M)
    print(f"wrk: {by_wrk} requests; /metrics: {by_metrics()}; access log: {by_log()} lines; histogram: {durations}")
    print(f"  by core: {', '.join(f'{core}: {often}' for core, often in per_core)}")
    return by_wrk == wanted == by_metrics() == by_log() == durations


def cost(observed: Observed, paths: list[str], seconds: int, what: str) -> bool:
    load = Load(observed.proxy, HOST, CONNECTIONS, seconds + 1)
    before, began, scrapes = observed.admin_seconds(), time.monotonic(), 0
    while time.monotonic() < began + seconds:
        for path in paths:
            observed.get(path)
        scrapes += 1
        time.sleep(max(0.0, began + scrapes - time.monotonic()))
    share = (observed.admin_seconds() - before) / (time.monotonic() - began)
    requests, failed = load.result()
    print(f"{what}, once a second at full load ({requests / (seconds + 1):.0f} requests a second, {failed} failed): "
          f"{share:.2%} of one processor, wanted less than {COST_MAX:.0%}")
    return share < COST_MAX and failed == 0


def survey_cost(observed: Observed) -> None:
    """What the cores' part in a survey of many frontends is."""
    with Asker(observed.proxy.port, connections=16, fields=lambda host: f"Host: {host}\r\n") as asker:
        for _ in range(4):
            asker.ask(f"host{number}.example" for number in range(FRONTENDS))
    hosts = [core["hosts"] for core in json.loads(observed.get("/api/v1/frontends?limit=0"))["cores"]]
    rest = observed.core_seconds()
    time.sleep(2)
    per_second = (observed.core_seconds() - rest) / 2
    for path in ["/api/v1/frontends", "/api/v1/frontends?search=host77", LONG, "/api/v1/backends"]:
        before, began, times = observed.core_seconds(), time.monotonic(), 10
        length = [len(observed.get(path)) for _ in range(times)][-1]
        took_seconds = time.monotonic() - began
        spent = observed.core_seconds() - before - per_second * took_seconds
        print(f"  {path}: {spent / times / 2 * 1000:.1f} ms of each core that knows {hosts} hosts, "
              f"{took_seconds / times * 1000:.0f} ms until {length} bytes are there")


@contextlib.contextmanager
def half_asked(admin: int) -> Iterator[None]:
    """Many who never finish asking; each is replaced when it is sent away."""
    with _pestering(admin, HALF_ASKED, b"GET /metrics HTTP/1.1\r\nHo"):
        yield


@contextlib.contextmanager
def never_taken(admin: int) -> Iterator[None]:
    """Some who ask for more than the socket holds, and never read."""
    with _pestering(admin, NEVER_TAKEN, f"GET {LONG} HTTP/1.1\r\nHost: a\r\n\r\n".encode()):
        yield


@contextlib.contextmanager
def _pestering(admin: int, number: int, bytes_sent: bytes) -> Iterator[None]:
    done = threading.Event()

    def pester() -> None:
        while not done.is_set():
            # Refused or reset: it is there again at once.
            with contextlib.suppress(OSError), socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.settimeout(1)
                one.connect(("127.0.0.1", admin))
                one.sendall(bytes_sent)
                done.wait(4)

    threads = [threading.Thread(target=pester) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def paced(observed: Observed, seconds: int) -> list[Asked]:
    client = Client(next(addresses("10.9.0.1")))
    return Paced(evenly(client, [Target(observed.proxy, HOST)], PACE_PER_SECOND, seconds)).result()


def slow_hundredth(asked: list[Asked]) -> float:
    """Milliseconds within which all but the slowest hundredth are answered."""
    times = sorted(each.took * 1000 for each in asked)
    return times[int(0.99 * len(times))]


def undelayed(observed: Observed, full: Observed, seconds: int) -> bool:
    quiet, good = paced(observed, seconds), True
    print(f"one client at {PACE_PER_SECOND} a second, nobody looking: {told(statuses(quiet))}; {took(quiet)}")
    for name, trouble, of in [
        (f"{HALF_ASKED} who never finish asking for metrics", half_asked(observed.admin), observed),
        (f"{NEVER_TAKEN} who never take {LONG}", never_taken(observed.admin), observed),
        ("the disk under the access log full", contextlib.nullcontext(), full),
    ]:
        with trouble:
            asked = paced(of, seconds)
        later = slow_hundredth(asked) - slow_hundredth(quiet)
        print(f"  {name}: {told(statuses(asked))}; {took(asked)}; the slowest hundredth {later:+.1f} ms, wanted at most "
              f"{DELAY_MAX_MS:+.1f}")
        good &= set(statuses(asked)) == {200} and later < DELAY_MAX_MS
    lost, deadline = 0, time.monotonic() + COUNT_SECONDS_MAX
    while lost < (asked := full.counted("cjs_proxy_requests_total")) and time.monotonic() < deadline:
        lost = full.counted("cjs_proxy_access_log_dropped_lines_total")
    print(f"  lines told as lost: {lost} of {asked}")
    return good and lost == asked


def run(binary: Path, wanted: int, seconds: int) -> bool:
    backend = Backend("site")
    with contextlib.ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
        redis = ends.enter_context(Redis(directory))
        ends.callback(backend.kill)
        backend.live()
        redis.route(HOST, [backend.url])
        redis.ask(*(("RPUSH", f"frontend:host{n}.example", f"host{n}", backend.url) for n in range(FRONTENDS)))
        log = directory / "access.log"
        start = lambda name, target: Observed(name, binary, redis, directory, accessLog=str(target))
        observed = start("observed", log)
        ends.callback(observed.proxy.process.stop)
        good = count(observed, log, wanted)
        good &= cost(observed, PAGE[:1], seconds, "/metrics")
        good &= cost(observed, PAGE, seconds, "what the status page asks for")
        survey_cost(observed)
        full = start("full", Path("/dev/full"))
        ends.callback(full.proxy.process.stop)
        return undelayed(observed, full, seconds) and good


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="requests that are counted (100000)")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement (10)")
    chosen = parser.parse_args()
    if chosen.count % THREADS:
        sys.exit(f"--count: {chosen.count} is no multiple of {THREADS}")
    if absent := machine.missing(["redis-server", "wrk"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    return 0 if run(chosen.binary.resolve(), chosen.count, chosen.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
