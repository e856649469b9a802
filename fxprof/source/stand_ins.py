"""Stand-ins: images, videos and tensors named by their sizes, for arguments of a pipeline.

    image:768x512          an RGB image, width x height
    mask:768x512           a mask of the same size, white all over
    video:16x768x512       frames x width x height, a list of RGB images
    tensor:1x1280          zeros of this shape, float32
    tensor:1x77:int64      zeros of this shape and type
    [image:64x64,mask:64x64]   a list of them, also of lists: [[image:64x64,image:64x64],[image:64x64,null]]

Inputs of a single component may leave `tensor:` out: `1x16x64x64`, `1x77:int64`, `1:int64`. Without sizes a tensor is a single
number of its type: `:int64`.

Only sizes matter for the cost of a pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fxprof import limits
from fxprof.errors import UsageError

_KINDS = {"image": 2, "mask": 2, "video": 3, "tensor": None}
"""Kind to its number of sizes; None for a tensor, which has any number."""
_FORM = re.compile(r"(?P<kind>[a-z]+):(?P<sizes>(?:\d{1,9}(?:x\d{1,9})*)?)(?::(?P<dtype>[a-z]+\d*))?")
_SHAPE = re.compile(r"\d{1,9}(?:\s*,\s*\d{1,9})+")
"""A shape as Python writes it."""
_LISTED = re.compile(r"(?:[\[\s,]|null)*(image|mask|video|tensor):[\dx]")
"""The beginning of a list whose first item, apart from `null`, looks like a stand-in."""
_PARTS = re.compile(r"[\[\]]|[^\[\],]+")
_DEEPEST = 6
"""Levels of lists within lists."""
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")
_LOOKS_LIKE_ONE = re.compile(rf"(image|mask|video|tensor):[\dx]|tensor::(?:{'|'.join(_DTYPES)})$")
_LOOKS_SHORT = re.compile(rf"\d+[x:]|:(?:{'|'.join(_DTYPES)})$")
_EXAMPLES = "write image:768x512 (width x height), mask:768x512, video:16x768x512 or tensor:1x77:int64"
_MOST = limits.STAND_IN_ELEMENTS


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image, mask, video or tensor, known by its size alone."""

    kind: str
    sizes: tuple[int, ...]
    """Width and height; frames, width and height; or the shape."""
    dtype: str = "float32"
    """Element type of a tensor."""

    def __str__(self) -> str:
        """The text for the command line."""
        told = self.kind == "tensor" and (self.dtype != "float32" or not self.sizes)
        suffix = f":{self.dtype}" if told else ""
        return f"{self.kind}:{'x'.join(map(str, self.sizes))}{suffix}"


def stand_in(text: str) -> Any:
    """The stand-in of a text, or a list of stand-ins; None for any other text.

    Raises:
        UsageError: the text begins like a stand-in but is none, or names more elements than any pipeline takes.
    """
    if text.startswith("[") and text.endswith("]"):
        return _several(text) if _LISTED.match(text) else None
    return _one(text) if _LOOKS_LIKE_ONE.match(text) else None


def _several(text: str) -> list[Any]:
    """The lists that brackets and commas make; `null` is nothing."""
    whole: list[Any] = []
    open_lists = [whole]
    for part in _PARTS.findall(text):
        if part == "[":
            open_lists[-1].append([])
            open_lists.append(open_lists[-1][-1])
        elif part == "]":
            open_lists.pop()
        elif part.strip():
            open_lists[-1].append(None if part.strip() == "null" else _one(part.strip()))
        if not open_lists or len(open_lists) > _DEEPEST:
            break
    if len(open_lists) != 1 or len(whole) != 1:
        raise UsageError(f"the brackets of {text!r} do not match", _EXAMPLES)
    return list(whole[0])


def input_value(value: Any) -> Any:
    """An input of a module, with a stand-in for each text in it that names one.

    Raises:
        UsageError: as `stand_in`; or a text begins like a tensor's shape but is none.
    """
    if isinstance(value, str):
        text = re.sub(r"\s*,\s*", "x", value) if _SHAPE.fullmatch(value) else value
        made = _one(f"tensor:{text}") if _LOOKS_SHORT.match(text) else stand_in(text)
        return value if made is None else made
    if type(value) in (list, tuple):
        return type(value)(input_value(item) for item in value)
    if type(value) is dict:
        return {key: input_value(item) for key, item in value.items()}
    return value


def for_each_sample(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a module, with a tensor of one element per sample for each number, as pipelines pass timesteps.

    The first tensor gives the number of samples. Elements are zeros, as only sizes matter.
    """
    batch = next((value.sizes[0] for value in inputs.values() if isinstance(value, StandIn) and value.sizes), 1)
    return {name: _sampled(value, batch) for name, value in inputs.items()}


def _sampled(value: Any, batch: int) -> Any:
    if type(value) is int:
        return StandIn("tensor", (batch,), "int64")
    return StandIn("tensor", (batch,)) if type(value) is float else value


def _one(text: str) -> StandIn:
    match = _FORM.fullmatch(text)
    if match is None or match["kind"] not in _KINDS:
        raise UsageError(f"{text!r} is not an image, mask, video or tensor", _EXAMPLES)
    sizes = tuple(map(int, match["sizes"].split("x"))) if match["sizes"] else ()
    made = StandIn(match["kind"], sizes, match["dtype"] or "float32")
    wanted = _KINDS[made.kind]
    if wanted not in {None, len(made.sizes)} or 0 in made.sizes or not (made.sizes or match["dtype"]):
        raise UsageError(f"{text!r} needs {wanted or 'its'} sizes, all of at least 1", _EXAMPLES)
    if made.dtype not in _DTYPES or (made.kind != "tensor" and match["dtype"]):
        raise UsageError(f"{text!r} has an element type that it cannot have", f"a tensor may be {', '.join(_DTYPES)}")
    elements = 1
    for size in made.sizes:
        elements *= size
    if elements > _MOST:
        raise UsageError(f"{text!r} is larger than any pipeline takes")
    return made
