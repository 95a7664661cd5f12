#!/usr/bin/env python3
"""What one busy client costs Redis: one of a high limit asks a proxy of two cores 5,000 times a second.

All must be answered, with less than one command to Redis in a hundred requests. Needs redis-server. Prints plain figures;
the exit status is 1 where a target is missed.
"""

import sys
import time
from pathlib import Path

# Its own package, and that of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from acceptance import options
from acceptance.backends import Backend
from acceptance.limited import Scene, addresses, statuses, told, took
from acceptance.pace import Client, Paced, evenly
from bench import counting, machine

TIER = "premium"
# Three times what is asked of it.
RATE_LIMIT = {"window": 60, "tiers": {"anonymous": 500, TIER: 1_000_000}}
KEY = "busy"
COMMANDS_MAX = 0.01
# A client that was just met is lent little at first: that is part of the cost, but not of a lasting one.
WARM_UP_SECONDS = 2


def run(scene: Scene, rate: int, seconds: int) -> bool:
    (target,), client = scene.targets, Client(next(addresses("10.9.0.1")), KEY)
    Paced(evenly(client, [target], rate, WARM_UP_SECONDS)).result()
    before, began = counting.read(scene.redis.port, scene.redis.pid), time.monotonic()
    asked = Paced(evenly(client, [target], rate, seconds)).result()
    lasted = time.monotonic() - began
    cost = counting.read(scene.redis.port, scene.redis.pid).per_request(before, len(asked))
    found = statuses(asked)
    print(f"one client, {len(asked) / lasted:.0f} requests a second for {lasted:.1f} s, limit "
          f"{RATE_LIMIT['tiers'][TIER]} in {RATE_LIMIT['window']} s")
    print(f"  answered: {told(found)}, wanted 200 alone; {took(asked)}")
    print(f"  commands to Redis: {cost['sent_per_request']:.4f} a request, wanted less than {COMMANDS_MAX}; "
          f"{cost['run_per_request']:.4f} with those that scripts call")
    print(f"  Redis's processor: {cost['redis_us']:.1f} µs a request")
    return set(found) == {200} and cost["sent_per_request"] < COMMANDS_MAX


def main() -> int:
    parser = options.parser(__doc__)
    parser.add_argument("--rate", type=int, default=5_000, help="requests a second (5000)")
    parser.add_argument("--seconds", type=int, default=20, help="seconds of them (20)")
    chosen = parser.parse_args()
    if absent := machine.missing(["redis-server"]):
        sys.exit(f"not installed: {', '.join(absent)}")
    with Scene(chosen.binary.resolve(), RATE_LIMIT, [Backend("site")]) as scene:
        scene.redis.ask(("SADD", TIER, KEY))
        return 0 if run(scene, chosen.rate, chosen.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
