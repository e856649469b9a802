"""Captured calls that are kept on this machine, so that another workload does not export again what is known.

A call is found again by the configuration that its component was built from, what the pipeline has made of it since, and
what it is called with. One that depends on what is no data is not kept. Objects among its results, such as a key-value cache,
are not either: should the pipeline look at one, it has to be rehearsed again without such calls.
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
from fxprof.capture.calls import key_of as key_of_call
from fxprof.capture.error_causes import causes
from fxprof.capture.export import ExportedCall, NotExportableError
from fxprof.capture.kept_results import Form, NotLoadedError, read_leaves, read_spec, write_leaf, write_spec
from fxprof.capture.places import Place
from fxprof.capture.plain_values import is_plain_value, told
from fxprof.capture.returned_values import NotKept
from fxprof.capture.sharing import modes
from fxprof.capture.state import settings_of
from fxprof.source.config import ComponentConfig
from fxprof.strict_json import read_json
from fxprof.trace.codec import DamagedError, NotWritableError, read_trace, write_trace

_KIND = "call"


class KeptCalls:
    """The calls of one pipeline's components in a cache.

    Args:
        cache: where they are kept.
        parts: what each component was built from.
        objects: whether to find calls that returned objects, in whose place there is `NotKept`.
    """

    def __init__(self, cache: Cache, parts: Mapping[str, ComponentConfig], *, objects: bool = True) -> None:
        self._cache = cache
        self._parts = parts
        self._objects = objects
        self._forms: dict[str, Form] = {}

    def key(self, place: Place, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """What a call is found by; None when it cannot be kept."""
        part = self._parts.get(place.component)
        leaves = pytree.tree_leaves((args, kwargs))
        if part is None or not all(type(leaf) is torch.Tensor or is_plain_value(leaf) for leaf in leaves):
            return None
        strides = [leaf.stride() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        given = repr((key_of_call(args, kwargs), strides, modes()))
        # The same model in another pipeline, or under another name there, does the same.
        content = ComponentConfig(part.library, part.class_name, part.values, part.directory)
        held = (settings_of(module), tuple(_shape(module)), _attributes(module))
        key = key_of(_KIND, content, place.path, given, repr(held))
        if key is not None:
            self._forms[key] = Form.of(args, kwargs)
        return key

    def find(self, key: str | None) -> ExportedCall | None:
        """The call that was kept under what `key` returned.

        Raises:
            NotExportableError: torch.export refused it before.
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
        """Keep a call, if it can be."""
        if key is not None:
            try:
                text = json.dumps(_written(call))
            except (NotWritableError, TypeError, ValueError):
                return
            self._cache.keep(_KIND, key, _about(place, module), text)

    def keep_refusal(self, key: str | None, place: Place, module: nn.Module, error: NotExportableError) -> None:
        """Keep that a call is not exportable, unless that is due to this machine at this time."""
        if key is not None and not any(isinstance(cause, (MemoryError, OSError)) for cause in causes(error)):
            self._cache.keep(_KIND, key, _about(place, module), json.dumps({"refused": str(error)}))


def _about(place: Place, module: nn.Module) -> str:
    path = ".".join(part for part in (place.component, place.path) if part)
    return f"{type(module).__name__} ({path})"


def _shape(module: nn.Module) -> Iterator[Any]:
    """What a module is made of, whatever the pipeline did to it after it was built."""
    for path, part in module.named_modules():
        tables = (*part._parameters.items(), *part._buffers.items())  # noqa: SLF001 - one module's own
        held = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tables if tensor is not None]
        yield path, type(part), held


def _attributes(module: nn.Module) -> list[Any]:
    """The data among the attributes of a module and its parts, which a pipeline may have changed since it was built."""
    return [
        (name, described)
        for part in module.modules()
        for name, value in vars(part).items()
        if name not in _TORCHS_OWN and (described := told(value, _DEEPEST, _no_data, ignored=_UNORDERED))[0] is not _NO_DATA
    ]


_TORCHS_OWN = frozenset(vars(nn.Module()))
_NO_DATA = "no data"
_UNORDERED = frozenset({"_use_default_values"})
"""What diffusers makes a list of out of a set: in another order in every process. It says nothing that the values do not."""
_DEEPEST = 4


def _no_data(value: Any, depth: int) -> tuple[str, str]:  # noqa: ARG001  # nothing is looked into
    """What stands for an object, in a form that is the same in every process: nothing but that it is no data."""
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
    """A call, or why there is none: as strictly as if a stranger had written it.

    Raises:
        DamagedError: it is neither.
        NotLoadedError: a class of results is not there.
    """
    match value:
        case {"refused": str() as reason, **rest} if not rest:
            return reason
        case {"trace": trace, "results": results, "objects": objects, "spec": spec, "returns_arguments": bool() as returns} if (
            len(value) == _PARTS
        ):
            leaves = read_leaves(results, form)
            found = read_spec(spec, len(leaves), form, returns_arguments=returns)
            return ExportedCall(read_trace(trace), None, _objects(objects, len(leaves)), returns, leaves, found)
    raise DamagedError("a call")


_PARTS = 5
"""What is written of a call."""


def _objects(places: Any, results: int) -> dict[int, NotKept]:
    if not isinstance(places, list) or not all(type(place) is int and 0 <= place < results for place in places):
        raise DamagedError("objects")
    return {place: NotKept() for place in places}
