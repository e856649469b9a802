"""Module stacks and source lines in torch's form, from a live graph or from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from fxprof.trace.records import Frame

Entry = tuple[str, str, str]
"""One level of a module stack: torch's key, which distinguishes the calls of a module, the path, and the class."""

_PLACEHOLDER = "_empty_nn_module_stack_from_metadata_hook"
"""Torch's placeholder for a missing stack."""
_FRAME_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_OF_TORCH = re.compile(r"(?:^|/)(?:site|dist)-packages/torch/|^torch/|^<")
_NUMBERED = re.compile(r"@\d+\Z")
_SELF = "L__self__"


class StackReader:
    """Turns torch's module stacks of one graph into frames; caches stacks that many operators share.

    Args:
        prefix: path of the exported module below its component, put before every path.
        skip: number of outermost modules that are scaffolding and left out.
        aliases: other paths of shared modules, to the one path that collects their calls.
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
        """A function that gives a module its own path, for programs that use further paths."""

    def frames(self, entries: tuple[Entry, ...]) -> tuple[Frame, ...]:
        """The frames of a stack, outermost first."""
        if entries not in self._known:
            self._known[entries] = tuple(self._frames(entries))
        return self._known[entries]

    def visit(self, path: str, times: int) -> int:
        """Record calls of a module that no stack shows, and return the number of the first one."""
        visits = self._visits.setdefault(path, {})
        first = len(visits)
        visits.update((("unseen", str(first + number)), first + number) for number in range(times))
        return first

    def new_graph(self) -> int:
        """A unique number for a graph or body."""
        self._graphs += 1
        return self._graphs

    def owned(self, outer: tuple[Frame, ...], path: str, call: str) -> tuple[Frame, ...]:
        """The stack of an operator that belongs to a module because of its weights.

        Args:
            outer: the stack around it.
            path: the path of the module, without the prefix.
            call: a text that distinguishes the calls of the module.
        """
        one = self.path(path)
        around = self._around(outer, one)
        if around and around[-1].path == one:
            return around
        visits = self._visits.setdefault(one, {})
        return (*around, Frame(one, "", visits.setdefault((call, path), len(visits))))

    def _around(self, outer: tuple[Frame, ...], path: str) -> tuple[Frame, ...]:
        """The modules of a stack that are the given module or contain it; computed once for each stack."""
        key = id(outer), path
        if key not in self._outer:
            frames = outer or (Frame(self.path(""), "", 0),)
            # The stack must stay alive, because its identity is the key.
            self._outer[key] = outer, tuple([frame for frame in frames if is_below(path, frame.path)])
        return self._outer[key][1]

    def path(self, local: str) -> str:
        """The one path, below the component, of a module of the program."""
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
                # Unlike the path, the key differs between the calls of a module ("t", "t@1") and between its aliases.
                visits = self._visits.setdefault(one, {})
                visit = visits.setdefault((_call_of(key, local), local), len(visits))
                yield Frame(one, "" if _is_made_by_torch(class_name, local) else class_name.rsplit(".", 1)[-1], visit)


def is_below(path: str, other: str) -> bool:
    """Whether the module `path` is the module `other` or inside it."""
    return not other or path == other or path.startswith(f"{other}.")


def true_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The entries for modules of the model, with their own paths.

    A strict export puts the operators of a body below a second root, `_export_root`, after the first. A program that was made
    callable has an additional module for its guards.
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
    """The text that distinguishes the calls of a module: its key, without the prefix that each repeated export adds."""
    if local:
        return re.sub(rf"\A({_SELF})+", "", key)
    number = _NUMBERED.search(key)  # the root is one module, whatever name a repeated export gives it
    return number[0] if number else ""


def _is_made_by_torch(class_name: str, local: str) -> bool:
    """Whether a root's class is torch's own scaffolding; new nodes of an edited graph have such a root."""
    return not local and class_name.startswith(_SCAFFOLDING)


_SCAFFOLDING = ("torch.fx.", "torch.export.", "torch._dynamo.", "torch._export.")


def parse_stack(text: str) -> tuple[Entry, ...]:
    """The entries of a stack from a file: `key,path,class;key,path,class`.

    Module names may also contain commas and semicolons: if the key repeats the path, the two show the end of each.
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
"""Commas, or semicolons, within one entry; trying more could take very long."""


def _cut(text: str) -> Entry:
    """An ambiguous entry: the key ends at the first comma, the class begins at the last one."""
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
    """Whether a key fits a path: usually the path after prefixes, or a number, or the form of an older torch."""
    bare = _NUMBERED.sub("", key)
    # A program that was exported again has several prefixes: each export adds one to the existing keys.
    if any(text.startswith(_SELF) and text.endswith(f"{_SELF}{path}") for text in (key, bare)) or bare.isdecimal():
        return True
    older = not key.startswith(_SELF) or key.startswith(f"{_SELF}_")
    return older and "," not in key + path


def source_of(stack_trace: str) -> str | None:
    """The innermost line outside torch of a stack trace, as `package/file.py:12`, or None."""
    lines = [match for match in _FRAME_LINE.finditer(stack_trace) if not is_scaffolding(match["file"])]
    return source_line(lines[-1]["file"], lines[-1]["line"]) if lines else None


def source_line(file: str, line: int | str) -> str:
    """A source line that is the same on every machine: the path from the package on, or its last two parts."""
    return f"{_file_in_short(file)}:{line}"


@lru_cache(maxsize=1_000)  # the code of a model is in few files
def _file_in_short(file: str) -> str:
    parts = PurePosixPath(file.replace("\\", "/")).parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(marker) :])
    return "/".join(parts[-2:]) if len(parts) > 2 else parts[-1]  # noqa: PLR2004 - folder and file


def is_scaffolding(file: str) -> bool:
    """Whether a source file belongs to torch or to fxprof's capture, and so says nothing about a model."""
    return is_torch_file(file) or "fxprof/capture/" in file.replace("\\", "/")


def is_torch_file(file: str) -> bool:
    """Whether a source file belongs to torch, or is not a file at all."""
    return bool(_OF_TORCH.search(file.replace("\\", "/")))
