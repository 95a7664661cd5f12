"""Processes the benchmark starts: pinned to a core or to none, ended by their own handle."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

START_SECONDS = 15
STOP_SECONDS = 5


class StartFailed(Exception):
    """A process did not come up; the message holds the end of what it wrote."""


def free_ports(count: int) -> list[int]:
    """Ports on loopback that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """A running program whose output goes to a file in the work directory."""

    def __init__(self, name: str, argv: list[str], core: int | None, directory: Path):
        self.name = name
        self.output = directory / f"{name}.out"
        with open(self.output, "wb") as output:
            self._handle = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            )

    @property
    def pid(self) -> int:
        return self._handle.pid

    @property
    def alive(self) -> bool:
        return self._handle.poll() is None

    def wait_for_port(self, port: int) -> None:
        """Returns once something listens on the port."""
        self._wait(lambda: _listens(port), f"to listen on port {port}")

    def wait_for_line(self, pattern: str) -> re.Match:
        """Returns the match once the output holds the pattern."""
        search = lambda: re.search(pattern, self.output.read_text(errors="replace"))
        return self._wait(search, f"to write {pattern!r}")

    def _wait(self, ready, what: str):
        deadline = time.monotonic() + START_SECONDS
        while not (found := ready()):
            if not self.alive or time.monotonic() > deadline:
                raise StartFailed(f"{self.name} failed {what}:\n{self.tail()}")
            time.sleep(0.01)
        return found

    def tail(self) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Asks the process to end, and ends it when it does not."""
        if not self.alive:
            return
        self._handle.terminate()
        try:
            self._handle.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._handle.kill()
            self._handle.wait()

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self._handle.kill()
        self._handle.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
