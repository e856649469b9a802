"""Values that a rehearsal cannot know: the tensors that hold them, and the reads of them by a program.

Weights are zeros and captured calls are answered with zeros, so everything that is computed from these is *unknown*: only its
shape is true. A tensor made of known ones (a mask, a timestep, a token) is known. If Python reads an unknown value and then
decides by it, the rest is a guess, and the result has to say so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxprof.capture.layouts import SPARSE, values_of

_aten = torch.ops.aten

_MARK = "_fxprof_unknown"

_SHAPES_ONLY = frozenset(
    {f"aten::{name}_like" for name in ("empty", "zeros", "ones", "full", "rand", "randn", "randint")}
    | {f"aten::new_{name}" for name in ("empty", "zeros", "ones", "full", "empty_strided")}
    | {f"aten::sym_{name}" for name in ("size", "numel", "stride", "storage_offset")}
)
"""Operators whose results do not depend on the values of their arguments."""

_READING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
_ALSO_READING = frozenset({"aten::equal", "aten::is_nonzero", "aten::allclose", "aten::_is_all_true", "aten::_is_any_true"})
_TO_SPARSE = "aten::_to_sparse"
"""The beginning of the names of operators that leave out zeros: `_nnz()` and the sizes of `values()` then read values."""
_DECIDED_BY = {"aten::masked_select": "mask", "aten::repeat_interleave": "repeats", "aten::index": "indices"}
"""For some operators that read, the one argument that decides the size of the result."""


def mark(tensor: torch.Tensor) -> torch.Tensor:
    """Record that the values of a tensor, and of all views of it, are unknown."""
    storage = storage_of(tensor)
    if storage is not None:
        setattr(storage, _MARK, True)
    return tensor


def is_unknown(tensor: torch.Tensor) -> bool:
    """Whether the values of a tensor are unknown."""
    return getattr(storage_of(tensor), _MARK, False)


def storage_of(tensor: torch.Tensor) -> Any:
    """The memory of a tensor, which can hold Python attributes; None for a tensor without memory of its own."""
    try:
        return (values_of(tensor) if tensor.layout in SPARSE else tensor).untyped_storage()
    except (NotImplementedError, RuntimeError):  # a subclass without memory of its own
        return None


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among arguments or results, and in lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def follow(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Mark an operator's results, and the arguments that it wrote to, after it was given unknown values."""
    schema = function._schema  # noqa: SLF001 - there is no other way to ask
    if schema.name in _SHAPES_ONLY:
        return
    for tensor in tensors_in((result,)):
        mark(tensor)
    if schema.is_mutable:
        named = dict(zip((item.name for item in schema.arguments), args, strict=False)) | kwargs
        written = [item.name for item in schema.arguments if item.alias_info is not None and item.alias_info.is_write]
        for tensor in tensors_in(named.get(name) for name in written):
            mark(tensor)


