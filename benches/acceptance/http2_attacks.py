#!/usr/bin/env python3
"""Attacks on HTTP/2: 100,000 rapid resets and 10,000 CONTINUATION frames, and what others notice of them.

A proxy of two cores over HTTPS, a fresh one for each attack. Hostile clients open one connection after the other, as the
proxy ends them, at least until another client is through with its thousand requests. Needs openssl and redis-server.
Prints plain figures; the exit status is 1 where a target is missed.
"""

import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.authority import Authority
from acceptance.backends import Backend
from acceptance.frames import (
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, PING, RST_STREAM, Frame, Frames,
    frame, head,
)
from acceptance.proxies import Proxy
from acceptance.redis import Redis
from bench import machine, measure

SITE = "site.example"
ATTACKERS = 4
RESETS_PER_BURST = 50
CONTINUATIONS_PER_BURST = 10
# A field of its own in each, with no name that may not be.
CONTINUED = b"\0\x01a\x01b"
# More than the proxy bears; then the client connects anew.
BURSTS_PER_CONNECTION = 500
REQUESTS = 1_000
WARM_UP_REQUESTS = 200
GROWTH_MAX_BYTES = 20 * 2**20
ATTACK_SECONDS_MAX = 30
PATIENCE_SECONDS = 0.02
SETTLE_SECONDS = 1

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Flood:
    """What a connection is sent, burst by burst, for as long as it lasts."""

    name: str
    bursts: list[bytes]
    burst_size: int
    """Frames of its kind in each burst."""
    patience: float
    """Seconds to wait after a burst for something to come; 0: as fast as bursts are taken, read or not."""


def resets(what: str, patience: float) -> Flood:
    block, cancel = head(SITE), CANCEL.to_bytes(4, "big")

    def burst(number: int) -> bytes:
        first = 1 + 2 * RESETS_PER_BURST * number
        pairs = (
            frame(HEADERS, END_HEADERS | END_STREAM, stream, block) + frame(RST_STREAM, 0, stream, cancel)
            for stream in range(first, first + 2 * RESETS_PER_BURST, 2)
        )
        # Its answer tells that the burst was read.
        return b"".join(pairs) + frame(PING, 0, 0, b"are you?")

    bursts = [burst(number) for number in range(BURSTS_PER_CONNECTION)]
    return Flood(f"rapid resets, {what},", bursts, RESETS_PER_BURST, patience)


def continuations(what: str, payload: bytes) -> Flood:
    begin = frame(HEADERS, END_STREAM, 1, head(SITE))
    burst = frame(CONTINUATION, 0, 1, payload) * CONTINUATIONS_PER_BURST
    bursts = [begin + burst] + [burst] * (BURSTS_PER_CONNECTION - 1)
    # Nothing may stand between them that the proxy would answer.
    return Flood(f"CONTINUATION frames {what}", bursts, CONTINUATIONS_PER_BURST, PATIENCE_SECONDS)


@dataclass(frozen=True)
class Sent:
    """What one attacker did."""

    frames: int
    ends: Counter
    """How each connection ended: the reason of its GOAWAY, or what stood in its place."""


class Attackers:
    """Several processes, each of which sends its share over one connection after the other, and goes on until told to
    stop."""

    def __init__(self, proxy: Proxy, flood: Flood, count: int):
        self._done, self._results = _fork.Event(), _fork.SimpleQueue()
        arguments = (proxy, flood, count // ATTACKERS, self._done, self._results)
        self._processes = [_fork.Process(target=_attack, args=arguments, daemon=True) for _ in range(ATTACKERS)]
        for process in self._processes:
            process.start()

    def stop(self) -> Sent:
        self._done.set()
        for process in self._processes:
            process.join()
        if any(process.exitcode for process in self._processes):
            raise RuntimeError("an attacker broke off")
        found = [self._results.get() for _ in self._processes]
        return Sent(sum(each.frames for each in found), sum((each.ends for each in found), Counter()))


def _attack(proxy: Proxy, flood: Flood, count: int, done, results) -> None:
    sent, ends, deadline = 0, Counter(), time.monotonic() + ATTACK_SECONDS_MAX
    while (sent < count or not done.is_set()) and time.monotonic() < deadline:
        with Frames(proxy, SITE) as client:
            taken, end = _flood(client, flood)
        sent += taken
        ends[end] += 1
    results.put(Sent(sent, ends))


def _flood(client: Frames, flood: Flood) -> tuple[int, str]:
    """Sends until the proxy ends the connection; frames that went out, and how it ended."""
    sent = 0
    for burst in flood.bursts:
        if not client.send(burst):
            break
        sent += flood.burst_size
        # What comes is read, or the proxy would stop reading.
        if reason := _reason(client.there(flood.patience)):
            return sent, reason
    else:
        return sent, "none, all bursts were taken"
    return sent, _reason(client.rest()) or "none, a reset"


def _reason(frames: list[Frame]) -> str | None:
    return next((each.reason for each in frames if each.kind == GOAWAY), None)


class Regular:
    """Asks so often over one HTTP/2 connection, in a process of its own."""

    def __init__(self, proxy: Proxy, count: int):
        self._results = _fork.SimpleQueue()
        self._process = _fork.Process(target=_ask, args=(proxy, count, self._results), daemon=True)
        self._process.start()

    def result(self) -> tuple[int, float]:
        """Requests that were answered with success, and seconds that the slowest took."""
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError("the regular client broke off")
        return self._results.get()


def _ask(proxy: Proxy, count: int, results) -> None:
    answered, slowest, deadline = 0, 0.0, time.monotonic() + ATTACK_SECONDS_MAX
    with Frames(proxy, SITE) as client:
        for stream in range(1, 2 * count, 2):
            began = time.monotonic()
            if not client.open or began > deadline:
                break
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, head(SITE)))
            answered += _is_answered(client, stream)
            slowest = max(slowest, time.monotonic() - began)
    results.put((answered, slowest))


