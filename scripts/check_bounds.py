"""Hold published times to the bounds of fxprof: no run is faster than what its device needs at least.

    python scripts/check_bounds.py [--rows FILE] [--device NAME] [--write]

The times are facts in `tests/data/latency.toml`, or in another file of this form. A time below the fused bound is impossible:
then a stated fact is wrong, or the bound is; `contradicts` in the file says which. The eager bound takes every operand from
memory, so that a run of small tensors, which stay in the device's cache, can beat it. `--write` puts the table into
`docs/roofline.md`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

import fxprof
from fxprof.cache import default_cache
from fxprof.devices import find_device
from fxprof.errors import TargetError
from fxprof.result.records import Total
from fxprof.result.roofline import Bound, find_roofline

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "tests" / "data" / "latency.toml"
PAGE = ROOT / "docs" / "roofline.md"
BEGIN, END = "<!-- table of scripts/check_bounds.py -->", "<!-- end of the table -->"


class Row(NamedTuple):
    """A published time beside its bounds, in seconds."""

    fact: dict[str, Any]
    seconds: float
    compute: float
    eager: float
    fused: float
    macs: int
    refused: str = ""
    """Why there is no bound."""

    @property
    def peak(self) -> float:
        """The part of the device's peak that the time reaches."""
        return self.compute / self.seconds

    @property
    def verdict(self) -> str:
        """The row in words."""
        if self.refused:
            return self.refused
        if self.is_low:
            return f"impossible: {self.fact.get('contradicts', 'why is not known')}"
        return "above both" if self.eager <= self.seconds else "between both"

    @property
    def is_low(self) -> bool:
        """Whether the time is below the fused bound."""
        return not self.refused and self.fused > self.seconds


@cache
def _profile(target: str, workload: tuple[tuple[str, Any], ...]) -> fxprof.Profile:
    print(f"{target} {dict(workload)}", file=sys.stderr, flush=True)
    return fxprof.profile(target, **dict(workload), cache=default_cache())


def _workload(fact: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    names = ("height", "width", "images", "steps", "dtype")
    return tuple((name, fact.get(name, 2 if name == "steps" else None)) for name in names)


def check(fact: dict[str, Any]) -> Row:
    """The bounds of what a row's clock covered."""
    profile = _profile(fact["target"], _workload(fact))
    try:
        bounds = find_roofline(profile, find_device(fact["device"]))
    except TargetError as error:
        return Row(fact, fact["seconds"], 0, 0, 0, 0, error.message)
    if fact["scope"] == "run":
        covered, times = bounds.whole, 1
    else:
        name = profile.geometry.denoiser
        covered = next(row for row in bounds.rows if row.label == name)
        passes = 2 if profile.geometry.guidance == "as separate passes" else 1
        times = profile.geometry.denoiser_calls // (passes if fact["scope"] == "step" else 1)
        if fact["scope"] == "forward":  # of one image, where a call of the pipeline also has the batch of guidance
            times *= profile.geometry.denoiser_batch // fact["images"]
    one = _part(covered, times)
    return Row(fact, fact["seconds"], one.compute_seconds, one.eager_seconds, one.fused_seconds, one.total.macs)


def _part(bound: Bound, times: int) -> Bound:
    total = Total(bound.total.macs // times)
    seconds = (bound.compute_seconds, bound.eager_seconds, bound.fused_seconds, bound.limited_by_compute)
    return Bound(bound.label, total, *(item / times for item in seconds))


def table(rows: Sequence[Row]) -> Iterator[tuple[Any, ...]]:
    """The rows for people, by the part of the peak."""
    for row in sorted(rows, key=lambda row: -row.peak):
        fact = row.fact
        size = f"{fact['width']}x{fact['height']} x {fact['images']}"
        known = () if row.refused else (f"{row.macs:.4g}", f"{row.compute:.4g}", f"{row.fused:.4g}", f"{row.eager:.4g}")
        numbers = known or ("", "", "", "")
        peak = "" if row.refused else f"{100 * row.peak:.1f}%"
        which = (fact["id"], fact["target"], size, fact["dtype"], fact["device"], fact["mode"], fact["scope"])
        yield (*which, fact["printed"], *numbers, peak, row.verdict)


HEADERS = (
    *("row", "target", "pixels, images", "type", "device", "mode", "clock covers", "printed", "MACs"),
    *("arithmetic s", "fused s", "eager s", "of peak", "verdict"),
)


def main() -> int:
    """Print the table; 1 when a time is below the fused bound and nothing in the file says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--device")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    facts = tomllib.loads(given.rows.read_text(encoding="utf-8"))["row"]
    rows = [check(fact) for fact in facts if given.device in {None, fact["device"]}]
    text = tabulate(list(table(rows)), HEADERS, tablefmt="github", disable_numparse=True)
    print(text)
    known = [row for row in rows if not row.refused]
    low = [row for row in known if row.is_low]
    unexplained = [row for row in low if "contradicts" not in row.fact]
    print(f"\n{len(known)} of {len(rows)} rows have bounds, {len(low)} are below one, {len(unexplained)} without a reason")
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
