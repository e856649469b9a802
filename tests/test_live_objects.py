"""What a module holds, is made of or is given does not stop a profile, and is afterwards what it was."""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import socket
import threading
import types
import weakref
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrize, prune

import fxprof
from fxprof.errors import CaptureError, UsageError

X = torch.randn(2, 8)
PICTURE = torch.randn(1, 3, 8, 8)
OF_CONVOLUTION = 36 * 8 * 27
Pair = namedtuple("Pair", "first second")  # noqa: PYI024 - an untyped one has no attributes of its own


def counted(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[int, int, int]:
    """MACs, and how many operators are uncounted and bounded."""
    total = fxprof.profile_module(module, args, kwargs).total
    return total.macs, total.uncounted, total.bounded


class Own(nn.Linear):
    """A class of the user's, whose attributes its Python could look at."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


def held_things() -> dict[str, Any]:
    """What modules hold that no copy can be made of, or only a large one."""
    return {
        "lock": threading.Lock(),
        "file": Path(__file__).open(encoding="utf-8"),
        "module": types.ModuleType("somewhere"),
        "threads": concurrent.futures.ThreadPoolExecutor(1),
        "processes": concurrent.futures.ProcessPoolExecutor(1),
        "generator": (number for number in range(3)),
        "weak reference": weakref.ref(X),
        "logger": logging.getLogger("held"),
        "picture": Image.new("RGB", (4, 4)),
        "array": np.zeros(1 << 27, np.uint8),
        "socket": socket.socket(),
        "queue": queue.Queue(),
        "local": threading.local(),
        "bytes": memoryview(b"abc"),
        "optimiser": torch.optim.Adam([nn.Parameter(torch.ones(2))]),
        "result": nn.Parameter(torch.randn(3)) * 2,
        "named tuple": Pair(X, 1),
    }


@pytest.mark.parametrize("name", held_things())
@pytest.mark.parametrize("kind", [nn.Linear, Own])
def test_anything_may_be_held(name: str, kind: type[nn.Linear]) -> None:
    module, held = kind(8, 8), held_things()[name]
    module.held = held
    assert counted(module, X) == (128, 0, 0)
    assert module.held is held
    if hasattr(held, "close"):
        held.close()  # type: ignore[operator]
    if isinstance(held, concurrent.futures.Executor):
        held.shutdown()


class Refusing(nn.Module):
    """Neither copied, nor shown, nor compared."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def __deepcopy__(self, _: Any) -> Any:
        raise RuntimeError("no copies")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise RuntimeError(f"no {name}") from error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x)
        return result


class Frozen(Refusing):
    """No attribute can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["is_frozen"] = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get("is_frozen"):
            raise RuntimeError("no changes")
        super().__setattr__(name, value)


class Slotted(nn.Module):
    """Holds its weight where `vars` does not show it."""

    __slots__ = ("weight",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Keeping(Refusing):
    """Keeps what it computed, with its history."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.append(super().forward(x))
        return self.kept[-1]


def used(module: nn.Module) -> nn.Module:
    module(X)
    return module


@pytest.mark.parametrize("make", [Refusing, Frozen, Slotted, Keeping, lambda: used(Keeping())])
def test_a_class_may_do_what_it_likes(make: Callable[[], nn.Module]) -> None:
    assert counted(make(), X) == (128, 0, 0)


def test_what_a_module_kept_is_kept() -> None:
    module = used(Keeping())
    (before,) = module.kept  # type: ignore[misc]
    counted(module, X)
    assert len(module.kept) == 1  # type: ignore[arg-type]
    assert module.kept[0] is before  # type: ignore[index]


