"""What every check takes on the command line."""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def parser(about: str) -> argparse.ArgumentParser:
    """Takes the program; the first line of `about` says what the check is."""
    found = argparse.ArgumentParser(description=about.splitlines()[0])
    found.add_argument("--binary", type=Path, default=ROOT / "target/release/cjs-proxy", help="the cjs-proxy to run")
    return found
