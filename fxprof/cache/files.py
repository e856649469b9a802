"""A directory of results, each in a file of its own, named by the hash of everything that the result depends on.

Files are plain text behind one line that names their format and the hash of their content. They are written under another
name and renamed, so two processes at once, a full disk or a kill at any moment leave whole files or none. A file that is not
whole, or not ours, is not used. When the results outgrow the bound, the least recently used ones are removed first.

The directory is the user's own: made for this user alone, and not used if anybody else could have put a file into it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from fxprof import parts
from fxprof.cache.notes import note
from fxprof.strict_json import read_json

DIRECTORY = "FXPROF_CACHE_DIR"
"""The environment variable that sets the directory."""
SIZE = "FXPROF_CACHE_SIZE"
"""The environment variable that sets the bound, in MB."""

_MOST_MB = 256
_FORMAT = 1
_NAME = re.compile(r"(?P<kind>[a-z]+)-[0-9a-f]{64}\.json")
_PART = re.compile(r"\.[a-z]+-[0-9a-f]{64}\.[\w.-]+\.part", re.ASCII)
_PRIVATE = 0o700
_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_LAST_TIME = 253_402_300_799
"""The last second for which Python has a date."""
_ABOUT = 300
"""Characters of the description of a result."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached result."""

    kind: str
    """`profile` or `call`."""
    about: str
    """The target and workload, or the module, that it is a result of, for people."""
    size: int
    """Bytes."""
    used: float
    """The time of its last use, in seconds since the epoch."""


