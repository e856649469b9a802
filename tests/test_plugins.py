"""Formulas from files and from installed packages. No torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fxprof.cost import plugins
from fxprof.cost.count import count
from fxprof.cost.plugins import load_entry_points, load_file
from fxprof.cost.registry import BUILT_IN, Formulas
from fxprof.errors import FormulaError, UsageError
from fxprof.trace import Op, Tensor, Trace

DECLARING = """
from __future__ import annotations
from dataclasses import dataclass
import fxprof
from fxprof.cost.registry import Shape

@dataclass
class Factor:
    value: int

@fxprof.formula("{target}")
def twice(x: Shape) -> int:
    return Factor(2).value * x[0]
"""


def macs(target: str, formulas: Formulas) -> int | None:
    (found,) = count(Trace((Op(target, (("x", Tensor((7,), "float32")),), ()),)), formulas)
    return found.macs


def test_a_file_adds_to_a_copy_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(DECLARING.format(target="mylib.op"))
    table = load_file(path, BUILT_IN)
    assert macs("mylib.op.default", table) == 14
    assert table.table["mylib.op"].origin == "mine.py"
    assert set(table.table) - set(BUILT_IN.table) == {"mylib.op"}
    assert macs("mylib.op.default", BUILT_IN) is None


def test_two_files_add_up(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(DECLARING.format(target="mylib.one"))
    (tmp_path / "two.py").write_text(DECLARING.format(target="mylib.two"))
    table = load_file(tmp_path / "two.py", load_file(tmp_path / "one.py", Formulas()))
    assert list(table) == ["mylib.one", "mylib.two"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DECLARING.format(target="aten.mm"), "two formulas for aten.mm: matmul and twice"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("def", "failed: SyntaxError: invalid syntax"),
        ("import fxprof\nfxprof.formula('mm')(max)", "namespace.name"),
    ],
)
def test_a_file_that_fails_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(FormulaError) as caught:
        load_file(path, BUILT_IN)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_python_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file of formulas at "):
        load_file(tmp_path / "absent.py", BUILT_IN)
    (tmp_path / "notes.txt").write_text("x = 1")
    with pytest.raises(FormulaError, match=r"not a Python file"):
        load_file(tmp_path / "notes.txt", BUILT_IN)


Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lets modules be announced as entry points: name of the module, with `:function` where there is one, to its source."""

    def announce(sources: dict[str, str]) -> None:
        for value, source in sources.items():
            (tmp_path / f"{value.partition(':')[0]}.py").write_text(source)
        entries = [EntryPoint(value, value, plugins.GROUP) for value in sources]
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == plugins.GROUP else [])
        monkeypatch.setattr(plugins, "_LOADED", {})
        for value in sources:
            sys.modules.pop(value.partition(":")[0], None)

    monkeypatch.syspath_prepend(tmp_path)
    return announce


def test_packages_add_modules_and_functions(install: Install) -> None:
    install(
        {
            "plug_module": DECLARING.format(target="mylib.one"),
            "plug_function:fill": "def fill(table):\n    table.formula('mylib.two')(lambda x: 3 * x[0])",
        }
    )
    for _ in range(2):  # a module is imported once in a process, yet every table gets its formulas
        table = load_entry_points(BUILT_IN)
        assert (macs("mylib.one.default", table), macs("mylib.two.default", table)) == (14, 21)
        assert table.table["mylib.one"].origin == "plug_module"
    assert macs("mylib.one.default", BUILT_IN) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "entry point plug_broken failed: ZeroDivisionError"),
        (DECLARING.format(target="aten.mm"), "two formulas for aten.mm"),
    ],
)
def test_a_broken_package_is_named(install: Install, source: str, message: str) -> None:
    install({"plug_broken": source})
    with pytest.raises(FormulaError, match="package plug_broken, ") as caught:
        load_entry_points(BUILT_IN)
    assert message in str(caught.value)


def test_without_packages_the_table_is_the_same() -> None:
    assert dict(load_entry_points(BUILT_IN).table) == dict(BUILT_IN.table)