def pruned_twice(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", 0.5)  # type: ignore[no-untyped-call]
    prune.ln_structured(module, "weight", 0.5, n=2, dim=0)  # type: ignore[no-untyped-call]


def pruned_for_good(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", 0.5)  # type: ignore[no-untyped-call]
    prune.remove(module, "weight")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "change",
    [
        lambda module: prune.l1_unstructured(module, "weight", 0.5),  # type: ignore[no-untyped-call]
        lambda module: prune.random_unstructured(module, "bias", 0.5),  # type: ignore[no-untyped-call]
        lambda module: prune.random_structured(module, "weight", 0.5, 0),  # type: ignore[no-untyped-call]
        lambda module: prune.ln_structured(module, "weight", 0.5, n=2, dim=0),  # type: ignore[no-untyped-call]
        lambda module: prune.custom_from_mask(module, "weight", torch.ones(8, 3, 3, 3)),  # type: ignore[no-untyped-call]
        pruned_twice,
        pruned_for_good,
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_weights_that_are_computed(change: Callable[[nn.Module], Any], inside: bool) -> None:
    layer = nn.Conv2d(3, 8, 3)
    change(layer)
    module = nn.Sequential(layer) if inside else layer
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weight = layer.weight
    assert counted(module, PICTURE) == (OF_CONVOLUTION, 0, 0)
    assert parametrize.is_parametrized(layer) or layer.weight is weight
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("change", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_a_spectral_norm_takes_two_products_with_vectors(change: Callable[[nn.Module], nn.Module]) -> None:
    # In evaluation: W v, and u of that.
    assert counted(nn.Sequential(change(nn.Conv2d(3, 8, 3))), PICTURE) == (OF_CONVOLUTION + 8 * 27 + 8, 0, 0)


@pytest.mark.parametrize("is_training", [True, False])
def test_scripts_are_seen_and_stay_in_training(is_training: bool) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)))
    traced = torch.jit.trace(nn.Linear(8, 4), X)  # type: ignore[no-untyped-call]
    module = nn.Sequential(scripted, traced).train(is_training)
    assert counted(module, X) == (128 + 64, 0, 0)
    assert (scripted.training, traced.training, module.training) == (is_training,) * 3


def test_a_frozen_script() -> None:
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(8, 8)).eval()))
    assert counted(nn.Sequential(frozen), X) == (128, 0, 0)


def test_two_scripts_of_one_class_are_two() -> None:
    once = torch.jit.script(nn.Sequential(nn.Linear(8, 8)))
    layer = nn.Linear(8, 8)
    twice = torch.jit.script(nn.Sequential(layer, layer))
    assert counted(nn.Sequential(once, twice), X) == (3 * 128, 0, 0)


def test_lazy_modules_stay_lazy() -> None:
    module = nn.Sequential(nn.LazyLinear(8), nn.LazyLinear(4))
    assert counted(module, X) == (128 + 64, 0, 0)
    assert [type(part) for part in module] == [nn.LazyLinear, nn.LazyLinear]
    assert module(X).shape == (2, 4)
    assert [type(part) for part in module] == [nn.Linear, nn.Linear]


NESTED = [torch.randn(3, 8), torch.randn(5, 8)]


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_count_what_they_hold(layout: torch.layout) -> None:
    given = torch.nested.nested_tensor(NESTED, layout=layout)
    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
    profile = fxprof.profile_module(module, (given,))
    assert (profile.macs, profile.total.uncounted) == (8 * 8 * 4 * 2, 0)


class HoldsNested(nn.Module):
    """A nested buffer."""

    def __init__(self, layout: torch.layout) -> None:
        super().__init__()
        self.register_buffer("held", torch.nested.nested_tensor(NESTED, layout=layout))
        self.layer = nn.Linear(8, 4)

    def forward(self, _: torch.Tensor) -> Any:
        return self.layer(self.held)


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_buffers(layout: torch.layout) -> None:
    assert counted(HoldsNested(layout), X) == (8 * 8 * 4, 0, 0)


