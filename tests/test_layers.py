"""Rooms import one way only, and so do the files in them; each room imports only the libraries that are its business."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fxprof"

MAY_IMPORT = {
    "errors": set(),
    "limits": set(),
    "texts": {"limits"},
    "strict_json": {"limits", "texts"},
    "parts": set(),
    "units": {"errors"},
    "zoo": set(),
    "devices": {"errors", "limits", "texts"},
    "trace": {"errors", "limits", "strict_json", "texts"},
    "source": {"errors", "limits", "parts", "strict_json", "texts", "trace", "zoo"},
    "capture": {"errors", "limits", "parts", "source", "strict_json", "texts", "trace", "cache"},
    "cost": {"errors", "limits", "trace"},
    "result": {"devices", "errors", "limits", "parts", "strict_json", "texts", "units", "trace", "cost"},
    "compare": {"errors", "limits", "trace", "result"},
    "cache": {"errors", "limits", "parts", "source", "strict_json", "texts"},
    "reports": {"devices", "errors", "units", "cost", "result", "compare"},
    "api": {"devices", "errors", "source", "capture", "trace", "cost", "result", "compare", "cache"},
    "cli": {
        *(
            "devices",
            "errors",
            "limits",
            "parts",
            "strict_json",
            "units",
            "source",
            "cost",
            "result",
            "compare",
            "reports",
            "cache",
            "api",
        )
    },
    "__main__": {"cli"},
}
"""Room to the rooms that it may import; `fxprof/__init__.py` re-exports and may name any."""

TORCH = {"torch", "diffusers", "transformers", "tokenizers", "huggingface_hub", "sympy"}
LIBRARIES = {
    "source": {"huggingface_hub"},
    "capture": TORCH,
    "cost": {"networkx"},
    "result": {"networkx"},
    "reports": {"tabulate"},
    "cli": {"click"},
    "api": TORCH,
}
"""Room to the third-party packages that it may import, in a function, under TYPE_CHECKING or at the top."""

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
"""Dotted name to file."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_earlier_rooms_and_its_own_libraries(path: Path) -> None:
    room = room_of(path)
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        top, _, rest = name.partition(".")
        if top == "fxprof":
            other = rest.split(".")[0]
            assert other in {"", "__version__", room} or other in MAY_IMPORT[room], f"{room} must not import {name}"
        elif top in TORCH | {"huggingface_hub", "networkx", "tabulate", "click"}:
            assert top in LIBRARIES.get(room, set()), f"{room} must not import {name}"


def test_every_room_of_the_package_is_in_the_table() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms == set(MAY_IMPORT), "name a new room here and in docs/architecture.md"


def test_the_table_has_no_cycle() -> None:
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        ready = [room for room, needs in MAY_IMPORT.items() if room not in order and needs <= set(order)]
        assert ready, "the rooms left import each other"
        order += ready


class WithoutTypeChecking(ast.NodeTransformer):
    """Takes out what only type checkers read: a writer may name the record whose method calls it."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def modules_imported(source: str) -> set[str]:
    """The package's own modules that a file imports when it runs: at its top, and inside of its functions."""
    return {home_of(name) for name in imported(WithoutTypeChecking().visit(ast.parse(source)))} - {""}


def home_of(name: str) -> str:
    """The module that an imported name comes from; "" for one that is not in the table of modules."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def test_no_files_import_each_other_in_a_circle() -> None:
    imports = {name: modules_imported(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_imports_inside_of_functions_count_and_those_of_type_checkers_do_not() -> None:
    source = """
from fxprof.compare import delta
from fxprof.result.profile import Profile
if TYPE_CHECKING:
    from fxprof.result.tree import Node
else:
    import fxprof.units
def function():
    from fxprof.result import Total
    from fxprof import __version__, limits
    import json
"""
    expected = {"fxprof.compare.delta", "fxprof.result.profile", "fxprof.units", "fxprof.result", "fxprof.limits"}
    assert modules_imported(source) == expected
