"""Repeated modules, traced once: while `torch.export` traces, a call that is known already is one opaque node.

Most of a transformer is one block repeated. The first call of a block is traced as usual, between two marks. A later call of a
module that is the same, with arguments that are the same, is not run: one node stands for it, with the results of the first
as shapes. `fxprof.capture.translate` makes of it a reference to what was traced between the marks.

Two calls are the same when nothing that a module's Python can see differs: class, attributes, shapes of parameters and
buffers, the modules inside, and of the arguments everything but the contents of tensors. An attribute with another
plain value, such as a layer's number, may differ if the first call did not read it, for then the second does not
either.

Where that cannot be told, because a call gets an object such as a key-value cache and looks its number up in it, the module
does run, but nothing is traced: only that it calls the same modules and the same functions of torch, from the same
lines, on the same shapes, which is ten times faster. Whatever cannot be compared at all is taken to differ, and then
the call is traced in full.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_proxy_mode, get_proxy_slot, track_tensor_tree
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from fxprof.capture.calls import Key, has_containers
from fxprof.capture.layouts import is_plain, look_of
from fxprof.capture.marks import BEGIN, END, REPEAT
from fxprof.capture.plain_values import is_plain_value, key_of_value, told
from fxprof.capture.returned_values import Given
from fxprof.trace.stacks import is_torch_file


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a module's Python can see of it, apart from the contents of tensors."""

    structure: Key
    plain: tuple[tuple[type, Any], ...]
    """Attributes with plain values, by their place."""
    places: tuple[tuple[int, str], ...]
    """For each of those, which of the module's parts holds it, and its name; the same for equal structures."""
    watched: bool
    """Whether a hook watches a part of it."""


