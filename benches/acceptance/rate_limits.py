#!/usr/bin/env python3
"""Limits over two proxies of two cores each on one Redis: no window above the limit, and next to nothing refused below it.

One client asks three times as often as it may, for three windows, over both proxies in turn; then fifty of three tiers do.
Backends note when each request came that was admitted: it was counted at some time between its sending and that. In no
window of time may more than the limit have been counted for certain, and as many have to be admitted as an exact log of the
same requests admits, but for 3 %. Needs redis-server. Prints plain figures; the exit status is 1 where a target is missed.
"""

import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options, sliding
from acceptance.limited import Scene, addresses, statuses, told, took
from acceptance.pace import Asked, Client, Paced, evenly
from acceptance.witness import Arrivals, Witness
from bench import machine

WINDOW = 4
TIERS = {"anonymous": 40, "registered": 120, "premium": 400}
OVER = 3
# Of fifty clients.
CLIENTS = {"anonymous": 36, "registered": 10, "premium": 4}
ADMITTED_MIN = 0.97
# Past this share of a window, what lies between sending and arrival hides too much.
UNSURE_MAX = 0.25


@dataclass(frozen=True)
class Member:
    """A client in its tier."""

    tier: str
    client: Client

    @property
    def limit(self) -> int:
        return TIERS[self.tier]


def members(counts: dict[str, int]) -> list[Member]:
    free, first = addresses("10.9.0.1"), next(iter(TIERS))
    return [
        Member(tier, Client(next(free), None if tier == first else f"{tier}-{number}"))
        for tier, count in counts.items() for number in range(count)
    ]


@dataclass(frozen=True)
class Course:
    """What one client sent and what was admitted of it."""

    member: Member
    sent: list[float]
    spans: list[tuple[float, float]]
    """Of those admitted: when each was sent, and when it came to the backend."""

    @property
    def by_log(self) -> int:
        return sliding.admitted_by_log(self.sent, self.member.limit, WINDOW)

    @property
    def surely(self) -> int:
        return sliding.most_surely_in_a_window(self.spans, WINDOW)

    @property
    def seemingly(self) -> int:
        return sliding.most_in_a_window(sorted(end for _, end in self.spans), WINDOW)


def run(binary: Path, everyone: list[Member], windows: float) -> bool:
    """Has all of them ask, and judges what came of it."""
    rate_limit = {"window": WINDOW, "tiers": TIERS}
    requests = sum(int(rate(member) * windows * WINDOW) for member in everyone)
    arrivals = Arrivals(requests)
    with Scene(binary, rate_limit, [Witness(name, arrivals) for name in ("first", "second")]) as scene:
        for member in everyone:
            if member.client.key:
                scene.redis.ask(("SADD", member.tier, member.client.key))
        plan = [
            due
            # Not all at the same moment.
            for number, member in enumerate(everyone)
            for due in evenly(member.client, scene.targets, rate(member), windows * WINDOW, number / len(everyone) / 10)
        ]
        asked = Paced(plan).result()
    return judge(everyone, asked, arrivals)


def rate(member: Member) -> float:
    """Requests a second."""
    return OVER * member.limit / WINDOW


def judge(everyone: list[Member], asked: list[Asked], arrivals: Arrivals) -> bool:
    by_client = defaultdict(list)
    for each in asked:
        by_client[each.due.client].append(each)
    courses = [course(member, by_client[member.client], arrivals) for member in everyone]
    found, silent = statuses(asked), sum(each.status == 429 and not each.says_when for each in asked)
    print(f"  {len(asked)} requests: {told(found)}, wanted 200 and 429 alone; of 429 without Retry-After: {silent}, wanted 0")
    print(f"  answers took: {took(asked)}")
    unsure = [end - begin for each in courses for begin, end in each.spans]
    print(f"  between sending and arrival: median {statistics.median(unsure) * 1000:.1f} ms, "
          f"at most {max(unsure) * 1000:.1f} ms, wanted at most {UNSURE_MAX * WINDOW * 1000:.0f} ms")
    kept = all([judge_tier(tier, [each for each in courses if each.member.tier == tier]) for tier in TIERS])
    admitted, by_log = sum(len(each.spans) for each in courses), sum(each.by_log for each in courses)
    print(f"  admitted: {admitted}, by an exact log: {by_log}; {admitted / by_log:.3f}, wanted at least {ADMITTED_MIN}")
    return (set(found) <= {200, 429} and not silent and kept and admitted >= ADMITTED_MIN * by_log
            and max(unsure) <= UNSURE_MAX * WINDOW)


def course(member: Member, asked: list[Asked], arrivals: Arrivals) -> Course:
    asked.sort(key=lambda each: each.sent)
    came = [(each.sent, arrivals.at(each.number)) for each in asked]
    return Course(member, [sent for sent, _ in came], [(sent, at) for sent, at in came if at is not None])


def judge_tier(tier: str, courses: list[Course]) -> bool:
    if not courses:
        return True
    limit, surely = TIERS[tier], max(each.surely for each in courses)
    share = sum(len(each.spans) for each in courses) / sum(each.by_log for each in courses)
    print(f"  {tier}, {len(courses)}: in any {WINDOW} s at most {surely} for certain, wanted at most {limit}; "
          f"by arrival {max(each.seemingly for each in courses)}; {share:.3f} of an exact log")
    return surely <= limit


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--windows", type=float, default=3, help="windows that clients ask for (3)")
    chosen = parser.parse_args()
    if absent := machine.missing(["redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    kept = []
    for name, counts in (("one client", {"premium": 1}), ("fifty clients", CLIENTS)):
        print(f"{name} at {OVER} times the limit, window {WINDOW} s, two proxies", flush=True)
        kept.append(run(chosen.binary.resolve(), members(counts), chosen.windows))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
