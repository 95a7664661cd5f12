"""Load on one proxy: what it was, and one request beforehand to see that the answers are right."""

import http.client
import os
import resource
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import generators, scenarios
from .generators import Counted
from .scenarios import Scenario

# Of the clients alone: proxies have OpenSSL as they come.
OPENSSL = Path(__file__).resolve().parent.parent / "peers/clients-openssl.cnf"


class WrongAnswer(Exception):
    """A proxy answered something else than the backend."""


@dataclass(frozen=True)
class Outcome:
    """What was counted in one run, and what the run cost its generator."""

    counted: Counted
    errors: dict[str, int]
    cpu_seconds: float


def run(scenario: Scenario, port: int, seconds: int, core: int, directory: Path) -> Outcome:
    """Loads the port for that many seconds; `directory` is the benchmark's own."""
    what = generators.of(scenario, port, seconds, directory)
    before = _children_seconds()
    said = subprocess.run(
        what.argv, cwd=what.directory, stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"OPENSSL_CONF": str(OPENSSL)}, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    cost = _children_seconds() - before
    counted = what.counted(said.stdout)
    errors = dict(counted.errors)
    # Short answers that look like a success would flatter a proxy.
    if counted.bytes < counted.requests * scenario.answer_bytes:
        errors["short"] = 1
    if counted.requests == 0:
        errors["nothing"] = 1
    return Outcome(counted, errors, cost)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Checker:
    """Sends single requests of a scenario through proxies and compares the answers with the backend's own."""

    def __init__(self, scenario: Scenario, backend: int, directory: Path):
        self._scenario = scenario
        self._certificate = directory / scenarios.CERTIFICATE
        self._expected = self._ask(backend, scenarios.PLAIN_HOST)
        status, body = self._expected
        if status != 200 or len(body) != scenario.answer_bytes:
            raise WrongAnswer(f"backend: {scenario.name}: status {status}, {len(body)} bytes")

    def check(self, name: str, port: int) -> None:
        scenario, hosts = self._scenario, [scenarios.PLAIN_HOST]
        if scenario.hosts:
            hosts = [scenario.hosts.names[0], scenario.hosts.names[-1]]
            if self._ask(port, "unknown.bench")[0] == 200:
                raise WrongAnswer(f"{name}: {scenario.name}: a host that has no route was answered 200")
        for host in hosts:
            status, body = self._ask(port, host, scenario.tls)
            if (status, body) != self._expected:
                raise WrongAnswer(
                    f"{name}: {scenario.name}: Host {host}: status {status}, {len(body)} bytes, "
                    f"expected 200 with {scenario.answer_bytes} bytes"
                )
        if scenario.streams:
            with self._secured(port, "h2") as connection:
                if (chosen := connection.selected_alpn_protocol()) != "h2":
                    raise WrongAnswer(f"{name}: {scenario.name}: offered h2, the proxy chose {chosen}")

    def _ask(self, port: int, host: str, tls: bool = False) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        if tls:
            connection.sock = self._secured(port, "http/1.1")
        headers = {"Host": host} | dict(header.split(": ", 1) for header in self._scenario.headers)
        body = b"b" * self._scenario.body_bytes
        connection.request("POST" if body else "GET", self._scenario.path, body or None, headers)
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result

    def _secured(self, port: int, protocol: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._certificate)
        context.set_alpn_protocols([protocol])
        connected = socket.create_connection(("127.0.0.1", port), timeout=10)
        return context.wrap_socket(connected, server_hostname=scenarios.PLAIN_HOST)
