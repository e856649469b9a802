"""Cached captures of calls, so that another workload does not export the same calls again.

The key of a call holds the configuration of its component, the pipeline's changes to the component since it was built, and the
arguments. A call that depends on objects other than data is not cached. Objects among its results, such as a key-value cache,
are not cached either: if the pipeline looks at one, it has to be rehearsed again without such calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof import limits
from fxprof.cache import Cache
from fxprof.cache.keys import key_of
from fxprof.capture.cached_results import Form, NotLoadedError, read_leaves, read_spec, write_leaf, write_spec
from fxprof.capture.calls import key_of as key_of_call
from fxprof.capture.error_causes import causes
from fxprof.capture.export import ExportedCall, NotExportableError
from fxprof.capture.places import Place
from fxprof.capture.plain_values import is_plain_value, token_of
from fxprof.capture.returned_values import NotCached
from fxprof.capture.sharing import modes
from fxprof.capture.state import settings_of
from fxprof.source.config import ComponentConfig
from fxprof.strict_json import read_json
from fxprof.trace.codec import DamagedError, NotWritableError, read_trace, write_trace

_KIND = "call"


class CachedCalls:
    """The calls of one pipeline's components in a cache.

    Args:
        cache: stores the calls.
        parts: the configuration of each component.
        objects: whether to find calls that returned objects; `NotCached` takes the place of such an object.
    """

    def __init__(self, cache: Cache, parts: Mapping[str, ComponentConfig], *, objects: bool = True) -> None:
        self._cache = cache
        self._parts = parts
        self._objects = objects
        self._forms: dict[str, Form] = {}

    def key(self, place: Place, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The key of a call; None when the call cannot be cached."""
        part = self._parts.get(place.component)
        leaves = pytree.tree_leaves((args, kwargs))
        if part is None or not all(type(leaf) is torch.Tensor or is_plain_value(leaf) for leaf in leaves):
            return None
        strides = [leaf.stride() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        given = repr((key_of_call(args, kwargs), strides, modes()))
        # The same model in another pipeline, or under another name in a pipeline, does the same.
        content = ComponentConfig(part.library, part.class_name, part.values, part.directory)
        held = (settings_of(module), tuple(_shape(module)), _attributes(module))
        key = key_of(_KIND, content, place.path, given, repr(held))
        if key is not None:
            self._forms[key] = Form.of(args, kwargs)
        return key

    def find(self, key: str | None) -> ExportedCall | None:
        """The cached call of a key.

        Raises:
            NotExportableError: torch.export refused the call before.
        """
        text = self._cache.find(_KIND, key) if key is not None else None
        if key is None or text is None:
            return None
        try:
            call = _read(read_json(text, values=limits.GRAPH_VALUES, repeats=True, infinite=True), self._forms[key])
        except NotLoadedError:
            return None
        except (DamagedError, ValueError, RecursionError):
            self._cache.drop(_KIND, key)
            return None
        if isinstance(call, str):
            raise NotExportableError(call)
        return call if self._objects or not call.objects else None

    def keep(self, key: str | None, place: Place, module: nn.Module, call: ExportedCall) -> None:
        """Cache a call, if it can be written."""
        if key is not None:
            try:
                text = json.dumps(_written(call))
            except (NotWritableError, TypeError, ValueError):
                return
            self._cache.keep(_KIND, key, _about(place, module), text)

    def keep_refusal(self, key: str | None, place: Place, module: nn.Module, error: NotExportableError) -> None:
        """Cache a refusal by torch.export, unless its reason is this machine at this time."""
        if key is not None and not any(isinstance(cause, (MemoryError, OSError)) for cause in causes(error)):
            self._cache.keep(_KIND, key, _about(place, module), json.dumps({"refused": str(error)}))


def _about(place: Place, module: nn.Module) -> str:
    path = ".".join(part for part in (place.component, place.path) if part)
    return f"{type(module).__name__} ({path})"


def _shape(module: nn.Module) -> Iterator[Any]:
    """The paths, classes and tensors of a module's parts, after all changes that the pipeline made to it."""
    for path, part in module.named_modules():
        tables = (*part._parameters.items(), *part._buffers.items())  # noqa: SLF001 - one module's own
        held = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tables if tensor is not None]
        yield path, type(part), held


def _attributes(module: nn.Module) -> list[Any]:
    """The data among the attributes of a module and its parts; a pipeline may have changed them since it was built."""
    return [
        (name, described)
        for part in module.modules()
        for name, value in vars(part).items()
        if name not in _TORCHS_OWN and (described := token_of(value, _DEEPEST, _no_data, ignored=_UNORDERED))[0] is not _NO_DATA
    ]


_TORCHS_OWN = frozenset(vars(nn.Module()))
_NO_DATA = "no data"
_UNORDERED = frozenset({"_use_default_values"})
"""Attributes that diffusers makes from sets: lists in another order in every process. The values hold all of it anyway."""
_DEEPEST = 4


def _no_data(value: Any, depth: int) -> tuple[str, str]:  # noqa: ARG001  # nothing is looked into
    """A stand-in for an object, the same in every process: a mark that it is no data, and its class."""
    return (_NO_DATA, type(value).__qualname__)


def _written(call: ExportedCall) -> dict[str, Any]:
    return {
        "trace": write_trace(call.trace),
        "results": [write_leaf(leaf) for leaf in call.results],
        "objects": list(call.objects),
        "spec": write_spec(call.spec),
        "returns_arguments": call.returns_arguments,
    }


def _read(value: Any, form: Form) -> ExportedCall | str:
    """A cached call, or the reason of a refusal, read as strictly as a stranger's file.

    Raises:
        DamagedError: the value is neither.
        NotLoadedError: a class of results is not loaded.
    """
    match value:
        case {"refused": str() as reason, **rest} if not rest:
            return reason
        case {"trace": trace, "results": results, "objects": objects, "spec": spec, "returns_arguments": bool() as returns} if (
            len(value) == _PARTS
        ):
            leaves = read_leaves(results, form)
            nesting = read_spec(spec, len(leaves), form, returns_arguments=returns)
            return ExportedCall(read_trace(trace), None, _objects(objects, len(leaves)), returns, leaves, nesting)
    raise DamagedError("a call")


_PARTS = 5
"""The number of fields of a written call."""


def _objects(positions: Any, results: int) -> dict[int, NotCached]:
    if not isinstance(positions, list) or not all(type(position) is int and 0 <= position < results for position in positions):
        raise DamagedError("objects")
    return {position: NotCached() for position in positions}
