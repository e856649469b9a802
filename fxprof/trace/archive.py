"""The container of a `.pt2` file: a zip archive; only its JSON texts are read.

Torch pickles weights, example inputs and custom objects; these are never opened.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, NoReturn

from fxprof import limits
from fxprof.errors import TargetError
from fxprof.strict_json import count_values
from fxprof.trace.allowance import Allowance
from fxprof.trace.fields import brief, read_json

MOST_BYTES = limits.GRAPH_BYTES  # the graph of FLUX.1-dev's 12 billion parameters takes 11 MiB
MOST_RATIO = limits.GRAPH_GROWTH  # JSON usually compresses to a twentieth, rarely to a hundredth
MOST_ENTRIES = limits.GRAPH_ENTRIES
_LONGEST_LIST = limits.GRAPH_LIST_BYTES
_PIECE = 2**20
"""Bytes per read."""
_LONGEST_TEXT = 2**20
"""Bytes of a text other than a graph."""
_LONGEST_PROGRAM = 200
"""Characters of a program's name."""

LEGACY_MODEL = "serialized_exported_program.json"
"""The entry with the graph in archives of torch before 2.8."""
_MODELS = re.compile(r"models/(.*)\.json\Z", re.DOTALL)
"""The entries with graphs; a program's name may contain any character, even slashes."""
_COMPILED = (("data/aotinductor/", "AOTInductor"), ("data/executorch/", "ExecuTorch"))
"""Folders of compiled programs, each with the name of its compiler."""
_RECORDS = "data/weights/"
_WEIGHTS = f"{_RECORDS}{{}}_weights_config.json"
_EXTRA = ("extra/", "extra_files/")
"""Folders of further texts: the current one, and the one of torch before 2.8."""

_MAGIC = b"PK"
_OTHERS = (
    (b"\x80\x02", "a file of Python's pickle, which is never opened"),
    (b"\x80\x04", "a file of Python's pickle, which is never opened"),
    (b"\x80\x05", "a file of Python's pickle, which is never opened"),
    (b"GGUF", "a GGUF file, which holds weights but no graph"),
    (b"\x7fELF", "a compiled library"),
    (b"\x89HDF", "an HDF5 file, which holds weights but no graph"),
    (b"\x08", "not a zip archive, but perhaps an ONNX file"),
)
"""First bytes of files of other formats, each with a description."""
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError),
)
"""Errors that reading a damaged, encrypted or oddly packed archive can raise."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Supported compression methods: that of torch, and that of archives that were packed again."""

_WRITE = "write it with torch.export.save(program, 'file.pt2')"


@dataclass(frozen=True, slots=True)
class Archive:
    """The JSON texts of an archive, parsed."""

    programs: Mapping[str, Any]
    """Name of each exported program to its JSON; a single program is called `model`."""
    weights: Mapping[str, Any]
    """Name of a program to the JSON that lists the places of its weights; empty for old archives."""
    extra: Mapping[str, str]
    """Further texts in the archive, by name."""
    empty: frozenset[str] = frozenset()
    """Names of empty weight records: torch gives all weights that never had data a single record."""
    remarks: tuple[str, ...] = ()
    """Sentences about the other contents of the archive."""


def looks_like_archive(path: str | Path, head: bytes) -> bool:
    """Whether a file is an archive, or should be one by its name: it begins like a zip file, or its name ends in `.pt2`."""
    return head.startswith(_MAGIC) or str(path).lower().endswith(_SUFFIXES)


_SUFFIXES = (".pt2", ".pt", ".pth", ".ptl", ".pte", ".bin", ".ckpt")


def read_archive(
    path: str | Path, opened: FileIO | None = None, *, extra: tuple[str, ...] = (), allowance: Allowance | None = None
) -> Archive:
    """Read the JSON texts of an archive that `torch.export.save` wrote.

    Args:
        path: of the file; its name does not matter.
        opened: the already open file, at its beginning; it is closed afterwards.
        extra: names of further texts to read if they exist.
        allowance: the amount that may still be read; by default that of one file.

    Raises:
        TargetError: the file is not such an archive, is damaged, or holds more than any graph.
    """
    with _Bounded(opened or _open(path)) as raw:
        _refuse_other_files(path, raw)
        try:
            with zipfile.ZipFile(raw) as file:
                return _Reader(path, file, allowance or Allowance()).archive(extra)
        except _BROKEN as error:
            raise _unreadable(path, f"it is damaged: {str(error)[:200] or type(error).__name__}") from error


