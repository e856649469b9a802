"""Measure fxprof against a plain `FlopCounterMode` script on the same components, in the same run.

    python scripts/benchmark.py [MODEL ...] [--runs 3] [--start-up | --graphs | --bounds | --scale | --memory]
    python scripts/benchmark.py --peers [--tools NAME ...] [--components NAME ...] [--write]

Each figure comes from a process of its own. The seconds are those of a shared machine: read the ratios.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from processes import accounted
from tabulate import tabulate

HERE = Path(__file__).parent


def worker(model: str) -> None:
    """Profile one model, and print its time and memory, and the input of the plain script for the same count."""
    started = time.perf_counter()
    from fxprof.api import default_formulas, notable_with, versions
    from fxprof.capture.pipeline import capture_pipeline

    imported = time.perf_counter()
    from fxprof.result.assemble import assemble
    from fxprof.source import load_zoo
    from fxprof.source.workload import Workload

    config, formulas = load_zoo(model), default_formulas()
    capture = capture_pipeline(config, Workload(height=512, width=512, steps=30), notable=notable_with(formulas))
    captured = time.perf_counter()
    profile = assemble(replace(capture, target=model, versions=versions()), formulas)
    assert profile.macs > 0
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "import": imported - started,
                **capture.seconds,
                "count": done - captured,
                "count / capture": (done - captured) / (captured - imported),
                "nodes": sum(1 for part in capture.components for call in part.calls for _ in call.trace.walk()),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "spec": described(config, profile),
            }
        )
    )


def described(config: Any, profile: Any) -> dict[str, Any]:
    """The components and calls of a profile, in the form that `plain_counter.py` reads."""
    components = []
    for component in profile.components.values():
        part = config.components.get(component.name)
        if part is not None:
            calls = [
                {
                    "entry": call.entry,
                    "inputs": [
                        {"name": item.name, "shape": item.shape, "dtype": item.dtype, "value": item.value}
                        for item in call.inputs
                    ],
                }
                for call in component.calls
                if not call.note
            ]
            entry = {"name": component.name, "library": part.library, "class": part.class_name, "values": dict(part.values)}
            components.append({**entry, "calls": calls})
    return {"components": components}


def timed(command: list[str], text: str = "") -> dict[str, Any]:
    """Run a command, and return the JSON of its last line, with its wall seconds."""
    started = time.perf_counter()
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": time.perf_counter() - started}


def measure(model: str, runs: int) -> list[Any]:
    """One row: medians of `runs` pairs, fxprof and the plain script in turn."""
    ours, plain = [], []
    for _ in range(runs):
        ours.append(timed([sys.executable, __file__, "--worker", model]))
        plain.append(timed([sys.executable, str(HERE / "plain_counter.py")], json.dumps(ours[-1]["spec"])))

    def median(rows: list[dict[str, Any]], name: str) -> float:
        return float(statistics.median(row[name] for row in rows))

    stages = [median(ours, name) for name in ("import", "build", "rehearse", "export", "check text", "count")]
    ratio = statistics.median(one["wall"] / other["wall"] for one, other in zip(ours, plain, strict=True))
    return [
        model,
        *(f"{seconds:.2f}" for seconds in stages),
        f"{median(ours, 'count / capture'):.1%}",
        ours[0]["nodes"],
        int(median(ours, "peak_mb")),
        f"{median(ours, 'wall'):.1f}",
        f"{median(plain, 'wall'):.1f}",
        int(median(plain, "peak_mb")),
        f"{ratio:.2f}",
    ]


HEADERS = [
    "model",
    "import s",
    "build s",
    "rehearse s",
    "export s",
    "check s",
    "count s",
    "count / capture",
    "nodes",
    "peak MB",
    "whole s",
    "plain s",
    "plain MB",
    "whole / plain",
]


def start_up(runs: int) -> list[list[str]]:
    """Median wall seconds of commands that need no torch, in processes of their own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        saved, other = str(Path(folder) / "sd3.json"), str(Path(folder) / "sd3.5.json")
        base = [sys.executable, "-m", "fxprof"]
        for model, file in (("sd3-medium", saved), ("sd3.5-medium", other)):
            subprocess.run([*base, "profile", model, "-o", file], check=True, capture_output=True)
        on_saved = (["profile", saved], ["layers", saved], ["hotspots", saved], ["diff", saved, other])
        for arguments in (["--help"], ["models"], *on_saved):
            seconds = []
            for _ in range(max(runs, 5)):
                started = time.perf_counter()
                subprocess.run([*base, *arguments], check=True, capture_output=True)
                seconds.append(time.perf_counter() - started)
            command = " ".join(["fxprof", *arguments]).replace(saved, "SAVED").replace(other, "OTHER")
            rows.append([command, f"{statistics.median(seconds):.3f}"])
    return rows


