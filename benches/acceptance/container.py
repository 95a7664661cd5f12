"""A Debian in a folder, booted by systemd-nspawn with a network that has loopback alone."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,init-system-helpers,logrotate,redis-server"
BOOT_SECONDS = 120
COMMAND_SECONDS = 120


def debian(root: Path, base: Path | None) -> Path:
    """A fresh Debian in `root`; a copy of the one in `base`, which is made first where it is missing."""
    made = base or root
    if not (made / "etc/debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, made], check=True,
                       stdout=subprocess.DEVNULL)
    if base:
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
    return root


class Container:
    """One that is up. Leaving the context shuts it down."""

    def __init__(self, root: Path, console: Path):
        self._root, self._console = root, console
        self._leader = ""

    def __enter__(self) -> "Container":
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", self._root, "--register=no", "--keep-unit",
                 "--private-network", "--boot"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.run("systemctl", "poweroff")
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(BOOT_SECONDS / 4)
            return
        # With it ends all that runs inside.
        if self._leader:
            os.kill(int(self._leader), 9)
        self._nspawn.kill()
        self._nspawn.wait()

    def _wait(self) -> None:
        end = time.monotonic() + BOOT_SECONDS
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        while time.monotonic() < end and self._nspawn.poll() is None:
            self._leader = next(iter(children.read_text().split()), "")
            if self._leader and self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise SystemExit(f"the container did not boot:\n{self._console.read_text(errors='replace')}")

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Runs a command inside."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
        return subprocess.run(["nsenter", "--target", self._leader, "--all", "--wd=/", *command], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, env=environment)

    def out(self, *command: str) -> str:
        """What a command says that succeeds."""
        done = self.run(*command)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def background(self, *command: str, **streams):
        """A program of this machine in the network of the container."""
        process = subprocess.Popen(["nsenter", "--target", self._leader, "--net", *command], **streams)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def get(self, port: int = 80, path: str = "/") -> str:
        """The body of an answer, whatever its status."""
        asks = ("import http.client as c; a = c.HTTPConnection('127.0.0.1', {}, timeout=10);"
                "a.request('GET', '{}', headers={{'Host': 'www.example.tld'}}); print(a.getresponse().read().decode(), end='')")
        done = subprocess.run(["nsenter", "--target", self._leader, "--net", "python3", "-c", asks.format(port, path)],
                              capture_output=True, text=True, timeout=COMMAND_SECONDS)
        return done.stdout

    def metrics(self) -> str:
        """The proxy's metrics."""
        return self.get(port=9180, path="/metrics")

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.out("systemctl", "show", "--value", "-p", name, "cjs-proxy").strip()

    def state(self) -> str:
        """The state of the unit."""
        return self.show("ActiveState")

    def main_process(self) -> str:
        """The main process of the unit, by its number inside."""
        return self.show("MainPID")