class _Bounded(BufferedReader):
    """A file that refuses to be read in pieces larger than the largest allowed archive directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or all remaining ones."""
        if size is not None and size > _LONGEST_LIST:
            raise zipfile.BadZipFile(f"its directory takes more than {_LONGEST_LIST:,} bytes")
        return super().read(_LONGEST_LIST if size is None or size < 0 else size)


def _open(path: str | Path) -> FileIO:
    try:
        if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for its writer
            raise _unreadable(path, "it is not a regular file")
        return FileIO(path)
    except (OSError, ValueError) as error:
        raise _cannot(path, error) from error


def _cannot(path: str | Path, error: OSError | ValueError) -> TargetError:
    text = str(getattr(error, "strerror", "") or error)
    return _unreadable(path, text[:1].lower() + text[1:])


def _refuse_other_files(path: str | Path, file: _Bounded) -> None:
    try:
        head = file.peek(64)[:64]
    except OSError as error:
        raise _cannot(path, error) from error
    if not head.startswith(_MAGIC):
        raise TargetError(f"cannot read {path}: it is {_kind(head)}", f"a .pt2 file is a zip archive; {_WRITE}")


def _kind(head: bytes) -> str:
    """A description of a file by its first bytes."""
    if not head:
        return "empty"
    if head[4:6] == b"ET":
        return "a program of ExecuTorch, which is compiled"
    if head[8:10] == b'{"':
        return "a safetensors file, which holds weights but no graph"
    return next((text for magic, text in _OTHERS if head.startswith(magic)), "not a zip archive")


def _unreadable(path: str | Path, what: str) -> TargetError:
    return TargetError(f"cannot read {path}: {what}", _WRITE)


def _root(names: list[str]) -> str:
    """The folder that torch puts around all entries; "" if there is none."""
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1 or not all("/" in name for name in names):
        return ""
    root = f"{roots.pop()}/"
    around = any(
        name.removeprefix(root).startswith("models/") or name in (f"{root}archive_format", f"{root}version") for name in names
    )
    return root if around or not any(map(_MODELS.match, names)) else ""


def _shown(names: Iterable[str]) -> dict[str, str]:
    """Each program's name as reports show it: printable, not empty, and unique."""
    shown: dict[str, str] = {}
    for name in names:
        text = base = _printable(name) or "(no name)"
        number = 2
        while text in shown.values():
            text, number = f"{base} ({number})", number + 1
        shown[name] = text
    return shown


def _leads_out(name: str) -> bool:
    """Whether a path leaves the folder that it begins in; a program's name may contain a `..` that does not."""
    depth = 0
    for part in re.split(r"[/\\]", name):
        depth += (part not in {"", ".", ".."}) - (part == "..")
        if part == ".." and depth < 1:
            return True
    return False


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in name)


_SHOWN = 6
"""Compiled programs that a remark names."""