def _is_answered(client: Frames, stream: int) -> bool:
    text, succeeded = b"", False
    while found := client.next():
        if found.stream != stream:
            continue
        if found.kind == HEADERS:
            succeeded = found.payload[0] == OK
        if found.kind == DATA:
            text += found.payload
        if found.kind == RST_STREAM or found.flags & END_STREAM:
            return succeeded and text == b"backend"
    return False


def withstand(proxy: Proxy, flood: Flood, count: int) -> bool:
    pid = proxy.process.pid
    measure.reset_peak(pid)
    before, began = measure.resident_bytes(pid), time.monotonic()
    attackers, regular = Attackers(proxy, flood, count), Regular(proxy, REQUESTS)
    answered, slowest = regular.result()
    sent, seconds = attackers.stop(), time.monotonic() - began
    peak = measure.peak_bytes(pid)
    time.sleep(SETTLE_SECONDS)
    after = measure.resident_bytes(pid)
    connections = sum(sent.ends.values())
    print(f"{sent.frames} {flood.name} on {connections} connections in {seconds:.1f} s, wanted {count} at least")
    print(f"  ended by GOAWAY: {', '.join(f'{end}: {often}' for end, often in sent.ends.most_common())}")
    print(f"  another client meanwhile: {answered} of {REQUESTS} requests answered, wanted all; "
          f"the slowest took {slowest * 1000:.0f} ms")
    print(f"  resident: {measure.mb(before)} before, {measure.mb(peak)} at most, {measure.mb(after)} after; "
          f"growth {measure.mb(peak - before)}, wanted less than {measure.mb(GROWTH_MAX_BYTES)}")
    return (sent.frames >= count and answered == REQUESTS and peak - before < GROWTH_MAX_BYTES
            and proxy.process.alive)


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--resets", type=int, default=100_000, help="rapid resets (100000)")
    parser.add_argument("--continuations", type=int, default=10_000, help="CONTINUATION frames of each kind (10000)")
    chosen = parser.parse_args()
    if absent := machine.missing(["openssl", "redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with contextlib.ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
        redis, backend = ends.enter_context(Redis(directory)), Backend("backend")
        ends.callback(backend.kill)
        backend.live()
        redis.route(SITE, [backend.url])
        https = Authority(directory).issue(SITE, 1).write(directory / "site") | {"port": 0}
        floods = [
            (resets("read or not", 0), chosen.resets),
            (resets("each burst read before the next", PATIENCE_SECONDS), chosen.resets),
            (continuations("without content", b""), chosen.continuations),
            (continuations("with a field each", CONTINUED), chosen.continuations),
        ]

        def is_withstood(flood: Flood, count: int) -> bool:
            proxy = Proxy.start("proxy", chosen.binary.resolve(), {"port": redis.port}, directory, https=https)
            try:
                # What every connection leaves behind is there before.
                Regular(proxy, WARM_UP_REQUESTS).result()
                return withstand(proxy, flood, count)
            finally:
                proxy.process.stop()

        return 0 if all([is_withstood(flood, count) for flood, count in floods]) else 1


if __name__ == "__main__":
    sys.exit(main())
