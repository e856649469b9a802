"""A bound on the padding of texts by strangers' tokenizers, whose configuration names the length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils import PaddingStrategy

from fxprof import limits
from fxprof.errors import CaptureError


@contextmanager
def padding_bounded() -> Iterator[None]:
    """Let no tokenizer pad a text to more than `PADDED_TOKENS` until the end of the block."""
    before = PreTrainedTokenizerBase._get_padding_truncation_strategies  # noqa: SLF001 - where all ways of padding come through

    def strategies(tokenizer: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = before(tokenizer, *args, **kwargs)
        padding, _, length, _ = chosen
        if padding == PaddingStrategy.MAX_LENGTH and length is not None and length > limits.PADDED_TOKENS:
            what = f"could not tokenize a text: {type(tokenizer).__name__} would pad it to {length:,} tokens"
            raise CaptureError(f"{what}, more than {limits.PADDED_TOKENS:,}", "set model_max_length in its configuration")
        return chosen

    PreTrainedTokenizerBase._get_padding_truncation_strategies = strategies  # noqa: SLF001 - as above
    try:
        yield
    finally:
        PreTrainedTokenizerBase._get_padding_truncation_strategies = before  # noqa: SLF001 - as above
