"""Reading of a tokenizer's own files without trusting them.

transformers reads a copy of the directory that holds only vocabularies and cleaned configurations. The growth of a text, and
the number of tokens that a file adds, are bounded before the tokenizers library gets the file.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fxprof import limits
from fxprof.capture.untrusted_files import cleaned
from fxprof.errors import CaptureError
from fxprof.parts import remove_temporary, temporary
from fxprof.source.directory import MAX_BYTES, holds, read_object
from fxprof.texts import read_bytes

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
"""Names of files that hold a vocabulary."""
_PLAIN = (
    *(*VOCABULARIES, "merges.txt", "spm.model", "source.spm", "target.spm", "tiktoken.model", "chat_template.jinja"),
    *("bpe.codes", "tekken.json", "sentencepiece.model"),
)
_CONFIGURATIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json")
_MOST_GROWTH = limits.NORMALIZER_GROWTH
_MOST_TOKENS = limits.PROCESSED_TOKENS
_DEEPEST = 50
_LONGEST_PADDING = limits.PADDED_TOKENS


def has_vocabulary(directory: Path | None) -> bool:
    """Whether a directory holds a tokenizer's own vocabulary."""
    return directory is not None and any(holds((directory / name).is_file) for name in VOCABULARIES)


@contextmanager
def trusted_copy(directory: Path) -> Iterator[Path]:
    """A directory with only those files of a tokenizer that hold data, until the end of the block.

    Raises:
        CaptureError: a file makes texts grow without bounds, or adds more tokens than any model has.
        TargetError: a JSON file is too large, or holds no JSON object.
    """
    path = directory / "tokenizer.json"
    fast = read_object(path, limits.JSON_VALUES) if holds(path.is_file) else {}
    _check_tokenizer(path, fast)
    copy = temporary()
    try:
        for file in _PLAIN:
            if holds((directory / file).is_file):
                _copy(directory / file, copy / file, MAX_BYTES)
        _copy_templates(directory / _TEMPLATES, copy / _TEMPLATES)
        for file in _CONFIGURATIONS:
            if holds((directory / file).is_file):
                values, _ = cleaned(read_object(directory / file))
                check_added(directory / file, values, fast.get("normalizer"))
                (copy / file).write_text(json.dumps(_local(values)), encoding="utf-8")
        yield copy
    finally:
        remove_temporary(copy)


def _copy(file: Path, copy: Path, most: int) -> None:
    """Copy a file, unless it is too large; the size that it reports may be wrong, as that of a link into /proc.

    Raises:
        CaptureError: the file is a vocabulary of more entries than any model has.
    """
    data = read_bytes(file, most)
    many = file.suffix in _LISTS and data.count(b"\n") > limits.VOCABULARY
    if many or (file.suffix in _PIECES and _pieces(data) > limits.VOCABULARY):
        raise CaptureError(f"cannot use {file}: it has more than {limits.VOCABULARY:,} entries, more than any vocabulary has")
    if len(data) <= most:
        copy.write_bytes(data)


def _pieces(data: bytes) -> int:
    """The number of pieces of a SentencePiece model, up to one above the limit: fields after their length, one by one."""
    count = position = 0
    while position < len(data) and data[position] == _PIECE and count <= limits.VOCABULARY:
        length = shift = 0
        for byte in data[position + 1 : position + 6]:
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
                break
        position += 1 + shift // 7 + length
        count += 1
    return count


_PIECE = 0x0A
"""The byte at the start of a piece: the first field, one with a length."""
_PIECES = (".model", ".spm")
_LISTS = (".txt", ".codes")
"""The endings of files with an entry in each line; other files have several lines, or none, for an entry."""


def _copy_templates(folder: Path, copy: Path) -> None:
    """Copy further chat templates; transformers reads all that there are."""
    if holds(folder.is_dir):
        copy.mkdir()
        for path in sorted(folder.glob("*.jinja"))[:_MOST_TEMPLATES]:
            if holds(path.is_file):
                _copy(path, copy / path.name, limits.TEMPLATE)


_TEMPLATES = "additional_chat_templates"
_MOST_TEMPLATES = 20