GRAPHS = {"sd3-medium": "transformer.pt2", "flux.1-dev": "transformer.pt2"}
"""Model to the file to read of its captured run."""
GRAPH_HEADERS = [
    "graph",
    "file MB",
    "fxprof s",
    "fxprof CPU s",
    "fxprof MB",
    "load and run s",
    "load and run CPU s",
    "load and run MB",
    "load and run / fxprof",
]


def graphs(runs: int) -> list[list[str]]:
    """Whole processes: `fxprof profile FILE.pt2` and `loaded_counter.py FILE.pt2` in turn, which must agree."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model, name in GRAPHS.items():
            directory = str(Path(folder) / model)
            base = [sys.executable, "-m", "fxprof"]
            subprocess.run([*base, "capture", model, "--steps", "1", "-o", directory], check=True, capture_output=True)
            file = str(Path(directory) / name)
            ours, theirs = [], []
            for _ in range(runs):
                ours.append(accounted([*base, "profile", file, "--format", "json"]))
                theirs.append(accounted([sys.executable, str(HERE / "loaded_counter.py"), file]))
            assert 2 * json.loads(ours[0]["out"])["macs"] == json.loads(theirs[0]["out"].splitlines()[-1])["flops"]
            rows.append(_graph_row(f"{model} {name}", Path(file).stat().st_size, ours, theirs))
    return rows


def _graph_row(label: str, size: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    def median(rows: list[dict[str, Any]], name: str) -> float:
        return float(statistics.median(row[name] for row in rows))

    ratio = statistics.median(other["wall"] / one["wall"] for one, other in zip(ours, theirs, strict=True))
    figures = [
        f"{median(rows, name):.{digits}f}" for rows in (ours, theirs) for name, digits in (("wall", 2), ("cpu", 2), ("mb", 0))
    ]
    return [label, f"{size / 1e6:.1f}", *figures, f"{ratio:.0f}"]


BOUND_HEADERS = [
    "model",
    "first s",
    "plain s",
    "first / plain",
    "again s",
    "plain / again",
    "first MB",
    "plain MB",
    "first MB / plain MB",
]


def bounds(models: list[str], runs: int) -> list[list[str]]:
    """Whole processes in turn: `fxprof profile` with an empty cache, the plain script, and `fxprof profile` again."""
    rows = []
    for model in models:
        command = [sys.executable, "-m", "fxprof", "profile", model, "--height", "512", "--width", "512", "--steps", "30"]
        spec = json.dumps(timed([sys.executable, __file__, "--worker", model])["spec"])
        first, plain, again = [], [], []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["FXPROF_CACHE_DIR"] = folder
                first.append(accounted(command))
                plain.append(accounted([sys.executable, str(HERE / "plain_counter.py")], spec))
                again.append(accounted(command))
            assert first[-1]["out"] == again[-1]["out"]
        rows.append(_bound_row(model, first, plain, again))
    return rows


def _bound_row(model: str, *measured: list[dict[str, Any]]) -> list[str]:
    first, plain, again = measured

    def median(rows: list[dict[str, Any]], name: str) -> float:
        return float(statistics.median(row[name] for row in rows))

    def ratio(rows: list[dict[str, Any]], others: list[dict[str, Any]], name: str) -> float:
        return float(statistics.median(one[name] / other[name] for one, other in zip(rows, others, strict=True)))

    return [
        model,
        f"{median(first, 'wall'):.2f}",
        f"{median(plain, 'wall'):.2f}",
        f"{ratio(first, plain, 'wall'):.2f}",
        f"{median(again, 'wall'):.3f}",
        f"{ratio(plain, again, 'wall'):.0f}",
        f"{median(first, 'mb'):.0f}",
        f"{median(plain, 'mb'):.0f}",
        f"{ratio(first, plain, 'mb'):.2f}",
    ]


MEMORY_HEADERS = ["model", "profile s", "memory s", "memory / profile", "MemTracker s", "memory / MemTracker"]


def memory(models: list[str], runs: int) -> list[list[str]]:
    """Whole processes in turn, in seconds of processor time: a first profile, a first look at memory, torch's own tracker."""
    rows = []
    for model in models:
        workload = [model, "--height", "512", "--width", "512", "--steps", "30"]
        spec = json.dumps(timed([sys.executable, __file__, "--worker", model])["spec"])
        found: dict[str, list[float]] = {"profile": [], "memory": [], "tracker": []}
        for _ in range(runs):
            for command in ("profile", "memory"):
                with tempfile.TemporaryDirectory() as folder:
                    os.environ["FXPROF_CACHE_DIR"] = folder
                    found[command].append(accounted([sys.executable, "-m", "fxprof", command, *workload])["cpu"])
            found["tracker"].append(accounted([sys.executable, str(HERE / "memory_tracker.py")], spec)["cpu"])
        ratios = [[a / b for a, b in zip(found["memory"], found[other], strict=True)] for other in ("profile", "tracker")]
        seconds = {name: f"{statistics.median(times):.2f}" for name, times in found.items()}
        to_profile, to_tracker = (f"{statistics.median(values):.2f}" for values in ratios)
        rows.append([model, seconds["profile"], seconds["memory"], to_profile, seconds["tracker"], to_tracker])
    return rows


