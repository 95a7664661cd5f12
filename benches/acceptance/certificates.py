#!/usr/bin/env python3
"""Certificates replaced ten times a second under load: whether a request fails, and how soon each is in force.

One proxy of two cores over HTTPS. Three hosts have a certificate each: the default one, one in certDir, one in Redis. All
three are replaced at every tick, by rename or HSET, each time with a key of their own; now and then comes a SIGHUP.
Needs openssl, redis-server and wrk. Prints plain figures; the exit status is 1 where a target is missed.
"""

import contextlib
import multiprocessing
import os
import signal
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.authority import Authority, Pair
from acceptance.backends import Backend
from acceptance.proxies import CORES, Load, Proxy
from acceptance.redis import Redis
from acceptance.secure import VERSIONS, SecureClient, believing
from bench import machine

DEFAULT, IN_FOLDER, IN_REDIS = HOSTS = ("default.example", "folder.example", "redis.example")
PER_SECOND = 10
SIGHUP_EVERY = 5 * PER_SECOND
CONNECTIONS = 8
CLIENTS = 2
# New connections to each host at the end: any core may take one.
LAST_CONNECTIONS = 10 * CORES
# How long a certificate may be shown after it was replaced: what is promised is a second, and the machine is full.
OUTDATED_SECONDS_MAX = {DEFAULT: 2.0, IN_FOLDER: 2.0, IN_REDIS: 1.0}
# Of the certificates that stood in Redis, those that new connections must have seen: each is in force at once. Of those in
# files, as many as follows from the above.
SEEN_MIN = 0.9
SETTLE_SECONDS = 2
BROKEN_TOLD_MAX = 5

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Shown:
    """A connection that was answered."""

    host: str
    version: str
    serial: int
    began: float
    """By the monotonic clock."""


class Places:
    """Where the certificates stand."""

    def __init__(self, directory: Path, redis: Redis):
        self._live, self._staging, self._redis = directory / "live", directory / "staging", redis
        self.folder = directory / "hosts"
        for each in (self._live, self._staging, self.folder):
            each.mkdir()

    def settings(self) -> dict:
        """What stands under `https` in the proxy's file."""
        certificate, key = (str(self._live / f"default.{end}") for end in ("crt", "key"))
        return {"port": 0, "cert": certificate, "key": key, "certDir": str(self.folder)}

    def put(self, host: str, pair: Pair) -> None:
        if host == IN_REDIS:
            self._redis.ask(("HSET", f"tls:{host}", "certificate", pair.certificate, "key", pair.key))
        elif host == IN_FOLDER:
            self._put(self.folder / host, pair)
        else:
            self._put(self._live / "default", pair)

    def _put(self, stem: Path, pair: Pair) -> None:
        for end, text in (("key", pair.key), ("crt", pair.certificate)):
            staged = self._staging / f"new.{end}"
            staged.write_text(text, encoding="ascii")
            staged.rename(f"{stem}.{end}")


class Client:
    """Asks for each host in turn, in a process of its own: over a new connection, and over one that is kept."""

    def __init__(self, proxy: Proxy, authority: Path, seconds: float):
        self._results = _fork.SimpleQueue()
        arguments = (proxy, authority, seconds, self._results)
        self._process = _fork.Process(target=_ask, args=arguments, daemon=True)
        self._process.start()

    def result(self) -> tuple[list[Shown], int, list[str]]:
        """New connections that were answered, answers over kept ones, and what failed."""
        found = self._results.get()
        self._process.join()
        return found


def _ask(proxy: Proxy, authority: Path, seconds: float, results) -> None:
    contexts = [believing(authority, version) for version in VERSIONS]
    kept = [SecureClient(proxy, host, context) for host in HOSTS for context in contexts]
    hosts = [host for host in HOSTS for _ in contexts]
    shown, over_kept, broken, end = [], 0, [], time.monotonic() + seconds
    while time.monotonic() < end:
        for host, context, client in zip(hosts, contexts * len(HOSTS), kept):
            try:
                shown.append(_new(proxy, host, context))
            except Exception as error:  # Whatever it is, the request has failed.
                broken.append(f"{host}, a new connection: {error!r}")
            try:
                _expect_ok(client, host)
                over_kept += 1
            except Exception as error:
                broken.append(f"{host}, a kept connection: {error!r}")
    results.put((shown, over_kept, broken))


def _new(proxy: Proxy, host: str, context: ssl.SSLContext) -> Shown:
    began = time.monotonic()
    with SecureClient(proxy, host, context) as client:
        _expect_ok(client, host)
        return Shown(host, client.version, client.serial, began)


def _expect_ok(client: SecureClient, host: str) -> None:
    if (answer := client.ask(host)) != (200, "backend"):
        raise ValueError(f"answered {answer}")


