#!/usr/bin/env python3
"""The Debian package over its whole life, in a Debian of its own that systemd has booted: installed, serving under its unit,
rotated, reloaded, upgraded under load, killed, removed, purged. As root, on a machine with apt-get.

usage: package.py [--base FOLDER] DEB NEWER_DEB
--base: a tree that debootstrap made earlier; made there where it is missing. Without it, one is made and thrown away.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from container import Container, debian

CONFIG = "/etc/cjs-proxy/config.json"
LOG = "/var/log/cjs-proxy/access.log"
DEPLOY = Path(__file__).resolve().parents[2] / "config/deploy"
BACKEND_PORT = 3000
PATIENCE_SECONDS = 60
# Half of WatchdogSec is the longest between two signs of life.
SIGN_SECONDS = 40

# Run by the Python of this machine in the network of the container, which need not have one.
BACKEND = f"""
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            print("asked", flush=True)
            time.sleep(3)
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\\n")
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", {BACKEND_PORT}), Handler).serve_forever()
"""
# Asks until its standard input ends; prints how many were answered and what went wrong.
LOAD = """
import http.client, select, sys
answered, failures = 0, []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=10)
        connection.request("GET", "/", headers={"Host": "www.example.tld"})
        answer = connection.getresponse()
        good = answer.status == 200 and answer.read() == b"hello\\n"
        connection.close()
    except OSError as error:
        good, answer = False, error
    answered += good
    if not good:
        failures.append(repr(answer))
print(answered, *failures[:3])
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--base", type=Path)
    options.add_argument("deb", type=Path)
    options.add_argument("newer", type=Path)
    options = options.parse_args()
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-package-")))
        root = debian(folder / "root", options.base)
        for deb, name in ((options.deb, "package.deb"), (options.newer, "newer.deb")):
            shutil.copy(deb, root / name)
        inside = ends.enter_context(Container(root, folder / "console.log"))
        step("booted", inside.out("systemctl", "--version").splitlines()[0])
        try:
            live(inside, root, ends)
        except BaseException:
            print(inside.run("journalctl", "-u", "cjs-proxy", "-n", "40", "--no-pager").stdout, file=sys.stderr)
            raise
    print("passed")


def live(inside: Container, root: Path, ends: contextlib.ExitStack) -> None:
    backend = ends.enter_context(inside.background(sys.executable, "-c", BACKEND, stdout=subprocess.PIPE))
    install(inside, root)
    serve(inside, root)
    rotate(inside, root)
    configure(inside, root)
    replace(inside, root)
    stop(inside, backend)
    confine(inside, root)
    revive(inside)
    remove(inside, root)