@dataclass(slots=True)
class _Known:
    """A call that was traced."""

    number: int
    plain: tuple[tuple[type, Any], ...]
    reads: frozenset[int]
    """Places of those plain attributes that differ between modules of this structure and that the call read."""
    used: tuple[int, ...]
    """Which of its arguments' leaves its operators take: what others compute for a call stays of use to it."""
    renewed: tuple[int, ...]
    """Which of them go by another value afterwards: `x.to(...)` of its own type gives `x`, which torch takes for new."""
    results: list[Any]
    """For each leaf of what it returned: a plain value, a `Given` or a `_Made`."""
    spec: pytree.TreeSpec
    steps: list[Any] | None
    """What it did, where a later call has to run to be told to do the same."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A tensor that the call made; the same one at every leaf with the same number."""

    number: int
    size: tuple[Any, ...]
    stride: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that is about to be made."""

    key: Key
    """What is the same for equal calls, but for plain attributes."""
    module: nn.Module
    found: Fingerprint
    leaves: list[Any]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    has_objects: bool
    """Whether it can see more than was compared."""

    def named(self, places: Iterable[int]) -> list[tuple[int, str]]:
        """Plain attributes by the identity of what holds them, and their name."""
        parts = list(self.module.modules())
        return [(id(vars(parts[part])), name) for part, name in (self.found.places[at] for at in places)]

    def state(self) -> Key:
        """What the call could change that is not its own: contents of tensors that it is given or holds, and of containers."""
        args, kwargs = self.arguments
        writes = tuple(
            (id(tensor), tensor._version)  # noqa: SLF001 - there is no other way to ask
            for tensor in (*self.leaves, *_held(self.module))
            if isinstance(tensor, torch.Tensor)
        )
        if not any(has_containers(value) for value in (*args, *kwargs.values())):
            return writes
        leaves, spec = pytree.tree_flatten(self.arguments)
        return (repr(spec), tuple(map(id, leaves)), writes)


@contextmanager
def repeated_once(root: nn.Module, *, may_run: bool) -> Iterator[Sharing]:
    """For the time of an export of `root`, trace modules that are alike once; all is as before afterwards.

    Args:
        root: what is exported.
        may_run: whether modules may run to be told to do the same as others, and the export be repeated if they do not.
    """
    sharing = Sharing(root, may_run)
    with sharing.installed():
        yield sharing


@dataclass(slots=True)
class Sharing:
    """The repeated modules of one export."""

    root: nn.Module
    may_run: bool
    differed: bool = False
    """Whether a module was run that did not do what it was expected to."""
    stand_ins: int = 0
    """How many calls were not traced because they were known."""
    _members: dict[int, nn.Module] = field(default_factory=dict)
    """Modules with one like them, by the identity of their attributes: torch wraps modules in proxies that share these."""
    _unlisted: list[nn.Module] = field(default_factory=list)
    """Modules whose weights are kept from torch."""
    _doubtful: dict[type, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Plain attributes, by class, in which modules differ that are otherwise alike."""
    _known: dict[Key, list[_Known]] = field(default_factory=lambda: defaultdict(list))
    _refused: set[Key] = field(default_factory=set)
    _read: list[tuple[int, str]] = field(default_factory=list)
    """Doubtful attributes that were read, in order: whose, and the name."""
    _count: int = 0
    _noting: bool = False
    """Whether a module runs whose every step is noted."""
    _modes: Key = ()
    _graph: Any = None
    """What is traced into."""
    _seen: Any = None
    """The last of its nodes that was looked at."""
    _regions: int = 0
    """How many regions of autocast are open there."""

    def __post_init__(self) -> None:
        groups = _alike(self.root)
        self._unlisted = _unlisted([[module for module, _ in group] for group in groups])
        for group in groups:
            first = group[0][1]
            for module, found in group:
                self._members[id(vars(module))] = module
                parts = list(module.modules())
                for at in _differing(first.plain, found.plain):
                    part, name = first.places[at]
                    self._doubtful[type(parts[part])].add(name)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand between the modules' calls and their `forward`, and watch the doubtful attributes."""
        self._modes = modes()
        classes = {type(module) for module in self._members.values()}
        with self._hidden(), _replaced({(class_, "forward"): self._forward_of(class_) for class_ in classes}):
            watched = {
                (class_, name): self._watcher(class_, name)
                for class_, names in self._doubtful.items()
                for name in names
                if not hasattr(getattr(class_, name, None), "__set__")
            }
            unwatched = {(class_, name) for class_, names in self._doubtful.items() for name in names} - watched.keys()
            for class_, name in unwatched:
                self._doubtful[class_].discard(name)
            with _replaced(watched):
                yield

    @contextmanager
    def _hidden(self) -> Iterator[None]:
        """Keep from torch the weights of modules that are not expected to run: each costs it as much as an operator."""
        before = {part: part._parameters for part in self._unlisted}  # noqa: SLF001 - a list of them cannot be set otherwise
        try:
            for part, weights in before.items():
                part._parameters = _Unlisted(weights)  # noqa: SLF001
            yield
        finally:
            for part, weights in before.items():
                part._parameters = weights  # noqa: SLF001

    def _forward_of(self, class_: type) -> Callable[..., Any]:
        original, sharing = class_.forward, self  # type: ignore[attr-defined]  # of a module

        @functools.wraps(original)
        def forward(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            member = sharing._members.get(id(vars(module)))
            # A class may call the `forward` of the one that it is made of, for a part of its work.
            if member is None or type(member) is not class_:
                return original(module, *args, **kwargs)
            return sharing._call(member, functools.partial(original, module), args, kwargs)

        return forward

    def _watcher(self, class_: type, name: str) -> property:
        read, default = self._read, getattr(class_, name, _ABSENT)

        def get(module: Any) -> Any:
            read.append((id(vars(module)), name))
            value = vars(module).get(name, default)
            if value is _ABSENT:
                raise AttributeError(name)
            return value

        return property(get, lambda module, value: vars(module).update({name: value}), lambda module: vars(module).pop(name))

    def _call(self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode = get_proxy_mode()
        if mode is None or self._noting or self._is_in_region(mode.tracer):
            return forward(*args, **kwargs)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        with _unwatched():
            found = fingerprint(module)
            inputs = None if found.watched else _inputs(leaves, spec, mode.tracer)
        has_objects = inputs is not None and any(item[0] is _OBJECT for item in inputs[1:])
        if inputs is None or (found.structure, inputs) in self._refused or (has_objects and not self.may_run):
            return forward(*args, **kwargs)
        call = _Call((found.structure, inputs), module, found, leaves, (args, kwargs), has_objects)
        known = next((known for known in self._known[call.key] if _is_same(known, call)), None)
        if known is None:
            return self._first(call, forward, mode.tracer)
        return self._stand_in(known, call, forward, mode.tracer)

    def _is_in_region(self, tracer: Any) -> bool:
        """Whether the call is part of what becomes the body of an operator, which takes in all weights that it uses."""
        if self._graph is None:
            self._graph, self._seen = tracer.graph, tracer.graph._root  # noqa: SLF001 - where its list of nodes starts
        if tracer.graph is not self._graph or modes() != self._modes:
            return True
        while self._seen.next.op != "root":
            self._seen = self._seen.next
            self._regions += (self._seen.target is _enter_autocast) - (self._seen.target is _exit_autocast)
        return self._regions > 0

    @contextmanager
    def _noted(self, module: nn.Module, tracer: Any, *, traced: bool) -> Iterator[_Steps]:
        """Note the modules that are called and what is called of torch."""
        numbers = {id(vars(part)): number for number, part in enumerate(module.modules())}
        steps = _Steps(tracer, {id(tensor) for tensor in _held(module)}, traced=traced)

        def called(part: nn.Module, _: Any) -> None:
            steps.noted.append(numbers.get(id(vars(part)), type(part)))

        hook = register_module_forward_pre_hook(called)
        self._noting = True
        try:
            with steps:
                yield steps
        finally:
            self._noting = False
            hook.remove()

    def _run(
        self, known: _Known, call: _Call, forward: Callable[..., Any], tracer: Any
    ) -> tuple[list[torch.Tensor], list[Any]]:
        """Run a call without tracing it: the tensors that it made, and what of the graph it took.

        Raises:
            DifferentError: it did not do what it was expected to.
        """
        args, kwargs = call.arguments
        with disable_proxy_modes_tracing(), self._noted(call.module, tracer, traced=False) as steps:
            leaves, spec = pytree.tree_flatten(forward(*args, **kwargs))
        with _unwatched():
            results = _results(leaves, call.leaves)
        if steps.noted != known.steps or results != known.results or spec != known.spec:
            self.differed = True
            raise DifferentError(f"{type(call.module).__name__} does not do the same each time")
        made = {item.number: leaf for item, leaf in zip(known.results, leaves, strict=True) if isinstance(item, _Made)}
        return list(made.values()), list(steps.taken.values())

    def _stand_in(self, known: _Known, call: _Call, forward: Callable[..., Any], tracer: Any) -> Any:
        self.stand_ins += 1
        self._read += call.named(known.reads)
        if known.steps is None:
            made, inputs = _made(known.results), [get_proxy_slot(call.leaves[at], tracer).proxy for at in known.used]
        else:
            made, inputs = self._run(known, call, forward, tracer)
        proxy = tracer.create_proxy("call_function", REPEAT, (known.number, inputs), {})
        track_tensor_tree([*made, *(call.leaves[at] for at in known.renewed)], proxy, constant=None, tracer=tracer)
        leaves = [
            call.leaves[item.position] if isinstance(item, Given) else made[item.number] if isinstance(item, _Made) else item
            for item in known.results
        ]
        return pytree.tree_unflatten(leaves, known.spec)

    def _first(self, call: _Call, forward: Callable[..., Any], tracer: Any) -> Any:
        self._count += 1
        number, reads = self._count, len(self._read)
        with _unwatched():
            before = call.state()
        given = [get_proxy_slot(leaf, tracer).proxy if isinstance(leaf, torch.Tensor) else None for leaf in call.leaves]
        begin = tracer.create_proxy("call_function", BEGIN, (number,), {}).node
        args, kwargs = call.arguments
        with self._noted(call.module, tracer, traced=True) if call.has_objects else nullcontext() as steps:
            result = forward(*args, **kwargs)
        leaves, spec = pytree.tree_flatten(result)
        found = call.found
        with _unwatched():
            results, after, state = _results(leaves, call.leaves), fingerprint(call.module), call.state()
        changed = before != state or (after.structure, after.plain) != (found.structure, found.plain)
        if changed or results is None:
            tracer.create_proxy("call_function", END, (number, [], []), {})
            self._refused.add(call.key)
            return result
        noted = set(self._read[reads:])
        parts = list(call.module.modules())
        known_reads = frozenset(
            at
            for at, (part, name) in enumerate(found.places)
            if name not in self._doubtful.get(type(parts[part]), ()) or (id(vars(parts[part])), name) in noted
        )
        taken = _taken(begin)
        used = tuple(at for at, proxy in enumerate(given) if proxy is not None and proxy.node in taken)
        outer = (proxy for proxy in steps.taken.values() if proxy.node < begin) if steps else (given[at] for at in used)
        made = {item.number: leaf for item, leaf in zip(results, leaves, strict=True) if isinstance(item, _Made)}
        handed = {at: proxy for at, proxy in enumerate(given) if proxy is not None}
        now = {at: get_proxy_slot(call.leaves[at], tracer).proxy for at in handed}
        renewed = tuple(at for at, proxy in now.items() if proxy.node is not handed[at].node)
        inner = [*(get_proxy_slot(leaf, tracer).proxy for leaf in made.values()), *(now[at] for at in renewed)]
        tracer.create_proxy("call_function", END, (number, list(outer), inner), {})
        self._known[call.key].append(
            _Known(number, found.plain, known_reads, used, renewed, results, spec, steps.noted if steps else None)
        )
        return result


class DifferentError(Exception):
    """A module that was run to show that it does the same as another one did something else."""


class _Steps(TorchFunctionMode):
    """Notes what is called of torch: the function, the line, and the arguments but for the contents of tensors."""

    def __init__(self, tracer: Any, own: set[int], *, traced: bool) -> None:
        super().__init__()
        self.noted: list[Any] = []
        self.taken: dict[int, Any] = {}
        """What the graph had for tensors that were arguments, by their identity; weights of the module apart."""
        self._tracer, self._own, self._traced = tracer, own, traced
        self._seen: dict[int, torch.Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with _unwatched():
            self.noted.append((func, _line(), _seen(args), _seen(kwargs)))
            self._take((args, kwargs))
            if not self._traced:
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _take(self, arguments: Any) -> None:
        """Note what the graph has for arguments now; an operator that returns its argument puts its own result there."""
        for leaf in pytree.tree_leaves(arguments):
            if type(leaf) is FakeTensor and id(leaf) not in self._seen and id(leaf) not in self._own:
                self._seen[id(leaf)] = leaf
                slot = get_proxy_slot(leaf, self._tracer, None)
                if slot is not None:
                    self.taken[id(leaf)] = slot.proxy


def _held(module: nn.Module) -> Iterator[Any]:
    """The parameters and buffers of a module and its parts, also those that are kept from torch."""
    return (tensor for part in module.modules() for name in _TABLES for tensor in dict.values(vars(part)[name]))


def _line() -> tuple[str, int] | None:
    """The innermost line outside of torch."""
    frame = sys._getframe(2)  # noqa: SLF001 - walking frames is far cheaper than formatting a traceback
    while frame is not None and _is_torch_file(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame else None


_is_torch_file = functools.cache(is_torch_file)


def _seen(value: Any) -> Any:
    """An argument of a function of torch, but for the contents of tensors."""
    if isinstance(value, torch.Tensor):
        return (tuple(map(_size, (*value.shape, *value.stride()))), value.dtype, value.device, value.requires_grad)
    if is_plain_value(value) and not isinstance(value, torch.Size):  # which may hold symbols
        return key_of_value(value)
    if isinstance(value, (list, tuple)):
        return [_seen(item) for item in value]
    if isinstance(value, dict):
        return [(key, _seen(item)) for key, item in value.items()]
    if isinstance(value, slice):
        return [_seen(item) for item in (value.start, value.stop, value.step)]
    return _size(value) if isinstance(value, torch.SymInt) else value


def _is_same(known: _Known, call: _Call) -> bool:
    """Whether a call does the same as one that is known; where it is run to show it, numbers of layers may differ."""
    places = (at for at in _differing(known.plain, call.found.plain) if at in known.reads)
    kinds = ({known.plain[at][0], call.found.plain[at][0]} for at in places)
    return all(call.has_objects and kind == {int} for kind in kinds)


@contextmanager
def _replaced(attributes: Mapping[tuple[type, str], Any]) -> Iterator[None]:
    """Set attributes of classes, and put back what they had of their own."""
    before = [(class_, name, vars(class_).get(name, _ABSENT)) for class_, name in attributes]
    try:
        for (class_, name), value in attributes.items():
            setattr(class_, name, value)
        yield
    finally:
        for class_, name, value in before:
            if value is not _ABSENT:
                setattr(class_, name, value)
            elif name in vars(class_):
                delattr(class_, name)


_ABSENT = object()


def _alike(root: nn.Module) -> list[list[tuple[nn.Module, Fingerprint]]]:
    """Groups of modules that are alike but for plain attributes; those that hold others, for the rest is not worth a node."""
    paths: dict[int, int] = defaultdict(int)
    for _, module in root.named_modules(remove_duplicate=False):
        paths[id(module)] += 1
    candidates: dict[Key, list[nn.Module]] = defaultdict(list)
    for module in root.modules():
        parts = list(module.modules())
        if module is not root and len(parts) > 1 and _can_stand_for(module) and all(paths[id(part)] == 1 for part in parts):
            candidates[type(module), len(parts)].append(module)
    groups: dict[Key, list[tuple[nn.Module, Fingerprint]]] = defaultdict(list)
    for members in candidates.values():
        for module in members if len(members) > 1 else ():
            found = fingerprint(module)
            groups[found.structure].append((module, found))
    return [group for group in groups.values() if len(group) > 1]


class _Unlisted(dict[str, Any]):
    """Weights that are not listed when torch asks what there is, before it traces; modules, which run later, see them."""

    def items(self) -> Any:
        return {}.items() if get_proxy_mode() is None else super().items()

    def values(self) -> Any:
        return {}.values() if get_proxy_mode() is None else super().values()

    def keys(self) -> Any:
        return {}.keys() if get_proxy_mode() is None else super().keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


def _unlisted(groups: list[list[nn.Module]]) -> list[nn.Module]:
    """All parts of the modules for which another one is expected to stand."""
    found: dict[nn.Module, None] = {}
    for group in sorted(groups, key=lambda group: -sum(1 for _ in group[0].modules())):
        for module in [module for module in group if module not in found][1:]:
            found.update(dict.fromkeys(module.modules()))
    return list(found)


def _can_stand_for(module: nn.Module) -> bool:
    forward = getattr(type(module), "forward", None)
    # What a class of torch computes is told by the line that calls it, which is another one for each of its modules.
    return "forward" not in vars(module) and inspect.isfunction(forward) and not is_torch_file(forward.__code__.co_filename)


def fingerprint(module: nn.Module) -> Fingerprint:
    """What a module is, as its Python can see it."""
    structure: list[Any] = []
    plain: list[tuple[type, Any]] = []
    places: list[tuple[int, str]] = []
    tensors: list[int] = []
    watched = False
    for at, (path, part) in enumerate(module.named_modules()):
        watched = watched or (at > 0 and any(vars(part).get(name) for name in _HOOKS))
        own: list[Any] = [path, type(part)]
        if isinstance(part, torch.jit.ScriptModule):
            own.append(id(part))  # its attributes do not show what it computes
        for name, value in vars(part).items():
            if name in _TABLES:
                for key, tensor in (
                    dict.items(value) if isinstance(value, dict) else value.items()
                ):  # also those that are kept from torch
                    own.append((name, key, None if tensor is None else _like(tensor)))
                    tensors += [] if tensor is None else [id(tensor)]
            elif name in _INTERNAL:
                continue
            elif is_plain_value(value):
                own.append(name)
                places.append((at, name))
                plain.append(key_of_value(value))
            else:
                own.append((name, told(value, _DEEPEST, _of_object, derived=False)))
        structure.append(tuple(own))
    shared = tuple(map(tensors.index, tensors)) if len(set(tensors)) < len(tensors) else ()
    return Fingerprint((*structure, shared), tuple(plain), tuple(places), watched)


_TABLES = frozenset({"_parameters", "_buffers"})
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_INTERNAL = frozenset(vars(nn.Module())) - _TABLES - {"training"}
_DEEPEST = 6
_PYTHON_CLASS = 1 << 9
"""The flag of classes that are written in Python, so that `vars` shows all that their objects hold."""


def _of_object(value: Any, depth: int) -> Key:
    """What stands for an object that a module holds; one that cannot be compared is equal to itself alone."""
    if depth > 0 and _is_work_of_python(value):
        held = ((name, told(item, depth - 1, _of_object, derived=False)) for name, item in vars(value).items())
        return (type(value), tuple(held))
    return ("object", id(value))


def _is_work_of_python(value: Any) -> bool:
    """Whether `vars` shows all that an object holds, and the object is no part of something larger."""
    if isinstance(value, (nn.Module, torch.Tensor, type, types.FunctionType, types.MethodType, types.ModuleType)):
        return False
    return hasattr(value, "__dict__") and all(class_.__flags__ & _PYTHON_CLASS for class_ in type(value).__mro__[:-1])


def _like(tensor: torch.Tensor) -> Key:
    if not is_plain(tensor):
        return (id(tensor), *look_of(tensor))
    kind = torch.Tensor if type(tensor) in _TENSORS else type(tensor)
    return (kind, tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)


_TENSORS = frozenset({torch.Tensor, nn.Parameter, nn.Buffer, FakeTensor})


def _differing(one: Sequence[Any], other: Sequence[Any]) -> Iterator[int]:
    return (at for at, (left, right) in enumerate(zip(one, other, strict=True)) if left != right)


def _inputs(leaves: Sequence[Any], spec: pytree.TreeSpec, tracer: Any) -> Key | None:
    """The arguments of a call but for the contents of tensors and objects; None when they hold a tensor that is known."""
    found: list[Any] = [repr(spec)]
    first: dict[int, int] = {}
    for at, leaf in enumerate(leaves):
        if type(leaf) is FakeTensor:
            proxy = get_proxy_slot(leaf, tracer, None)
            if proxy is None or proxy.constant is not None:
                return None  # its contents may be known to the tracer
            sizes = tuple(map(_size, (*leaf.shape, *leaf.stride())))
            found.append((first.setdefault(id(leaf), at), sizes, leaf.dtype, leaf.device, leaf.layout, leaf.requires_grad))
        elif is_plain_value(leaf):
            found.append(key_of_value(leaf))
        elif isinstance(leaf, torch.SymInt):
            found.append(("symbol", _size(leaf)))
        else:
            found.append((_OBJECT, type(leaf)))
    return tuple(found)


_OBJECT = "object"


def _size(size: Any) -> Any:
    return size if isinstance(size, int) else ("expression", size.node.expr)


def _unwatched() -> Any:
    """A context in which reading attributes of tensors is fast: in an export, torch's modes look at each of them."""
    return torch._C.DisableTorchFunction()  # noqa: SLF001 - the public one leaves modes on


def modes() -> Key:
    """What a module's Python can see of torch's state."""
    autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(), *autocast)


def _made(results: Sequence[Any]) -> list[torch.Tensor]:
    """New tensors like those that a call made."""
    made: dict[int, torch.Tensor] = {}
    with disable_proxy_modes_tracing():
        for item in results:
            if isinstance(item, _Made) and item.number not in made:
                made[item.number] = torch.empty_strided(item.size, item.stride, dtype=item.dtype, device=item.device)
    return list(made.values())


def _taken(begin: Node) -> set[Node]:
    """The nodes that those after another one take in."""
    taken: set[Node] = set()
    node = begin.next
    while node.op != "root":
        taken.update(node.all_input_nodes)
        node = node.next
    return taken


def _results(leaves: Sequence[Any], given: Sequence[Any]) -> list[Any] | None:
    """How to make the same results again; None when some are neither tensors nor plain values."""
    places: dict[int, int] = {}
    for at, leaf in enumerate(given):
        if isinstance(leaf, torch.Tensor):
            places.setdefault(id(leaf), at)
    numbers: dict[int, int] = {}
    found: list[Any] = []
    for leaf in leaves:
        if id(leaf) in places:
            found.append(Given(places[id(leaf)]))
        elif type(leaf) is FakeTensor and leaf.layout is torch.strided:
            number = numbers.setdefault(id(leaf), len(numbers))
            found.append(_Made(number, tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device))
        elif is_plain_value(leaf):
            found.append(leaf)
        else:
            return None
    return found