def reads(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator gives an unknown value to Python, or makes a size of one."""
    schema = function._schema  # noqa: SLF001 - as above
    sparse = schema.name.startswith(_TO_SPARSE)
    if not (sparse or _READING & set(function.tags) or schema.name in _ALSO_READING):
        return False
    decisive = _DECIDED_BY.get(schema.name)
    named = dict(zip((item.name for item in schema.arguments), args, strict=False)) | kwargs
    values = [named[decisive]] if decisive in named else list(named.values())
    tensors = list(tensors_in(values))
    if schema.name == "aten::index":
        tensors = [tensor for tensor in tensors if tensor.dtype in (torch.bool, torch.uint8)]
    return any(map(is_unknown, tensors))


class Trial:
    """Other values for Python to read in one more rehearsal, in the place of unknown ones.

    Args:
        floats: the numbers to read, in turn; if empty, each read gets another number, of any size and sign.
        integers: the number to add to every integer, or with `exact` to replace it; None leaves integers unchanged.
        truths: the rule for truth values: `other`, `same`, `true`, `false`, `odd` and `even` (in turn), or `chance`.
        exact: whether `integers` are the values themselves.
        seed: makes the random choices of two trials differ.
    """

    def __init__(
        self, floats: tuple[float, ...], integers: int | None, truths: str, *, exact: bool = False, seed: int = 0
    ) -> None:
        self._floats, self._integers, self._truths, self._exact = floats, integers, truths, exact
        self._chance = random.Random(seed)  # noqa: S311 - the same in every run
        self._asked = self._told = 0

    def value(self, value: Any) -> Any:
        """Another value for a single one."""
        if isinstance(value, bool):
            return self._truth(value)
        if isinstance(value, int):
            integers = self._integers
            return value if integers is None else integers if self._exact else value + integers
        return self._number() if isinstance(value, float) else value

    def contents(self, tensor: torch.Tensor) -> torch.Tensor:
        """Other values for a whole tensor; integers change places, so that their sum stays."""
        if tensor.dtype is torch.bool:
            return ~tensor if self._truths == "other" else tensor
        if not tensor.is_floating_point():
            return tensor.flatten().flip(0).reshape(tensor.shape)
        if self._floats:
            return tensor + self._floats[0]
        steps = torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)
        return tensor + (self._number() * (1 + steps)).to(tensor.dtype)

    def _truth(self, value: bool) -> bool:
        self._asked += 1
        answers = {"other": not value, "same": value, "true": True, "false": False}
        answers |= {"odd": self._asked % 2 == 1, "even": self._asked % 2 == 0}
        return answers[self._truths] if self._truths in answers else self._chance.random() < _HALF

    def _number(self) -> float:
        if self._floats:
            self._told += 1
            return self._floats[self._told % len(self._floats)]
        size: float = 10 ** self._chance.uniform(-3, 6)
        return size if self._chance.random() < _HALF else -size


_Plan = tuple[tuple[float, ...], int | None, str]
_HALF = 0.5
_FAR = 1e30
"""A number beyond every usual threshold."""
_USUAL: tuple[_Plan, ...] = (((_FAR,), 1, "other"), ((-_FAR,), 1000, "other"), ((), None, "chance"), ((2.0,), None, "true"))
_CONSTANTS: tuple[_Plan, ...] = (
    *(((0.5,), 0, "same"), ((2.0,), 1, "true"), ((-2.0,), 2, "false"), ((30.0,), 3, "odd"), ((0.01,), 5, "even")),
    *(((5e3,), 17, "same"), ((-0.5,), 50, "same"), ((1e3, 1e-3), 0, "same"), ((1e-3, 1e3), 0, "same")),
)


def trials(*, own: bool) -> list[Trial]:
    """The rehearsals that show whether unknown values matter.

    Args:
        own: whether the user's own code reads such values: it may decide by any of them, so there are more trials.
    """
    # Small numbers come first, because a program may repeat its work that often.
    usual = [Trial(floats, integers, truths) for floats, integers, truths in _USUAL]
    if not own:
        return usual
    constant = [Trial(floats, integers, truths, exact=True) for floats, integers, truths in _CONSTANTS]
    return [*usual, *constant, *(Trial((), 7 * seed, "chance", seed=seed) for seed in range(1, 5))]


_READERS = ("tolist", "numpy", "__array__", "__dlpack__", "__reduce_ex__", "__repr__")


@contextmanager
def watched_readers(read: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Let `read` see and change tensors that Python reads as a whole, unseen by dispatchers: by `tolist`, `numpy`, `repr`."""
    originals = {name: getattr(torch.Tensor, name) for name in _READERS}
    own = {name: name in vars(torch.Tensor) for name in originals}

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def reader(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return original(read(tensor), *args, **kwargs)

        return reader

    for name, original in originals.items():
        setattr(torch.Tensor, name, watched(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            if own[name]:
                setattr(torch.Tensor, name, original)
            else:
                delattr(torch.Tensor, name)


def marked_result(result: Any) -> Any:
    """The answer to a call, with all tensors in it marked."""
    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, torch.Tensor):
            mark(leaf)
    return result
