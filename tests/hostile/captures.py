"""Directories of captured runs whose manifest, or whose graphs, no run wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archives

from hostile.case import CALL, DELETED, RUN, Case, Change, Make, manifest, nested, put
from hostile.containers import many_values

COMPONENT = ("components", 0)
OP = (*RUN, "ops", 0)
CAPTURE = "capture.json: "
MODULES = (*COMPONENT, "modules")


def _written(content: bytes) -> Make:
    return manifest(lambda _whole: content)


def _then(change: Callable[[Path], None]) -> Make:
    """A captured run, of which something is done to the files."""

    def make(folder: Path) -> Path:
        path = archives.write_capture(folder / "run")
        change(path)
        return path

    return make


def _graph(content: bytes) -> Make:
    def change(path: Path) -> None:
        (path / "unet.pt2").write_bytes(content)

    return _then(change)


def _fifo(name: str) -> Make:
    def change(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return _then(change)


def _directory(path: Path) -> None:
    (path / "unet.pt2").unlink()
    (path / "unet.pt2").mkdir()


def _emptied(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _device(path: Path) -> None:
    (path / "unet.pt2").unlink()
    (path / "unet.pt2").symlink_to("/dev/zero")


def _again(whole: Any) -> None:
    whole["components"][0]["calls"].append(dict(whole["components"][0]["calls"][0]))


def _twice(whole: Any) -> None:
    whole["components"].append({**whole["components"][0], "calls": []})


WEIGHT = ["parameter", "Linear", "weight", [2, 2], [["int8", 4]], True, []]


def weighed(groups: Any, held: Any = None, place: int = 0) -> Make:
    """A captured run with weights, all of which the first module holds unless `held` says otherwise."""

    def change(whole: Any) -> None:
        component = whole["components"][0]
        component["weights"] = groups
        first = [[place], *[[] for _ in component["modules"][1:]]]
        if held is not DELETED:
            component["held_weights"] = first if held is None else held

    return manifest(change)


def op(argument: Any) -> Change:
    """An argument of the operator that was run for real."""
    return put(*OP, "args", to=[["a", argument]])


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _two_programs(path: Path) -> None:
    whole = {**archives.entries(), "models/other.json": archives.written(archives.model())}
    (path / "unet.pt2").write_bytes(archives.packed(whole))


def _many_calls(folder: Path) -> Path:
    """A thousand calls of one graph, under a name each."""
    path = archives.write_capture(folder / "run")
    whole = archives.manifest()
    call = whole["components"][0]["calls"][0]
    for place in range(1000):
        (path / f"{place}.pt2").symlink_to("unet.pt2")
        whole["components"][0]["calls"].append({**call, "file": f"{place}.pt2"})
    (path / "capture.json").write_bytes(archives.written(whole))
    return path


CASES: dict[str, Case] = {
    # --- the manifest as a file
    "manifest empty": (_written(b""), f"{CAPTURE}it is not JSON"),
    "manifest a zip archive": (_written(archives.packed(archives.entries())), f"{CAPTURE}it is not JSON"),
    "manifest UTF-16": (_written("{}".encode("utf-16")), f"{CAPTURE}it is not JSON"),
    "manifest with a byte order mark": (_written(b"\xef\xbb\xbf{}"), f"{CAPTURE}it is not JSON"),
    "manifest deep": (_written(nested(b"", 50_000)), f"{CAPTURE}it nests too deeply"),
    "manifest of objects in objects": (_written(nested(b"1", 50_000, (b'{"a":', b"}"))), f"{CAPTURE}it nests too deeply"),
    "manifest NaN": (_written(b'{"capture_format": NaN}'), f"{CAPTURE}it is not JSON: NaN is no number of JSON"),
    "manifest a list": (_written(b"[1]"), f"{CAPTURE}it is not the manifest of a captured run"),
    "manifest of something else": (_written(b'{"a": 1}'), f"{CAPTURE}it is not the manifest of a captured run"),
    "manifest format true": (manifest(put("capture_format", to=True)), f"{CAPTURE}it is not the manifest"),
    "manifest newer": (manifest(put("capture_format", to=2)), f"{CAPTURE}it is of format 2; this fxprof reads 1"),
    "manifest of format 10**4000": (manifest(put("capture_format", to=10**4000)), f"{CAPTURE}it is of format 1000000"),
    "manifest of 10,000 digits": (_written(b'{"capture_format": ' + b"1" * 10_000 + b"}"), f"{CAPTURE}it is not JSON"),
    "manifest a fifo": (_fifo("capture.json"), "it has no model_index.json"),
    # --- its fields
    "no components": (manifest(put("components", to=DELETED)), f"{CAPTURE}components is None, not a list"),
    "component null": (manifest(put(*COMPONENT, to=None)), "components[0] is None, not an object"),
    "component named by a list": (manifest(put(*COMPONENT, "name", to=["a"])), "components[0].name is a list, not a name"),
    "two components of one name": (manifest(_twice), "components holds two components of the same name"),
    "component that steers": (manifest(put(*COMPONENT, "name", to="\x1b[2J")), "components[0].name is '\\x1b[2J'"),
    "component of a megabyte": (manifest(put(*COMPONENT, "name", to="n" * 2**20)), "components[0].name is 'nnn"),
    "class null": (manifest(put(*COMPONENT, "class_name", to=None)), "components[0].class_name is None, not a name"),
    "tiling 1": (manifest(put(*COMPONENT, "tiling", to=1)), "components[0].tiling is 1, not true or false"),
    "workload a list": (manifest(put("workload", to=[])), "workload is a list, not an object"),
    "workload nested": (manifest(put("workload", "a", to={"b": 1})), "workload.a is an object, not a plain value"),
    "workload infinite": (manifest(put("workload", "a", to=float("inf"))), "Infinity is no number of JSON"),
    "workload 10**400": (manifest(put("workload", "a", to=10**400)), "workload.a is 1000000"),
    "versions of numbers": (manifest(put("versions", "torch", to=2)), "versions.torch is 2, not a name"),
    "image size of three": (manifest(put("image_size", to=[1, 2, 3])), "image_size is not a height and a width"),
    "image size negative": (manifest(put("image_size", to=[1, -2])), "image_size is -2, but cannot be negative"),
    "guided a text": (manifest(put("guided", to="yes")), "guided is 'yes', not true or false"),
    "remarks a text": (manifest(put("remarks", to="none")), "remarks is 'none', not a list"),
    "remarks of numbers": (manifest(put("remarks", to=[1])), "remarks is not a list of texts"),
    "aliases a list": (manifest(put(*COMPONENT, "aliases", to=[["a", "b"]])), "aliases is a list, not an object"),
    "alias of a number": (manifest(put(*COMPONENT, "aliases", to={"a": 1})), "aliases.a is 1, not a name"),
    "alias to a deep module": (manifest(put(*COMPONENT, "aliases", to={"conv": ".".join("a" * 300)})), "300 levels deep"),
    "alias to itself through another": (manifest(put(*COMPONENT, "aliases", to={"conv": "fc", "fc": "conv"})), "aliases"),
    # --- modules
    "modules null": (manifest(put(*MODULES, to=None)), "components[0].modules is None, not a list"),
    "module without a class": (manifest(put(*MODULES, 1, to="conv")), "holds 'conv', which is out of order or damaged"),
    "module twice": (manifest(put(*MODULES, 2, to="conv Conv2d 0")), "holds 'conv Conv2d 0', which is out of order or damaged"),
    "module without its parent": (
        manifest(put(*MODULES, 2, to="a.b C 0")),
        "holds 'a.b C 0', which is out of order or damaged",
    ),
    "module of -1 parameters": (
        manifest(put(*MODULES, 1, to="conv C -1")),
        "holds 'conv C -1', which is out of order or damaged",
    ),
    "module of ² parameters": (manifest(put(*MODULES, 1, to="conv C ²")), "which is out of order or damaged"),
    "module of 10**100 parameters": (manifest(put(*MODULES, 1, to=f"conv C 1{'0' * 100}")), "not an integer of 64 bits"),
    "module of 4,900 digits": (manifest(put(*MODULES, 1, to=f"conv C {'1' * 3900}")), "modules is 11111"),
    # --- weights
    "weights null": (weighed(None), "components[0].weights is None, not a list"),
    "weight of a stranger's kind": (weighed([["gradient", *WEIGHT[1:]]]), "which is not a weight"),
    "weight of size -1": (weighed([[*WEIGHT[:3], [-1], *WEIGHT[4:]]]), "weights is -1, but cannot be negative"),
    "weight of -1 bytes": (weighed([[*WEIGHT[:4], [["int8", -1]], *WEIGHT[5:]]]), "weights is -1, but cannot be negative"),
    "weight of no pair": (weighed([[*WEIGHT[:4], [["int8"]], *WEIGHT[5:]]]), "whose parts are no pairs"),
    "weight that a stranger skips": (weighed([[*WEIGHT[:6], ["me"]]]), "which no known package skips"),
    "weights that nobody holds": (weighed([WEIGHT], held=DELETED), "held_weights is None, not a list"),
    "weights of other modules": (weighed([WEIGHT], held=[]), "held_weights has 0 lists for"),
    "weights that are not there": (weighed([WEIGHT], place=1), "holds 1, which is not a position among 1 weights"),
    "weights that grow by a text": (manifest(put(*CALL, "more_weight_bytes", to="1")), "is '1', not a difference of bytes"),
    "weights that grow by 2**63": (manifest(put(*CALL, "more_weight_bytes", to=2**63)), "not a difference of bytes"),
    # --- calls
    "call null": (manifest(put(*CALL, to=None)), "components[0].calls[0] is None, not an object"),
    "count negative": (manifest(put(*CALL, "count", to=-1)), "calls[0].count is -1, but cannot be negative"),
    "count true": (manifest(put(*CALL, "count", to=True)), "calls[0].count is True, not an integer"),
    "count 1.5": (manifest(put(*CALL, "count", to=1.5)), "calls[0].count is 1.5, not an integer"),
    "count 10**40": (manifest(put(*CALL, "count", to=10**40)), "calls[0].count is 1000000"),
    "entry null": (manifest(put(*CALL, "entry", to=None)), "calls[0].entry is None, not a name"),
    "entry deep": (manifest(put(*CALL, "entry", to=".".join("a" * 500))), "calls[0].entry names a module 500 levels deep"),
    "note a number": (manifest(put(*CALL, "note", to=0)), "calls[0].note is not a text"),
    "inputs a text": (manifest(put(*CALL, "inputs", to="x")), "calls[0].inputs is 'x', not a list"),
    "input of size -1": (manifest(put(*CALL, "inputs", 0, "shape", to=[-1])), "inputs.shape is -1, but cannot be negative"),
    "input of a null size": (manifest(put(*CALL, "inputs", 0, "shape", to=[None])), "inputs.shape is None, not an integer"),
    "input without a value": (manifest(put(*CALL, "inputs", to=[{"name": "x"}])), "inputs.value is None, not a text"),
    # --- graphs
    "file null": (manifest(put(*CALL, "file", to=None)), "calls[0].file is None, not a name"),
    "file of the parent": (manifest(put(*CALL, "file", to="../unet.pt2")), "file is '../unet.pt2', which is not in the"),
    "file absolute": (manifest(put(*CALL, "file", to="/etc/passwd")), "file is '/etc/passwd', which is not in the directory"),
    "file the directory": (manifest(put(*CALL, "file", to=".")), "file is '.', which is not in the directory"),
    "file of no name": (manifest(put(*CALL, "file", to="")), "file"),
    "file with a null character": (manifest(put(*CALL, "file", to="a\0b")), "a\\x00b"),
    "file that steers": (manifest(put(*CALL, "file", to="\x1b[31m.pt2")), "file is '\\x1b[31m.pt2', not a name"),
    "file of 300 characters": (manifest(put(*CALL, "file", to="f" * 300)), "file name too long"),
    "file of Windows": (manifest(put(*CALL, "file", to="..\\unet.pt2")), "file is '..\\\\unet.pt2', which is not in"),
    "file missing": (manifest(put(*CALL, "file", to="vae.pt2")), "vae.pt2: no such file or directory"),
    "file the manifest": (manifest(put(*CALL, "file", to="capture.json")), "capture.json: it is not a zip archive"),
    "file named by two calls": (manifest(_again), "calls[2].file is 'unet.pt2', the file of another call"),
    "graph empty": (_graph(b""), "unet.pt2: it is empty"),
    "graph truncated": (_graph(archives.packed(archives.entries())[:-40]), "unet.pt2: it is damaged"),
    "graph a fifo": (_fifo("unet.pt2"), "unet.pt2: it is not a regular file"),
    "graph a directory": (_then(_directory), "unet.pt2: it is not a regular file"),
    "graph an endless device": (_then(_device), "unet.pt2: it is not a regular file"),
    "graph of two programs": (_then(_two_programs), "unet.pt2: it holds 2 programs"),
    "directory without graphs": (_then(lambda path: (path / "unet.pt2").unlink()), "unet.pt2: no such file or directory"),
    "directory without a manifest": (_then(lambda path: (path / "capture.json").unlink()), "it has no model_index.json"),
    "directory that is empty": (_then(_emptied), "it has no model_index.json"),
    # --- operators
    "ops null": (manifest(put(*RUN, "ops", to=None)), "calls[1].ops is None, not a list"),
    "op of no name": (manifest(put(*OP, "target", to="")), "calls[1].ops.target is '', not a name"),
    "op with a strange argument": (manifest(put(*OP, "args", to=[[1, 2]])), "holds an item other than a name and a value"),
    "op with an object": (manifest(op({"a": 1})), "holds an object that is not a tensor"),
    "op with a tensor of text": (manifest(op({"shape": "1x2", "dtype": "float32"})), "shape is '1x2', not a list"),
    "op with a number of code": (manifest(op({"number": "__import__('os')"})), "which is not a number"),
    "op with deep lists": (manifest(op(deep(200))), "nests"),
    "op with a huge integer": (manifest(op(10**300)), "is 1000000"),
    "op with a strange frame": (manifest(put(*OP, "stack", to=[["a", "A"]])), "other than a path, a class and a number"),
    "op called True times": (manifest(put(*OP, "stack", to=[["a", "A", True]])), "other than a path, a class and a number"),
    "op in a deep module": (manifest(put(*OP, "stack", to=[[".".join("a" * 500), "A", 0]])), "500 levels deep"),
    "op of a source that is a list": (manifest(put(*OP, "source", to=[])), "source is a list, not a name"),
    "op of 1,000 sizes": (manifest(op({"shape": [1] * 1000, "dtype": "float32"})), "has 1,000 sizes"),
    "op of 2**64 elements": (manifest(op({"shape": [2**16] * 4, "dtype": "float32"})), "more elements than fit in 64 bits"),
}

COSTLY: dict[str, Case] = {
    "manifest of many lists": (_written(b'{"capture_format": 1, "a": ' + many_values(20_000_000) + b"}"), "values, more than"),
    "manifest of 200 MiB": (_written(b" " * 200 * 2**20), "it is larger than 128 MiB, the limit for a manifest"),
    "one graph under 1,000 names": (_many_calls, "calls[2].file is '0.pt2', the file of another call"),
}
"""Captured runs that would take more time or memory than there is, if they were let."""
