#!/usr/bin/env python3
"""Redis is stopped under load, and killed: what each way of `onStoreError` answers, and that nobody waits for it.

One proxy of two cores, a fresh one for each way and each end of Redis. Regular clients stay far below their limit, some
clients are met for the first time, with an API key and without, and one that comes with the outage asks for more than it may.
No answer may take 50 ms longer than the slowest before, or of a proxy that counts nothing, which is asked beside it and
shows what the machine itself costs. Needs redis-server. Prints plain figures; the exit status is 1 where
a target is missed.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.limited import Scene, addresses, statuses, told, took
from acceptance.pace import Asked, Client, Due, Paced, Target, evenly
from acceptance.redis import Redis
from bench import machine

WINDOW, LIMIT = 60, 500
WAYS = ("local", "allow", "deny")
REGULARS, REGULAR_RATE = 20, 5
NEWCOMERS_PER_SECOND = 50
GREEDY_RATE = 250
UNCOUNTED_RATE = 100
BEFORE_SECONDS, AFTER_SECONDS = 4, 5
WAIT_MAX_SECONDS = 0.050
# On a busy machine Redis itself may be too slow once in a while.
BEFORE_MIN = 0.99
# In the end all is as before.
RECOVERED_SECONDS = 1
# Requests under way at the moment at which Redis stops may have been counted.
UNDER_WAY = 2


@dataclass(frozen=True)
class Outage:
    """When Redis stopped and when it was back, by the monotonic clock."""

    began: float
    ended: float

    def before(self, each: Asked) -> bool:
        return each.sent + each.took <= self.began

    def during(self, each: Asked) -> bool:
        return not self.before(each) and each.sent < self.ended

    def after(self, each: Asked) -> bool:
        return each.sent >= self.ended


Ended = Callable[[Redis, float], Outage]


def halted(redis: Redis, seconds: float) -> Outage:
    redis.halt()
    began = time.monotonic()
    try:
        time.sleep(seconds)
    finally:
        redis.go_on()
    return Outage(began, time.monotonic())


def killed(redis: Redis, seconds: float) -> Outage:
    redis.kill()
    began = time.monotonic()
    time.sleep(seconds)
    return Outage(began, redis.start())


class Groups:
    """The clients of each kind, by their addresses, and what they are to ask."""

    UNCOUNTED = "one that nobody counts"

    def __init__(self, target: Target, without_limits: Target, outage: float):
        lasts = BEFORE_SECONDS + outage + AFTER_SECONDS
        regulars = [Client(address) for _, address in zip(range(REGULARS), addresses("10.1.0.1"))]
        greedy = Client("10.2.0.1")
        self.plans = {
            "regular clients": [
                due for number, client in enumerate(regulars)
                for due in evenly(client, [target], REGULAR_RATE, lasts, number / REGULARS / REGULAR_RATE)
            ],
            "clients never met before": _newcomers(target, lasts, "10.3.0.1", with_key=False),
            "the same with an API key": _newcomers(target, lasts, "10.4.0.1", with_key=True),
            "one that asks for too much": evenly(greedy, [target], GREEDY_RATE, outage, BEFORE_SECONDS),
            self.UNCOUNTED: evenly(Client("10.5.0.1"), [without_limits], UNCOUNTED_RATE, lasts),
        }
        self._group_of = {due.client: name for name, plan in self.plans.items() for due in plan}

    def of(self, asked: list[Asked]) -> dict[str, list[Asked]]:
        found = {name: [] for name in self.plans}
        for each in asked:
            found[self._group_of[each.due.client]].append(each)
        return found


def _newcomers(target: Target, lasts: float, first: str, with_key: bool) -> list[Due]:
    return [
        Due(number / NEWCOMERS_PER_SECOND, Client(address, f"key-{number}" if with_key else None), target)
        for number, address in zip(range(int(lasts * NEWCOMERS_PER_SECOND)), addresses(first))
    ]


def run(binary: Path, way: str, end: Ended, seconds: int) -> bool:
    rate_limit = {"window": WINDOW, "tiers": {"anonymous": LIMIT, "premium": 10 * LIMIT}, "onStoreError": way}
    with Scene(binary, rate_limit, [Backend("site")], fsync="everysec", compared=True) as scene:
        groups = Groups(*scene.targets, scene.without_limits, seconds)
        paced = Paced(due for plan in groups.plans.values() for due in plan)
        time.sleep(BEFORE_SECONDS)
        outage = end(scene.redis, seconds)
        asked = paced.result()
    print(f"onStoreError {way}, Redis {end.__name__} for {outage.ended - outage.began:.1f} s")
    by_group = groups.of(asked)
    uncounted = by_group.pop(Groups.UNCOUNTED)
    kept = [judge_answers(WANTED[way][name], name, group, outage) for name, group in by_group.items()]
    counted = [each for group in by_group.values() for each in group]
    return all([*kept, judge_waits(counted, uncounted, outage), judge_return(counted, outage)])


def judge_answers(wanted: tuple[str, Callable], name: str, asked: list[Asked], outage: Outage) -> bool:
    phases = [[each for each in asked if phase(each)] for phase in (outage.before, outage.during, outage.after)]
    before, during, after = (statuses(phase) for phase in phases)
    words, is_kept = wanted
    print(f"  {name}: before {told(before)}; meanwhile {told(during)}, wanted {words}; after {told(after)}")
    return is_kept(during) and before[200] >= BEFORE_MIN * before.total()


_ALL = ("200 alone", lambda found: set(found) == {200})
_NONE = ("503", lambda found: set(found) <= {200, 503} and found[200] <= UNDER_WAY)
_SHARE = (f"200 at most {LIMIT} times, else 429", lambda found: set(found) <= {200, 429} and 0 < found[200] <= LIMIT)
_HAD = ("200, or 503 once what was at hand is used up", lambda found: set(found) <= {200, 503})
# Of the answers during the outage, in words and as a rule.
WANTED = {
    "local": {
        "regular clients": _ALL, "clients never met before": _ALL, "the same with an API key": _ALL,
        "one that asks for too much": _SHARE,
    },
    "allow": {
        "regular clients": _ALL, "clients never met before": _ALL, "the same with an API key": _ALL,
        "one that asks for too much": _ALL,
    },
    "deny": {
        "regular clients": _HAD, "clients never met before": _NONE, "the same with an API key": _NONE,
        "one that asks for too much": _NONE,
    },
}


def judge_waits(asked: list[Asked], uncounted: list[Asked], outage: Outage) -> bool:
    before = [each for each in asked if outage.before(each)]
    during = [each for each in asked if outage.during(each)]
    beside = [each for each in uncounted if outage.during(each)]
    most = max(each.took for each in (*before, *beside)) + WAIT_MAX_SECONDS
    print(f"  answers took before: {took(before)}")
    print(f"  of the proxy that counts nothing meanwhile: {took(beside)}")
    print(f"  answers took meanwhile: {took(during)}, wanted at most {most * 1000:.1f} ms")
    return max(each.took for each in during) <= most


def judge_return(asked: list[Asked], outage: Outage) -> bool:
    after = [each for each in asked if outage.after(each)]
    refused = [each.sent for each in after if each.status != 200]
    last = max(refused, default=outage.ended) - outage.ended
    most = AFTER_SECONDS - RECOVERED_SECONDS
    print(f"  after the return: {len(refused)} of {len(after)} refused, the last {last * 1000:.0f} ms after it, "
          f"wanted at most {most * 1000:.0f} ms")
    return last <= most


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="seconds without Redis (4)")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this one; may be repeated")
    chosen = parser.parse_args()
    if absent := machine.missing(["redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    binary, kept = chosen.binary.resolve(), []
    for way in chosen.way or WAYS:
        kept += [run(binary, way, end, chosen.seconds) for end in (halted, killed)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
