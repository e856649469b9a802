"""Tokenizers: the target's own where its files are there, otherwise a stand-in with a word-level vocabulary.

A stand-in has the published maximum length and special tokens, so text that a pipeline pads to a fixed length gets its exact
length. Where the pipeline uses the length of the text itself, a stand-in counts words and punctuation marks. That is an
estimate, which `fxprof.capture` detects and reports.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_WORD = "word"

_AROUND = {"CLIP": ("bos", "eos"), "T5": ("eos",), "Gemma": ("bos",), "Llama": ("bos",), "Bert": ("bos", "eos")}
"""Special tokens that a family of tokenizers puts around a text, if the configuration does not name them."""

_DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

_CHAT = (
    "{% for message in messages %}< {{ message.role }} > "
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }} {% endfor %}{% endif %} < > {% endfor %}"
    "{% if add_generation_prompt %}< assistant > {% endif %}"
)
"""A chat in the form of most models: a mark, the role and a line break before a message, a mark and a line break after it."""


class StandInTokenizer(PreTrainedTokenizerFast):  # type: ignore[misc]  # transformers is not read for types
    """A tokenizer whose tokens are words and punctuation marks."""

    def __init__(self, class_name: str, values: Mapping[str, Any]) -> None:
        """Take special tokens, `model_max_length` and `measured` lengths of known texts from a configuration."""
        self._special = {name: _content(values.get(name)) or default for name, default in _DEFAULTS.items()}
        self._around = _added(class_name, values)
        self._measured: Sequence[Mapping[str, Any]] = values.get("measured", ())
        said = {token: index for token, index in _said(values).items() if token not in self._special.values()}
        vocabulary = _vocabulary(tuple(self._special.values()), {**said, **values.get("token_ids", {})})
        backend = Tokenizer(WordLevel(vocabulary, unk_token=_WORD))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        limit = values.get("model_max_length")
        super().__init__(
            tokenizer_object=backend,
            model_max_length=int(limit) if limit and limit < 1e9 else int(1e30),  # noqa: PLR2004 - transformers' own word for none
            padding_side=values.get("padding_side", "right"),
            model_input_names=list(values.get("model_input_names", ("input_ids", "attention_mask"))),
            chat_template=values.get("chat_template") or _CHAT,
            # Searched for after a measured text is recognised, because it may contain them.
            **{name: AddedToken(token, normalized=True, special=True) for name, token in self._special.items()},
        )
        self.add_tokens(list(said), special_tokens=True)
        self.count_extra(0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tokenize, and add all that the real tokenizer returns."""
        encoded = super().__call__(*args, **kwargs)
        mask = encoded.get("attention_mask")
        if "position_ids" in self.model_input_names and hasattr(mask, "cumsum"):
            encoded["position_ids"] = (mask.cumsum(-1) - 1).clip(0)
        return encoded

    def count_extra(self, tokens: int) -> None:
        """Make every text this many tokens longer, except one whose length was measured with the real tokenizer.

        A rehearsal that makes the same calls afterwards does not depend on how texts are split.
        """
        backend = self.backend_tokenizer
        if self._measured:
            alone = [_replace(entry, max(int(entry["tokens"]) - tokens, 0), r"\A{}\z") for entry in self._measured]
            within = [_replace(entry, int(entry["tokens"]), "{}") for entry in self._measured]
            backend.normalizer = normalizers.Sequence([*alone, *within])
        before = [self._special[f"{name}_token"] for name in self._around if name == "bos"]
        after = [self._special[f"{name}_token"] for name in self._around if name == "eos"]
        template = [*before, "$A", *([_WORD] * tokens), *after]
        identifiers = [(word, backend.token_to_id(word)) for word in dict.fromkeys((*before, *after, _WORD))]
        backend.post_processor = TemplateProcessing(single=template, special_tokens=identifiers)


class StandInProcessor(StandInTokenizer):
    """A processor of texts and images that handles texts only."""

    @property
    def tokenizer(self) -> StandInProcessor:
        """The processor itself, which tokenizes texts."""
        return self

    def __call__(self, text: Any = None, images: Any = None, **kwargs: Any) -> Any:
        """Tokenize; only the real processor knows the number of tokens of an image."""
        if images is not None or kwargs.get("videos") is not None:
            raise NotImplementedError("images among the texts need the files of the real processor")
        return super().__call__(text, **kwargs)


def _vocabulary(special: tuple[str, ...], published: Mapping[str, int]) -> dict[str, int]:
    """Special tokens at their published ids, the rest at the lowest free ones."""
    vocabulary = {token: int(index) for token, index in published.items()}
    taken = set(published.values())
    free = (index for index in itertools.count() if index not in taken)
    for token in (*special, _WORD):
        if token not in vocabulary:
            vocabulary[token] = next(free)
    return vocabulary


def _said(values: Mapping[str, Any]) -> dict[str, int]:
    """Added tokens with their numbers in a configuration: a model looks for an image's number among those of the text."""
    entries = values.get("added_tokens_decoder")
    tokens = {
        token: int(index)
        for index, entry in (entries.items() if isinstance(entries, Mapping) else ())
        if isinstance(token := _content(entry), str) and token and index.isascii() and index.isdigit() and len(index) < _LONG
    }
    return tokens if len(set(tokens.values())) == len(tokens) else {}


_LONG = 9
"""Digits of a number that no token has."""


def _added(class_name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    family = next((around for name, around in _AROUND.items() if class_name.startswith(name)), ("eos",))
    said = {name: values.get(f"add_{name}_token") for name in ("bos", "eos")}
    return tuple(name for name in ("bos", "eos") if (said[name] if said[name] is not None else name in family))


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, Mapping) else token


def _replace(entry: Mapping[str, Any], tokens: int, where: str) -> normalizers.Normalizer:
    starts, ends = entry["starts"], entry["ends"]
    between = entry["characters"] - len(starts) - len(ends)
    pattern = rf"{re.escape(starts)}[\s\S]{{{between}}}{re.escape(ends)}"
    return normalizers.Replace(Regex(where.format(pattern)), f" {' '.join([_WORD] * tokens)} ")


def prompt_of_length(tokens: int, tokenizers: Sequence[PreTrainedTokenizerBase]) -> tuple[str, bool]:
    """A prompt of this many tokens, special ones not counted, and whether every tokenizer agrees on the number."""
    candidates = [" ".join([word] * tokens) for word in ("a", "cat", "the", "x")]
    for prompt in candidates:
        if all(len(tokenizer(prompt, add_special_tokens=False).input_ids) == tokens for tokenizer in tokenizers):
            return prompt, True
    return candidates[0], False
