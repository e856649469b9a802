"""Operators that fail for some values, where the user's own code would catch the error and continue in another way.

Zeros are a matrix without an inverse, and indices that are always in range: a rehearsal cannot know the real outcome.
"""

from __future__ import annotations

import ast
import functools
import linecache
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from fxprof.capture.reachable import is_own
from fxprof.trace.stacks import source_line

_FAILING = re.compile(
    r"aten[.:]+(linalg_|_linalg|cholesky|inverse|lu_|embedding|gather|index|scatter|multinomial|binary_cross_entropy|nll_loss|"
    r"cross_entropy|one_hot|_assert_async|_functional_assert)"
)
"""Operators that look at values or at indices, and may refuse them."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ')
"""A line of a stack trace, as torch writes it into a graph."""


def can_fail(name: str) -> bool:
    """Whether an operator may refuse its inputs because of their values."""
    return _FAILING.match(name) is not None


def is_caught_in(trace: str | None) -> bool:
    """Whether a stack trace goes through a `try` of the user's own code."""
    return any(_is_tried(file, int(line)) for file, line in _FRAME.findall(trace or ""))


def is_caught_here() -> bool:
    """Whether the running code was called from a `try` of the user's own code."""
    return any(_is_tried(frame.f_code.co_filename, frame.f_lineno) for frame in _frames())


def _frames() -> Iterator[FrameType]:
    """The frames from an operator up to the start of the rehearsal."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - there is no other way to ask
    while frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) != _BEGIN:
        yield frame
        frame = frame.f_back


_BEGIN = (str(Path(__file__).with_name("rehearse.py")), "run")
_OURS = str(Path(__file__).parents[1])
_PYTHON = sysconfig.get_path("stdlib")


def _is_tried(file: str, line: int) -> bool:
    package = source_line(file, line).partition("/")[0].partition(".")[0]
    return is_own(package) and not _is_no_users(file) and any(first <= line <= last for first, last in _tries(file))


def _is_no_users(file: str) -> bool:
    return file.startswith(_OURS) or (file.startswith(_PYTHON) and "-packages" not in file)


@functools.lru_cache(maxsize=256)
def _tries(file: str) -> tuple[tuple[int, int], ...]:
    """First and last lines of those statements of a file whose errors are caught."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return tuple((body[0].lineno, body[-1].end_lineno or body[-1].lineno) for body in _tried_bodies(tree))


def _tried_bodies(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        tries = isinstance(node, (ast.Try, ast.TryStar)) and bool(node.handlers)
        if tries or (isinstance(node, ast.With) and any("suppress" in ast.dump(item.context_expr) for item in node.items)):
            yield node.body  # type: ignore[attr-defined]  # as was just asked
