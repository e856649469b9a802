"""Bounds on arrays of numpy and images of PIL, checked before these are made.

Strangers' configurations of image and sound processors hold numbers that become sizes, under many names and in products.
So the bounds apply to the arrays and not to the numbers: functions of numpy and of PIL check the size first.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from fxprof import limits
from fxprof.capture.zero_weights import TooLargeError, sizes_bounded
from fxprof.errors import CaptureError

_Made = Callable[[Any, Any], tuple[Any, int]]
"""Maps the arguments of a function to the shape of its result and the number of elements of its input."""
_COLOURS = 3
"""Colours of a pixel."""
_Refuse = Callable[[str], NoReturn]
"""Raises an error that names a shape."""


def _shaped(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    return _given(args, kwargs, 0, "shape"), 0


def _shaped_like(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    like = _given(args, kwargs, 0, "a")
    shape = kwargs.get("shape")
    return np.shape(like) if shape is None else shape, int(np.size(like))


def _window(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    return _given(args, kwargs, 0, "M"), 0


def _square(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    rows = _given(args, kwargs, 0, "N")
    return (rows, _given(args, kwargs, 1, "M") or rows), 0


def _spaced(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    return _given(args, kwargs, 2, "num") or 0, 0


def _counted(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    numbers = [_given(args, kwargs, position, name) for position, name in enumerate(("start", "stop", "step"))]
    start, stop, step = (0, numbers[0], 1) if numbers[1] is None else (numbers[0] or 0, numbers[1], numbers[2])
    return max(math.ceil((stop - start) / (step or 1)), 0), 0


def _padded(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    array, width = np.asarray(_given(args, kwargs, 0, "array")), _given(args, kwargs, 1, "pad_width")
    borders = np.broadcast_to(np.asarray(width, dtype=np.int64), (array.ndim, 2)).tolist()
    return [size + before + after for size, (before, after) in zip(array.shape, borders, strict=True)], array.size


def _tiled(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    size = int(np.size(_given(args, kwargs, 0, "A")))
    return (size, *np.atleast_1d(_given(args, kwargs, 1, "reps")).tolist()), size


def _repeated(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    size, repeats = int(np.size(_given(args, kwargs, 0, "a"))), np.atleast_1d(_given(args, kwargs, 1, "repeats"))
    return (size, max(repeats.tolist(), default=0)), size


def _resized(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    image = args[0]
    return (*_given(args, kwargs, 1, "size"), _COLOURS), image.width * image.height * _COLOURS


def _cropped(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    image, box = args[0], _given(args, kwargs, 1, "box") or (0, 0, 0, 0)
    return (abs(box[2] - box[0]), abs(box[3] - box[1]), _COLOURS), image.width * image.height * _COLOURS


def _new(args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    return (*_given(args, kwargs, 1, "size"), _COLOURS), 0


def _given(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str) -> Any:
    return args[position] if position < len(args) else kwargs.get(name)


_SHAPED = dict.fromkeys(("zeros", "ones", "empty", "full"), _shaped)
_LIKE = dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), _shaped_like)
_WINDOWS = dict.fromkeys(("hanning", "hamming", "blackman", "bartlett", "kaiser"), _window)
_SPACES = dict.fromkeys(("linspace", "geomspace", "logspace"), _spaced)
_OTHERS: dict[str, _Made] = {"pad": _padded, "tile": _tiled, "repeat": _repeated, "eye": _square, "identity": _square}
_STEPS: dict[str, _Made] = {**_WINDOWS, **_SPACES, "arange": _counted}
"""Functions that make the steps of a scale; two scales together make a table."""
_NUMPY: dict[str, _Made] = {**_SHAPED, **_LIKE, **_STEPS, **_OTHERS}
_IMAGES: dict[str, _Made] = {"resize": _resized, "crop": _cropped}
_NEW: dict[str, _Made] = {"new": _new}
_OWNERS: tuple[tuple[Any, Mapping[str, _Made]], ...] = ((np, _NUMPY), (Image.Image, _IMAGES), (Image, _NEW))


@contextmanager
def images_bounded() -> Iterator[None]:
    """Let PIL make no image that is larger than the largest of a pipeline, until the end of the block."""

    def refuse(shape: str) -> NoReturn:
        raise CaptureError(f"it makes an image of {shape}, which is larger than any that a pipeline makes")

    with ExitStack() as stack:
        for owner, functions in _OWNERS[1:]:
            for name in functions:
                stack.enter_context(bounded(owner, name, limits.REHEARSED_ELEMENTS, refuse))
        yield


@contextmanager
def constructing(steps: int = limits.PREPARED_STEPS) -> Iterator[None]:
    """Let the constructor of an image or sound processor make no large array until the end of the block.

    Args:
        steps: the most steps of a scale; the scales of a scheduler make no tables.
    """

    def refuse(shape: str) -> NoReturn:
        raise TooLargeError(f"it makes an array of {shape}, which is larger than any of its kind makes")

    with _arrays(steps, refuse), sizes_bounded():
        yield


def bounded_calls(prepares: Any) -> Any:
    """An image or sound processor, moved to a class whose calls make no large array."""
    class_ = type(prepares)
    defined = {name for base in class_.__mro__ for name in vars(base)}
    calls = {name: _call(getattr(class_, name)) for name in ("__call__", "preprocess") if name in defined}
    names: dict[str, Any] = {"__module__": class_.__module__, "__qualname__": class_.__qualname__, "__doc__": class_.__doc__}
    prepares.__class__ = types.new_class(class_.__name__, (class_,), exec_body=lambda space: space.update(names | calls))
    return prepares


def _call(function: Any) -> Any:
    @functools.wraps(function)
    def call(prepares: Any, *args: Any, **kwargs: Any) -> Any:
        def refuse(shape: str) -> NoReturn:
            what = f"{type(prepares).__name__} makes an array of {shape}"
            raise CaptureError(f"{what}, which is larger than any that an image or sound processor makes", _SMALLER)

        with _arrays(limits.PREPARED_ELEMENTS, refuse):
            return function(prepares, *args, **kwargs)

    return call


_SMALLER = "set smaller sizes in its configuration"


@contextmanager
def _arrays(steps: int, refuse: _Refuse) -> Iterator[None]:
    most = limits.PREPARED_ELEMENTS
    with ExitStack() as stack:
        for owner, functions in _OWNERS:
            for name in functions:
                stack.enter_context(bounded(owner, name, steps if name in _STEPS else most, refuse))
        yield


@contextmanager
def bounded(owner: Any, name: str, most: int, refuse: _Refuse) -> Iterator[None]:
    """Let a function make at most `most` elements, or twice those of its input, until the end of the block.

    Args:
        owner: numpy, PIL's class of images or the module that defines it.
        name: name of the function there.
        most: number of elements.
        refuse: raises an error.
    """
    made = dict(_OWNERS)[owner][name]
    before, thread = inspect.getattr_static(owner, name), threading.get_ident()

    @functools.wraps(before)
    def checked(*args: Any, **kwargs: Any) -> Any:
        sizes, given = _sizes(made, args, kwargs) if threading.get_ident() == thread else ([], 0)
        if math.prod(sizes) > max(most, 2 * given):
            refuse("x".join(map(_shown, sizes)))
        return before(*args, **kwargs)

    setattr(owner, name, checked)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _sizes(made: _Made, args: Any, kwargs: Mapping[str, Any]) -> tuple[list[int], int]:
    """The sizes of a function's result and the elements of its input; none where its arguments make no sense."""
    try:
        shape, given = made(args, kwargs)
        return [int(size) for size in (shape if isinstance(shape, (list, tuple)) else (shape,))], given
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return [], 0  # the function's own message about them is better


def _shown(size: int) -> str:
    return str(size) if size < 10**18 else "10^18 and more"
