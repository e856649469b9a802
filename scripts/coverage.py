"""Which pipeline classes of the installed diffusers fxprof is proven on, which it runs, and which were not tried.

    python scripts/coverage.py > docs/coverage.md

Proven: a tiny pipeline of the class was profiled and then really run on the CPU with random weights, and the number of calls,
their shapes and the MACs agree; this script does so anew. Runs: a bundled model of the class is profiled by the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import diffusers
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def classes() -> list[str]:
    """The pipeline classes that diffusers exports and that can be called."""
    found = []
    for name in sorted(dir(diffusers)):
        if name.endswith("Pipeline") and name != "DiffusionPipeline" and not name.startswith(("Flax", "Onnx", "AutoPipeline")):
            class_ = getattr(diffusers, name, None)
            if isinstance(class_, type) and issubclass(class_, diffusers.DiffusionPipeline):
                found.append(name)
    return found


def proof(name: str) -> str:
    """What came of profiling a class and really running it: "" when all agrees."""
    from families import CASES
    from test_families import assert_agrees

    case = CASES[name]
    try:
        assert_agrees(case, {"arguments": case.arguments}, case.arguments)
    except Exception as error:  # noqa: BLE001 - the table is to say what happened, whatever it was
        return " ".join(str(error).split())[:100]
    return ""


def rows() -> list[tuple[str, str, str]]:
    """(class, status, what is known) for each class."""
    import tiny
    from families import CASES

    from fxprof.source import load_zoo, names

    basic = {type(make()).__name__ for make in tiny.PIPELINES.values()}
    bundled: dict[str, list[str]] = {}
    for name in names():
        bundled.setdefault(load_zoo(name).class_name, []).append(name)
    table = []
    for name in classes():
        models = ", ".join(bundled.get(name, []))
        if name in basic:
            table.append((name, "proven", models))
        elif name in CASES:
            problem = proof(name)
            table.append((name, "fails" if problem else "proven", problem or models))
        else:
            table.append((name, "runs" if models else "not tried", models))
    return table


def main() -> None:
    """Print the page."""
    table = rows()
    counts = {status: sum(row[1] == status for row in table) for status in ("proven", "runs", "fails", "not tried")}
    print("# Pipeline classes\n")
    print((__doc__ or "").split("\n\n", 2)[2].strip() + "\n")
    print(f"diffusers {diffusers.__version__}: " + ", ".join(f"{count} {status}" for status, count in counts.items()) + ".\n")
    print(tabulate(table, ["class", "status", "bundled models, or why not"], tablefmt="github"))


if __name__ == "__main__":
    main()
