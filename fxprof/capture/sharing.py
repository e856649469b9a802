"""Tracing of repeated modules once: while `torch.export` traces, a repeated call becomes one opaque node.

Most of a transformer is one block repeated. The first call of a block is traced as usual, between two marks. A later call of an
identical module with identical arguments does not run: one node stands in for it, with the results of the first as shapes.
`fxprof.capture.translate` turns this node into a reference to the operators between the marks.

Two calls are identical when nothing that a module's Python can see differs: class, attributes, shapes of parameters and
buffers, the modules inside, and the arguments except the contents of tensors. An attribute with another plain value, such
as a layer's number, may differ if the first call did not read it, because then the second does not read it either.

A call that gets an object such as a key-value cache, and looks its number up in it, cannot be compared this way. Its module
does run, but nothing is traced: the check is that it calls the same modules and the same functions of torch, from the same
lines, on the same shapes, which is ten times faster. A call that cannot be compared at all counts as different, and
is traced in full.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import weakref
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
from torch.utils.weak import WeakIdKeyDictionary

from fxprof.capture.calls import Key, has_containers
from fxprof.capture.layouts import is_plain, look_of
from fxprof.capture.marks import BEGIN, END, REPEAT
from fxprof.capture.plain_values import is_plain_value, key_of_value, token_of
from fxprof.capture.returned_values import Given
from fxprof.trace.stacks import is_torch_file


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The features of a module that its Python can see, apart from the contents of tensors."""

    structure: Key
    plain: tuple[tuple[type, Any], ...]
    """Attributes with plain values, by position."""
    places: tuple[tuple[int, str], ...]
    """For each of those, the number of the part that holds it, and its name; the same for equal structures."""
    watched: bool
    """Whether a hook watches a part of the module."""