def _local(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without names of other files, which may be anywhere.

    A tokenizer takes a vocabulary, or a path to one, by its name or by its position.
    """
    return {key: value for key, value in values.items() if not (key.endswith("_file") or key in _NAMING or _is_path(value))}


_NAMING = frozenset({"fast_tokenizer_files", "init_inputs", "merges", "vocab", "vocab_files_names"})


def _is_path(value: Any) -> bool:
    """Whether a text is the path of an existing file other than a neighbour of the configuration."""
    return isinstance(value, str) and ("/" in value or os.sep in value) and holds(lambda: os.path.lexists(value))


def _check_tokenizer(path: Path, values: Mapping[str, Any]) -> None:
    growth = _growth(values.get("normalizer"), 0)
    if growth > _MOST_GROWTH:
        raise CaptureError(f"cannot use {path}: its normalizer makes texts more than {_MOST_GROWTH:,} times as long")
    if growth * _growth(values.get("pre_tokenizer"), 0) > _MOST_GROWTH:
        raise CaptureError(f"cannot use {path}: its pre-tokenizer makes texts more than {_MOST_GROWTH:,} times as long")
    if _growth(values.get("decoder"), 0) > _MOST_GROWTH:
        raise CaptureError(f"cannot use {path}: its decoder makes texts more than {_MOST_GROWTH:,} times as long")
    if _tokens(values.get("post_processor"), _TEXT, 0) > _MOST_TOKENS:
        raise CaptureError(f"cannot use {path}: its post-processor makes more than {_MOST_TOKENS:,} tokens of a text")
    _check_model(path, values.get("model"), growth * _growth(values.get("pre_tokenizer"), 0))
    padding = values.get("padding")
    strategy = padding.get("strategy") if isinstance(padding, Mapping) else None
    fixed = strategy.get("Fixed") if isinstance(strategy, Mapping) else None
    multiple = padding.get("pad_to_multiple_of") if isinstance(padding, Mapping) else None
    for length in (fixed, multiple):
        if isinstance(length, int) and length > _LONGEST_PADDING:
            raise CaptureError(f"cannot use {path}: it pads every text to {length:,} tokens")
    check_added(path, values, values.get("normalizer"))


def _check_model(path: Path, model: Any, growth: float) -> None:
    """Check the model, which finds the tokens of a text; its own parts decide its time for each character."""
    fields = model if isinstance(model, Mapping) else {}
    vocabulary = fields.get("vocab")
    entries: Sized = vocabulary if isinstance(vocabulary, (dict, list)) else ()
    if len(entries) > limits.VOCABULARY:
        raise CaptureError(f"cannot use {path}: it has more than {limits.VOCABULARY:,} entries, more than any vocabulary has")
    longest = fields.get("max_input_chars_per_word")
    # A word is looked up from every position in it to every other one, and each part is copied before.
    work = longest**2 if isinstance(longest, int) else _longest_entry(entries) if fields.get("type") == "Unigram" else 1
    if work * growth > limits.TOKENIZED:
        raise CaptureError(f"cannot use {path}: it takes more than {limits.TOKENIZED:,} steps for a character")


def _longest_entry(entries: Any) -> int:
    texts = (entry[0] if isinstance(entry, list) and entry else entry for entry in entries)
    return max((len(text) for text in texts if isinstance(text, str)), default=1)


def check_added(path: Path, values: Mapping[str, Any], normalizer: Any = None) -> None:
    """Check the tokens that a file adds: each is searched for in every text, and normalized before.

    Raises:
        CaptureError: there are too many, or their texts are too long.
    """
    tokens = list(_added(path.name, values))
    if len(tokens) > limits.ADDED_TOKENS:
        raise CaptureError(f"cannot use {path}: it adds more than {limits.ADDED_TOKENS:,} tokens")
    changed = [token for token in tokens if not isinstance(token, Mapping) or token.get("normalized") is not False]
    texts = [token.get("content") if isinstance(token, Mapping) else token for token in changed]
    work = sum(1 + len(text) for text in texts if isinstance(text, str)) * max(_growth(normalizer, 0), _steps(normalizer, 0))
    if work > limits.NORMALIZED_TOKENS:
        raise CaptureError(f"cannot use {path}: the tokens that it adds take too long to normalize")


def _added(file: str, values: Mapping[str, Any]) -> Iterator[Any]:
    """The entries that a file adds to its vocabulary: objects with a `content`, or texts."""
    if file == "added_tokens.json":
        yield from values
        return
    for key in ("added_tokens", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens"):
        tokens = values.get(key)
        if isinstance(tokens, Mapping):
            yield from tokens.values()
        elif isinstance(tokens, list):
            yield from tokens


_SEQUENCES = ("normalizers", "pretokenizers", "decoders")
"""Keys of the parts of a sequence."""
_TEXT = 1_000
"""Tokens of a long text."""
_MOST_OF = {
    "ByteLevel": 5,
    "Metaspace": 2,
    "NFC": 3,
    "NFD": 4,
    "NFKC": 18,
    "NFKD": 18,
    "Lowercase": 2,
    "BertNormalizer": 3 * 4 * 2,
}
"""The most characters that each of these makes of one: its bytes and a space, its Unicode forms, with spaces around."""


def _parts(step: Any) -> list[Any] | None:
    """The parts of a sequence; None for any other step."""
    if not isinstance(step, Mapping) or step.get("type") != "Sequence":
        return None
    return [part for key in _SEQUENCES if isinstance(step.get(key), list) for part in step[key]]


def _steps(step: Any, depth: int) -> float:
    parts = _parts(step)
    if parts is None:
        return 1
    return sum(_steps(part, depth + 1) for part in parts) if depth < _DEEPEST else math.inf


def _growth(step: Any, depth: int) -> float:
    """The factor by which a normalizer, a pre-tokenizer or a decoder may lengthen a text of one character or more."""
    parts = _parts(step)
    if parts is not None:
        return math.prod(_growth(part, depth + 1) for part in parts) if depth < _DEEPEST else math.inf
    match step:
        case {"type": "Replace", "content": str() as content}:
            pattern = step.get("pattern")
            known = pattern.get("String") if isinstance(pattern, Mapping) else None
            # A regular expression may match nothing at all, between any two characters, and leave them there.
            return max(1.0, len(content) / len(known)) if isinstance(known, str) and known else 1.0 + len(content)
        case {"type": "Prepend", "prepend": str() as before}:
            return 1.0 + len(before)
        case {"type": "Precompiled", "precompiled_charsmap": str() as characters}:
            return max(1.0, _longest(characters))
        case {"type": str() as kind}:
            return float(_MOST_OF.get(kind, 1))
    return 1.0


def _longest(characters: str) -> int:
    """The longest text for a character in a SentencePiece table; the texts follow a tree, with zeros between them."""
    try:
        table = base64.b64decode(characters)
    except (binascii.Error, ValueError):
        return len(characters)
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return max(len(text) for text in texts.decode("utf-8", "replace").split("\0"))


def _tokens(processor: Any, tokens: int, depth: int) -> float:
    """The number of tokens that a post-processor makes of a number of tokens."""
    if depth > _DEEPEST:
        return math.inf
    match processor:
        case {"type": "Sequence", "processors": [*parts]}:
            made: float = tokens
            for part in parts:
                made = min(_tokens(part, int(made), depth + 1), _MOST_TOKENS + 1)
            return made
        case {"type": "TemplateProcessing"}:
            special = processor.get("special_tokens")
            sizes = {key: _ids(entry) for key, entry in special.items()} if isinstance(special, Mapping) else {}
            templates = [template for key in ("single", "pair") if isinstance(template := processor.get(key), list)]
            return max((sum(_piece(piece, sizes, tokens) for piece in template) for template in templates), default=tokens)
        case _:
            return tokens


def _piece(piece: Any, sizes: Mapping[str, int], tokens: int) -> int:
    named = piece.get("SpecialToken") if isinstance(piece, Mapping) else None
    if isinstance(named, Mapping):
        key = named.get("id")
        return sizes.get(key, 1) if isinstance(key, str) else 1
    return tokens


def _ids(entry: Any) -> int:
    lists = (entry.get("ids"), entry.get("tokens")) if isinstance(entry, Mapping) else ()
    return max((len(items) for items in lists if isinstance(items, Sized)), default=1)
