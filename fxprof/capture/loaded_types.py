"""The element types that `from_pretrained(torch_dtype=...)` gives weights, and the layers that quantisers leave as they are.

Both libraries keep some modules in float32, each by a rule of its own:

* transformers keeps `_keep_in_fp32_modules` in float32 if it loads in float16, and `_keep_in_fp32_modules_strict` if it loads
  in float16 or bfloat16. The names are patterns that are searched for anywhere in a weight's name. Other weights keep the type
  that the constructor gives them.
* diffusers keeps `_keep_in_fp32_modules` in float32 whatever it loads in. Each name is a whole part of a weight's name. All
  other floating-point weights get the requested type, also if the constructor gives them another one.

Both go by what a checkpoint holds, so buffers that are not saved stay as the constructor makes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import transformers
from diffusers import ModelMixin
from torch import nn

from fxprof.trace.weights import BITSANDBYTES, QUANTISERS, TORCHAO


def set_loaded_types(module: nn.Module, dtype: torch.dtype) -> None:
    """Give the weights of a model that was constructed with `dtype` as the default the types of a loaded one.

    Args:
        module: a model without data, on the meta device.
        dtype: the requested element type.
    """
    choose = _chooser(module, dtype)
    if choose is None:
        return
    made: dict[int, torch.Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        unsaved = part._non_persistent_buffers_set  # noqa: SLF001 - there is no other way to ask
        for table in (part._parameters, part._buffers):  # noqa: SLF001 - one module's own
            for name, tensor in table.items():
                if tensor is None or name in unsaved:
                    continue
                wanted = choose(f"{path}.{name}" if path else name, tensor)
                if tensor.dtype != wanted:
                    table[name] = made.setdefault(id(tensor), _converted(tensor, wanted))


def _converted(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    changed = tensor.detach().to(dtype)
    return nn.Parameter(changed, requires_grad=False) if isinstance(tensor, nn.Parameter) else changed


def _chooser(module: nn.Module, dtype: torch.dtype) -> Callable[[str, torch.Tensor], torch.dtype] | None:
    """A function from a weight's name and the weight to its type; None if all are as constructed."""
    if isinstance(module, transformers.PreTrainedModel):
        kept = _names(module, "_keep_in_fp32_modules") if dtype is torch.float16 else []
        kept += _names(module, "_keep_in_fp32_modules_strict") if dtype in {torch.float16, torch.bfloat16} else []
        if not kept:
            return None
        pattern = re.compile("|".join(f"(?:{name.replace('*', '.*')})" for name in kept))
        return lambda name, tensor: torch.float32 if pattern.search(name) else tensor.dtype
    if isinstance(module, ModelMixin):
        parts = set(_names(module, "_keep_in_fp32_modules"))

        def choose(name: str, tensor: torch.Tensor) -> torch.dtype:
            if not tensor.is_floating_point():
                return tensor.dtype
            return dtype if parts.isdisjoint(name.split(".")) else torch.float32

        return choose
    return None


def _names(module: nn.Module, attribute: str) -> list[str]:
    """The names in an attribute of a model's class, or of the model: a text, a list, a set or None."""
    value: Any = getattr(module, attribute, None) or ()
    return [value] if isinstance(value, str) else sorted(item for item in value if isinstance(item, str))


def skipping(module: nn.Module) -> Callable[[str], tuple[str, ...]]:
    """A function from the path of a linear layer below a model to the quantisers that leave it as it is."""
    if isinstance(module, transformers.PreTrainedModel):
        return _skipping_of_transformers(module)
    if isinstance(module, ModelMixin):
        return _skipping_of_diffusers(module)
    return lambda _: ()


def _skipping_of_transformers(model: transformers.PreTrainedModel) -> Callable[[str], tuple[str, ...]]:
    """It leaves what it may keep in float32, the last module and all that is tied to or is an output layer.

    For bitsandbytes it goes by the names of modules, and by those of weights for torchao.
    """
    names = sorted({*_names(model, "_keep_in_fp32_modules"), *_defaults(model)})
    patterns = [re.compile(rf"(?:{name})(?:(?<=\.)|(?=\.|$))") for name in names if _is_pattern(name)]
    plain = {path for path, part in model.named_modules() if type(part) is nn.Linear}

    def converts(name: str) -> bool:
        return not any(pattern.match(name) for pattern in patterns) and not name.endswith(tuple(names))

    def skipped_by(path: str) -> tuple[str, ...]:
        converted = {BITSANDBYTES: path in plain and converts(path), TORCHAO: converts(f"{path}.weight")}
        return tuple(name for name in QUANTISERS if not converted[name])

    return skipped_by


def _is_pattern(name: str) -> bool:
    try:
        re.compile(name)
    except re.error:
        return False
    return True


def _defaults(model: transformers.PreTrainedModel) -> Iterator[str]:
    """What transformers leaves as it is unless a user names other layers."""
    names = [name for name, _ in model.named_parameters()]
    tied: Any = getattr(model, "all_tied_weights_keys", None) or {}
    output = _output_layer(model)
    found: Iterable[str] = [
        *(tied if isinstance(tied, Mapping) else ()),
        *(tied.values() if isinstance(tied, Mapping) else ()),
        *names[-1:],
        *(path for path, part in model.named_modules() if part is output and output is not None),
    ]
    yield from (name.removesuffix(".weight") for name in found)


def _output_layer(model: transformers.PreTrainedModel) -> nn.Module | None:
    try:
        return model.get_output_embeddings()  # type: ignore[no-any-return]
    except (AttributeError, NotImplementedError):
        return None


def _skipping_of_diffusers(model: ModelMixin) -> Callable[[str], tuple[str, ...]]:
    """It leaves the modules that it keeps in float32."""
    names = _names(model, "_keep_in_fp32_modules")

    def skipped_by(path: str) -> tuple[str, ...]:
        last, weight = path.rpartition(".")[2], f"{path}.weight"
        skipped = {
            BITSANDBYTES: last in names or any(f"{name}." in path or name == path for name in names),
            TORCHAO: any(f"{name}." in weight or name == weight for name in names),
        }
        return tuple(name for name in QUANTISERS if skipped[name])

    return skipped_by
