#!/usr/bin/env python3
"""Measures what cjs-proxy, nginx and HAProxy hold in memory. See docs/BENCHMARKS.md."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from bench import cached, load, machine, memory, options, rounds
from bench.process import StartFailed

# What the client and the proxy need beside the idle connections.
SPARE_FILES = 500


def main() -> int:
    chosen = parse()
    limit = machine.prepare()
    if chosen.connections + SPARE_FILES > limit:
        sys.exit(f"--connections: at most {limit - SPARE_FILES} with {limit} open files (ulimit -Hn)")
    builds, names = options.contenders(chosen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        results = measure(chosen, builds, names)
    except (StartFailed, load.WrongAnswer) as failure:
        sys.exit(f"benches/memory.py: {failure}")
    print(memory.text(results))
    print(cached.text(results))
    options.write(results, chosen.json)
    lost = [name for name, found in results["proxies"].items() if found["idle_connections"] != chosen.connections]
    for name in lost:
        print(f"CONNECTIONS LOST: {name} closed idle connections", file=sys.stderr)
    return 1 if lost else 0


def parse() -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="idle keep-alive connections (10000)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of load by 64 clients (3)")
    return parser.parse_args()


def measure(chosen: argparse.Namespace, builds: dict[str, Path], names: list[str]) -> dict:
    plan = memory.Plan(chosen.seconds, chosen.connections)
    results = options.document("memory", builds)
    results["options"] = {"seconds": plan.seconds, "connections": plan.connections}
    results["proxies"], results["routes"] = {}, {}
    with tempfile.TemporaryDirectory(prefix="cjs-proxy-bench-") as temporary:
        directory = Path(temporary)
        with rounds.Bench(machine.Cores.choose(), directory, builds) as bench:
            for name in bench.contenders(memory.SMALL, names):
                print(f"memory: {name}", file=sys.stderr)
                results["proxies"][name] = memory.run(bench, name, plan, directory / name)
            for name in builds:
                print(f"cached routes: {name}", file=sys.stderr)
                results["routes"][name] = cached.run(bench, name, directory / f"{name}-routes")
    return results


if __name__ == "__main__":
    sys.exit(main())
