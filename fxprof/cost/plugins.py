"""Formulas from outside: files that the user names, and packages that announce formulas."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from fxprof.cost.registry import Formula, Formulas, declaring_into
from fxprof.errors import FormulaError, FxprofError, UsageError

GROUP = "fxprof.formulas"
"""The entry-point group. Each entry is a module that declares formulas, or a function that receives the table to fill."""

_LOADED: dict[EntryPoint, Mapping[str, Formula]] = {}
"""The formulas of each entry point: a module declares them only at its first import."""


def load_file(path: str | Path, formulas: Formulas) -> Formulas:
    """A new table with the formulas that a Python file declares; the given table stays unchanged.

    The file is executed: name only files that you trust. `fxprof.formula` declares into the new table while the file runs.

    Args:
        path: a Python file.
        formulas: the table to add to.

    Raises:
        UsageError: the file is missing or not readable.
        FormulaError: the file fails, or declares an invalid formula.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no file of formulas at {path}", "--formulas takes the path of a Python file")
    table = Formulas(formulas.table)
    with declaring_into(table, path.name):
        try:
            _execute(path)
        except FxprofError as error:
            raise FormulaError(f"{path}: {error.message}", error.hint) from error
        except Exception as error:  # any error of the user's own code is reported as theirs
            raise FormulaError(f"{path} failed: {type(error).__name__}: {error}") from error
    return table


def _execute(path: Path) -> None:
    # Dataclasses and pickling look up a function's module by name, so the module needs a registered name.
    name = f"fxprof_formulas_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FormulaError("not a Python file", "its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def load_entry_points(formulas: Formulas) -> Formulas:
    """A new table with the formulas of all installed packages that announce some; the given table stays unchanged.

    Args:
        formulas: the table to add to.

    Raises:
        FormulaError: a package's entry point fails, or declares an operator that another has declared.
    """
    table = Formulas(formulas.table)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (_package(entry), entry.name)):
        if entry not in _LOADED:
            before = dict(table.table)
            _load(entry, table)
            _LOADED[entry] = {name: made for name, made in table.table.items() if before.get(name) is not made}
        table = Formulas({**table.table, **_LOADED[entry]})
    return table


def _load(entry: EntryPoint, table: Formulas) -> None:
    package = _package(entry)
    with declaring_into(table, package):
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded(table)
        except FxprofError as error:
            raise FormulaError(f"package {package}, entry point {entry.name}: {error.message}", error.hint) from error
        except Exception as error:  # any error of another package's code is reported as theirs
            message = f"package {package}, entry point {entry.name} failed: {type(error).__name__}: {error}"
            raise FormulaError(message, "uninstall or update the package") from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
