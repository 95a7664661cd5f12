"""Load on one proxy: what it was, and one request beforehand to see that the answers are right."""

import http.client
import os
import resource
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import generators, measure, scenarios
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
    return Load(scenario, port, seconds, core, directory).run()


class Load:
    """Load that is about to begin: connections that are no part of it are open."""

    def __init__(self, scenario: Scenario, port: int, seconds: int, core: int, directory: Path):
        self._scenario, self._core = scenario, core
        self._what = generators.of(scenario, port, seconds, directory)
        self._ready = self._start() if self._what.waits else None
        self._spent = 0.0
        if self._ready:
            self._ready.stdout.readline()
            self._spent = measure.cpu_seconds(self._ready.pid)

    def _start(self) -> subprocess.Popen:
        return subprocess.Popen(
            self._what.argv, cwd=self._what.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OPENSSL_CONF": str(OPENSSL)},
            preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
        )

    def run(self) -> Outcome:
        before = _children_seconds()
        generator = self._ready or self._start()
        said, _ = generator.communicate("go\n" if self._ready else None)
        if generator.returncode:
            raise subprocess.CalledProcessError(generator.returncode, self._what.argv)
        return _outcome(self._scenario, self._what.counted(said), _children_seconds() - before - self._spent)


def _outcome(scenario: Scenario, counted: Counted, cost: float) -> Outcome:
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

    def check(self, name: str, port: int, limited: bool = False) -> None:
        """`limited`: whether the answers have to tell of a limit."""
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
        if self._tells_of_limit != limited:
            raise WrongAnswer(f"{name}: {scenario.name}: told of a limit: {self._tells_of_limit}, expected {limited}")
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
        self._tells_of_limit = answer.getheader("RateLimit") is not None
        connection.close()
        return result

    def _secured(self, port: int, protocol: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._certificate)
        context.set_alpn_protocols([protocol])
        connected = socket.create_connection(("127.0.0.1", port), timeout=10)
        return context.wrap_socket(connected, server_hostname=scenarios.PLAIN_HOST)