class Attends(nn.Module):
    """Attention between the parts of a nested tensor, whose cost no product of padded sizes gives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = x.unflatten(-1, (2, 4)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)


def test_attention_of_nested_tensors_is_never_dense_in_silence() -> None:
    given = torch.nested.nested_tensor(NESTED, layout=torch.jagged)
    macs, uncounted, _ = counted(Attends(), given)
    assert uncounted > 0 or macs == 2 * 8 * (3 * 3 + 5 * 5)


@pytest.mark.parametrize("is_fake", [(True, True), (True, False), (False, True)])
def test_fake_tensors(is_fake: tuple[bool, bool]) -> None:
    layer, given = nn.Linear(8, 8), X
    with FakeTensorMode():
        if is_fake[0]:
            layer = nn.Linear(8, 8)
        if is_fake[1]:
            given = torch.randn(2, 8)
    before = layer.weight
    assert counted(nn.Sequential(layer), given) == (128, 0, 0)
    assert layer.weight is before


def test_inference_tensors_and_inference_mode() -> None:
    with torch.inference_mode():
        layer, given = nn.Linear(8, 8), torch.randn(2, 8)
        assert counted(layer, given) == (128, 0, 0)
        assert counted(nn.Linear(8, 8), X) == (128, 0, 0)
        assert torch.is_inference_mode_enabled()
    assert counted(layer, given) == (128, 0, 0)


class SparseWeight(nn.Module):
    """A weight of any layout."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight @ x.T


@pytest.mark.parametrize(
    ("weight", "stored", "in_bytes"),
    [
        (torch.eye(8).to_sparse(), 8, 8 * 4 + 2 * 8 * 8),
        (torch.eye(8).to_sparse_csr(), 8, 8 * 4 + 9 * 8 + 8 * 8),
        (torch.eye(8).to_sparse_csc(), 8, 8 * 4 + 9 * 8 + 8 * 8),
        (torch.eye(8).to_sparse_bsr((2, 2)), 16, 16 * 4 + 5 * 8 + 4 * 8),
    ],
)
def test_sparse_weights_count_what_they_store(weight: torch.Tensor, stored: int, in_bytes: int) -> None:
    profile = fxprof.profile_module(SparseWeight(weight), (X,))
    assert (profile.macs, profile.total.uncounted) == (stored * 2, 0)
    assert (profile.components["model"].params, profile.components["model"].stored_bytes) == (64, in_bytes)


class Thinned(nn.Module):
    """Makes its weight sparse in its own forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.weight.to_sparse() @ self.weight


def test_how_sparse_an_unknown_weight_is_nobody_knows() -> None:
    assert counted(Thinned(64), X) == (0, 1, 0)


def test_ties_views_and_gradients_are_left_alone() -> None:
    flat = torch.randn(128)
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    module[0].weight, module[1].weight = nn.Parameter(flat[:64].view(8, 8)), nn.Parameter(flat[64:].view(8, 8))
    module[2].weight = module[1].weight
    module[0].requires_grad_(False)
    module[1].weight.grad = grad = torch.ones(8, 8)
    profile = fxprof.profile_module(module, (X,))
    assert (profile.macs, profile.components["model"].params) == (3 * 128, 128 + 3 * 8)
    assert module[2].weight is module[1].weight
    assert module[0].weight.data_ptr() == flat.data_ptr()
    assert [part.weight.requires_grad for part in module] == [False, True, True]
    assert module[1].weight.grad is grad


class Pooled(nn.Module):
    """Has a pool of threads call its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.pool.submit(self.layer, x).result()
        return first + sum(self.pool.map(self.layer, [x, x]))  # type: ignore[no-any-return]


