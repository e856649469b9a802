"""A directory of results, each in a file of its own, under the hash of what it was computed from.

Files are plain text behind one line that says what they are and what their content's hash is. They are written under another
name and renamed, so that two processes at once, a full disk or a kill at any moment leave whole files or none; whatever is not
whole, or not ours, is not used. When there is more than the bound allows, what was used least recently goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from fxprof.cache.notes import note

DIRECTORY = "FXPROF_CACHE_DIR"
"""The environment variable that sets the directory."""
SIZE = "FXPROF_CACHE_SIZE"
"""The environment variable that sets the bound, in MB."""

_MOST_MB = 256
_FORMAT = 1
_NAME = re.compile(r"(?P<kind>[a-z]+)-[0-9a-f]{64}\.json")
_PART = re.compile(r"\.[a-z]+-[0-9a-f]{64}\.[0-9a-f]+\.part")
_STALE = 3600
"""Seconds after which a file that is being written has been given up."""
_ABOUT = 300
"""Characters that tell what a result is of."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result that is kept."""

    kind: str
    """`profile` or `call`."""
    about: str
    """What it is a result of, for people."""
    size: int
    """Bytes."""
    used: float
    """When it was written or last read, in seconds since the epoch."""


@dataclass(slots=True)
class Cache:
    """Results in a directory. Whatever goes wrong with it is no error: a result is computed anew, and that is said once."""

    directory: Path
    most_bytes: int = _MOST_MB * 10**6

    def find(self, kind: str, key: str) -> str | None:
        """The text that was kept under a key; None when there is none, or it is damaged."""
        path = self._path(kind, key)
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
        with contextlib.suppress(OSError):  # a directory that can only be read is of use all the same
            os.utime(path)
        return text

    def keep(self, kind: str, key: str, about: str, text: str) -> None:
        """Keep a text; the least recently used go where there is more than the bound then."""
        body = text.encode("utf-8", "surrogatepass")
        goal = self._path(kind, key)
        head = json.dumps({"fxprof cache": _FORMAT, "about": about[:_ABOUT], "hash": _hash(goal.name, body)})
        part = goal.with_name(f".{goal.stem}.{secrets.token_hex(4)}.part")
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._is_free(goal):
                return
            try:
                with part.open("xb") as file:
                    file.write(head.encode() + b"\n" + body)
                part.replace(goal)
            finally:
                part.unlink(missing_ok=True)
            self._trim()
        except OSError as error:
            self._say("cannot be written to", error)

    def drop(self, kind: str, key: str) -> None:
        """Forget a result that turned out to be damaged, and say so."""
        self._say("held a damaged file", None)
        with contextlib.suppress(OSError):
            self._path(kind, key).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What is kept, the last used first.

        Raises:
            OSError: the directory cannot be read.
        """
        found = [(path, status) for path, status in self._files() if _NAME.fullmatch(path.name)]
        return [
            Entry(path.name.partition("-")[0], _about(path), status.st_size, status.st_mtime)
            for path, status in sorted(found, key=lambda item: (-item[1].st_mtime, item[0].name))
        ]

    def clear(self) -> int:
        """Remove all that is kept, and nothing else that may be in the directory; how many results there were.

        Raises:
            OSError: the directory cannot be read, or a file not be removed.
        """
        count = 0
        for path, _ in self._files():
            path.unlink(missing_ok=True)
            count += _NAME.fullmatch(path.name) is not None
        return count

    def _path(self, kind: str, key: str) -> Path:
        return self.directory / f"{kind}-{key}.json"

    def _is_free(self, goal: Path) -> bool:
        """Whether there is nothing, or one of our files; whoever put something else there may want it."""
        try:
            return self._is_ours(goal.lstat())
        except FileNotFoundError:
            return True

    def _is_ours(self, status: os.stat_result) -> bool:
        """Whether it is a file: reading a pipe would wait forever, and a link leads elsewhere."""
        regular = stat.S_ISREG(status.st_mode)
        if not regular:
            self._say("holds something else than a file under the name of a result", None)
        return regular

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files that are ours; a link is not, wherever it leads."""
        try:
            with os.scandir(self.directory) as found:
                items = list(found)
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
            stale = _PART.fullmatch(path.name) and time.time() - status.st_mtime > _STALE
            if stale or (size > self.most_bytes and _NAME.fullmatch(path.name)):
                path.unlink(missing_ok=True)
                size -= status.st_size

    def _say(self, what: str, error: OSError | None) -> None:
        why = f": {error.strerror or error}" if error else ""
        note(str(self.directory), f"fxprof: the cache {self.directory} {what}{why}; going on without it")


def default_cache() -> Cache:
    """The cache of this user, or the one that the environment names."""
    named = os.environ.get(DIRECTORY)
    megabytes = os.environ.get(SIZE, "")
    most = int(megabytes) if megabytes.isascii() and megabytes.isdecimal() and len(megabytes) < _DIGITS else _MOST_MB
    return Cache(Path(named) if named else user_cache_path("fxprof", appauthor=False), most * 10**6)


_DIGITS = 10


def _hash(name: str, body: bytes) -> str:
    """Of a result under its name: a file that was given the name of another result is not that one."""
    return hashlib.sha256(name.encode() + b"\n" + body).hexdigest()


def _content(raw: bytes, name: str) -> str | None:
    """The text of a file that is whole and ours."""
    head, _, body = raw.partition(b"\n")
    try:
        about = json.loads(head)
        if about["fxprof cache"] != _FORMAT or about["hash"] != _hash(name, body):
            return None
        return body.decode("utf-8", "surrogatepass")
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _about(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return str(json.loads(file.readline(_LONGEST))["about"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "(damaged)"


_LONGEST = 100_000
"""Bytes of the first line."""