def replace(places: Places, proxy: Proxy, issued: dict[str, list[Pair]]) -> dict[str, list[float]]:
    """Puts one pair after the other at an even pace; when each stood in its place."""
    put: dict[str, list[float]] = {host: [] for host in HOSTS}
    began = time.monotonic()
    for number, pairs in enumerate(zip(*(issued[host] for host in HOSTS)), start=1):
        time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        for host, pair in zip(HOSTS, pairs):
            places.put(host, pair)
            put[host].append(time.monotonic())
        if number % SIGHUP_EVERY == 0:
            os.kill(proxy.process.pid, signal.SIGHUP)
    return put


def run(places: Places, proxy: Proxy, authority: Authority, issued: dict[str, list[Pair]]) -> bool:
    replacements = len(issued[DEFAULT])
    seconds = replacements / PER_SECOND + SETTLE_SECONDS
    load = Load(proxy, DEFAULT, CONNECTIONS, int(seconds))
    clients = [Client(proxy, authority.file, seconds) for _ in range(CLIENTS)]
    began = time.monotonic()
    put = replace(places, proxy, issued)
    took = time.monotonic() - began
    answered, failed = load.result()
    results = [client.result() for client in clients]
    shown = [each for found, _, _ in results for each in found]
    over_kept = sum(count for _, count, _ in results)
    broken = [text for _, _, texts in results for text in texts]
    hangups = replacements // SIGHUP_EVERY
    print(f"3 certificates replaced {replacements} times each in {took:.1f} s, with {hangups} SIGHUPs")
    print(f"  {CONNECTIONS} keep-alive clients: {answered} requests answered, {failed} failed, wanted 0")
    print(f"  new connections: {told(shown)} answered")
    print(f"  kept connections of the same clients: {over_kept} requests answered")
    print(f"  failed of either: {len(broken)}, wanted 0")
    for text in broken[:BROKEN_TOLD_MAX]:
        print(f"    {text}")
    in_force = [judge(host, [each for each in shown if each.host == host], put[host]) for host in HOSTS]
    log = proxy.process.output.read_text(errors="replace")
    print(f"  files read anew {log.count('were read anew')} times, "
          f"halves of two pairs met and passed over {log.count('what was served before stays')} times")
    last = all([judge_last(proxy, authority, host, replacements) for host in HOSTS])
    return failed == 0 and not broken and answered > 0 and all(in_force) and last


def told(shown: list[Shown]) -> str:
    versions = sorted({each.version for each in shown})
    return ", ".join(f"{version}: {sum(each.version == version for each in shown)}" for version in versions)


def judge(host: str, shown: list[Shown], put: list[float]) -> bool:
    """Serial 0 stood there at first; serial n was put as the n-th, and took the place of that before it."""
    seen = len({each.serial for each in shown})
    outdated = max((each.began - put[each.serial] for each in shown if each.serial < len(put)), default=0.0)
    most = OUTDATED_SECONDS_MAX[host]
    least = int(SEEN_MIN * len(put)) if host == IN_REDIS else int(len(put) / PER_SECOND / most)
    print(f"  {host}: {seen} certificates seen in {len(shown)} connections, wanted at least {least}; "
          f"one shown {max(outdated, 0.0) * 1000:.0f} ms after it was replaced, wanted at most {most * 1000:.0f} ms")
    return seen >= least and outdated <= most


def judge_last(proxy: Proxy, authority: Authority, host: str, last: int) -> bool:
    contexts = [believing(authority.file, version) for version in VERSIONS]
    serials = [_new(proxy, host, contexts[number % 2]).serial for number in range(LAST_CONNECTIONS)]
    found = f"{serials.count(last)} of {len(serials)} connections"
    print(f"  {host} in the end: the last certificate in {found}, wanted all")
    return serials.count(last) == len(serials)


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="seconds of replacements (20)")
    chosen = parser.parse_args()
    if absent := machine.missing(["openssl", "redis-server", "wrk"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with contextlib.ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
        authority, count = Authority(directory), chosen.seconds * PER_SECOND
        issued = {host: [authority.issue(host, serial) for serial in range(count + 1)] for host in HOSTS}
        redis, backend = ends.enter_context(Redis(directory)), Backend("backend")
        ends.callback(backend.kill)
        backend.live()
        places = Places(directory, redis)
        for host in HOSTS:
            redis.route(host, [backend.url])
            places.put(host, issued[host].pop(0))
        settings = {"port": redis.port}
        proxy = Proxy.start("proxy", chosen.binary.resolve(), settings, directory, https=places.settings())
        ends.callback(proxy.process.stop)
        return 0 if run(places, proxy, authority, issued) else 1


if __name__ == "__main__":
    sys.exit(main())
