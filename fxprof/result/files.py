"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxprof import parts
from fxprof.errors import OutputError

_FORCE = "choose another name, or overwrite it with --force (in Python: force=True)"


def check_writable(path: str | Path, *, force: bool = False) -> None:
    """Check before long work whether its result can be written.

    Raises:
        OutputError: the file exists and `force` is not set, is not a regular file, or its directory is missing or read-only.
    """
    path = Path(path)
    mode = _mode(path)
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise OutputError(f"cannot write {path}: it is a directory")
        if not stat.S_ISREG(mode):
            raise OutputError(f"cannot write {path}: it is not a regular file")
        if not force:
            raise OutputError(f"{path} exists", _FORCE)
    directory = _real(path).parent
    if not directory.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: the directory {directory} is read-only")


def _mode(path: Path) -> int | None:
    """The mode of the file; None if there is none."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise OutputError(f"cannot write {str(path)!r}: {reason(error)}") from error


def write_whole(path: str | Path, text: str, *, force: bool = False) -> None:
    """Write a text file through a temporary file beside it, so that nobody ever sees half of it.

    Raises:
        OutputError: as `check_writable`, or the disk refuses.
    """
    check_writable(path, force=force)
    goal = _real(Path(path))
    parts.recover(goal)
    try:
        with parts.whole_file(goal) as file:
            # JSON can contain half a character, which has no bytes: it is written as \udc00, like on a terminal.
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


@contextmanager
def whole_directory(path: str | Path, *, force: bool = False, owned: str) -> Iterator[Path]:
    """A directory to fill, which takes its final place when it is complete, so that nobody ever sees half of it.

    Args:
        path: its final path.
        force: whether an existing directory is replaced.
        owned: a file that marks a directory as written by fxprof; with `force`, only such a directory is replaced.

    Raises:
        OutputError: the path holds something else, or the disk refuses.
    """
    goal = _real(Path(path).absolute())
    parts.recover(goal)

    def check() -> None:
        _check_replaceable(Path(path), force=force, owned=owned)

    check()
    try:
        with parts.whole_directory(goal, check) as part:
            yield part
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


def _check_replaceable(goal: Path, *, force: bool, owned: str) -> None:
    mode = _mode(goal)
    if mode is not None and not stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {goal}: it is not a directory")
    if mode is not None and any(goal.iterdir()):
        if not (goal / owned).is_file():
            raise OutputError(f"cannot write {goal}: it is a directory that fxprof did not write", "choose another name")
        if not force:
            raise OutputError(f"{goal} exists", _FORCE)
    parent = goal.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {goal}: there is no directory {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {goal}: the directory {parent} is read-only")


def reason(error: OSError | ValueError) -> str:
    """The operating system's message, in lower case and without the path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


def _real(path: Path) -> Path:
    """The target of a symbolic link: replacing the link itself would leave the target unchanged."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
