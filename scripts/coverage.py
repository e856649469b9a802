"""Which pipeline classes of the installed diffusers fxprof is proven on, and which were not tried.

    python scripts/coverage.py > docs/coverage.md

Proven: a tiny pipeline of the class, with random weights, was profiled and then really run on the CPU, in guidance and out of
it where the class has any, at two sizes each; the number of calls, their shapes and their MACs agree, call for call, and so
does the sum of everything. This script does so anew, on two processes, which takes the better part of an hour.
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

Row = tuple[str, str, str]

_MODULES = {"opencv": "cv2"}
"""Package to the module that it is imported as, where they differ."""


def classes() -> dict[str, str]:
    """The pipeline classes that diffusers exports and that can be called, to the packages that they miss here."""
    found = {}
    for name in sorted(dir(diffusers)):
        if not name.endswith("Pipeline") or name.endswith("ModularPipeline") or name.startswith(("Flax", "AutoPipeline")):
            continue
        class_ = getattr(diffusers, name)
        needed = vars(class_).get("_backends", ())
        if needed or (issubclass(class_, diffusers.DiffusionPipeline) and class_ is not diffusers.DiffusionPipeline):
            missing = [package for package in needed if importlib.util.find_spec(_MODULES.get(package, package)) is None]
            found[name] = ", ".join(missing)
    return found


def proof(name: str) -> tuple[str, str]:
    """A case, and what came of proving it: "" when all agrees."""
    from families import CASES
    from families.proof import prove

    try:
        prove(name, CASES[name])
    except Exception as error:  # noqa: BLE001 - the table is to say what happened, whatever it was
        return name, f"{type(error).__name__} " + " ".join(str(error).split())[:100]
    return name, ""


def proofs() -> dict[str, str]:
    """What came of proving each case."""
    from families import CASES

    found: dict[str, str] = {}
    names = [name for name, case in CASES.items() if case.runs]
    # A process is given up after a few proofs, so that what torch keeps of each does not pile up.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=20) as pool:
        for name, problem in pool.imap_unordered(proof, names):
            print(f"{len(found) + 1}/{len(names)} {name}: {problem or 'agrees'}", file=sys.stderr)
            found[name] = problem
    return found


def class_rows(found: dict[str, str]) -> list[Row]:
    """(class, status, what is known) for each class."""
    from fxprof.source import load_zoo, names

    bundled: dict[str, list[str]] = {}
    for name in names():
        bundled.setdefault(load_zoo(name).class_name, []).append(name)
    return [_class_row(name, missing, found, ", ".join(bundled.get(name, []))) for name, missing in classes().items()]


def _class_row(name: str, missing: str, found: dict[str, str], models: str) -> Row:
    from families import BROKEN, CASES

    if name in found:
        return name, "fails" if found[name] else "proven", found[name] or models
    missing = CASES[name].needs if name in CASES else missing
    return name, "not tried", f"needs {missing}, which is not installed here" if missing else BROKEN.get(name, models)


def mechanism_rows(found: dict[str, str]) -> list[Row]:
    """(class and mechanism, status, what is known) for what was proven beyond the class as such."""
    return [(name, "fails" if problem else "proven", problem) for name, problem in sorted(found.items()) if " " in name]


def main() -> None:
    """Print the page."""
    found = proofs()
    table, mechanisms = class_rows(found), mechanism_rows(found)
    counts = Counter(status for _, status, _ in table)
    models = sum(len(row[2].split(", ")) for row in table if row[1] == "proven" and row[2])
    print("# Pipeline classes\n")
    print((__doc__ or "").split("\n\n", 2)[2].strip() + "\n")
    print(
        f"diffusers {diffusers.__version__}: " + ", ".join(f"{count} {status}" for status, count in counts.most_common()) + "."
    )
    print(f"The {models} bundled models are all of proven classes.\n" if not counts["fails"] else "")
    print(tabulate(table, ["class", "status", "bundled models, or why not"], tablefmt="github"))
    print("\n## Beyond the class\n")
    print("What else changes the calls of a pipeline, proven in the same way.\n")
    print(tabulate(mechanisms, ["class and mechanism", "status", "why not"], tablefmt="github"))


if __name__ == "__main__":
    main()
