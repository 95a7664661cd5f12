#!/usr/bin/env python3
"""Compares cjs-proxy with nginx and HAProxy under load. See docs/BENCHMARKS.md."""

import argparse
import json
import random
import signal
import sys
import tempfile
from pathlib import Path

from bench import cached, load, machine, memory, options, report, rounds, scenarios
from bench.process import StartFailed


def main() -> int:
    chosen = parse()
    if chosen.markdown:
        print_markdown(chosen.markdown)
        return 0
    machine.prepare()
    builds, names = options.contenders(chosen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        results = measure(chosen, builds, names)
    except (StartFailed, load.WrongAnswer) as failure:
        sys.exit(f"benches/run.py: {failure}")
    options.write(results, chosen.json)
    failures = report.failures(results)
    for failure in failures:
        print(f"ERRORS UNDER LOAD: {failure}", file=sys.stderr)
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--scenario", action="append", choices=scenarios.ALL, help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds per scenario (5)")
    parser.add_argument("--seconds", type=int, help="seconds of measured load per turn (3)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 second: a first look, no verdict")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the order of turns (drawn)")
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="JSON", help="print earlier results, run nothing")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 5)
    chosen.seconds = chosen.seconds or (1 if chosen.quick else 3)
    return chosen


def measure(chosen: argparse.Namespace, builds: dict[str, Path], names: list[str]) -> dict:
    """Runs the chosen scenarios, prints each table as it is ready, and returns the whole."""
    plan = rounds.Plan(chosen.rounds, chosen.seconds, 1, random.Random(chosen.seed))
    results = options.document("load", builds)
    results["options"] = {"rounds": plan.rounds, "seconds": plan.seconds, "seed": chosen.seed}
    results["scenarios"] = []
    with tempfile.TemporaryDirectory(prefix="cjs-proxy-bench-") as temporary:
        directory = Path(temporary)
        with rounds.Bench(machine.Cores.choose(), directory, builds) as bench:
            for name in dict.fromkeys(chosen.scenario or scenarios.ALL):
                contenders = bench.contenders(scenarios.ALL[name], names)
                if not contenders:
                    print(f"{name}: for cjs-proxy alone, which is left out\n", flush=True)
                    continue
                turns = rounds.run(bench, scenarios.ALL[name], contenders, plan, directory / name)
                results["scenarios"].append(report.summarise(scenarios.ALL[name], turns))
                print(report.text(results["scenarios"][-1]), flush=True)
    return results


def print_markdown(paths: list[Path]) -> None:
    sections = {"load": [report.markdown], "memory": [memory.markdown, cached.markdown]}
    for path in paths:
        results = json.loads(path.read_text(encoding="utf-8"))
        for section in sections[results["kind"]]:
            print(section(results))


if __name__ == "__main__":
    sys.exit(main())
