"""The bytes that are alive while a module really runs, next to what its trace says."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from fxprof.capture import export, known_calls
from fxprof.capture.export import ExportedCall
from fxprof.capture.inside import LiveBytes
from fxprof.cost.lifetimes import Lifetimes, find_lifetimes

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_ATTENTION = "aten.scaled_dot_product_attention.default"


class Alive(LiveBytes):  # type: ignore[no-untyped-call]  # a mode of torch
    """The same, and the number of attentions in one kernel."""

    fused = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fused += func is _FUSED
        return super().__torch_dispatch__(func, types, args, kwargs)


@dataclass(frozen=True)
class Ran:
    """A captured call and the peaks of the same call when it ran."""

    what: str
    call: ExportedCall
    said: dict[str, Lifetimes]
    attentions: int
    fused: int
    """How many of them the CPU computed in one kernel."""
    seen: int
    """The most bytes alive, with attention as the CPU chooses."""
    seen_as_products: int

    @property
    def differences(self) -> dict[str, int]:
        """Bytes that are said too many, by the way to compute attention; fused only where the CPU fuses all of them."""
        as_products = self.said.get("math", self.said["fused"])
        found = {"math": _eager(as_products) - self.seen_as_products}
        if self.fused == self.attentions:
            found["fused"] = _eager(self.said["fused"]) - self.seen
        return {way: bytes_ for way, bytes_ in found.items() if bytes_}


def _eager(lifetimes: Lifetimes) -> int:
    assert lifetimes.eager is not None
    return lifetimes.eager.bytes


@dataclass
class Beside:
    """The captured calls that ran."""

    ran: list[Ran] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def running_beside(look: Callable[..., Alive] | None = None) -> Iterator[Beside]:
    """Run every module that is captured in the block also on its own.

    Args:
        look: runs it; for real on the CPU, on random data, by default.
    """
    found, run = Beside(), look or live_bytes
    original = export.export_call

    def export_call(module: nn.Module, args: Any, kwargs: Any, **options: Any) -> ExportedCall:
        call = original(module, args, kwargs, **options)
        what = f"{type(module).__name__} {options['prefix']}"
        state = torch.get_rng_state()
        try:
            said = find_lifetimes(call.trace)
            attentions = sum(op.target == _ATTENTION for op in call.trace.walk())
            chosen, products = (run(module, args, kwargs, as_products=products) for products in (False, True))
            found.ran.append(Ran(what, call, said, attentions, chosen.fused, chosen.most, products.most))
        except Exception as error:  # noqa: BLE001 - what it may be is told at the end, outside of the rehearsal
            found.failed.append(f"{what}: {error!r}")
        finally:
            torch.set_rng_state(state)
        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_calls, "export_call", export_call)
        yield found


def live_bytes(module: nn.Module, args: Any, kwargs: Any, *, as_products: bool = False) -> Alive:
    """Run a module on random weights and data."""
    return _run(module, args, kwargs, at_random, nullcontext(), as_products=as_products)


def without_data(module: nn.Module, args: Any, kwargs: Any, *, as_products: bool = False) -> Alive:
    """Run a module on tensors without data: on the meta device as products, on fake ones of the CPU otherwise."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def like(tensor: torch.Tensor) -> torch.Tensor:
        with nullcontext() if as_products else mode:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta" if as_products else "cpu"
            )

    return _run(module, args, kwargs, like, nullcontext() if as_products else mode, as_products=as_products)


def _run(
    module: nn.Module,
    args: Any,
    kwargs: Any,
    make: Callable[[torch.Tensor], torch.Tensor],
    mode: Any,
    *,
    as_products: bool,
) -> Alive:
    weights = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    made: dict[int, torch.Tensor] = {}
    for weight in weights.values():
        if id(weight) not in made:
            made[id(weight)] = make(weight)
    mine = {name: made[id(weight)] for name, weight in weights.items()}
    args, kwargs = pytree.tree_map_only(torch.Tensor, make, (args, kwargs))
    alive = Alive()
    backends = sdpa_kernel(SDPBackend.MATH) if as_products else nullcontext()
    with torch.no_grad(), backends, mode, alive:
        torch.func.functional_call(module, mine, args, kwargs, strict=False)
    return alive


def at_random(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same look on memory of its own; numbers that may be indices stay.

    A mask of ones gets a zero: transformers leaves masks out whose values hide nothing, and no capture knows values.
    """
    if tensor.dtype.is_floating_point:
        span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        return torch.rand(max(span, 0)).to(tensor.dtype).as_strided(tensor.shape, tensor.stride())
    mine = tensor.detach().clone()
    if mine.numel() > 1 and bool((mine == 1).all()):
        mine.flatten()[-1] = 0
    return mine


class Graph(Interpreter):
    """Runs a whole program on tensors without data, and drops each value after the last operator that uses it."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=True)
        self._program = program
        self._alive: set[int] = set()
        self._now = self._most = 0
        self._given: set[int] = set()

    def most(self) -> int:
        """The most bytes of results alive at once, without those that an operator takes for itself."""
        mode = FakeTensorMode(allow_non_fake_inputs=True)

        def like(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            with mode:
                return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)

        nodes = (node for node in self._program.graph.nodes if node.op == "placeholder")
        given = [like(node.meta.get("val")) for node in nodes]
        self._given = {_memory(tensor) for tensor in given if isinstance(tensor, torch.Tensor)}
        with torch.no_grad(), mode:
            self.run(*given, enable_io_processing=False)
        return self._most

    def run_node(self, node: Node) -> Any:
        result = super().run_node(node)
        if node.op == "call_function":
            for leaf in pytree.tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and _memory(leaf) not in self._given | self._alive:
                    storage = leaf.untyped_storage()
                    self._alive.add(_memory(leaf))
                    self._now += storage.nbytes()
                    weakref.finalize(storage, self._dropped, _memory(leaf), storage.nbytes()).atexit = False
            self._most = max(self._most, self._now)
        return result if node.users or node.op == "output" else None  # an interpreter never drops what nobody reads

    def _dropped(self, memory: int, size: int) -> None:
        self._alive.discard(memory)
        self._now -= size


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
