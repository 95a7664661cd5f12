"""Interleaved rounds: in each one every proxy is started and takes its turn under load, in an order drawn anew."""

import contextlib
import dataclasses
import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from . import counting, load, measure, peers, scenarios, store
from .asking import Asker
from .changes import Changes
from .machine import Cores, Ticks, disturbance
from .peers import Peer, Site
from .process import Process
from .scenarios import Scenario


@dataclass(frozen=True)
class Plan:
    """How long and in which order load is applied."""

    rounds: int
    seconds: int
    warm_up: int
    order: random.Random


class Bench:
    """The backend, Redis and the cores that all scenarios share. Leaving the context ends all of it."""

    def __init__(self, cores: Cores, directory: Path, builds: dict[str, Path]):
        self.cores = cores
        self.directory = directory
        self._builds = builds
        self._helpers: list[Process | Changes] = []

    def __enter__(self) -> "Bench":
        try:
            self._start_helpers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for process in reversed(self._helpers):
            process.stop()

    def _start_helpers(self) -> None:
        peers.make_certificate(self.directory)
        backend, self.backend_port = peers.start_backend(self.cores.others, self.directory)
        self._helpers.append(backend)
        echo, self.echo_port = peers.start_echo(self.cores.others, self.directory)
        self._helpers.append(echo)
        self.redis_port, self._routed_to, self._redis = None, None, None
        if self._builds:
            self._redis, self.redis_port = store.start(self.cores.others, self.directory)
            self._helpers.append(self._redis)

    def start(
        self, name: str, directory: Path, backend: int | None = None, cache: int | None = None,
        limits: scenarios.Limits | None = None, logged: bool = False,
    ) -> Peer:
        """Starts a proxy with its files in the directory, in front of the backend or of another port."""
        backend = backend or self.backend_port
        if self.redis_port and backend != self._routed_to:
            store.load_routes(self.redis_port, backend)
            self._routed_to = backend
        if name.endswith(peers.UNLIMITED):
            limits = None
        site = Site(self.cores.proxy, directory, backend, self.directory, self.redis_port, cache, limits, logged)
        return peers.start(name, self._builds.get(name.removesuffix(peers.UNLIMITED)), site)

    def contenders(self, scenario: Scenario, names: list[str]) -> list[str]:
        """Those of the proxies that the scenario is for; where it limits, the first build without limits besides."""
        if scenario.limits and self._builds:
            subject, *others = (name for name in names if name != "relay")
            return [subject, subject + peers.UNLIMITED, *others]
        return [name for name in names if name in self._builds or self._is_for(scenario, name)]

    def _is_for(self, scenario: Scenario, name: str) -> bool:
        if name == "nginx-lua":
            return scenario.live_routes and bool(self._builds)
        if name == "relay":
            # It knows neither hosts nor what is inside.
            return not (scenario.hosts or scenario.tls or scenario.logged)
        return not scenario.live_routes

    def counted(self, scenario: Scenario, peer: Peer) -> counting.Reading | None:
        """What Redis has done so far, where the scenario is about requests that are counted in it."""
        return counting.read(self.redis_port, self._redis.pid) if scenario.limits and peer.asks_redis else None

    @contextlib.contextmanager
    def changing(self, scenario: Scenario) -> Iterator[Callable[[], dict[str, int]]]:
        """Meanwhile routes are changed as the scenario has it. Gives what counts changes and reads so far."""
        if not scenario.live_routes:
            yield dict
            return
        with contextlib.ExitStack() as ends:
            changes = None
            if scenario.changes_per_second:
                site = (self.redis_port, self.backend_port, scenario.hosts)
                changes = ends.enter_context(Changes(*site, scenario.changes_per_second, self.cores.others))
                self._helpers.append(changes)
                ends.callback(self._helpers.remove, changes)
            yield lambda: {
                "changes_per_second": changes.done if changes else 0,
                "reads_per_second": store.reads(self.redis_port),
            }

    def helper_seconds(self) -> float:
        return sum(measure.cpu_seconds(helper.pid) for helper in self._helpers)


