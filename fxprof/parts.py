"""Files and directories that are written whole or not at all. Standard library only.

What is being written is a *part*: it lies beside its goal, under a random name, and its writer holds a lock on it. A part that
nobody holds a lock on was left by a writer that was killed, in whatever container or process, and the next writer removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar

try:
    import fcntl
except ImportError:  # not on Windows: there nothing is locked, and nothing is taken for left behind
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\..*\.fxprof-(?P<goal>[0-9a-f]{8})-[0-9a-f]{16}\.(?P<end>part|old)", re.DOTALL)
_AT_FDCWD = -100
_EXCHANGE = 2
_SHOWN = 100
"""Bytes of a goal's name in the name of its part, for people: the limit for all of it is 255."""

_Descriptor = TypeVar("_Descriptor", int, int | None)

_WRITING: dict[Path, int] = {}
"""Parts that are being written, with the process that does."""
_ASIDE: dict[Path, Path] = {}
"""Directories that were moved aside for a new one, with where they belong."""


@contextmanager
def whole_file(goal: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to fill, which takes its place, whatever is there, when the block ends without an error.

    Raises:
        OSError: the disk refuses; then all is as before.
    """
    part, descriptor = _begin(goal, lambda path: os.open(path, _NEW, mode))
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            yield file
            file.flush()
            if fcntl is None:
                file.close()  # Windows renames no open file
            part.replace(goal)
    finally:
        part.unlink(missing_ok=True)
        _WRITING.pop(part, None)


@contextmanager
def whole_directory(goal: Path, check: Callable[[], None]) -> Iterator[Path]:
    """A directory to fill, which takes the place of the goal when the block ends without an error.

    Args:
        goal: where there is nothing, or a directory to replace.
        check: called when all is written, just before; what it raises leaves all as it was.

    Raises:
        OSError: the disk refuses; then all is as before.
    """
    part, descriptor = _begin(goal, _new_directory)
    try:
        yield part
        check()
        _put(part, goal)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _WRITING.pop(part, None)
        if descriptor is not None:
            os.close(descriptor)


def recover(goal: Path) -> None:
    """Remove what writers that were killed left beside a goal, and put a directory back that one had moved aside for it."""
    with suppress(OSError), os.scandir(goal.parent) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            path = goal.with_name(entry.name)
            if match["end"] == "part":
                remove_left(path)
            elif match["goal"] == _key(goal):
                _put_back(path, goal)


def remove_left(path: Path) -> bool:
    """Remove a part, unless its writer is alive, it is another user's, or is no file or directory; whether it was removed."""
    with _held(path) as left:
        if left:
            _remove(path)
        return left


def abandon() -> None:
    """Remove what this process is writing, and put back what it moved aside: for the end of a process at any moment."""
    for old, goal in list(_ASIDE.items()):
        if not os.path.lexists(goal):
            with suppress(OSError):
                old.replace(goal)
    for part, writer in list(_WRITING.items()):
        if writer == os.getpid():  # and not of the process that this one was forked from
            _remove(part)


def temporary() -> Path:
    """A new directory in the system's place for such, which is removed at the end of this process, whatever ends it."""
    directory = Path(tempfile.mkdtemp(prefix="fxprof-"))
    _WRITING[directory] = os.getpid()
    return directory


def remove_temporary(directory: Path) -> None:
    """Remove a directory that `temporary` made."""
    _WRITING.pop(directory, None)
    shutil.rmtree(directory, ignore_errors=True)


_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def _new_directory(path: Path) -> int | None:
    path.mkdir()
    return os.open(path, os.O_RDONLY) if fcntl is not None else None


def _begin(goal: Path, make: Callable[[Path], _Descriptor]) -> tuple[Path, _Descriptor]:
    """A new part that this process holds the lock of."""
    while True:
        part = _name(goal, "part")
        _WRITING[part] = os.getpid()
        try:
            descriptor = make(part)
        except BaseException:
            _WRITING.pop(part, None)
            raise
        if descriptor is None or _lock(descriptor, part) is not False:
            return part, descriptor
        os.close(descriptor)  # between its making and the lock another process took it for left behind
        _remove(part)
        _WRITING.pop(part, None)


def _name(goal: Path, end: str) -> Path:
    shown = os.fsencode(goal.name)[:_SHOWN].decode("utf-8", "ignore")
    return goal.with_name(f".{shown}.fxprof-{_key(goal)}-{os.urandom(8).hex()}.{end}")


def _key(goal: Path) -> str:
    return f"{zlib.crc32(os.fsencode(goal.name)):08x}"


def _lock(descriptor: int, path: Path) -> bool | None:
    """Take the lock of a path; False where somebody else has it or has removed the path; None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have none
        return None
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether a part of this user's was left behind; while the block runs, nobody else can take it."""
    descriptor = _opened(path)
    if descriptor is None:
        yield False
        return
    try:
        yield _lock(descriptor, path) is True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """A file or directory of this user's; None for anything else, such as a link or a pipe, which would wait."""
    if fcntl is None:
        return None
    try:
        status = path.lstat()
        if status.st_uid != os.geteuid() or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return None
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _put(part: Path, goal: Path) -> None:
    """Rename a directory to its goal; what was there has the part's name afterwards, or is gone."""
    if not goal.exists():
        part.replace(goal)
    elif not _exchange(part, goal):
        _move_aside(part, goal)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, so that there is always something under each; False where that is not possible."""
    rename = _renameat2()
    return rename is not None and rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0


@cache
def _renameat2() -> Callable[..., int] | None:
    """Linux's `renameat2`, which Python has no name for."""
    if sys.platform != "linux":
        return None
    import ctypes  # not with the module: every start would pay for it

    try:
        function = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function


def _move_aside(part: Path, goal: Path) -> None:
    """Replace a directory in two steps. Killed in between, it leaves the old one aside, which `recover` puts back."""
    old = _name(goal, "old")
    descriptor = os.open(goal, os.O_RDONLY) if fcntl is not None else None
    try:
        if descriptor is not None:
            _lock(descriptor, goal)
        _ASIDE[old] = goal
        goal.replace(old)
        try:
            part.replace(goal)
        except BaseException:
            old.replace(goal)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        _ASIDE.pop(old, None)
        if descriptor is not None:
            os.close(descriptor)


def _put_back(old: Path, goal: Path) -> None:
    with _held(old) as left:
        if not left:
            return
        if os.path.lexists(goal):
            _remove(old)
        else:
            with suppress(OSError):
                old.replace(goal)
