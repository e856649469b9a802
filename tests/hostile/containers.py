"""Files and zip archives: what is none, what is damaged, and what would fill a disk or a memory."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import archives

from hostile.case import Case, Make, entries, file, nested

PACKED = archives.packed(archives.entries())
LIBRARY = b"\x7fELF\x02\x01\x01" + bytes(60)
MODEL = "models/model.json"


def _with(change: Callable[[archives.Entries], None], **options: int) -> Make:
    """An archive whose entries are changed."""

    def make(folder: Path) -> Path:
        parts = archives.entries()
        change(parts)
        return file(archives.packed(parts, **options))(folder)  # type: ignore[arg-type]  # the method of packing

    return make


def _named(name: str, content: bytes = b"") -> Make:
    return _with(lambda parts: parts.update({name: content}))


def _alone(*names: str) -> Make:
    """A zip archive with other things in it than a graph."""
    return file(archives.packed(dict.fromkeys(names, b"\x80\x02N.")))


def _twice(name: str) -> Make:
    """Two entries of one name, as a careless program writes them: readers disagree on which one counts."""

    def make(folder: Path) -> Path:
        other = name[:-1] + "_"
        whole = archives.packed({**archives.entries(), other: b""})
        return file(whole.replace(f"net/{other}".encode(), f"net/{name}".encode()))(folder)

    return make


def _patched(field: int, value: bytes, *, central: bool = True, local: bool = True, name: str = MODEL) -> Make:
    """An archive in whose headers of one entry some bytes are changed.

    Args:
        field: offset in the local header; in the central one it lies two bytes further on.
        value: to be put there.
        central: whether the directory at the end is changed.
        local: whether the header before the data is changed.
        name: of the entry.
    """

    def make(folder: Path) -> Path:
        data = bytearray(PACKED)
        full = f"net/{name}".encode()
        starts = [(data.find(full) - 30, field)] * local + [(data.rfind(full) - 46, field + 2)] * central
        for start, place in starts:
            data[start + place : start + place + len(value)] = value
        return file(bytes(data))(folder)

    return make


def bomb(size: int, method: int = zipfile.ZIP_DEFLATED, content: bytes = b" ") -> Make:
    """A graph of many equal bytes, packed small."""
    return _with(lambda parts: parts.update({MODEL: content * size}), method=method)


def _packed_in_halves(folder: Path) -> Path:
    """Blanks with some noise, so that they grow no more than a graph might, as far as a graph may go."""
    content = (b" " * 2**20 + os.urandom(2000).hex().encode()) * 120
    return file(archives.packed({**archives.entries(), MODEL: content}, method=zipfile.ZIP_DEFLATED))(folder)


def _many(count: int) -> Make:
    """The directory of so many empty entries, each with its name, all of which lie at the beginning."""
    names = [f"net/{place:07}".encode() for place in range(count)]
    directory = b"".join(b"PK\x01\x02" + bytes(24) + struct.pack("<H", len(name)) + bytes(16) + name for name in names)
    return file(b"PK\x03\x04" + bytes(26) + directory + _end(len(directory), 30))


def _end(size: int, place: int) -> bytes:
    """The last bytes of an archive, which say how large its directory is, and where it begins."""
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, size, place, 0)


def _overlapping(folder: Path) -> Path:
    """Many programs that share the bytes of one: entries of the directory that all point to the same place."""
    big = b'{"a":"' + b" " * 2**20 + b'"}'
    whole = archives.packed({"models/a.json": big, "models/b.json": b"", "models/c.json": b""}, method=zipfile.ZIP_DEFLATED)
    data = bytearray(whole)
    first = data.rfind(b"net/models/a.json") - 46
    for other in (b"net/models/b.json", b"net/models/c.json"):
        start = data.rfind(other) - 46
        data[start + 10 : start + 28] = data[first + 10 : first + 28]
        data[start + 42 : start + 46] = data[first + 42 : first + 46]
    return file(bytes(data))(folder)


def _bomb_in_a_bomb(folder: Path) -> Path:
    inner = archives.packed({MODEL: b" " * 2**24}, method=zipfile.ZIP_DEFLATED)
    return file(archives.packed({**archives.entries(), MODEL: inner}, method=zipfile.ZIP_DEFLATED))(folder)


def _many_programs(folder: Path) -> Path:
    """Each within what one may hold, and all together far beyond it."""
    one = b'{"a": "' + b" " * 50_000_000 + b'"}'
    return file(archives.packed({f"models/m{place}.json": one for place in range(3)}))(folder)


def _endless_directory(folder: Path) -> Path:
    """A file of which nearly all is the zip archive's directory, of entries without names."""
    entry = b"PK\x01\x02" + bytes(42)
    count, path = 2_000_000, folder / "x.pt2"
    with path.open("wb") as out:
        out.write(b"PK\x03\x04" + bytes(26))
        for _ in range(count // 10_000):
            out.write(entry * 10_000)
        out.write(_end(count * len(entry), 30))
    return path


def many_values(count: int, one: bytes = b"[]") -> bytes:
    """A list that is many times as large in memory as in the file."""
    return b"[" + (one + b",") * (count // (one.count(b"{") + 1 if b"{" in one else 2)) + b"1]"


def _huge_zip64(folder: Path) -> Path:
    """The directory is said to be where no file reaches."""
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 2**63 - 1, 2**63 - 1)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return file(b"PK\x03\x04" + end64 + locator + end)(folder)


def _encrypted() -> Make:
    return _patched(6, b"\x01\x00")


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.pt2")
    return folder / "x.pt2"


def _directory(folder: Path) -> Path:
    (folder / "x.pt2").mkdir()
    return folder / "x.pt2"


def _link(goal: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / "x.pt2").symlink_to(goal)
        return folder / "x.pt2"

    return make


def _text(text: str, encoding: str) -> Make:
    return entries(models__model_json=text.encode(encoding))


_SOUND = archives.written(archives.model()).decode()
_DEEP = 20_000

CASES: dict[str, Case] = {
    # --- no zip archive
    "empty": (file(b""), "it is empty"),
    "one byte": (file(b"P"), "not a zip archive"),
    "text": (file(b"hello\n" * 10), "not a zip archive"),
    "JSON": (file(archives.written(archives.model())), "not a zip archive"),
    "noise": (file(bytes(range(256)) * 40), "not a zip archive"),
    "pickle 2": (file(b"\x80\x02}q\x00."), "a file of Python's pickle, which is never opened"),
    "pickle 4": (file(b"\x80\x04\x95\x00"), "a file of Python's pickle, which is never opened"),
    "GGUF": (file(b"GGUF\x03\x00\x00\x00" + bytes(80)), "a GGUF file, which holds weights but no graph"),
    "safetensors": (file(struct.pack("<Q", 14) + b'{"a": {"b":1}}'), "a safetensors file, which holds weights but no graph"),
    "ONNX": (file(b"\x08\x07\x12\x07pytorch\x1a\x052.0.0" + bytes(40)), "an ONNX file"),
    "ExecuTorch": (file(b"\x1c\x00\x00\x00ET12" + bytes(60)), "a program of ExecuTorch, which is compiled"),
    "HDF5": (file(b"\x89HDF\r\n\x1a\n" + bytes(60)), "an HDF5 file, which holds weights but no graph"),
    "shared library": (file(LIBRARY), "a compiled library"),
    "gzip": (file(b"\x1f\x8b\x08\x00" + bytes(60)), "not a zip archive"),
    "zip signature alone": (file(b"PK\x03\x04"), "it is damaged"),
    "zip without entries": (file(b"PK\x05\x06" + bytes(18)), "holds no graph of torch.export"),
    # --- special files
    "directory": (_directory, "x.pt2: it has no model_index.json; in it: nothing"),
    "fifo": (_fifo, "x.pt2': it is neither a file nor a directory"),
    "endless device": (_link("/dev/zero"), "x.pt2': it is neither a file nor a directory"),
    "link to nothing": (_link("nowhere"), "x.pt2': there is no such"),
    "link to itself": (_link("x.pt2"), "x.pt2': there is no such"),
    "link to a text": (_link(__file__), "not a zip archive"),
    # --- other zip archives
    "zip of something else": (_alone("readme.txt"), "holds no graph of torch.export (models/*.json)"),
    "torch.save": (_alone("data.pkl", "data/0", "version"), "it was written by torch.save: pickled objects, which are never"),
    "TorchScript": (_alone("code/__torch__.py", "data.pkl", "constants.pkl"), "it is a TorchScript file"),
    "AOTInductor": (_alone("data/aotinductor/model/x.so", "archive_format"), "it is a package of AOTInductor"),
    "npz": (file(archives.packed({"arr_0.npy": b"\x93NUMPY"}, root="")), "holds no graph of torch.export"),
    "model in a folder too many": (file(archives.packed(archives.entries(), root="a/b/")), "holds no graph of torch.export"),
    "newer archive": (entries(archive_version=b"1"), "its archive version is '1', and this fxprof reads 0"),
    "archive version of noise": (entries(archive_version=b"\xff\x1b[31m" * 50), "its archive version is '"),
    "huge archive version": (entries(archive_version=b"0" * 2**20), "its archive version is '000"),
    # --- damage
    "truncated": (file(PACKED[:-30]), "it is damaged"),
    "half": (file(PACKED[: len(PACKED) // 2]), "it is damaged"),
    "beginning cut off": (file(b"PK\x03\x04" + PACKED[3000:]), "it is damaged"),
    "wrong checksum": (_patched(14, b"\1\2\3\4"), "Bad CRC-32"),
    "smaller than said": (_patched(22, struct.pack("<L", 2**20)), "the archive states 1,048,576 bytes in "),
    "larger than said": (_patched(22, struct.pack("<L", 100)), "the archive states 100 bytes in "),
    "packed size beyond the end": (_patched(18, struct.pack("<L", 2**31)), "bytes in 2,147,483,648"),
    "other name in front": (_patched(30, b"NET/", central=False), "it is damaged"),
    "no header in front": (_patched(0, b"XXXX", central=False), "it is damaged"),
    "encrypted": (_encrypted(), "is encrypted"),
    "strongly encrypted": (_patched(6, b"\x40\x00"), "it is damaged"),
    "unknown packing": (_patched(8, b"\x63\x00"), "is packed by method 99"),
    "LZMA": (_patched(8, b"\x0e\x00"), "is packed by method 14"),
    "bzip2": (bomb(1000, zipfile.ZIP_BZIP2), "is packed by method 12"),
    "deflated noise": (_patched(8, b"\x08\x00"), "it is damaged"),
    "directory out of reach": (_huge_zip64, "it is damaged"),
    # --- names
    "absolute path": (file(archives.packed(archives.entries(), root="/etc/")), "an absolute path or one outside of it"),
    "parent path": (_named("../../evil.sh"), "an absolute path or one outside of it, 'net/../../evil.sh'"),
    "parent path of Windows": (_named("..\\evil.exe"), "an absolute path or one outside of it"),
    "drive": (file(archives.packed({"C:/evil/models/model.json": b"{}"}, root="")), "an absolute path or one outside"),
    "same name twice": (_twice("byteorder"), "two entries of the name 'net/byteorder'"),
    "same model twice": (_twice(MODEL), "two entries of the name 'net/models/model.json'"),
    "long name": (_named("../" + "n" * 60_000), "an absolute path or one outside of it, 'net/../nnn"),
    "model of a long name": (_named(f"models/{'n' * 60_000}.json", b"{}"), "the name of a program has 60,000 characters"),
    "model of a name that steers": (_named("models/\x1b[31mred\a.json", b"{}"), "\\x1b[31mred\\x07: schema_version is None"),
    "parent path that steers": (_named("../\x1b[2J\x1b]0;owned\a"), "'net/../\\x1b[2J\\x1b]0;owned\\x07'"),
    # --- too much
    "zip bomb": (bomb(2**25), "models/model.json' grows from"),
    "zip bomb of brackets": (bomb(2**25, content=b"["), "models/model.json' grows from"),
    "stored beyond all graphs": (bomb(2**27 + 1, zipfile.ZIP_STORED), "models/model.json' holds 134,217,729 bytes, more than"),
    "bomb in a bomb": (_bomb_in_a_bomb, "is not JSON"),
    "huge size declared": (_patched(22, b"\xfe\xff\xff\xff"), "models/model.json' holds 4,294,967,294 bytes, more than"),
    "overlapping entries": (_overlapping, "x.pt2: "),
    # --- JSON
    "no JSON": (entries(models__model_json=b"\x80\x02N."), "models/model.json' is not JSON"),
    "empty JSON": (entries(models__model_json=b""), "models/model.json' is not JSON"),
    "cut JSON": (entries(models__model_json=_SOUND[:-1].encode()), "models/model.json' is not JSON"),
    "UTF-16": (_text(_SOUND, "utf-16"), "models/model.json' is not JSON"),
    "byte order mark": (_text(_SOUND, "utf-8-sig"), "models/model.json' is not JSON"),
    "Latin-1": (_text(_SOUND.replace("net.Net", "é"), "latin-1"), "models/model.json' is not JSON"),
    "NaN": (_text(_SOUND.replace('"as_int": 0', '"as_float": NaN'), "utf-8"), "NaN is no number of JSON"),
    "infinity": (_text(_SOUND.replace('"as_int": 0', '"as_float": -Infinity'), "utf-8"), "-Infinity is no number of JSON"),
    "10,000 digits": (_text(_SOUND.replace('"minor": 20', f'"minor": {"1" * 10_000}'), "utf-8"), "is not JSON"),
    "deep lists": (entries(models__model_json=nested(b"1", 100_000)), "nests too deeply"),
    "deep objects": (entries(models__model_json=nested(b"1", _DEEP, (b'{"a":', b"}"))), "nests too deeply"),
    "deep table of weights": (entries(data__weights__model_weights_config_json=nested(b"", _DEEP)), "nests too deeply"),
}


COSTLY: dict[str, Case] = {
    "zip bomb of half a gigabyte": (bomb(2**29), "models/model.json' holds 536,870,912 bytes, more than"),
    "zip bomb below all limits": (_packed_in_halves, "models/model.json' is not JSON"),
    "300,000 entries": (_many(300_000), "entries, more than any archive of a graph"),
    "endless directory": (_endless_directory, "its directory takes more than"),
    "many programs": (_many_programs, "bytes, more than"),
    "many lists": (entries(models__model_json=many_values(20_000_000)), "values, more than"),
    "as many lists as a graph may hold": (entries(models__model_json=many_values(3_900_000)), "x.pt2: "),
    "as many objects as a graph may hold": (entries(models__model_json=many_values(3_900_000, b'{"a":{}}')), "x.pt2: "),
    "many names of sizes": (entries(extra__dim_names_json=many_values(20_000_000)), "dim_names.json' holds "),
    "many weights": (entries(data__weights__model_weights_config_json=many_values(20_000_000)), "values, more than"),
}
"""Files that would take more time or memory than there is, if they were let."""
