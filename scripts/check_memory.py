"""Compare the memory that fxprof expects with published peaks.

    python scripts/check_memory.py [--rows FILE] [--target NAME] [--write]

The peaks are facts in `tests/data/memory.toml`, or in another file of this form; nothing is fitted to them. `--write` puts the
tables into `docs/memory.md`. The result is 1 when a peak of grade A is off by more than the goal and no reason is known.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tabulate import tabulate

import fxprof
from fxprof.cache import default_cache
from fxprof.cost.workspace import CUBLAS
from fxprof.result.memory import Moment
from fxprof.result.quantise import SCHEMES, quantise

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "tests" / "data" / "memory.toml"
PAGE = ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- tables of scripts/check_memory.py -->", "<!-- end of the tables -->"
GIB = 2**30
CLOSE, GOAL = 0.01, 0.05
"""Errors up to which a prediction is called close, and up to which it meets the goal."""


class Row(NamedTuple):
    """A published peak beside what fxprof expects, in bytes."""

    fact: dict[str, Any]
    tensors: float
    """Weights and tensors alone."""
    whole: float
    """With the estimate of what kernels take for themselves."""
    place: str
    """The component that runs then."""

    @property
    def measured(self) -> float:
        """The published peak."""
        return float(self.fact["gib"]) * GIB

    @property
    def without(self) -> float:
        """The error of weights and tensors alone, as a part of the peak."""
        return self.tensors / self.measured - 1

    @property
    def error(self) -> float:
        """The error with the estimate, as a part of the peak."""
        return self.whole / self.measured - 1

    @property
    def is_explained(self) -> bool:
        """Whether the row is near enough, or its file says why it is not."""
        return abs(self.error) <= GOAL or "contradicts" in self.fact

    @property
    def verdict(self) -> str:
        """The row in words."""
        if "contradicts" in self.fact:
            return f"a stated fact is wrong: {self.fact['contradicts']}"
        size = "close" if abs(self.error) <= CLOSE else "near" if abs(self.error) <= GOAL else "off"
        return f"{size}: {self.fact['why']}" if "why" in self.fact else size


@cache
def _profile(target: str, workload: tuple[tuple[str, Any], ...]) -> fxprof.Profile:
    print(f"{target} {dict(workload)}", file=sys.stderr, flush=True)
    return fxprof.profile(target, **dict(workload), cache=default_cache())


def workload_of(fact: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `fxprof.profile` for a row; two steps, since further ones take no more memory."""
    found: dict[str, Any] = {
        name: fact[name] for name in ("height", "width", "images", "dtype", "guidance_scale") if name in fact
    }
    if found.get("images") == 1:
        del found["images"]
    for name in ("enable", "without"):
        found[name] = tuple(fact.get(name, ()))
    return {"steps": 2, **found}


def _profiled(fact: dict[str, Any]) -> fxprof.Profile:
    return _profile(fact["target"], tuple(sorted(workload_of(fact).items())))


def check(fact: dict[str, Any]) -> Row:
    """What fxprof expects under the conditions of a row."""
    profile = _profiled(fact)
    schemes = tuple(fact.get("weights", ()))
    everywhere, less = fact.get("all_layers", False), 0
    if everywhere:  # by the arithmetic of the package that was called itself
        less, schemes = _saved(profile, schemes), ()
    alone = fact.get("component")
    offload = fact.get("offload", "none")
    memory = profile.memory(
        "model" if alone and offload == "none" else offload, attention=fact.get("attention", "fused"), weights=schemes
    )
    moments = [moment for moment in memory.moments if alone in {None, moment.component}]
    return Row(fact, *expected(moments, less, fact["device"]))


def expected(moments: Sequence[Moment], less: int, device: str) -> tuple[float, float, str]:
    """The peak of moments without and with the estimate, and the component of the latter."""
    cublas = CUBLAS[1] if device == "hopper" else CUBLAS[0]
    most = max(moments, key=lambda moment: moment.estimate)
    tensors = max(moment.total for moment in moments)
    return tensors - less, most.estimate + cublas - less, most.component


def _saved(profile: fxprof.Profile, schemes: Sequence[str]) -> int:
    less = 0
    for text in schemes:
        name, _, scheme = text.partition("=")
        before = profile.components[name].known_weights
        less += sum(group.bytes for group in before)
        less -= sum(group.bytes for group in quantise(before, SCHEMES[scheme], all_layers=True))
    return less


def table(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """The rows for people."""
    for row in rows:
        fact = row.fact
        what = f"{fact['target']} {fact['component']}" if "component" in fact else fact["target"]
        size = f"{fact['width']}x{fact['height']}"
        weights = ", ".join(fact.get("weights", ()))
        switches = ", ".join(fact.get("enable", ()))
        offload = fact.get("offload", "")
        attention = "math attention" if fact.get("attention") == "math" else ""
        modes = "; ".join(filter(None, (weights, switches, f"offload {offload}" if offload else "", attention)))
        sizes = (f"{row.tensors / GIB:.3f}", f"{row.whole / GIB:.3f}", str(fact["printed"]))
        errors = (f"{row.without:+.1%}", f"{row.error:+.1%}")
        which = (fact["id"], fact["grade"], what, f"{size} x {fact['images']}", fact["dtype"], modes, row.place)
        yield (*which, *sizes, *errors, row.verdict)


HEADERS = (
    *("row", "grade", "target", "pixels, images", "type", "switches", "peak in", "tensors GiB", "with estimate GiB"),
    *("printed", "error of tensors", "error with estimate", "verdict"),
)


def summary(rows: Sequence[Row], grade: str = "A") -> str:
    """The statistics of a grade, without those rows whose stated facts are wrong."""
    known = [row for row in rows if row.fact["grade"] == grade and "contradicts" not in row.fact]
    if not known:
        return f"Grade {grade}: no rows."
    with_estimate, without = [abs(row.error) for row in known], [abs(row.without) for row in known]
    close = sum(error <= CLOSE for error in with_estimate)
    far = sum(error > GOAL for error in with_estimate)
    return (
        f"Grade {grade}: {len(known)} peaks, {close} within 1%, {far} off by more than 5%.\n"
        f"The median error is {median(with_estimate):.2%} and the worst {max(with_estimate):.1%};\n"
        f"without the estimate they are {median(without):.2%} and {max(without):.1%}."
    )


def left_out(groups: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """The rows that fxprof cannot express, by reason."""
    for group in groups:
        rows = [row.partition(":")[0] for row in group["rows"]]
        yield (group["reason"], str(len(rows)), ", ".join(rows))


def written(rows: Sequence[Row], groups: Sequence[dict[str, Any]]) -> str:
    """The part of the page that this script writes."""
    headers = ("why a row is not compared", "rows", "which")
    ours, others = (
        tabulate(list(cells), names, tablefmt="github", disable_numparse=True)
        for cells, names in ((table(rows), HEADERS), (left_out(groups), headers))
    )
    return f"{summary(rows)}\n\n{summary(rows, 'B')}\n\n{ours}\n\n{others}"


def main() -> int:
    """Print the tables; 1 when a peak of grade A is off by more than the goal and nothing in the file says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--target")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    if given.write and given.target:
        parser.error("--write needs all targets")
    facts = tomllib.loads(given.rows.read_text(encoding="utf-8"))
    rows = [check(fact) for fact in facts["row"] if given.target in {None, fact["target"]}]
    text = written(rows, facts.get("left_out", ()))
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 1 if any(row.fact["grade"] == "A" and not row.is_explained for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