def run(bench: Bench, scenario: Scenario, names: list[str], plan: Plan, directory: Path) -> dict:
    """Runs all rounds of a scenario; returns the turns of each proxy, in round order."""
    turns: dict[str, list[dict]] = {name: [] for name in names}
    for number in range(plan.rounds):
        _progress(f"{scenario.name}: round {number + 1} of {plan.rounds}")
        order = plan.order.sample(names, len(names))
        for name, turn in _round(bench, scenario, order, plan, directory / str(number)).items():
            turns[name].append(turn)
    _progress("")
    return turns


def _round(bench: Bench, scenario: Scenario, order: list[str], plan: Plan, directory: Path) -> dict:
    """One turn of each proxy in that order, on processes started for this round.

    A process keeps its luck with memory for life: the same binary started twice has differed by a quarter on 1 MB
    answers. Processes that live for one round make that part of the spread rather than of the verdict.
    """
    directory.mkdir(parents=True)
    running: list[Peer] = []
    try:
        for name in order:
            backend = bench.echo_port if scenario.frame_bytes else None
            running.append(bench.start(name, directory, backend, limits=scenario.limits, logged=scenario.logged))
        # What is sent back to it the load compares itself.
        checker = None if scenario.frame_bytes else load.Checker(scenario, bench.backend_port, bench.directory)
        for peer in running if checker else []:
            checker.check(peer.name, peer.port(scenario), peer.tells_of_limit)
        return {peer.name: _turn(bench, scenario, peer, plan) for peer in running}
    finally:
        for peer in running:
            peer.process.stop()
        shutil.rmtree(directory)


def _turn(bench: Bench, scenario: Scenario, peer: Peer, plan: Plan) -> dict:
    if scenario.live_routes:
        with Asker(peer.port(scenario), scenario.path) as asker:
            asker.ask(scenario.hosts.names)
    turn = _measured(bench, scenario, peer, plan)
    if scenario.reference:
        reference = _measured(bench, scenarios.ALL[scenario.reference], peer, plan)
        turn["of_reference"] = turn["cpu_us"] / reference["cpu_us"]
    return turn


def _measured(bench: Bench, scenario: Scenario, peer: Peer, plan: Plan) -> dict:
    port, pid = peer.port(scenario), peer.process.pid
    where = bench.cores.others, bench.directory
    with bench.changing(scenario) as store_figures:
        _warm_up(bench, scenario, peer, plan)
        measured = load.Load(dataclasses.replace(scenario, joins_over=0), port, plan.seconds, *where)
        measure.reset_peak(pid)
        before, counted_before, began = store_figures(), bench.counted(scenario, peer), time.monotonic()
        ticks, cpu, helpers = Ticks.read(), measure.cpu_seconds(pid), bench.helper_seconds()
        outcome = measured.run()
        cpu = measure.cpu_seconds(pid) - cpu
        own = cpu + bench.helper_seconds() - helpers + outcome.cpu_seconds
        # Longer than the load itself, by what a generator takes to begin.
        seconds = time.monotonic() - began
        rates = {what: (count - before[what]) / seconds for what, count in store_figures().items()}
        if counted_before:
            rates |= bench.counted(scenario, peer).per_request(counted_before, outcome.counted.requests)
    if not peer.process.alive:
        raise RuntimeError(f"{peer.name} ended under load:\n{peer.process.tail()}")
    counted = outcome.counted
    return {
        "cpu_us": cpu * 1e6 / max(counted.requests, 1),
        "requests_per_second": counted.requests / counted.seconds,
        "p50_ms": counted.p50_ms,
        "p99_ms": counted.p99_ms,
        "peak_rss_mb": measure.peak_bytes(pid) / 2**20,
        "requests": counted.requests,
        "errors": outcome.errors,
        **rates,
        **disturbance(ticks, Ticks.read(), own),
    }


def _warm_up(bench: Bench, scenario: Scenario, peer: Peer, plan: Plan) -> None:
    if not peer.asks_redis:
        # It keeps nothing of clients.
        scenario = dataclasses.replace(scenario, joins_over=0)
    seconds = plan.warm_up + scenario.joins_over
    load.run(scenario, peer.port(scenario), seconds, bench.cores.others, bench.directory)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)
