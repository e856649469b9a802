"""The workload of a pipeline: sizes, steps, guidance, prompt.

`OPTIONS` is the one table of the options: it makes the command line and the names in messages, and a test holds
`Workload` and the signature of `fxprof.profile` to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fxprof.errors import UsageError
from fxprof.trace.element_types import SHORT_DTYPES

DEFAULT_PROMPT = "a photo of a cat"
"""The prompt when none is given. It matters only if the pipeline does not pad text to a fixed length."""

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an analysis."""

    name: str
    """Its name in `fxprof.profile` and `Workload`."""
    type: Any
    """Its type in Python; `int` is a whole number of at least 1."""
    help: str
    """Its sentence in the help text of the command line, which adds that an option is repeatable."""
    metavar: str = ""
    """The placeholder for its value in the help text."""
    argument: str = ""
    """The argument of a pipeline's `__call__` that gets the value unchanged."""
    choices: tuple[str, ...] = ()
    """All possible values, where they are few."""
    flag: str = ""
    """Its name on the command line, if that differs."""


OPTIONS = (
    Option("height", int, "Pixels.", "N", argument="height"),
    Option("width", int, "Pixels.", "N", argument="width"),
    Option("images", int, "Images in one run.", "N", argument="num_images_per_prompt"),
    Option("steps", int, "Denoising steps.", "N", argument="num_inference_steps"),
    Option("guidance_scale", float, "Strength of guidance.", "X", argument="guidance_scale"),
    Option("prompt", str, "The prompt.", "TEXT"),  # a pipeline that takes a prompt gets one, given or not
    Option("prompt_tokens", int, "Assume a prompt of N tokens.", "N"),
    Option("dtype", str, "Element type of the models.", choices=(*DTYPES, *SHORT_DTYPES)),
    Option("without", tuple[str, ...], "Optional component to leave out.", "NAME"),
    Option("enable", tuple[str, ...], "Feature to switch on before the call, such as vae.tiling.", "NAME"),
    Option(
        "arguments",
        dict[str, Any],
        "Any other argument of the pipeline's call: JSON, a text, or a placeholder such as image:768x512.",
        "NAME=VALUE",
        flag="--arg",
    ),
    Option(
        "inputs",
        dict[str, Any],
        "Input of a single component: 1x16x64x64, 1x77:int64, or a value as for --arg.",
        "NAME=SHAPE",
        flag="--input",
    ),
    Option(
        "dims",
        dict[str, int],
        "Size in a .pt2 file: of a symbol (s77=4), or of an input's axis (x.0=4, decode:x.0=4).",
        "NAME=N",
        flag="--dim",
    ),
)
"""All options of an analysis, in the order of every help text. The last two do not belong to a pipeline's workload."""

CALL_ARGUMENTS = {option.name: option.argument for option in OPTIONS if option.argument}
"""Option to the argument of a pipeline's `__call__` that gets its value unchanged."""

_FLAGS = {option.name: option.flag for option in OPTIONS if option.flag}


def flag_of(name: str) -> str:
    """The option of the command line that sets an argument of `fxprof.profile`."""
    return _FLAGS.get(name) or f"--{name.replace('_', '-')}"


def options_given(values: Mapping[str, Any]) -> list[str]:
    """The names of the options that have a value."""
    return [name for name, value in values.items() if value is not None and value is not False and value not in ((), {})]


@dataclass(frozen=True, slots=True)
class Workload:
    """Arguments of one run; None leaves the pipeline's own default in force.

    Raises:
        UsageError: a size or a number of steps that no pipeline could use, or both a prompt and its length.
    """

    height: int | None = None
    """Pixels."""
    width: int | None = None
    """Pixels."""
    images: int | None = None
    """Images per prompt."""
    steps: int | None = None
    """Denoising steps."""
    guidance_scale: float | None = None
    prompt: str | None = None
    prompt_tokens: int | None = None
    """Length of the prompt in tokens, without special ones, instead of a prompt."""
    dtype: str | None = None
    """Element type that the components are built in, one of `DTYPES`."""
    without: tuple[str, ...] = ()
    """Optional components to leave out, such as a safety checker."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the pipeline's `__call__`."""
    enable: tuple[str, ...] = ()
    """Features to switch on before the call, such as `vae.tiling`."""

    def __post_init__(self) -> None:
        """Refuse values that no pipeline could use."""
        for option in OPTIONS:
            if option.type is int:
                _check_positive(option.name, getattr(self, option.name))
        if self.prompt is not None and self.prompt_tokens is not None:
            raise UsageError("both a prompt and a number of prompt tokens are given", "give one of the two")
        if self.dtype is not None:
            object.__setattr__(self, "dtype", SHORT_DTYPES.get(self.dtype, self.dtype))
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(f"{self.dtype!r} is not an element type to build in", f"give one of {', '.join(DTYPES)}")


def _check_positive(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
