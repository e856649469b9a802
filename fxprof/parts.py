"""Files and directories that are written whole or not at all.

A file or directory in the making is a *part*: it lies beside its goal, under a random name, and its writer holds a lock on it.
A part without a lock was left by a killed writer, in whatever container or process, and the next writer removes it.
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
except ImportError:  # not on Windows: there no part is locked, and none counts as left behind
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\..*\.fxprof-(?P<goal>[0-9a-f]{8})-[0-9a-f]{16}\.(?P<end>part|old)", re.DOTALL)
_AT_FDCWD = -100
_EXCHANGE = 2
_SHOWN = 100
"""Bytes of a goal's name in the name of its part, for people; the whole name may have 255."""

_Descriptor = TypeVar("_Descriptor", int, int | None)

_WRITING: dict[Path, int] = {}
"""Part in the making to its writer's process."""
_ASIDE: dict[Path, Path] = {}
"""Directory that was moved aside for a new one to its original path."""


@contextmanager
def whole_file(goal: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to fill, which replaces the goal when the block ends without an error.

    Raises:
        OSError: the disk refuses; then nothing has changed.
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
    """A directory to fill, which replaces the goal when the block ends without an error.

    Args:
        goal: path that is free, or a directory to replace.
        check: called after the writing, just before the replacement; an exception from it keeps the old goal.

    Raises:
        OSError: the disk refuses; then nothing has changed.
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
    """Remove the parts that killed writers left beside a goal, and put back a directory that one had moved aside for it."""
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
    """Remove a part, unless its writer lives, or it belongs to another user, or is no file or directory; whether it did."""
    with _held(path) as left:
        if left:
            _remove(path)
        return left


def abandon() -> None:
    """Remove this process's parts, and put back the directories that it moved aside: for the end of a process at any moment."""
    for old, goal in list(_ASIDE.items()):
        if not os.path.lexists(goal):
            with suppress(OSError):
                old.replace(goal)
    for part, writer in list(_WRITING.items()):
        if writer == os.getpid():  # not a part of the process that forked this one
            _remove(part)


def temporary() -> Path:
    """A new directory among the system's temporary ones; it is removed at the end of this process, whatever ends it."""
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
    """A new part, locked by this process."""
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
        os.close(descriptor)  # before the lock, another process took the part for a left one
        _remove(part)
        _WRITING.pop(part, None)


def _name(goal: Path, end: str) -> Path:
    shown = os.fsencode(goal.name)[:_SHOWN].decode("utf-8", "ignore")
    return goal.with_name(f".{shown}.fxprof-{_key(goal)}-{os.urandom(8).hex()}.{end}")


def _key(goal: Path) -> str:
    return f"{zlib.crc32(os.fsencode(goal.name)):08x}"


def _lock(descriptor: int, path: Path) -> bool | None:
    """Take the lock of a path; False if another process has it or has removed the path; None if there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether a path is a part of this user that was left behind; nobody else can take it during the block."""
    descriptor = _opened(path)
    if descriptor is None:
        yield False
        return
    try:
        yield _lock(descriptor, path) is True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """The descriptor of a file or directory of this user; None for anything else: a link, or a pipe, which would wait."""
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
    """Rename a directory to its goal; the old directory gets the part's name, or is removed."""
    if not goal.exists():
        part.replace(goal)
    elif not _exchange(part, goal):
        _move_aside(part, goal)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, so that neither is ever missing; False if the system cannot do that."""
    rename = _renameat2()
    return rename is not None and rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0


@cache
def _renameat2() -> Callable[..., int] | None:
    """Linux's `renameat2`; Python has no function for it."""
    if sys.platform != "linux":
        return None
    import ctypes  # a top-level import would slow every start

    try:
        function = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function


def _move_aside(part: Path, goal: Path) -> None:
    """Replace a directory in two steps. If killed in between, it leaves the old directory aside, and `recover` puts it back."""
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