def install(inside: Container, root: Path) -> None:
    inside.out("dpkg", "-i", "/package.deb")
    wait("the unit is active", lambda: inside.state() == "active")
    main_process = inside.main_process()
    status = dict(line.split(":\t", 1) for line in inside.out("cat", f"/proc/{main_process}/status").splitlines())
    uid = inside.out("id", "-u", "cjs-proxy").strip()
    check("it runs as cjs-proxy", set(status["Uid"].split()) == {uid})
    check("it has CAP_NET_BIND_SERVICE alone", int(status["CapEff"], 16) == 1 << 10 and int(status["CapBnd"], 16) == 1 << 10)
    check("it has a seccomp filter, and no new privileges", (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"))
    journal = inside.out("journalctl", "-u", "cjs-proxy", "--no-pager")
    check("io_uring passes that filter", "io_uring" in inside.metrics() and "epoll" not in journal)
    check("only root and cjs-proxy read the config",
          inside.out("stat", "-c", "%a %U %G", CONFIG).strip() == "640 root cjs-proxy")
    verified = inside.run("systemd-analyze", "verify", "--man=no", "/lib/systemd/system/cjs-proxy.service")
    check(f"the unit verifies: {verified.stderr}", (verified.returncode, verified.stderr) == (0, ""))
    check("it is enabled", inside.out("systemctl", "is-enabled", "cjs-proxy").strip() == "enabled")
    check("man page, completions and licences are there", all((root / "usr/share" / name).exists() for name in (
        "man/man1/cjs-proxy.1.gz", "bash-completion/completions/cjs-proxy", "zsh/vendor-completions/_cjs-proxy",
        "fish/vendor_completions.d/cjs-proxy.fish", "doc/cjs-proxy/LICENSE-APACHE", "doc/cjs-proxy/copyright")))
    step("installed", f"process {main_process}")


def serve(inside: Container, root: Path) -> None:
    backend = f"http://127.0.0.1:{BACKEND_PORT}"
    inside.out("cjs-proxy", "routes", "add", "www.example.tld", backend, "--id", "mine", "-c", CONFIG)
    check("a request is served", inside.get() == "hello\n")
    wait("it is ready", lambda: inside.get(port=9180, path="/readyz").startswith("ok"))
    wait("the access log tells of it", lambda: '"mine"' in read(root, LOG))
    check("the log is its own alone", inside.out("stat", "-c", "%a %U", LOG).strip() == "640 cjs-proxy")
    step("served", read(root, LOG).splitlines()[0])


def rotate(inside: Container, root: Path) -> None:
    before = inside.main_process()
    inside.out("logrotate", "-f", "/etc/logrotate.d/cjs-proxy")
    inside.get(path="/after-rotation")
    wait("the new log tells of it", lambda: "/after-rotation" in read(root, LOG))
    check("the old one was kept", (root / f"{LOG[1:]}.1").exists())
    check("the process stayed", inside.main_process() == before)
    step("rotated", "")


def configure(inside: Container, root: Path) -> None:
    file = root / CONFIG[1:]
    good = file.read_text().replace('"gracefulWait": 30', '"gracefulWait": 20')
    file.write_text(good.replace('"server"', '"srever"'))
    check("a faulty config fails the reload", inside.run("systemctl", "reload", "cjs-proxy").returncode != 0)
    check("it goes on", inside.state() == "active" and inside.get() == "hello\n")
    file.write_text(good)
    inside.out("systemctl", "reload", "cjs-proxy")
    said = "the configuration was read anew and is in force"
    wait("the config is in force", lambda: said in inside.out("journalctl", "-u", "cjs-proxy", "--no-pager"))
    step("reloaded", "")


def replace(inside: Container, root: Path) -> None:
    edited = read(root, CONFIG)
    with load(inside) as told:
        succeed(inside, "dpkg", "-i", "--force-confdef", "/newer.deb")
        succeed(inside, "cjs-proxy", "upgrade", "-c", CONFIG)
    answered, *failures = told[0].split()
    check(f"no request was lost: {' '.join(failures)}", not failures and int(answered) > 20)
    check("the edited config was kept", read(root, CONFIG) == edited and '"gracefulWait": 20' in edited)
    check("nothing was restarted", inside.show("NRestarts") == "0")
    inside.out("logrotate", "-f", "/etc/logrotate.d/cjs-proxy")
    inside.get(path="/after-upgrade")
    wait("the log of the new process was rotated", lambda: "/after-upgrade" in read(root, LOG))
    sign = inside.show("WatchdogTimestampMonotonic")
    wait("the watchdog hears the new process", lambda: inside.show("WatchdogTimestampMonotonic") != sign, SIGN_SECONDS)
    step("upgraded", f"{answered} requests meanwhile; {inside.out('dpkg-query', '-W', 'cjs-proxy').strip()}")


def succeed(inside: Container, *command: str) -> None:
    """Runs what has another process take over, and waits until systemd knows that one alone."""
    before = inside.main_process()
    inside.out(*command)
    wait("systemd follows the new process", lambda: inside.main_process() not in (before, "0"))
    wait("the old one ends", lambda: inside.run("test", "-d", f"/proc/{before}").returncode != 0)
    check("the unit is active", inside.state() == "active")


def stop(inside: Container, backend: subprocess.Popen) -> None:
    """Of a process that an upgrade brought in: systemd has to wait for its drain all the same."""
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(inside.get(path="/slow")))
    slow.start()
    check("the backend was asked", backend.stdout.readline() == b"asked\n")
    inside.out("systemctl", "restart", "cjs-proxy")
    slow.join()
    check("what was in flight was answered", answers == ["hello\n"])
    check("it serves after a restart", inside.get() == "hello\n")
    step("stopped", "")


def confine(inside: Container, root: Path) -> None:
    """To the system calls of the container profile, by systemd, as there is no container engine."""
    rules = json.loads((DEPLOY / "seccomp.json").read_text())["syscalls"]
    allowed = [name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    drop_in = root / "run-by-hand.conf"
    # clone3 gets the error by which the C library turns to clone.
    drop_in.write_text(f"[Service]\nSystemCallFilter=\nSystemCallFilter={' '.join(allowed)}\nSystemCallErrorNumber=ENOSYS\n")
    inside.out("mkdir", "-p", "/run/systemd/system/cjs-proxy.service.d")
    inside.out("mv", f"/{drop_in.name}", "/run/systemd/system/cjs-proxy.service.d/seccomp.conf")
    inside.out("systemctl", "daemon-reload")
    inside.out("systemctl", "restart", "cjs-proxy")
    check("the profile is in force", "clone3" not in inside.show("SystemCallFilter"))
    wait("it serves", lambda: inside.get() == "hello\n")
    check("io_uring passes", 'io_driver="io_uring"' in inside.metrics())
    succeed(inside, "cjs-proxy", "upgrade", "-c", CONFIG)
    inside.out("logrotate", "-f", "/etc/logrotate.d/cjs-proxy")
    inside.get(path="/confined")
    wait("the log was opened anew", lambda: "/confined" in read(root, LOG))
    inside.out("rm", "-r", "/run/systemd/system/cjs-proxy.service.d")
    inside.out("systemctl", "daemon-reload")
    inside.out("systemctl", "restart", "cjs-proxy")
    step("confined", f"to {len(allowed)} system calls")


def revive(inside: Container) -> None:
    before = inside.main_process()
    inside.out("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "cjs-proxy")
    wait("systemd starts another", lambda: inside.main_process() not in (before, "0") and inside.state() == "active")
    check("it serves", inside.get() == "hello\n")
    # It may be told to end without systemd, too: that is no failure.
    inside.out("systemctl", "kill", "--signal=TERM", "--kill-whom=main", "cjs-proxy")
    wait("it has ended and stays so", lambda: inside.state() == "inactive")
    inside.out("systemctl", "start", "cjs-proxy")
    check("it serves once more", inside.get() == "hello\n")
    step("revived", "")


def remove(inside: Container, root: Path) -> None:
    inside.out("dpkg", "-r", "cjs-proxy")
    names = inside.out("sh", "-c", "cat /proc/[0-9]*/comm").splitlines()
    check("it has ended", inside.state() != "active" and "systemd" in names and "cjs-proxy" not in names)
    check("the program is gone", not (root / "usr/bin/cjs-proxy").exists())
    check("config and logs stay", '"gracefulWait": 20' in read(root, CONFIG) and (root / LOG[1:]).exists())
    step("removed", "")
    inside.out("dpkg", "-P", "cjs-proxy")
    check("config and logs are gone", not any((root / name).exists() for name in ("etc/cjs-proxy", "var/log/cjs-proxy")))
    check("nothing of the unit is left", inside.run("systemctl", "cat", "cjs-proxy").returncode != 0)
    check("the user stays, so that nobody gets its number", inside.run("id", "cjs-proxy").returncode == 0)
    step("purged", "")


@contextlib.contextmanager
def load(inside: Container):
    """One request after another meanwhile; afterwards the list holds what came of them."""
    told: list[str] = []
    with inside.background(sys.executable, "-c", LOAD, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield told
        told.append(process.communicate(b"end\n", timeout=PATIENCE_SECONDS)[0].decode())


def read(root: Path, file: str) -> str:
    path = root / file[1:]
    return path.read_text() if path.exists() else ""


def wait(what: str, holds, seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def check(what: str, holds: bool) -> None:
    if not holds:
        raise SystemExit(f"failed: {what}")


def step(name: str, more: str) -> None:
    print(f"{name:<10} {more}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
