"""Time and memory of counting and of the commands, against the number of operators: `python scripts/benchmark.py --scale`.

Graphs are those of `scripts/synthetic.py`. Each figure comes from a process of its own, which gets its graph or its files
before the clock starts; commands are whole processes. Seconds are those of the processor, which equal those of the clock on an
idle machine: all measured code runs in one thread.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from processes import accounted
from synthetic import KINDS, network
from tabulate import tabulate

from fxprof.cost.count import count
from fxprof.result import Profile
from fxprof.result.assemble import assemble
from fxprof.result.saved.read import load
from fxprof.trace.captured import Capture

SIZES = (1_000, 10_000, 100_000, 400_000)  # with some 93,000 modules; fxprof refuses more than 100,000
ONCE = 400_000
"""Operators of a graph that is measured once, whatever the number of runs."""
AWKWARD = 100_000
"""Operators of each of the awkward cases."""
COMMANDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"layers": ("layers", "OLD"), "hotspots": ("hotspots", "OLD"), "diff": ("diff", "OLD", "NEW")}
)
FORMATS = ("text", "json", "markdown")


def _assembled(capture: Capture) -> Profile:
    return assemble(replace(capture, target="synthetic", versions={"fxprof": "0"}))


def _nothing(capture: Capture, _file: Path) -> Callable[[], object]:
    return lambda: capture


def _count(capture: Capture, _file: Path) -> Callable[[], object]:
    trace = capture.components[0].calls[0].trace
    return lambda: count(trace)


def _assemble(capture: Capture, _file: Path) -> Callable[[], object]:
    return lambda: _assembled(capture)


def _save(capture: Capture, file: Path) -> Callable[[], object]:
    profile = _assembled(capture)
    return lambda: profile.save(file, force=True)


STAGES: Mapping[str, Callable[[Capture, Path], Callable[[], object]]] = MappingProxyType(
    {"graph": _nothing, "count": _count, "assemble": _assemble, "save": _save}
)
"""Name of a stage, measured in a process that holds the graph, to a function that prepares it and returns the timed part."""


def worker(stage: str, kind: str, ops: int, version: str, file: Path) -> None:
    """Measure one stage on one graph; prints its seconds, the peak memory of the process, and the sizes of the graph."""
    if stage == "load":
        started = time.process_time()
        result: object = load(file)
        modules = 0
    else:
        net = network(kind, ops, changed=version == "new")
        modules = len(net.modules)
        work = STAGES[stage](net.capture(), file)
        started = time.process_time()
        result = work()
    seconds = time.process_time() - started
    del result  # the time to free the graph does not count
    print(json.dumps({"cpu": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "modules": modules}))


class _Series:
    """The measurements of one kind of graph at one size."""

    def __init__(self, kind: str, ops: int, runs: int, folder: Path) -> None:
        self._kind, self._ops, self._runs, self._folder = kind, ops, runs, folder
        self.found: dict[str, list[dict[str, Any]]] = {}
        for version in ("new", "old"):
            self.modules: int = self._stage("save", version)["modules"]

    def _file(self, version: str) -> Path:
        return self._folder / f"{self._kind}-{self._ops}-{version}.json"

    def _stage(self, stage: str, version: str = "old") -> dict[str, Any]:
        arguments = [stage, self._kind, str(self._ops), version, str(self._file(version))]
        found: dict[str, Any] = json.loads(accounted([sys.executable, __file__, *arguments])["out"])
        return found

    def stages(self, names: Iterable[str]) -> None:
        """Measure stages."""
        for name in names:
            self.found[name] = [self._stage(name) for _ in range(self._runs)]

    def command(self, name: str, *options: str, label: str = "") -> None:
        """Measure a command on the saved profiles."""
        files = {"OLD": str(self._file("old")), "NEW": str(self._file("new"))}
        command = [sys.executable, "-m", "fxprof", *(files.get(word, word) for word in COMMANDS[name]), *options]
        self.found[label or name] = [accounted(command) for _ in range(self._runs)]

    def median(self, name: str, figure: str) -> float:
        """The median of the runs."""
        return float(statistics.median(run[figure] for run in self.found[name]))

    def row(self, figure: str, digits: int) -> Iterator[str]:
        """The medians of all measurements."""
        yield from (f"{self.median(name, figure):.{digits}f}" for name in self.found)


def growth(runs: int, folder: Path) -> Iterator[str]:
    """Two tables, seconds and peak memory, of a transformer of more and more operators."""
    seconds, memory = [], []
    for ops in SIZES:
        series = _Series("model", ops, runs if ops < ONCE else 1, folder)
        series.stages(("graph", "count", "assemble", "save", "load"))
        for name in COMMANDS:
            series.command(name)
        seconds.append([f"{ops:,}", f"{series.modules:,}", *list(series.row("cpu", 2))[1:]])
        memory.append([f"{ops:,}", *series.row("mb", 0)])
    names = ["count", "assemble", "save", "load", *COMMANDS]
    yield _drawn(seconds, ["ops", "modules", *(f"{name} s" for name in names)])
    yield _drawn(memory, ["ops", "graph MB", *(f"{name} MB" for name in names)])


def awkward(runs: int, folder: Path) -> Iterator[str]:
    """One table: the worst graphs for each step."""
    rows = []
    for kind in KINDS:
        series = _Series(kind, AWKWARD, runs, folder)
        series.stages(("count", "assemble"))
        for name in COMMANDS:
            series.command(name)
        rows.append([kind, f"{series.modules:,}", *series.row("cpu", 2), f"{series.median('diff', 'mb'):.0f}"])
    yield _drawn(rows, ["graph", "modules", "count s", "assemble s", *(f"{name} s" for name in COMMANDS), "diff MB"])


def unfolded(runs: int, folder: Path) -> Iterator[str]:
    """One table: the longest possible reports, in each format."""
    series = _Series("distinct", AWKWARD, runs, folder)
    rows = []
    for name, options in (("layers", ("--depth", "all")), ("hotspots", ("-n", "all")), ("diff", ("-n", "all", "--ops"))):
        labels = [f"{name} {form}" for form in FORMATS]
        for label, form in zip(labels, FORMATS, strict=True):
            series.command(name, *options, "--format", form, label=label)
        lines = series.found[labels[0]][0]["out"].count("\n")
        figures = [f"{series.median(label, 'cpu'):.2f}" for label in labels]
        rows.append([" ".join([name, *options]), f"{lines:,}", *figures])
    yield _drawn(rows, ["report", "lines of text", *(f"{form} s" for form in FORMATS)])


def tables(runs: int) -> Iterator[str]:
    """All tables."""
    with tempfile.TemporaryDirectory() as folder:
        for table in (growth, awkward, unfolded):
            yield from table(runs, Path(folder))


def _drawn(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
