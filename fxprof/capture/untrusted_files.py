"""Protection from strangers' files while a pipeline is built: they run no code, ask no questions and contact nobody.

Configurations lose all keys that would lead transformers to code or to another repository before it sees them. As a second
line, the client of the Hub is offline, and transformers never asks, while a target from files is built and rehearsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers import dynamic_module_utils

from fxprof import limits
from fxprof.capture.arrays import images_bounded
from fxprof.capture.error_causes import causes
from fxprof.capture.foreign import tokenizers_untold
from fxprof.capture.padding import padding_bounded
from fxprof.capture.templates import bounded
from fxprof.errors import CaptureError
from fxprof.source.config import PipelineConfig, SingleComponent

_CODE = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
"""Keys that name code of a repository."""
_ORIGINS = frozenset(
    {"_name_or_path", "name_or_path", "_commit_hash", "use_pretrained_backbone", "load_custom_tokenizer"}
    | {"pretrained_model_name_or_path"}
)
"""Keys that name the origin of a model, which is not needed here."""
_KERNELS = frozenset(
    f"{before}{kind}_implementation{after}"
    for before in ("", "_")
    for kind in ("attn", "experts")
    for after in ("", "_internal")
)
"""Keys that may name a kernel of a repository."""
_DEEPEST = limits.CONFIG_NESTING


def cleaned(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration without keys that lead to code or to other repositories, and the ignored keys, in words."""
    ignored: list[str] = []
    return _cleaned_mapping(values, ignored, 0), list(dict.fromkeys(ignored))


def _cleaned_mapping(values: Mapping[str, Any], ignored: list[str], depth: int) -> dict[str, Any]:
    harmless = {}
    for key, value in values.items():
        if key in _CODE:
            if value:
                ignored.append(f"{key}, because code that comes with a model is never run")
        elif key in _KERNELS and _names_kernel(value):
            ignored.append(f"{key}, because a kernel of a repository is never fetched")
        elif key not in _ORIGINS:
            harmless[key] = _cleaned(value, ignored, depth + 1)
    return harmless


def _cleaned(value: Any, ignored: list[str], depth: int) -> Any:
    if depth > _DEEPEST:
        raise CaptureError("could not read the configuration: it is nested too deep")
    if isinstance(value, Mapping):
        return _cleaned_mapping(value, ignored, depth)
    if isinstance(value, (list, tuple)):
        return type(value)(_cleaned(item, ignored, depth + 1) for item in value)
    return value


def _names_kernel(value: Any) -> bool:
    names = value.values() if isinstance(value, Mapping) else [value]
    return any(isinstance(name, str) and ("/" in name or ":" in name) for name in names)


def refuse_sizes(what: str, values: Any, depth: int = 0) -> None:
    """Refuse a configuration of a model with a larger size, or a larger number of parts, than any model has.

    Raises:
        CaptureError: the configuration has such a number.
    """
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, (list, tuple)):
            _refuse_lists(what, key, value)
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if type(number) is int and abs(number) > limits.BUILT_SIZE:
                raise CaptureError(f"{what}: {key[:_SHOWN]} is {_shown(number)}, which is not a size")
            most = limits.BUILT_LAYERS if _LAYERS.search(key) else limits.BUILT_PARTS
            if type(number) is int and number > most and (_COUNTS.search(key) or _LAYERS.search(key)):
                raise CaptureError(f"{what}: {key[:_SHOWN]} is {_shown(number)}, more than {most:,}")
            if depth < limits.CONFIG_NESTING:
                refuse_sizes(what, number, depth + 1)


def refuse_steps(what: str, values: Mapping[str, Any]) -> None:
    """Refuse a configuration of a scheduler with more steps than any is trained with.

    Raises:
        CaptureError: it has as many.
    """
    for key, value in values.items():
        steps = len(value) if isinstance(value, (list, tuple)) else value
        if type(steps) is int and steps > limits.BUILT_STEPS and (_STEPS.search(key) or isinstance(value, (list, tuple))):
            raise CaptureError(f"{what}: {key[:_SHOWN]} has {_shown(steps)} steps, more than {limits.BUILT_STEPS:,}")


_STEPS = re.compile(r"steps\b", re.IGNORECASE)


def _refuse_lists(what: str, key: str, value: Sequence[Any]) -> None:
    """Refuse more layers in a list than any model has, and large counts in a list within a list."""
    if len(value) > limits.BUILT_LAYERS and _ROWS.search(key):
        raise CaptureError(f"{what}: {key[:_SHOWN]} has {len(value):,} entries, more than {limits.BUILT_LAYERS:,}")
    waiting = [item for item in value if isinstance(item, (list, tuple))]
    while waiting:
        for item in waiting.pop():
            if type(item) is int and abs(item) > limits.BUILT_PARTS:
                raise CaptureError(f"{what}: {key[:_SHOWN]} holds {_shown(item)}, more than {limits.BUILT_PARTS:,}")
            if isinstance(item, (list, tuple)):
                waiting.append(item)


_ROWS = re.compile(r"block|layer|stage|depth|channels$|hidden_sizes$|_types$", re.IGNORECASE)
"""Words in the names of lists that have an entry for each layer."""
_COUNTS = re.compile(r"layer|block|head|expert|depth|repeat|stage|steps\b|labels|order|(^|_)num_|^n_", re.IGNORECASE)
"""Words in the names of numbers of parts: some libraries make a list of that length before they make a single part."""
_LAYERS = re.compile(r"(^|_)(layers?|blocks?|stages?|depths?)$|layers_per_block$", re.IGNORECASE)
"""The ends of the names of numbers of layers, which are built and captured one after the other."""
_SHOWN = 60


def _shown(number: int) -> str:
    text = f"{number:,}" if abs(number) < 10**18 else str(number)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def refuse_backbones(what: str, values: Any) -> None:
    """Refuse a configuration that leaves a part of its model to another repository.

    Raises:
        CaptureError: the configuration names a backbone without a configuration for it.
    """
    if isinstance(values, Mapping):
        name = values.get("backbone")
        if isinstance(name, str) and not values.get("backbone_config") and not values.get("use_timm_backbone"):
            hint = "write that model's configuration into the file, under backbone_config"
            raise CaptureError(f"{what}: its backbone is the repository {name!r}, and other repositories are not fetched", hint)
        for item in values.values():
            refuse_backbones(what, item)
    elif isinstance(values, (list, tuple)):
        for item in values:
            refuse_backbones(what, item)


@contextmanager
def among_strangers(target: Any) -> Iterator[None]:
    """Apply all protections until the end of the block, if a target comes from files."""
    if isinstance(target, (PipelineConfig, SingleComponent)):
        with _alone(), bounded(), images_bounded(), padding_bounded(), tokenizers_untold():
            yield
    else:
        yield


@contextmanager
def _alone() -> Iterator[None]:
    """Contact nobody and ask nothing until the end of the block."""
    offline, patience = constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE
    constants.HF_HUB_OFFLINE = True
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = patience


def wanted_more(error: BaseException) -> bool:
    """Whether an error came from an attempt to contact the Hub."""
    return any(isinstance(cause, (OfflineModeIsEnabled, LocalEntryNotFoundError)) for cause in causes(error))
