#!/usr/bin/env python3
"""Ten thousand certificates in Redis: how often they are read, and what they hold in memory.

One proxy of one core, so that what is known is known to all of it, and no certificate in a file. Clients shake hands for
one host after the other and compare what they are shown with what Redis holds. Needs openssl and redis-server. Prints
plain figures; the exit status is 1 where a target is missed.
"""

import contextlib
import multiprocessing
import re
import ssl
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.authority import Authority, Pair
from acceptance.proxies import Proxy
from acceptance.redis import Redis
from acceptance.secure import connect, trusting
from bench import machine, measure

CLIENTS = 2
# As long as the host's name in the template, whose place it takes.
HOST = "h%05d.example"
TEMPLATE_HOST = "hhhhhh.example"
WARM_UP = HOST % 99_999
UNKNOWN = "u%05d.example"
UNKNOWN_COUNT = 1_000
# Certificates that a core remembers (CERTIFICATES_MAX), those it was asked for last.
REMEMBERED = 8_192
# Certificates alone are read with HMGET; one read asks for the host's own and for its parent's wildcard.
COMMANDS_PER_READ = 2
# Bytes of one: the PEM as it is in Redis, and it with its key as it is served. On P-256, without a chain.
BYTES_MAX = 10_000

_fork = multiprocessing.get_context("fork")


class Template:
    """A certificate that is made one for another host by writing its name into it. Its signature is of no use then, but
    only clients that verify would look at that."""

    def __init__(self, pair: Pair):
        self._der, self._key = ssl.PEM_cert_to_DER_cert(pair.certificate), pair.key

    def der(self, host: str) -> bytes:
        assert len(host) == len(TEMPLATE_HOST), host
        return self._der.replace(TEMPLATE_HOST.encode(), host.encode())

    def stored(self, host: str) -> tuple[str, ...]:
        """The command that puts it into Redis."""
        return "HSET", f"tls:{host}", "certificate", ssl.DER_cert_to_PEM_cert(self.der(host)), "key", self._key


class Reads:
    """Certificates that the proxy read from Redis, since the last time it was asked."""

    def __init__(self, redis: Redis):
        self._redis, self._before = redis, 0

    def take(self) -> float:
        (said,) = self._redis.ask(("INFO", "commandstats"))
        found = re.search(r"cmdstat_hmget:calls=(\d+)", said)
        before, self._before = self._before, int(found[1]) if found else 0
        return (self._before - before) / COMMANDS_PER_READ


def shake_hands(proxy: Proxy, template: Template, hosts: list[str]) -> Counter:
    """Each host once; how often there was its certificate, another one, or none."""
    with _fork.Pool(CLIENTS) as pool:
        shares = [(proxy.https_port, template, hosts[number::CLIENTS]) for number in range(CLIENTS)]
        return sum(pool.starmap(_shake_hands, shares), Counter())


def _shake_hands(port: int, template: Template, hosts: list[str]) -> Counter:
    found, context = Counter(), trusting()
    for host in hosts:
        try:
            with connect(port, host, context) as connection:
                is_its_own = connection.getpeercert(binary_form=True) == template.der(host)
            found["its own" if is_its_own else "another"] += 1
        except ssl.SSLError as error:
            found[error.reason] += 1
    return found


def run(proxy: Proxy, redis: Redis, template: Template, count: int) -> bool:
    reads, pid = Reads(redis), proxy.process.pid
    at_start = reads.take()
    print(f"{count} certificates in Redis, a proxy of one core; read at its start: {at_start:g}, wanted 0")
    shake_hands(proxy, template, [WARM_UP])
    reads.take()
    hosts, remembered = [HOST % number for number in range(count)], min(count, REMEMBERED)
    first, last = hosts[:-remembered], hosts[-remembered:]
    before, began = measure.resident_bytes(pid), time.monotonic()
    # One after the other: those of `last` are the last.
    found = shake_hands(proxy, template, first) + shake_hands(proxy, template, last)
    seconds = time.monotonic() - began
    kept = told("first handshakes", found, reads, {"its own": count}, count)
    again = shake_hands(proxy, template, last)
    kept &= told(f"second ones for the last {remembered}", again, reads, {"its own": remembered}, 0)
    grown = measure.resident_bytes(pid) - before
    each = grown / remembered
    print(f"  {count / seconds:.0f} first handshakes a second")
    print(f"  resident: {grown / 2**20:.1f} MB more for {remembered} that are remembered, {each:.0f} bytes each, "
          f"wanted at most {BYTES_MAX}")
    if first:
        again = shake_hands(proxy, template, first)
        kept &= told("second ones for those before", again, reads, {"its own": len(first)}, len(first))
    unknown, refused = [UNKNOWN % number for number in range(UNKNOWN_COUNT)], {"TLSV1_UNRECOGNIZED_NAME": UNKNOWN_COUNT}
    kept &= told("names that have none", shake_hands(proxy, template, unknown), reads, refused, UNKNOWN_COUNT)
    kept &= told("the same once more", shake_hands(proxy, template, unknown), reads, refused, 0)
    return kept and at_start == 0 and each <= BYTES_MAX


def told(what: str, found: Counter, reads: Reads, wanted: dict[str, int], wanted_reads: int) -> bool:
    read = reads.take()
    outcome = ", ".join(f"{kind}: {count}" for kind, count in found.items())
    print(f"  {what}: {outcome}; read {read:g}, wanted {wanted_reads}")
    return found == wanted and read == wanted_reads


def fill(redis: Redis, template: Template, hosts: list[str]) -> None:
    puts = (template.stored(host) for host in hosts)
    redis.ask(("CONFIG", "SET", "appendfsync", "no"), *puts, ("CONFIG", "RESETSTAT"))


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="certificates in Redis (10000)")
    chosen = parser.parse_args()
    if absent := machine.missing(["openssl", "redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with contextlib.ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
        template, redis = Template(Authority(directory).issue(TEMPLATE_HOST, 1)), ends.enter_context(Redis(directory))
        fill(redis, template, [WARM_UP, *(HOST % number for number in range(chosen.count))])
        https = {"port": 0, "redis": True}
        proxy = Proxy.start("proxy", chosen.binary.resolve(), {"port": redis.port}, directory, workers=1, https=https)
        ends.callback(proxy.process.stop)
        return 0 if run(proxy, redis, template, chosen.count) else 1


if __name__ == "__main__":
    sys.exit(main())