class Threaded(Pooled):
    """Has a thread of its own call it, and waits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results: list[torch.Tensor] = []
        thread = threading.Thread(target=lambda: results.append(self.layer(x)))
        thread.start()
        thread.join()
        return results[0]


def test_a_compiled_module_costs_what_it_was_made_of() -> None:
    compiled = torch.compile(nn.Linear(8, 8), backend="eager")
    assert isinstance(compiled, nn.Module)
    assert counted(compiled, X) == (128, 0, 0)


def test_a_pool_of_threads_is_seen() -> None:
    assert counted(Pooled(), X) == (3 * 128, 0, 0)


def test_a_thread_that_is_waited_for_is_refused_and_does_not_hang() -> None:
    module = Threaded()
    with pytest.raises(UsageError) as caught:
        fxprof.profile_module(module, (X,))
    assert str(caught.value) == (
        "a thread called Linear while a profile of it, in another thread, waits for that thread"
        " (call it in the thread that is profiled, or through concurrent.futures.ThreadPoolExecutor)"
    )
    assert module(X).shape == (2, 8)


class UnsaidError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Raising(nn.Module):
    """Fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("too wide"), "could not capture Raising: too wide"),
        (ValueError("first\nsecond"), "could not capture Raising: first"),
        (UnsaidError(), "could not capture Raising: UnsaidError at test_live_objects.py:"),
        (ImportError("No module named 'flash_attn'"), "could not capture Raising: No module named 'flash_attn' (pip install"),
        (RuntimeError("no kernel. This could be because the operator doesn't exist for this backend, or"), "no kernel."),
    ],
)
def test_a_module_that_fails_is_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(CaptureError) as caught:
        fxprof.profile_module(Raising(error), (X,))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


LINEAR = nn.Linear(8, 8)
ITSELF = "pass the module itself: fxprof profiles a call of its forward"
KEYWORDS = "pass a dictionary from the names of forward's arguments to their values"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: fxprof.profile_module(nn.Linear, (X,)),  # type: ignore[arg-type]
            "the class Linear is no torch.nn.Module (pass one of its objects, such as Linear(...))",
        ),
        (
            lambda: fxprof.profile_module(LINEAR.forward, (X,)),  # type: ignore[arg-type]
            f"an object of class method is no torch.nn.Module ({ITSELF})",
        ),
        (
            lambda: fxprof.profile_module(nn.ModuleList([LINEAR]), (X,)),
            "an object of class ModuleList has no forward that could be called (profile the module whose forward uses it)",
        ),
        (
            lambda: fxprof.profile_module(LINEAR, (X,), [X]),  # type: ignore[arg-type]
            f"the keyword arguments are given as a list ({KEYWORDS})",
        ),
        (
            lambda: fxprof.profile_module(LINEAR, (), X),  # type: ignore[arg-type]
            f"the keyword arguments are given as a Tensor ({KEYWORDS})",
        ),
        (
            lambda: fxprof.profile_module(LINEAR, (), {1: X}),  # type: ignore[dict-item]
            f"a keyword argument has an int as its name ({KEYWORDS})",
        ),
        (
            lambda: fxprof.profile_module(LINEAR, (X,), formulas=3),  # type: ignore[arg-type]
            "formulas are given as an int (pass a fxprof.Formulas, or leave it out)",
        ),
        (
            lambda: fxprof.profile_program(torch.export.export(LINEAR, (X,)), dims=3),  # type: ignore[arg-type]
            "dims are given as an int (pass a dictionary from names of sizes to numbers, {'x.0': 1})",
        ),
    ],
)
def test_wrong_arguments_are_told_what_to_do(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == said


class Reads(nn.Module):
    """Runs for real."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4096, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.layer(x[:1]).sum().item() > 1e9 else self.layer(x)


@pytest.mark.parametrize("rows", [1 << 18, 1 << 34])
def test_inputs_on_the_meta_device_are_never_made_real(rows: int) -> None:
    given = torch.empty(rows, 4096, device="meta")
    assert counted(nn.Linear(4096, 4), given) == (rows * 4096 * 4, 0, 0)
    assert counted(nn.Linear(4096, 4, device="meta"), given) == (rows * 4096 * 4, 0, 0)


def test_inputs_on_the_meta_device_of_what_runs_for_real() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = 1 << 18  # 4 GiB
    assert counted(Reads(), torch.empty(rows, 4096, device="meta")) == ((rows + 1) * 4096 * 4, 0, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # in KiB
    with pytest.raises(CaptureError) as caught:
        counted(Reads(), torch.empty(1 << 34, 4096, device="meta"))
    assert str(caught.value) == (
        "could not capture Reads: its Python reads values, and an input of 17179869184x4096 is more than this machine can"
        " address (give it a smaller input)"
    )