@dataclass(slots=True)
class Cache:
    """Results in a directory. Trouble with it is no error: a result is computed anew, and the trouble is reported once."""

    directory: Path
    most_bytes: int = _MOST_MB * 10**6

    def find(self, kind: str, key: str) -> str | None:
        """The text cached under a key; None if it is missing or damaged."""
        path = self._path(kind, key)
        if not self._is_private():
            return None
        try:
            status = path.lstat()
            if not self._is_ours(status) or status.st_size > self.most_bytes:
                return None
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._say("cannot be read", error)
            return None
        text = _content(raw, path.name)
        if text is None:
            self.drop(kind, key)
            return None
        with contextlib.suppress(OSError):  # a read-only directory is useful too
            os.utime(path)
        return text

    def keep(self, kind: str, key: str, about: str, text: str) -> None:
        """Cache a text, and remove the least recently used results beyond the bound."""
        body = text.encode("utf-8", "surrogatepass")
        goal = self._path(kind, key)
        head = json.dumps({"fxprof cache": _FORMAT, "about": about[:_ABOUT], "hash": _hash(goal.name, body)})
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
            if not self._is_private() or not self._is_free(goal):
                return
            self._make_private()
            with parts.whole_file(goal, mode=0o600) as file:
                file.write(head.encode() + b"\n" + body)
            self._trim()
        except OSError as error:
            self._say("cannot be written to", error)

    def drop(self, kind: str, key: str) -> None:
        """Remove a damaged result, and report it."""
        self._say("held a damaged file", None)
        with contextlib.suppress(OSError):
            self._path(kind, key).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """The cached results, the last used first.

        Raises:
            OSError: the directory cannot be read.
        """
        files = self._files() if self._is_private() else ()
        results = [(path, status) for path, status in files if _NAME.fullmatch(path.name) and self._is_ours(status)]
        return [
            Entry(path.name.partition("-")[0], _about(path), status.st_size, min(max(status.st_mtime, 0), _LAST_TIME))
            for path, status in sorted(results, key=lambda item: (-item[1].st_mtime, item[0].name))
        ]

    def clear(self) -> int:
        """Remove all cached results, and no other file of the directory; returns their number.

        Raises:
            OSError: the directory cannot be read, or a file cannot be removed.
        """
        count = 0
        for path, status in self._files():
            if _PART.fullmatch(path.name):
                parts.remove_left(path)
            elif self._is_ours(status):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _path(self, kind: str, key: str) -> Path:
        return self.directory / f"{kind}-{key}.json"

    def _is_free(self, goal: Path) -> bool:
        """Whether a path is free, or holds one of our files; the owner of any other file may need it."""
        try:
            return self._is_ours(goal.lstat())
        except FileNotFoundError:
            return True

    def _is_ours(self, status: os.stat_result) -> bool:
        """Whether it is a file of this user alone: reading a pipe would wait forever, and a link leads elsewhere."""
        if not stat.S_ISREG(status.st_mode):
            self._say("holds something other than a file under the name of a result", None)
            return False
        if _is_foreign(status):
            self._say("holds files that other users have written, or can write", None)
            return False
        return True

    def _is_private(self) -> bool:
        """Whether nobody else can have put a file into the directory; true also if there is no directory."""
        try:
            status = self.directory.stat()
        except OSError:  # the code that uses the directory reports it
            return True
        if _is_foreign(status):
            self._say("belongs to another user, or others can write to it", None)
            return False
        return True

    def _make_private(self) -> None:
        """Forbid others to read an existing directory."""
        status = self.directory.stat()
        if hasattr(os, "geteuid") and status.st_mode & _OTHERS:
            self.directory.chmod(_PRIVATE)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of this cache, links excluded."""
        try:
            with os.scandir(self.directory) as entries:
                items = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for item in items:
            if _NAME.fullmatch(item.name) or _PART.fullmatch(item.name):
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    if item.is_file(follow_symlinks=False):
                        yield Path(item.path), item.stat(follow_symlinks=False)

    def _trim(self) -> None:
        files = sorted(self._files(), key=lambda item: item[1].st_mtime)
        size = sum(status.st_size for _, status in files)
        for path, status in files:
            if _PART.fullmatch(path.name):
                removed = parts.remove_left(path)
            elif size > self.most_bytes and not _is_foreign(status):
                path.unlink(missing_ok=True)
                removed = True
            else:
                removed = False
            size -= status.st_size if removed else 0

    def _say(self, what: str, error: OSError | None) -> None:
        why = f": {error.strerror or error}" if error else ""
        note(str(self.directory), f"fxprof: the cache {self.directory} {what}{why}; going on without it")


def _is_foreign(status: os.stat_result) -> bool:
    """Whether another user has written, or can write, to a file or directory. Windows separates users by other means."""
    return hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or bool(status.st_mode & _OTHERS_WRITE))


def default_cache() -> Cache | None:
    """The cache of this user, or the one that the environment names; None for a user without a home, as in some containers."""
    directory = _directory()
    if directory is None:
        return None
    megabytes = os.environ.get(SIZE, "")
    most = int(megabytes) if megabytes.isascii() and megabytes.isdecimal() and len(megabytes) < _DIGITS else _MOST_MB
    return Cache(directory, most * 10**6)


def _directory() -> Path | None:
    named = os.environ.get(DIRECTORY)
    if named:
        return Path(named)
    try:
        usual = user_cache_path("fxprof", appauthor=False)
    except (RuntimeError, KeyError, OSError):  # neither HOME nor the system's table names a home of this user
        return None
    return usual if usual.is_absolute() else None  # without a home, a path can also begin with a literal ~


_DIGITS = 10
_MOST_VALUES = 1_000
"""Values in the first line of a file: three, and the commas in names."""


def _hash(name: str, body: bytes) -> str:
    """The hash of a name and a content: a file that was renamed to the name of another result does not pass for it."""
    return hashlib.sha256(name.encode() + b"\n" + body).hexdigest()


def _content(raw: bytes, name: str) -> str | None:
    """The text of a whole file of this cache; None for any other file."""
    head, _, body = raw.partition(b"\n")
    try:
        about = read_json(head, values=_MOST_VALUES)
        if about["fxprof cache"] != _FORMAT or about["hash"] != _hash(name, body):
            return None
        return body.decode("utf-8", "surrogatepass")
    except (ValueError, TypeError, KeyError):
        return None


def _about(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return str(read_json(file.readline(_LONGEST), values=_MOST_VALUES)["about"])
    except (OSError, ValueError, TypeError, KeyError):
        return "(damaged)"


_LONGEST = 100_000
"""Bytes of the first line."""