@dataclass(slots=True)
class _Known:
    """A call that was traced."""

    number: int
    plain: tuple[tuple[type, Any], ...]
    reads: frozenset[int]
    """Positions of the plain attributes that differ between modules of this structure and that the call read."""
    used: tuple[int, ...]
    """The leaves of its arguments that its operators take; operators that compute these for a call stay in use."""
    renewed: tuple[int, ...]
    """The leaves that have another value in the graph afterwards: `x.to(...)` of its own type gives `x`, new to torch."""
    results: list[Any]
    """A plain value, a `Given` or a `_Made` for each leaf of the result."""
    spec: pytree.TreeSpec
    steps: list[Any] | None
    """The steps of the call, if a later call has to run to show that it does the same."""


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
    """A key that is equal for equal calls, except for plain attributes."""
    module: nn.Module
    traits: Fingerprint
    leaves: list[Any]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    has_objects: bool
    """Whether the call can see more than the key compares."""

    def named(self, places: Iterable[int]) -> list[tuple[int, str]]:
        """The plain attributes at some positions, each as the identity of its holder and its name."""
        parts = list(self.module.modules())
        return [(id(vars(parts[part])), name) for part, name in (self.traits.places[at] for at in places)]

    @contextmanager
    def unheld(self) -> Iterator[None]:
        """Hold no tensor until the end of the block, so that the module can drop one from a container that it is given."""
        held = [weakref.ref(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        self.leaves.clear()
        yield
        self.leaves.extend(leaf() if isinstance(leaf, weakref.ref) else leaf for leaf in held)

    def state(self) -> Key:
        """Outside state that the call could change: contents of tensors that it gets or holds, and of containers."""
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
    """Trace identical modules once in an export of `root`; all state is as before after the block.

    Args:
        root: the module that is exported.
        may_run: whether modules may run to show that they do the same as others, and the export be repeated if they do not.
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
    """Whether a module ran and did something unexpected."""
    stand_ins: int = 0
    """The number of calls that were not traced because they were known."""
    _members: dict[int, nn.Module] = field(default_factory=dict)
    """Modules with an identical one, by the identity of their attributes: torch wraps modules in proxies that share these."""
    _unlisted: list[nn.Module] = field(default_factory=list)
    """Modules whose weights are hidden from torch."""
    _doubtful: dict[type, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Plain attributes, by class, in which otherwise identical modules differ."""
    _known: dict[Key, list[_Known]] = field(default_factory=lambda: defaultdict(list))
    _refused: set[Key] = field(default_factory=set)
    _read: list[tuple[int, str]] = field(default_factory=list)
    """The doubtful attributes that were read, in order: identity of the holder, and name."""
    _count: int = 0
    _noting: bool = False
    """Whether a module runs with every step recorded."""
    _modes: Key = ()
    _graph: Any = None
    """The graph that torch traces into."""
    _seen: Any = None
    """The last node of the graph that was examined."""
    _regions: int = 0
    """The number of open regions of autocast in the graph."""

    def __post_init__(self) -> None:
        groups = _alike(self.root)
        self._unlisted = _unlisted([[module for module, _ in group] for group in groups])
        for group in groups:
            first = group[0][1]
            for module, traits in group:
                self._members[id(vars(module))] = module
                parts = list(module.modules())
                for at in _differing(first.plain, traits.plain):
                    part, name = first.places[at]
                    self._doubtful[type(parts[part])].add(name)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Intercept the modules' `forward`, and watch the doubtful attributes."""
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
        """Hide from torch the weights of modules that are not expected to run: each costs torch as much as an operator."""
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
            # A class may call the `forward` of its base class for a part of its work.
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
            traits = fingerprint(module)
            inputs = None if traits.watched else _inputs(leaves, spec, mode.tracer)
        has_objects = inputs is not None and any(item[0] is _OBJECT for item in inputs[1:])
        if inputs is None or (traits.structure, inputs) in self._refused or (has_objects and not self.may_run):
            del leaves  # as in a run, where nobody else holds what the module may drop
            return forward(*args, **kwargs)
        call = _Call((traits.structure, inputs), module, traits, leaves, (args, kwargs), has_objects)
        del leaves
        known = next((known for known in self._known[call.key] if _is_same(known, call)), None)
        if known is None:
            return self._first(call, forward, mode.tracer)
        return self._stand_in(known, call, forward, mode.tracer)

    def _is_in_region(self, tracer: Any) -> bool:
        """Whether the call is part of a future body of an operator, which takes in all weights that it uses."""
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
        """Record the calls of modules and of torch's functions."""
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
        """Run a call without tracing it: returns the tensors that it made, and the values of the graph that it took.

        Raises:
            DifferentError: it did something unexpected.
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
        return list(made.values()), steps.taken

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
        with call.unheld(), self._noted(call.module, tracer, traced=True) if call.has_objects else nullcontext() as steps:
            result = forward(*args, **kwargs)
        leaves, spec = pytree.tree_flatten(result)
        traits = call.traits
        with _unwatched():
            results, after, state = _results(leaves, call.leaves), fingerprint(call.module), call.state()
        changed = before != state or (after.structure, after.plain) != (traits.structure, traits.plain)
        if changed or results is None:
            tracer.create_proxy("call_function", END, (number, [], []), {})
            self._refused.add(call.key)
            return result
        noted = set(self._read[reads:])
        parts = list(call.module.modules())
        known_reads = frozenset(
            at
            for at, (part, name) in enumerate(traits.places)
            if name not in self._doubtful.get(type(parts[part]), ()) or (id(vars(parts[part])), name) in noted
        )
        taken = _taken(begin)
        used = tuple(at for at, proxy in enumerate(given) if proxy is not None and proxy.node in taken)
        outer = (proxy for proxy in steps.taken if proxy.node < begin) if steps else (given[at] for at in used)
        made = {item.number: leaf for item, leaf in zip(results, leaves, strict=True) if isinstance(item, _Made)}
        handed = {at: proxy for at, proxy in enumerate(given) if proxy is not None}
        now = {at: get_proxy_slot(call.leaves[at], tracer).proxy for at in handed}
        renewed = tuple(at for at, proxy in now.items() if proxy.node is not handed[at].node)
        inner = [*(get_proxy_slot(leaf, tracer).proxy for leaf in made.values()), *(now[at] for at in renewed)]
        tracer.create_proxy("call_function", END, (number, list(outer), inner), {})
        self._known[call.key].append(
            _Known(number, traits.plain, known_reads, used, renewed, results, spec, steps.noted if steps else None)
        )
        return result


class DifferentError(Exception):
    """A module that ran to show that it does the same as another one did something else."""


class _Steps(TorchFunctionMode):
    """Records calls of torch's functions: the function, the line, and the arguments except the contents of tensors."""

    def __init__(self, tracer: Any, own: set[int], *, traced: bool) -> None:
        super().__init__()
        self.noted: list[Any] = []
        self.taken: list[Any] = []
        """The graph's values for tensors that were arguments, in order, without weights of the module."""
        self._tracer, self._own, self._traced = tracer, own, traced
        self._seen: Any = WeakIdKeyDictionary()  # a strong one would keep tensors alive that the module drops

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with _unwatched():
            self.noted.append((func, _line(), _seen(args), _seen(kwargs)))
            self._take((args, kwargs))
            if not self._traced:
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _take(self, arguments: Any) -> None:
        """Record the graph's present values for arguments; an operator that returns its argument puts its own result there."""
        for leaf in pytree.tree_leaves(arguments):
            if type(leaf) is FakeTensor and leaf not in self._seen and id(leaf) not in self._own:
                self._seen[leaf] = True
                slot = get_proxy_slot(leaf, self._tracer, None)
                if slot is not None:
                    self.taken.append(slot.proxy)


def _held(module: nn.Module) -> Iterator[Any]:
    """The parameters and buffers of a module and its parts, also those that are hidden from torch."""
    return (tensor for part in module.modules() for name in _TABLES for tensor in dict.values(vars(part)[name]))


def _line() -> tuple[str, int] | None:
    """The innermost line outside of torch."""
    frame = sys._getframe(2)  # noqa: SLF001 - walking frames is far cheaper than formatting a traceback
    while frame is not None and _is_torch_file(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame else None


_is_torch_file = functools.cache(is_torch_file)


def _seen(value: Any) -> Any:
    """An argument of a function of torch, except the contents of tensors."""
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
    """Whether a call does the same as a known one; if a run shows it, numbers of layers may differ."""
    places = (at for at in _differing(known.plain, call.traits.plain) if at in known.reads)
    kinds = ({known.plain[at][0], call.traits.plain[at][0]} for at in places)
    return all(call.has_objects and kind == {int} for kind in kinds)


@contextmanager
def _replaced(attributes: Mapping[tuple[type, str], Any]) -> Iterator[None]:
    """Set attributes of classes until the end of the block, and restore the classes' own ones then."""
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
    """Groups of modules that differ only in plain attributes; only modules with parts, as others would not save a node."""
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
            traits = fingerprint(module)
            groups[traits.structure].append((module, traits))
    return [group for group in groups.values() if len(group) > 1]


class _Unlisted(dict[str, Any]):
    """Weights that are hidden when torch lists weights before it traces; modules, which run later, see them."""

    def items(self) -> Any:
        return {}.items() if get_proxy_mode() is None else super().items()

    def values(self) -> Any:
        return {}.values() if get_proxy_mode() is None else super().values()

    def keys(self) -> Any:
        return {}.keys() if get_proxy_mode() is None else super().keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


def _unlisted(groups: list[list[nn.Module]]) -> list[nn.Module]:
    """All parts of the modules that another module is expected to stand in for."""
    parts: dict[nn.Module, None] = {}
    for group in sorted(groups, key=lambda group: -sum(1 for _ in group[0].modules())):
        for module in [module for module in group if module not in parts][1:]:
            parts.update(dict.fromkeys(module.modules()))
    return list(parts)


def _can_stand_for(module: nn.Module) -> bool:
    forward = getattr(type(module), "forward", None)
    # The line that calls a torch class identifies its work, and each of its modules is called from another line.
    return "forward" not in vars(module) and inspect.isfunction(forward) and not is_torch_file(forward.__code__.co_filename)


def fingerprint(module: nn.Module) -> Fingerprint:
    """The features of a module that its Python can see."""
    structure: list[Any] = []
    plain: list[tuple[type, Any]] = []
    places: list[tuple[int, str]] = []
    tensors: list[int] = []
    watched = False
    for at, (path, part) in enumerate(module.named_modules()):
        watched = watched or (at > 0 and any(vars(part).get(name) for name in _HOOKS))
        own: list[Any] = [path, type(part)]
        if isinstance(part, torch.jit.ScriptModule):
            own.append(id(part))  # its attributes do not show its work
        for name, value in vars(part).items():
            if name in _TABLES:
                for key, tensor in (
                    dict.items(value) if isinstance(value, dict) else value.items()
                ):  # also those that are hidden from torch
                    own.append((name, key, None if tensor is None else _like(tensor)))
                    tensors += [] if tensor is None else [id(tensor)]
            elif name in _INTERNAL:
                continue
            elif is_plain_value(value):
                own.append(name)
                places.append((at, name))
                plain.append(key_of_value(value))
            else:
                own.append((name, token_of(value, _DEEPEST, _of_object, derived=False)))
        structure.append(tuple(own))
    shared = tuple(map(tensors.index, tensors)) if len(set(tensors)) < len(tensors) else ()
    return Fingerprint((*structure, shared), tuple(plain), tuple(places), watched)


_TABLES = frozenset({"_parameters", "_buffers"})
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_INTERNAL = frozenset(vars(nn.Module())) - _TABLES - {"training"}
_DEEPEST = 6
_PYTHON_CLASS = 1 << 9
"""The flag of classes written in Python, so that `vars` shows all attributes of their objects."""


def _of_object(value: Any, depth: int) -> Key:
    """The key of an object that a module holds; an object that cannot be compared is equal only to itself."""
    if depth > 0 and _is_work_of_python(value):
        held = ((name, token_of(item, depth - 1, _of_object, derived=False)) for name, item in vars(value).items())
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
    """The arguments of a call except contents of tensors and objects; None when they hold a tensor with known contents."""
    items: list[Any] = [repr(spec)]
    first: dict[int, int] = {}
    for at, leaf in enumerate(leaves):
        if type(leaf) is FakeTensor:
            proxy = get_proxy_slot(leaf, tracer, None)
            if proxy is None or proxy.constant is not None:
                return None  # its contents may be known to the tracer
            sizes = tuple(map(_size, (*leaf.shape, *leaf.stride())))
            items.append((first.setdefault(id(leaf), at), sizes, leaf.dtype, leaf.device, leaf.layout, leaf.requires_grad))
        elif is_plain_value(leaf):
            items.append(key_of_value(leaf))
        elif isinstance(leaf, torch.SymInt):
            items.append(("symbol", _size(leaf)))
        else:
            items.append((_OBJECT, type(leaf)))
    return tuple(items)


_OBJECT = "object"


def _size(size: Any) -> Any:
    return size if isinstance(size, int) else ("expression", size.node.expr)


def _unwatched() -> Any:
    """A context in which reading attributes of tensors is fast: in an export, torch's modes intercept each read."""
    return torch._C.DisableTorchFunction()  # noqa: SLF001 - the public one leaves modes on


def modes() -> Key:
    """The state of torch that a module's Python can see."""
    autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(), *autocast)


def _made(results: Sequence[Any]) -> list[torch.Tensor]:
    """New tensors in the shapes of those that a call made."""
    made: dict[int, torch.Tensor] = {}
    with disable_proxy_modes_tracing():
        for item in results:
            if isinstance(item, _Made) and item.number not in made:
                made[item.number] = torch.empty_strided(item.size, item.stride, dtype=item.dtype, device=item.device)
    return list(made.values())


def _taken(begin: Node) -> set[Node]:
    """The inputs of all nodes after another one."""
    taken: set[Node] = set()
    node = begin.next
    while node.op != "root":
        taken.update(node.all_input_nodes)
        node = node.next
    return taken


def _results(leaves: Sequence[Any], given: Sequence[Any]) -> list[Any] | None:
    """A recipe for making the same results again; None when some are neither tensors nor plain values."""
    positions: dict[int, int] = {}
    for at, leaf in enumerate(given):
        if isinstance(leaf, torch.Tensor):
            positions.setdefault(id(leaf), at)
    numbers: dict[int, int] = {}
    results: list[Any] = []
    for leaf in leaves:
        if id(leaf) in positions:
            results.append(Given(positions[id(leaf)]))
        elif type(leaf) is FakeTensor and leaf.layout is torch.strided:
            number = numbers.setdefault(id(leaf), len(numbers))
            results.append(_Made(number, tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device))
        elif is_plain_value(leaf):
            results.append(leaf)
        else:
            return None
    return results