class _Reader:
    """Reads one open archive; its names leave out the folder that torch puts around all entries."""

    def __init__(self, path: str | Path, file: zipfile.ZipFile, allowance: Allowance) -> None:
        self._path = path
        self._allowance = allowance
        self._file = file
        self._left = MOST_BYTES
        self._entries = self._list()

    def _fail(self, what: str, hint: str = "") -> NoReturn:
        raise TargetError(f"cannot read {self._path}: {what}", hint)

    def _list(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._file.infolist()
        if len(infos) > MOST_ENTRIES:
            self._fail(f"it has {len(infos):,} entries, more than any archive of a graph has")
        names = [info.filename for info in infos]
        for name in names:
            if name.startswith(("/", "\\")) or _leads_out(name) or re.match(r"[A-Za-z]:", name):
                self._fail(f"it has an entry with an absolute path or one outside of it, {brief(name)}")
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            self._fail(f"it has two entries of the name {brief(twice)}")
        root = _root(names)
        return {name.removeprefix(root): info for name, info in zip(names, infos, strict=True)}

    def archive(self, extra: tuple[str, ...]) -> Archive:
        models = {match[1]: name for name in self._entries if (match := _MODELS.match(name))}
        for name in models:
            if len(name) > _LONGEST_PROGRAM:
                self._fail(f"the name of a program has {len(name):,} characters: {brief(name)}")
        if len(models) > limits.COMPONENTS:
            self._fail(f"it holds {len(models):,} programs, more than {limits.COMPONENTS:,}")
        if LEGACY_MODEL in self._entries and not models:
            return Archive({"model": self._json(LEGACY_MODEL)}, {}, self._extra(extra))
        if not models:
            self._refuse()
        self._check_version()
        weights = {name: _WEIGHTS.format(name) for name in models}
        shown = _shown(models)
        return Archive(
            {shown[name]: self._json(entry) for name, entry in models.items()},
            {shown[name]: self._json(entry) for name, entry in weights.items() if entry in self._entries},
            self._extra(extra),
            frozenset(self._empty_records()),
            tuple(self._compiled()),
        )

    def _compiled(self) -> Iterator[str]:
        """Remarks about compiled programs, which have no graph."""
        for folder, maker in _COMPILED:
            below = (name.removeprefix(folder) for name in self._entries if name.startswith(folder))
            names = list(dict.fromkeys(name.partition("/")[0] for name in below))
            if names:
                listed = ", ".join(map(_printable, names[:_SHOWN])) + (" …" if len(names) > _SHOWN else "")
                yield f"the file also holds programs compiled by {maker} ({listed}); they have no graph and are not counted"

    def _empty_records(self) -> Iterator[str]:
        for name, info in self._entries.items():
            if name.startswith(_RECORDS) and not info.file_size:
                yield name.removeprefix(_RECORDS)

    def _extra(self, names: tuple[str, ...]) -> dict[str, str]:
        entries = {name: f"{folder}{name}" for name in names for folder in _EXTRA if f"{folder}{name}" in self._entries}
        return {name: self._bytes(entry, _LONGEST_TEXT).decode("utf-8", "replace") for name, entry in entries.items()}

    def _check_version(self) -> None:
        if "archive_version" in self._entries:
            version = self._bytes("archive_version", _LONGEST_TEXT).strip().decode("ascii", "replace")
            if version != "0":
                self._fail(f"its archive version is {brief(version)}, and this fxprof reads 0", "is there a newer fxprof?")

    def _refuse(self) -> NoReturn:
        """Refuse a zip archive without a graph, and say what kind of file it is."""
        names = list(self._entries)
        if any("data/aotinductor/" in name for name in names):
            self._fail(
                "it is a package of AOTInductor: compiled kernels without a graph", f"keep the exported program; {_WRITE}"
            )
        if any(name.startswith("code/") for name in names):
            self._fail("it is a TorchScript file, which holds code and no exported graph", f"export the module again; {_WRITE}")
        if any(name.endswith("data.pkl") for name in names):
            self._fail("it was written by torch.save: pickled objects, which are never opened, and no graph", _WRITE)
        self._fail("it is a zip archive, but holds no graph of torch.export (models/*.json)", _WRITE)

    def _bytes(self, name: str, most: int = MOST_BYTES) -> bytes:
        info = self._entries[name]
        self._check_sizes(brief(name), info, min(most, self._left))
        with self._file.open(info) as stream:
            data = b"".join(iter(lambda: stream.read(_PIECE), b""))
        if len(data) != info.file_size:
            self._fail(f"{brief(name)} holds {len(data):,} bytes, but the archive states {info.file_size:,}")
        self._left -= len(data)
        return data

    def _check_sizes(self, name: str, info: zipfile.ZipInfo, most: int) -> None:
        """Refuse an entry by the sizes that the archive states, before anything is unpacked."""
        if info.compress_type not in _METHODS:
            self._fail(f"{name} is packed by method {info.compress_type}, which torch does not use", _WRITE)
        if info.file_size > most:
            self._fail(f"{name} holds {info.file_size:,} bytes, more than {most:,}")
        if info.file_size > MOST_RATIO * max(info.compress_size, 1) and info.file_size > 2**20:
            self._fail(f"{name} grows from {info.compress_size:,} to {info.file_size:,} bytes, more than any graph does")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            self._fail(f"{name} is not packed, but the archive states {info.file_size:,} bytes in {info.compress_size:,}")

    def _json(self, name: str) -> Any:
        data = self._bytes(name)
        self._allowance.values(count_values(data), brief(name))
        return read_json(data, brief(name))
