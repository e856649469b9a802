"""What is asked of a pipeline: sizes, steps, guidance, prompt. Imports neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fxprof.errors import UsageError

DEFAULT_PROMPT = "a photo of a cat"
"""The prompt when none is given. It matters only where text is not padded to a fixed length."""

DTYPES = ("float32", "float16", "bfloat16")


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
    """Length of the tokenised prompt without special tokens, in place of a prompt."""
    dtype: str | None = None
    """Element type that the components are built in, one of `DTYPES`."""
    without: tuple[str, ...] = ()
    """Optional components to leave out, such as a safety checker."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the pipeline's `__call__`."""
    enable: tuple[str, ...] = ()
    """What is switched on before the call, such as `vae.tiling`."""

    def __post_init__(self) -> None:
        """Refuse what no pipeline could use."""
        for name in ("height", "width", "images", "steps", "prompt_tokens"):
            _check_positive(name, getattr(self, name))
        if self.prompt is not None and self.prompt_tokens is not None:
            raise UsageError("both a prompt and a number of prompt tokens are given", "give one of the two")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(f"{self.dtype!r} is not an element type to build in", f"one of {', '.join(DTYPES)}")


def _check_positive(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
