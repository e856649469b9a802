"""A tokenizer's own files, read without trusting them.

transformers reads a copy of the directory that holds nothing but vocabularies and cleaned configurations. What a normaliser
could make of a text is bounded before the file is given to the tokenizers library.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fxprof import limits
from fxprof.capture.strangers import cleaned
from fxprof.errors import CaptureError
from fxprof.source.directory import MAX_BYTES, holds, read_object

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
"""Any of these holds a vocabulary."""
_PLAIN = (
    *(*VOCABULARIES, "merges.txt", "spm.model", "source.spm", "target.spm", "tiktoken.model", "chat_template.jinja"),
    *("bpe.codes", "tekken.json", "sentencepiece.model"),
)
_CONFIGURATIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json")
_MOST_GROWTH = limits.NORMALIZER_GROWTH
_DEEPEST = 50
_LONGEST_PADDING = limits.PADDED_TOKENS


def has_vocabulary(directory: Path | None) -> bool:
    """Whether a tokenizer's own files are there."""
    return directory is not None and any(holds((directory / name).is_file) for name in VOCABULARIES)


@contextmanager
def trusted_copy(directory: Path) -> Iterator[Path]:
    """A directory with those files of a tokenizer that hold data, until the end of the block.

    Raises:
        CaptureError: a normaliser makes texts grow without bounds.
        TargetError: a JSON file is too large, or none.
    """
    path = directory / "tokenizer.json"
    if holds(path.is_file):
        _check_tokenizer(path, read_object(path))
    with TemporaryDirectory(prefix="fxprof-") as name:
        copy = Path(name)
        for file in _PLAIN:
            if holds((directory / file).is_file) and (directory / file).stat().st_size <= MAX_BYTES:
                shutil.copyfile(directory / file, copy / file)
        _copy_templates(directory / _TEMPLATES, copy / _TEMPLATES)
        for file in _CONFIGURATIONS:
            if holds((directory / file).is_file):
                values, _ = cleaned(read_object(directory / file))
                (copy / file).write_text(json.dumps(_local(values)), encoding="utf-8")
        yield copy


def _copy_templates(folder: Path, copy: Path) -> None:
    """Further chat templates, by name; transformers reads all that there are."""
    if holds(folder.is_dir):
        copy.mkdir()
        for path in sorted(folder.glob("*.jinja"))[:_MOST_TEMPLATES]:
            if holds(path.is_file) and path.stat().st_size <= limits.TEMPLATE:
                shutil.copyfile(path, copy / path.name)


_TEMPLATES = "additional_chat_templates"
_MOST_TEMPLATES = 20


def _local(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without names of other files, which may be anywhere."""
    return {key: value for key, value in values.items() if not key.endswith("_file") and key != "fast_tokenizer_files"}


def _check_tokenizer(path: Path, values: Mapping[str, Any]) -> None:
    if _growth(values.get("normalizer"), 0) > _MOST_GROWTH:
        raise CaptureError(f"cannot use {path}: its normalizer makes texts more than {_MOST_GROWTH:,} times as long")
    padding = values.get("padding")
    strategy = padding.get("strategy") if isinstance(padding, Mapping) else None
    fixed = strategy.get("Fixed") if isinstance(strategy, Mapping) else None
    if isinstance(fixed, int) and fixed > _LONGEST_PADDING:
        raise CaptureError(f"cannot use {path}: it pads every text to {fixed:,} tokens")


def _growth(normalizer: Any, depth: int) -> float:
    """How many times longer a normaliser may make a text of one character or more."""
    if depth > _DEEPEST:
        return math.inf
    match normalizer:
        case {"type": "Sequence", "normalizers": [*parts]}:
            return math.prod(_growth(part, depth + 1) for part in parts)
        case {"type": "Replace", "content": str() as content}:
            pattern = normalizer.get("pattern")
            known = pattern.get("String") if isinstance(pattern, Mapping) else None
            # A regular expression may match nothing at all, between any two characters.
            return max(1.0, len(content) / len(known) if isinstance(known, str) and known else 1.0 * len(content))
        case {"type": "Prepend", "prepend": str() as before}:
            return 1.0 + len(before)
        case {"type": "Precompiled"}:
            return 2.0
        case _:
            return 1.0