def compare_peers(tools: list[str] | None, components: list[str] | None, *, write: bool) -> None:
    """Print, and write, the counts of other counters on the same components."""
    import peers

    results = peers.compare(tools or peers.TOOLS, components or peers.COMPONENTS)
    print(f"{peers.table(results)}\n\n{peers.short_table(results)}")
    if write:
        peers.write(results)


def main() -> None:
    """Print the tables."""
    from fxprof.source import names

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", default=list(names()))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--start-up", action="store_true", help="measure commands on a saved profile instead")
    parser.add_argument("--graphs", action="store_true", help="measure reading of exported graphs instead")
    parser.add_argument("--bounds", action="store_true", help="measure a first and a second profile as whole commands instead")
    parser.add_argument("--scale", action="store_true", help="measure graphs of a thousand to 400,000 operators instead")
    parser.add_argument("--memory", action="store_true", help="measure a first look at memory and torch's own tracker instead")
    parser.add_argument("--peers", action="store_true", help="measure other counters on the same components instead")
    parser.add_argument("--tools", nargs="*", help="the counters; all by default")
    parser.add_argument("--components", nargs="*", help="the components; all by default")
    parser.add_argument("--write", action="store_true", help="put the tables of --peers into the documentation")
    parser.add_argument("--worker", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    # An installed package is compiled; a checkout would be compiled at each start if Python may not write bytecode.
    compileall.compile_dir(HERE.parent / "fxprof", quiet=2)
    if options.worker:
        worker(options.worker)
    elif options.scale:
        from scale import tables

        for table in tables(options.runs):
            print(table, end="\n\n", flush=True)
    elif options.bounds:
        print(tabulate(bounds(options.models, options.runs), BOUND_HEADERS, tablefmt="github", disable_numparse=True))
    elif options.memory:
        print(tabulate(memory(options.models, options.runs), MEMORY_HEADERS, tablefmt="github", disable_numparse=True))
    elif options.peers:
        compare_peers(options.tools, options.components, write=options.write)
    elif options.start_up:
        print(tabulate(start_up(options.runs), ["command", "median s"], tablefmt="github"))
    elif options.graphs:
        print(tabulate(graphs(options.runs), GRAPH_HEADERS, tablefmt="github", disable_numparse=True))
    else:
        rows = [measure(model, options.runs) for model in options.models]
        print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
