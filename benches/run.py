#!/usr/bin/env python3
"""Compares cjs-proxy with nginx and HAProxy under load. See docs/BENCHMARKS.md."""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import load, machine, peers, report, rounds, scenarios
from bench.process import StartFailed

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    options = parse()
    if options.markdown:
        print_markdown(options.markdown)
        return 0
    machine.find_daemons()
    builds, names = contenders(options)
    machine.raise_open_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        document = measure(options, builds, names)
    except (StartFailed, load.WrongAnswer) as failure:
        sys.exit(f"benches/run.py: {failure}")
    write(document, options.json)
    failures = report.failures(document)
    for failure in failures:
        print(f"ERRORS UNDER LOAD: {failure}", file=sys.stderr)
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", choices=scenarios.ALL, help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds per scenario (5)")
    parser.add_argument("--seconds", type=int, help="seconds of measured load per turn (3)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 second: a first look, no verdict")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/cjs-proxy", help="the cjs-proxy to run")
    parser.add_argument("--binary-b", type=Path, help="a second build of cjs-proxy, to compare with the first")
    parser.add_argument("--without", action="append", default=[], choices=peers.NAMES, help="leave this proxy out")
    parser.add_argument("--json", type=Path, help="where the figures go (benches/results/<time>.json)")
    parser.add_argument("--seed", type=int, help="of the order of turns (drawn)")
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="JSON", help="print earlier results, run nothing")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 3)
    if options.seed is None:
        options.seed = random.randrange(2**32)
    return options


def contenders(options: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """The builds of cjs-proxy by name, and the names of all proxies that take part."""
    builds = {"cjs-proxy": options.binary}
    if options.binary_b:
        builds["cjs-proxy-b"] = options.binary_b
    builds = {name: binary.resolve() for name, binary in builds.items() if name not in options.without}
    for name, binary in builds.items():
        if not binary.is_file():
            sys.exit(f"{binary} is missing: run cargo build --release, or pass --without {name}")
    names = [name for name in peers.NAMES if name in builds or name in {"nginx", "haproxy"} - set(options.without)]
    tools = ["wrk", "nginx", *(["redis-server"] if builds else []), *(["haproxy"] if "haproxy" in names else [])]
    if absent := machine.missing(tools):
        sys.exit(f"not installed: {', '.join(absent)} (just bench installs them)")
    if not names:
        sys.exit("no proxy is left to run")
    return builds, names


def measure(options: argparse.Namespace, builds: dict[str, Path], names: list[str]) -> dict:
    """Runs the chosen scenarios, prints each table as it is ready, and returns the whole."""
    cores = machine.Cores.choose()
    if cores.shared:
        print("WARNING: one core only: the load takes time from the proxies", file=sys.stderr)
    plan = rounds.Plan(options.rounds, options.seconds, 1, random.Random(options.seed))
    document = {
        "kind": "load",
        "taken": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": machine.describe(),
        "builds": {name: {"binary": str(path), "version": machine.version([str(path), "--version"])}
                   for name, path in builds.items()},
        "options": {"rounds": options.rounds, "seconds": options.seconds, "seed": options.seed},
        "scenarios": [],
    }
    with tempfile.TemporaryDirectory(prefix="cjs-proxy-bench-") as temporary:
        directory = Path(temporary)
        with rounds.Bench(cores, directory, builds) as bench:
            for name in options.scenario or scenarios.ALL:
                turns = rounds.run(bench, scenarios.ALL[name], names, plan, directory / name)
                document["scenarios"].append(report.summarise(scenarios.ALL[name], turns))
                print(report.text(document["scenarios"][-1]), flush=True)
    return document


def write(document: dict, path: Path | None) -> None:
    path = path or ROOT / "benches/results" / time.strftime("%Y%m%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"figures: {path}")


def print_markdown(paths: list[Path]) -> None:
    sections = {"load": report.markdown}
    for path in paths:
        document = json.loads(path.read_text(encoding="utf-8"))
        print(sections[document["kind"]](document))


if __name__ == "__main__":
    sys.exit(main())
