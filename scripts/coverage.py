"""The pipeline classes of the installed diffusers on which fxprof is proven, and those that were not tried.

    python scripts/coverage.py > docs/coverage.md

Proven: a tiny pipeline of the class, with random weights, was profiled and then really run on the CPU, with and without
guidance if the class has any, at two sizes each; the number of calls, their shapes and their MACs agree, call for call, and so
does the sum of everything. This script repeats the proofs in two processes, which takes most of an hour.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import diffusers
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

Row = tuple[str, str, str, str]

_MODULES = {"opencv": "cv2"}
"""Package to its module's name, if they differ."""


def classes() -> dict[str, str]:
    """Callable pipeline class of diffusers to the packages that it misses here."""
    packages = {}
    for name in sorted(dir(diffusers)):
        if not name.endswith("Pipeline") or name.endswith("ModularPipeline") or name.startswith(("Flax", "AutoPipeline")):
            continue
        class_ = getattr(diffusers, name)
        needed = vars(class_).get("_backends", ())
        if needed or (issubclass(class_, diffusers.DiffusionPipeline) and class_ is not diffusers.DiffusionPipeline):
            missing = [package for package in needed if importlib.util.find_spec(_MODULES.get(package, package)) is None]
            packages[name] = ", ".join(missing)
    return packages


def proof(name: str) -> tuple[str, str]:
    """A case, and the outcome of its proof: "" if all numbers agree."""
    from families import CASES
    from families.proof import prove

    try:
        prove(name, CASES[name])
    except Exception as error:  # noqa: BLE001 - the table is to say what happened, whatever it was
        return name, f"{type(error).__name__} " + " ".join(str(error).split())[:100]
    return name, ""


def proofs() -> dict[str, str]:
    """The outcome of each proof, by case."""
    from families import CASES

    outcomes: dict[str, str] = {}
    names = [name for name, case in CASES.items() if case.runs]
    # A process ends after a few proofs, because torch keeps memory of each.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=20) as pool:
        for name, problem in pool.imap_unordered(proof, names):
            print(f"{len(outcomes) + 1}/{len(names)} {name}: {problem or 'agrees'}", file=sys.stderr)
            outcomes[name] = problem
    return outcomes


def class_rows(outcomes: dict[str, str]) -> list[Row]:
    """(class, status, bundled models, remark) for each class."""
    from fxprof.source import load_zoo, names

    bundled: dict[str, list[str]] = {}
    for name in names():
        bundled.setdefault(load_zoo(name).class_name, []).append(name)
    return [
        (name, _status(name, outcomes), ", ".join(bundled.get(name, [])), _remark(name, outcomes, missing))
        for name, missing in classes().items()
    ]


def mechanism_rows(outcomes: dict[str, str]) -> list[Row]:
    """The same rows for proofs beyond a class as such, without models."""
    return [(name, _status(name, outcomes), "", _remark(name, outcomes, "")) for name in sorted(outcomes) if " " in name]


def _status(name: str, outcomes: dict[str, str]) -> str:
    return "not tried" if name not in outcomes else "fails" if outcomes[name] else "proven"


def _remark(name: str, outcomes: dict[str, str], missing: str) -> str:
    """The reason why a class fails or was not tried, or the limits of its proof."""
    from families import BROKEN, CASES

    case = CASES.get(name)
    if outcomes.get(name):
        return outcomes[name]
    if case is None or name not in outcomes:
        missing = case.needs if case else missing
        return f"needs {missing}, which is not installed here" if missing else BROKEN.get(name, "")
    remarks = [
        "values choose among experts, whose calls agree in sum" if case.routed else "",
        f"also runs {', '.join(sorted(case.uncounted))}, which neither side counts" if case.uncounted else "",
        "the class itself fails without guidance" if case.always_guided else "",
    ]
    return "; ".join(filter(None, remarks))


def page(outcomes: dict[str, str]) -> str:
    """The whole page, from the outcome of each proof."""
    table, mechanisms = class_rows(outcomes), mechanism_rows(outcomes)
    short = [(name, status, remark) for name, status, _, remark in mechanisms]
    parts = [
        "# Pipeline classes",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        f"diffusers {diffusers.__version__}: {_counts(table)}.",
        tabulate(table, ["class", "status", "bundled models", "remark"], tablefmt="github"),
        "## Beyond the class",
        "Other features that change the calls of a pipeline, proven in the same way.",
        tabulate(short, ["case", "status", "remark"], tablefmt="github"),
    ]
    return "\n\n".join(parts)


def _counts(table: list[Row]) -> str:
    classes_by_status = Counter(row[1] for row in table)
    models_by_status = Counter(row[1] for row in table for _ in filter(None, row[2].split(", ")))
    models = {status: f", with {count} bundled models" for status, count in models_by_status.items()}
    return "; ".join(f"{count} classes {status}{models.get(status, '')}" for status, count in classes_by_status.most_common())


if __name__ == "__main__":
    print(page(proofs()))
