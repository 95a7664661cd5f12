"""What makes the load: wrk, h2load for HTTP/2, and clients of our own for what neither can do."""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Callable

from . import peers, scenarios
from .scenarios import Scenario

SCRIPTS = Path(__file__).resolve().parent.parent / "lua"
HANDSHAKES = Path(__file__).resolve().parent / "handshakes.py"
ADDRESSES = Path(__file__).resolve().parent / "addresses.py"
ERROR_KINDS = ("connect", "read", "write", "timeout", "status", "session")


@dataclass(frozen=True)
class Counted:
    """What a generator saw in one run."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A command, the directory it wants to run in, and what makes figures of its output."""

    argv: list[str]
    directory: Path
    counted: Callable[[str], Counted]
    waits: bool = False
    """Once it is ready it says so in a line, and begins when a line is said to it."""


def of(scenario: Scenario, port: int, seconds: int, directory: Path) -> Run:
    """The run for a scenario; `directory` is the benchmark's own, with its certificate, and takes what a run writes."""
    if scenario.frame_bytes:
        return _websocket(scenario, port, seconds)
    if scenario.streams:
        return _h2load(scenario, port, seconds, directory)
    if scenario.handshakes:
        return _handshakes(scenario, port, seconds, directory)
    if scenario.addresses:
        return _addresses(scenario, port, seconds, directory)
    return _wrk(scenario, port, seconds)


def _wrk(scenario: Scenario, port: int, seconds: int) -> Run:
    argv = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", scenario.script, "-H", f"Host: {scenarios.PLAIN_HOST}"]
    for header in scenario.headers:
        argv += ["-H", header]
    argv.append(f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}{scenario.path}")
    argv += ["--", *scenario.arguments] if scenario.arguments else []
    return Run(argv, SCRIPTS, _summary)


def _websocket(scenario: Scenario, port: int, seconds: int) -> Run:
    argv = [str(peers.WEBSOCKET), "load", str(port), str(scenario.connections), str(seconds), str(scenario.frame_bytes)]
    return Run(argv, SCRIPTS, _summary)


def _handshakes(scenario: Scenario, port: int, seconds: int, directory: Path) -> Run:
    how = scenario.handshakes
    argv = [sys.executable, str(HANDSHAKES), "--port", str(port), "--host", scenarios.PLAIN_HOST,
            "--path", scenario.path, "--ca", str(directory / scenarios.CERTIFICATE), "--tls", how.version,
            "--clients", str(scenario.connections), "--seconds", str(seconds)]
    argv += ["--resume"] if how.resumed else []
    return Run(argv, directory, _summary)


def _addresses(scenario: Scenario, port: int, seconds: int, directory: Path) -> Run:
    argv = [sys.executable, str(ADDRESSES), "--port", str(port), "--host", scenarios.PLAIN_HOST,
            "--path", scenario.path, "--answer-bytes", str(scenario.answer_bytes),
            "--addresses", str(scenario.addresses), "--at-once", str(scenario.connections),
            "--join-seconds", str(scenario.joins_over), "--seconds", str(seconds)]
    return Run(argv, directory, _summary, waits=True)


def _summary(said: str) -> Counted:
    """From the line that lua/summary.lua, handshakes.py and addresses.py end with."""
    line = next(line for line in said.splitlines() if line.startswith("SUMMARY "))
    counted = json.loads(line.removeprefix("SUMMARY "))
    return Counted(
        requests=counted["requests"],
        seconds=counted["micros"] / 1e6,
        bytes=counted["bytes"],
        p50_ms=counted["p50"] / 1e3,
        p99_ms=counted["p99"] / 1e3,
        errors={kind: counted[kind] for kind in ERROR_KINDS if counted.get(kind)},
    )


def _h2load(scenario: Scenario, port: int, seconds: int, directory: Path) -> Run:
    log = directory / "h2load.log"
    argv = ["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", f"-D{seconds}",
            "--npn-list", "h2", "--log-file", str(log), "--connect-to", f"127.0.0.1:{port}"]
    for header in scenario.headers:
        argv += ["-H", header]
    argv.append(f"https://{scenarios.PLAIN_HOST}:{port}{scenario.path}")
    log.write_text("")
    return Run(argv, directory, lambda said: _of_h2load(said, log))


def _of_h2load(said: str, log: Path) -> Counted:
    # One line a request: when it was sent, its status (-1: failed), and microseconds until its answer was whole.
    answers = [line.split("\t") for line in log.read_text().splitlines()]
    micros = [int(took) for _, status, took in answers if status == "200"]
    cuts = quantiles(micros, n=100) if len(micros) > 1 else [0] * 99
    errors = {"status": sum(status not in ("200", "-1") for _, status, _ in answers)}
    errors["read"] = sum(int(count) for count in re.search(r"(\d+) failed, (\d+) errored", said).groups())
    errors["timeout"] = int(re.search(r"(\d+) timeout", said)[1])
    return Counted(
        requests=len(micros),
        seconds=_seconds(re.search(r"finished in ([\d.]+)(us|ms|s)", said)),
        bytes=int(re.search(r"\((\d+)\) data", said)[1]),
        p50_ms=cuts[49] / 1e3,
        p99_ms=cuts[98] / 1e3,
        errors={kind: count for kind, count in errors.items() if count},
    )


def _seconds(found: re.Match) -> float:
    return float(found[1]) / {"us": 1e6, "ms": 1e3, "s": 1}[found[2]]
