"""Load on one proxy: wrk, what it counted, and one request beforehand to see that the answers are right."""

import http.client
import json
import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import scenarios
from .scenarios import Scenario

SCRIPTS = Path(__file__).resolve().parent.parent / "lua"
ERROR_KINDS = ("connect", "read", "write", "timeout", "status")


class WrongAnswer(Exception):
    """A proxy answered something else than the backend."""


@dataclass(frozen=True)
class Outcome:
    """What wrk saw in one run, and what the run cost wrk itself."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]
    wrk_cpu_seconds: float


def run(scenario: Scenario, port: int, seconds: int, core: int) -> Outcome:
    """Loads the port for that many seconds and returns what wrk counted."""
    before = _children_seconds()
    said = subprocess.run(
        _command(scenario, port, seconds), cwd=SCRIPTS, stdout=subprocess.PIPE, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    cost = _children_seconds() - before
    line = next(line for line in said.stdout.splitlines() if line.startswith("SUMMARY "))
    return _outcome(scenario, json.loads(line.removeprefix("SUMMARY ")), cost)


def _command(scenario: Scenario, port: int, seconds: int) -> list[str]:
    argv = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", scenario.script, "-H", f"Host: {scenarios.PLAIN_HOST}"]
    for header in scenario.headers:
        argv += ["-H", header]
    argv.append(f"http://127.0.0.1:{port}{scenario.path}")
    return argv + (["--", *scenario.arguments] if scenario.arguments else [])


def _outcome(scenario: Scenario, counted: dict, cost: float) -> Outcome:
    errors = {kind: counted[kind] for kind in ERROR_KINDS if counted[kind]}
    # Short answers that look like a success would flatter a proxy.
    if counted["bytes"] < counted["requests"] * scenario.answer_bytes:
        errors["short"] = 1
    if counted["requests"] == 0:
        errors["nothing"] = 1
    return Outcome(
        requests=counted["requests"],
        seconds=counted["micros"] / 1e6,
        p50_ms=counted["p50"] / 1e3,
        p99_ms=counted["p99"] / 1e3,
        errors=errors,
        wrk_cpu_seconds=cost,
    )


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def check(scenario: Scenario, name: str, port: int, backend: int) -> None:
    """Sends one request of the scenario through the proxy and compares the answer with the backend's own."""
    hosts = [scenarios.PLAIN_HOST]
    if scenario.hosts:
        hosts = [scenario.hosts.names[0], scenario.hosts.names[-1]]
        status, _ = _ask(scenario, port, "unknown.bench")
        if status == 200:
            raise WrongAnswer(f"{name}: {scenario.name}: a host that has no route was answered 200")
    expected = _ask(scenario, backend, scenarios.PLAIN_HOST)
    if expected[0] != 200 or len(expected[1]) != scenario.answer_bytes:
        raise WrongAnswer(f"backend: {scenario.name}: status {expected[0]}, {len(expected[1])} bytes")
    for host in hosts:
        status, body = _ask(scenario, port, host)
        if (status, body) != expected:
            raise WrongAnswer(
                f"{name}: {scenario.name}: Host {host}: status {status}, {len(body)} bytes, "
                f"expected 200 with {scenario.answer_bytes} bytes"
            )


def _ask(scenario: Scenario, port: int, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Host": host} | dict(header.split(": ", 1) for header in scenario.headers)
    body = b"b" * scenario.body_bytes
    connection.request("POST" if body else "GET", scenario.path, body or None, headers)
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result
