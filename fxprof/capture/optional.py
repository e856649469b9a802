"""Stand-ins for packages that a pipeline imports only if they are installed, and could do without.

diffusers and transformers write `if is_ftfy_available(): import ftfy` at the top of a module, and use the name later. While
a pipeline is built and rehearsed, the names of such a block are bound to a stand-in, and unbound afterwards. Installed
packages are used themselves. A pipeline that asks for a missing package gets a true answer, and then does without it. The one
exception is a function that would raise: there the answer is yes, and the function imports the stand-in.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from fxprof.capture import video_codec, vision

_GUARD = re.compile(r"is_(\w+?)(?:_v2)?_available")
_OURS = ("diffusers.", "transformers.")
_PIPELINES = "diffusers.pipelines."
_TAG = re.compile(r"<[^>]*>")
_MISSING = object()

_SENTENCES = {
    "av": "av is not installed, so images were not compressed before they were used; their sizes are the same; pip install av",
    "ftfy": "ftfy is not installed, so text was used without its corrections; pip install ftfy",
    "bs4": "bs4 is not installed, so markup was removed from text by a simpler rule; pip install beautifulsoup4",
    "cosmos_guardrail": (
        "cosmos_guardrail is not installed, so its checks of text and video are not in the totals; pip install cosmos_guardrail"
    ),
    "torchvision": "torchvision is not installed, so images were prepared by a stand-in that makes the same sizes",
}
"""The remark about each stand-in that was used."""


@dataclass
class StandIns:
    """The stand-ins of one capture."""

    modules: Mapping[str, ModuleType]
    """The stand-ins by the names under which they are imported."""
    used: set[str] = field(default_factory=set)
    """The packages whose stand-ins did something."""
    _undo: list[tuple[ModuleType, str, Any]] = field(default_factory=list)
    _bound: set[str] = field(default_factory=set)

    def bind(self) -> None:
        """Bind the names of stand-ins in all modules loaded by now that would have imported them."""
        if not self.modules:
            return
        while new := [name for name in sys.modules if name.startswith(_OURS) and name not in self._bound]:
            self._bound.update(new)
            for name in new:
                self._bind(sys.modules[name])

    def _bind(self, module: ModuleType) -> None:
        names = vars(module)
        guards = {name for name in names if (match := _GUARD.fullmatch(name)) and match[1] in self.modules}
        if not guards or type(module) is not ModuleType:
            return
        tree = _tree(module)
        for body in _guarded(tree, guards):
            before = dict(names)
            exec(compile(body, module.__file__ or "", "exec"), names)  # noqa: S102 - the library's own lines, which it would have run
            self._note(module, before)
        if module.__name__.startswith(_PIPELINES):
            before = dict(names)
            names.update(dict.fromkeys(_refusing(tree, guards), _yes))
            self._note(module, before)

    def _note(self, module: ModuleType, before: Mapping[str, Any]) -> None:
        """Save the old values of those names of a module that changed."""
        names = vars(module)
        self._undo += [(module, name, before.get(name, _MISSING)) for name in names if names[name] is not before.get(name)]

    def undo(self) -> None:
        """Put everything back."""
        for module, name, value in reversed(self._undo):
            if value is _MISSING:
                vars(module).pop(name, None)
            else:
                setattr(module, name, value)

    @property
    def remarks(self) -> list[str]:
        """The remarks about the stand-ins that were used."""
        return [_SENTENCES[name] for name in sorted(self.used)]


@contextmanager
def standing_in() -> Iterator[StandIns]:
    """Put stand-ins in the place of optional packages that are not installed, until the end of the block."""
    used: set[str] = set()
    missing = [name for name in _MAKERS if name not in sys.modules and find_spec(name) is None]
    modules: dict[str, ModuleType] = {}
    for name in missing:
        modules |= _MAKERS[name](lambda name=name: used.add(name))  # type: ignore[misc]  # bound to the loop's value
    stand_ins = StandIns(modules, used)
    sys.modules.update(modules)
    try:
        stand_ins.bind()
        yield stand_ins
    finally:
        stand_ins.undo()
        for name in modules:
            sys.modules.pop(name, None)


def load_past_guard(module: str, name: str) -> Any:
    """A class that its library hides because of a package whose stand-in is bound; None where that is not enough."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, NameError, AttributeError):
        return None


def _guarded(tree: ast.Module, guards: set[str]) -> Iterator[ast.Module]:
    """The bodies of a module's own `if is_..._available():` blocks."""
    for node in _blocks(tree.body):
        if _asked(node.test) in guards:
            yield ast.Module(node.body, [])


def _refusing(tree: ast.Module, guards: set[str]) -> set[str]:
    """The guards without which a function raises, where a stand-in is enough: the function imports it next."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {guard for function in functions for guard in _demanded(function) & guards}


def _demanded(function: ast.FunctionDef) -> set[str]:
    """The guards of `if not is_..._available(): raise` in a function that imports the package itself."""
    imported = {item.name for node in ast.walk(function) if isinstance(node, ast.Import) for item in node.names}
    tests = [node for node in ast.walk(function) if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)]
    asked = {_asked(node.test.operand) for node in tests if isinstance(node.test, ast.UnaryOp)}
    return {guard for guard in asked if (match := _GUARD.fullmatch(guard)) and match[1] in imported}


def _asked(test: ast.expr) -> str:
    """The name of the function that a test calls."""
    return str(getattr(test.func, "id", "")) if isinstance(test, ast.Call) else ""


def _tree(module: ModuleType) -> ast.Module:
    """The source of a module; an empty one where there is none."""
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _yes() -> bool:
    return True


def _blocks(body: list[ast.stmt]) -> Iterator[ast.If]:
    for node in body:
        if isinstance(node, ast.If):
            yield node
            yield from _blocks(node.body)


def _ftfy(used: Callable[[], None]) -> dict[str, ModuleType]:
    def fix_text(text: str, *_args: Any, **_options: Any) -> str:
        if not text.isascii() or "&" in text:
            used()  # the real one returns plain text unchanged
        return html.unescape(text)

    return {"ftfy": _module("ftfy", fix_text=fix_text)}


def _bs4(used: Callable[[], None]) -> dict[str, ModuleType]:
    class BeautifulSoup:
        def __init__(self, markup: str, *_args: Any, **_options: Any) -> None:
            if "<" in markup or "&" in markup:
                used()
            self.text = html.unescape(_TAG.sub("", markup))

        def get_text(self) -> str:
            return self.text

    return {"bs4": _module("bs4", BeautifulSoup=BeautifulSoup)}


def _cosmos_guardrail(used: Callable[[], None]) -> dict[str, ModuleType]:
    class CosmosSafetyChecker:
        def __init__(self, *_args: Any, **_options: Any) -> None:
            used()

        def to(self, *_args: Any, **_options: Any) -> Any:
            return self

        def check_text_safety(self, _prompt: str) -> bool:
            return True

        def check_video_safety(self, frames: Any) -> Any:
            return frames

    return {"cosmos_guardrail": _module("cosmos_guardrail", CosmosSafetyChecker=CosmosSafetyChecker)}


def _module(name: str, **names: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(names)
    return module


_MAKERS: Mapping[str, Callable[[Callable[[], None]], dict[str, ModuleType]]] = {
    "av": video_codec.modules,
    "ftfy": _ftfy,
    "bs4": _bs4,
    "cosmos_guardrail": _cosmos_guardrail,
    "torchvision": vision.modules,
}
