"""Change real files at random, and save those that fail: `python scripts/fuzz.py --seconds 3600 --keep DIR`.

Each round runs every property of tests/test_hostile_fuzz.py with another seed. The directory gets the files that failed, by
property; the examples, which the next round tries first; and the output of each failing round.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROPERTIES = "tests/test_hostile_fuzz.py::test_whatever_is_changed_at_length"


def run_round(seed: int, kept: Path) -> bool:
    """Whether all properties held with this seed; if not, the output is saved."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        PROPERTIES,
        f"--hypothesis-seed={seed}",
        "--no-header",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "FXPROF_FUZZ_KEPT": str(kept), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        (kept / f"round-{seed}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return not done.returncode


def fuzz(seconds: float, kept: Path) -> int:
    """Run rounds until the time is over, at least one; returns the number that failed."""
    kept.mkdir(parents=True, exist_ok=True)
    end, failed, rounds = time.monotonic() + seconds, 0, 0
    while not rounds or time.monotonic() < end:
        seed = random.SystemRandom().randrange(2**32)
        rounds += 1
        failed += not run_round(seed, kept)
        print(f"round {rounds}, seed {seed}: {failed} failed so far", flush=True)
    return failed


def main() -> None:
    """Read the options; exit with 1 when a round failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="time to run; the last round is finished")
    parser.add_argument("--keep", type=Path, default=ROOT / "fuzz-failures", help="directory for files that fail")
    options = parser.parse_args()
    failed = fuzz(options.seconds, options.keep.absolute())
    if failed:
        sys.exit(f"{failed} rounds failed; the files are in {options.keep}")


if __name__ == "__main__":
    main()
