#!/usr/bin/env python3
"""Counts the instructions of the pure path of one request: head parsed, route looked up, backend picked, heads encoded, log line.

The figure does not depend on what else the machine does. Compared with the one in instructions.json, which was taken with the
compiler named there; the exit status is 1 where it is more than the bound above that. `--set` writes it anew. Needs
valgrind, and target/release/examples/pure_path: `just instructions` builds it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/examples/pure_path"
KNOWN = Path(__file__).resolve().parent / "instructions.json"
# Two counts, so that what the start takes falls out.
FEW, MANY = 1_000, 11_000


def total(count: int) -> int:
    with tempfile.NamedTemporaryFile() as profile:
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}", str(PROGRAM), str(count)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", said)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="store_true", help="take the figure as the one to compare with")
    chosen = parser.parse_args()
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is missing: run just instructions, which builds it")
    found = (total(MANY) - total(FEW)) / (MANY - FEW)
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    if chosen.set:
        known |= {"instructions": round(found), "compiler": compiler}
        KNOWN.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    ratio = found / known["instructions"]
    print(f"{found:.0f} instructions a request, {ratio:.3f} of {known['instructions']} ({known['compiler']}); "
          f"at most {known['ratio_max']}")
    if compiler != known["compiler"]:
        print(f"  taken with {compiler}")
    return 0 if ratio <= known["ratio_max"] else 1


if __name__ == "__main__":
    sys.exit(main())
