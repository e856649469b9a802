"""Module stacks and source lines as torch writes them, from a live graph and from a file alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from fxprof.trace.records import Frame

Entry = tuple[str, str, str]
"""One level of a module stack: torch's key, which tells the calls of a module apart, the path, and the class."""

_PLACEHOLDER = "_empty_nn_module_stack_from_metadata_hook"
"""What torch puts in place of a stack where it has none."""
_FRAME_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_OF_TORCH = re.compile(r"(?:^|/)(?:site|dist)-packages/torch/|^torch/|^<")
_NUMBERED = re.compile(r"@\d+\Z")
_SELF = "L__self__"


class StackReader:
    """Turns torch's module stacks of one graph into frames; remembers what many operators share.

    Args:
        prefix: path of the exported module below its component, put before every path.
        skip: how many of the outermost modules are scaffolding, to be left out.
        aliases: other paths of modules that are shared, to the one path that their calls add up at.
    """

    def __init__(self, prefix: str = "", skip: int = 0, aliases: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix
        self._skip = skip
        self._aliases = aliases or {}
        self._known: dict[tuple[Entry, ...], tuple[Frame, ...]] = {}
        self._visits: dict[str, dict[tuple[str, str], int]] = {}
        self._outer: dict[tuple[int, str], tuple[tuple[Frame, ...], tuple[Frame, ...]]] = {}
        self._graphs = 0
        self.rename: Callable[[str], str] | None = None
        """What gives a module its own path, for programs that know some under others."""

    def frames(self, entries: tuple[Entry, ...]) -> tuple[Frame, ...]:
        """The frames of a stack, outermost first."""
        if entries not in self._known:
            self._known[entries] = tuple(self._frames(entries))
        return self._known[entries]

    def visit(self, path: str, times: int) -> int:
        """Note calls of a module that no stack shows; the number of the first of them."""
        visits = self._visits.setdefault(path, {})
        first = len(visits)
        visits.update((("unseen", str(first + number)), first + number) for number in range(times))
        return first

    def new_graph(self) -> int:
        """A number that tells one graph, or body, from the others."""
        self._graphs += 1
        return self._graphs

    def owned(self, outer: tuple[Frame, ...], path: str, call: str) -> tuple[Frame, ...]:
        """The stack of an operator that is in a module, by the weights that it takes.

        Args:
            outer: the stack around it.
            path: of the module, without the prefix.
            call: what tells the calls of the module apart.
        """
        one = self.path(path)
        around = self._around(outer, one)
        if around and around[-1].path == one:
            return around
        visits = self._visits.setdefault(one, {})
        return (*around, Frame(one, "", visits.setdefault((call, path), len(visits))))

    def _around(self, outer: tuple[Frame, ...], path: str) -> tuple[Frame, ...]:
        """Those modules of a stack that are a module, or around it: looked for once for each stack."""
        key = id(outer), path
        if key not in self._outer:
            frames = outer or (Frame(self.path(""), "", 0),)
            # The stack has to live on, for its identity to mean it.
            self._outer[key] = outer, tuple([frame for frame in frames if is_below(path, frame.path)])
        return self._outer[key][1]

    def path(self, local: str) -> str:
        """The one path of a module of the program below its component."""
        full = ".".join(part for part in (self._prefix, local) if part)
        return self._aliases.get(full, full)

    def _frames(self, entries: Sequence[Entry]) -> Iterator[Frame]:
        outer = ""
        for position, (key, path, class_name) in enumerate(true_entries(entries)):
            if position <= self._skip:
                outer = path if self._skip else ""
            if position >= self._skip:
                local = path.removeprefix(outer).lstrip(".")
                one = self.path(self.rename(local) if self.rename else local)
                # The key, unlike the path, differs between the calls of a module ("t", "t@1") and between its aliases.
                visits = self._visits.setdefault(one, {})
                visit = visits.setdefault((_call_of(key, local), local), len(visits))
                yield Frame(one, "" if _is_made_by_torch(class_name, local) else class_name.rsplit(".", 1)[-1], visit)


def is_below(path: str, other: str) -> bool:
    """Whether a module is another one, or inside of it."""
    return not other or path == other or path.startswith(f"{other}.")


def true_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that are modules of the model, under their own paths.

    A strict export puts what runs in a body below a second root, `_export_root`, behind the first; a program that was made
    callable has a module of its own for its guards.
    """
    root = entries[0][2] if entries else ""
    second = any(entry[1:] == (_SECOND_ROOT, root) for entry in entries)
    true = []
    for key, path, class_name in entries:
        if path == _PLACEHOLDER or class_name == _GUARDS_CLASS or (path == _SECOND_ROOT and class_name == root):
            continue
        below = second and path.startswith(f"{_SECOND_ROOT}.")
        true.append((key, path.removeprefix(f"{_SECOND_ROOT}.") if below else path, class_name))
    return true


_SECOND_ROOT = "_export_root"
_GUARDS_CLASS = "torch.export._unlift.GuardsFn"


def _call_of(key: str, local: str) -> str:
    """What tells the calls of a module apart: its key, without the prefixes that each export anew puts before it."""
    if local:
        return re.sub(rf"\A({_SELF})+", "", key)
    number = _NUMBERED.search(key)  # the root is one module, whatever an export anew calls it
    return number[0] if number else ""


def _is_made_by_torch(class_name: str, local: str) -> bool:
    """Whether the class of a root is that of torch's own scaffolding, which a graph that was edited has in new nodes."""
    return not local and class_name.startswith(_SCAFFOLDING)


_SCAFFOLDING = ("torch.fx.", "torch.export.", "torch._dynamo.", "torch._export.")


def parse_stack(text: str) -> tuple[Entry, ...]:
    """The entries of a stack as a file holds it: `key,path,class;key,path,class`.

    Names of modules may hold commas and semicolons, too: where the key repeats the path, the two show where each ends.
    """
    entries: list[Entry] = []
    pending, pieces = "", 0
    for piece in text.split(";"):
        pending, pieces = f"{pending};{piece}" if pending else piece, pieces + 1
        entry = _parse_entry(pending) or (_cut(pending) if pieces > _MOST_SIGNS else None)
        if entry is not None:
            entries.append(entry)
            pending, pieces = "", 0
    return (*entries, _cut(pending)) if pending else tuple(entries)


_MOST_SIGNS = 16
"""Commas, or semicolons, within one entry; trying more out could take forever."""


def _cut(text: str) -> Entry:
    """An entry that cannot be told apart: the key up to the first comma, the class from the last."""
    head, _, class_name = text.rpartition(",")
    key, _, path = head.partition(",")
    return key, path, class_name


def _parse_entry(text: str) -> Entry | None:
    head, comma, class_name = text.rpartition(",")
    if not comma or ("." not in class_name and class_name != _PLACEHOLDER):
        return None
    place = head.find(",")
    for _ in range(_MOST_SIGNS):
        if place < 0:
            return None
        key, path = head[:place], head[place + 1 :]
        if _belong_together(key, path):
            return key, path, class_name
        place = head.find(",", place + 1)
    return None


def _belong_together(key: str, path: str) -> bool:
    """Whether a key is that of a path: the path behind prefixes, as a rule, or a number, or of older make."""
    bare = _NUMBERED.sub("", key)
    # Behind several where a program was exported anew: each time puts one before the keys that it finds.
    if any(text.startswith(_SELF) and text.endswith(f"{_SELF}{path}") for text in (key, bare)) or bare.isdecimal():
        return True
    older = not key.startswith(_SELF) or key.startswith(f"{_SELF}_")
    return older and "," not in key + path


def source_of(stack_trace: str) -> str | None:
    """The innermost line outside torch of a stack trace, as `package/file.py:12`, or None."""
    lines = [match for match in _FRAME_LINE.finditer(stack_trace) if not is_scaffolding(match["file"])]
    return source_line(lines[-1]["file"], lines[-1]["line"]) if lines else None


def source_line(file: str, line: int | str) -> str:
    """A source line that reads the same on every machine: from the package, or the last two parts of the path."""
    return f"{_file_in_short(file)}:{line}"


@lru_cache(maxsize=1_000)  # a model is written in few files
def _file_in_short(file: str) -> str:
    parts = PurePosixPath(file.replace("\\", "/")).parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(marker) :])
    return "/".join(parts[-2:]) if len(parts) > 2 else parts[-1]  # noqa: PLR2004 - folder and file


def is_scaffolding(file: str) -> bool:
    """Whether a source file is torch's, or calls a module for fxprof to capture it: it says nothing about a model."""
    return is_torch_file(file) or "fxprof/capture/" in file.replace("\\", "/")


def is_torch_file(file: str) -> bool:
    """Whether a source file belongs to torch, or to no file at all."""
    return bool(_OF_TORCH.search(file.replace("\\", "/")))
