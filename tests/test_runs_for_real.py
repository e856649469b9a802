"""Modules whose Python reads values run for real: what they compute is counted as torch counts it, or said to be a bound."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.map import map as map_over
from torch._higher_order_ops.scan import scan
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from fxprof.capture import recorder

X = torch.randn(2, 8)
Function = Callable[[Any, torch.Tensor], torch.Tensor]


class Runs(nn.Module):
    """Computes a function; `reads` makes it look at a value first, so that no graph can be made of it."""

    def __init__(self, function: Function, *, reads: bool) -> None:
        super().__init__()
        self.layer, self.weight = nn.Linear(8, 8), nn.Parameter(torch.randn(8, 8))
        self.function, self.reads = function, reads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.reads and self.layer(x).sum().item() > 1e9:
            return x
        return self.function(self, x)


class _Unnamed(nullcontext[None]):
    """In the place of the counter's own watch on modules, which fails where gradients are taken."""

    parents = frozenset({"Global"})


def really(function: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Unnamed()  # type: ignore[assignment]
    with sdpa_kernel(SDPBackend.MATH), counter:
        function()
    return int(counter.get_total_flops()) // 2


def differentiated(order: int, *, enabled: bool = True) -> Function:
    def function(module: Runs, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad() if enabled else nullcontext():
            x = x.detach().requires_grad_()
            result = module.layer(x).pow(3).sum()
            for left in reversed(range(order)):
                (slope,) = torch.autograd.grad(result, x, create_graph=left > 0)
                result = slope.pow(2).sum()
            return slope

    return function


def energy(module: Runs, x: torch.Tensor) -> torch.Tensor:
    return module.layer(x).pow(2).sum()  # type: ignore[no-any-return]


FUNCTIONS: dict[str, Function] = {
    "associative scan": lambda m, x: associative_scan(
        lambda one, two: one @ two, m.weight.expand(4, 8, 8).clone(), 0, combine_mode="generic"
    ),
    "checkpoint": lambda m, x: checkpoint(m.layer, x, use_reentrant=False),
    "vmap": lambda m, x: torch.vmap(lambda row: row @ m.weight)(x),
    "vmap of a child": lambda m, x: torch.vmap(m.layer)(x),
    "vmap in vmap": lambda m, x: torch.vmap(torch.vmap(m.layer))(x.expand(3, 2, 8)),
    "vmap of columns": lambda m, x: torch.vmap(lambda one: one @ m.weight, in_dims=1, out_dims=1)(x.T.contiguous()),
    "vmap in chunks": lambda m, x: torch.vmap(m.layer, chunk_size=1)(x.expand(5, 2, 8)),
    "ensemble": lambda m, x: torch.vmap(lambda p, y: functional_call(m.layer, p, (y,)), in_dims=(0, None))(
        {name: torch.stack([value, value]) for name, value in m.layer.named_parameters()}, x
    ),
    "jvp": lambda m, x: jvp(m.layer, (x,), (x,))[1],
    "vjp": lambda m, x: vjp(m.layer, x)[1](x)[0],
    "grad": lambda m, x: grad(lambda y: energy(m, y))(x),
    "grad of each": lambda m, x: torch.vmap(grad(lambda y: energy(m, y)))(x),
    "jacrev": lambda m, x: jacrev(m.layer)(x),
    "jacfwd": lambda m, x: jacfwd(m.layer)(x),
    "hessian": lambda m, x: hessian(lambda y: energy(m, y))(x),
    "gradient": differentiated(1),
    "gradient of a gradient": differentiated(2),
    "gradient without asking": differentiated(1, enabled=False),
    "functional jacobian": lambda m, x: torch.autograd.functional.jacobian(m.layer, x),  # type: ignore[no-untyped-call]
    "functional product": lambda m, x: torch.autograd.functional.hvp(lambda y: energy(m, y), x, x)[1],  # type: ignore[no-untyped-call]
    "power": lambda m, x: torch.linalg.matrix_power(m.weight, 3),
    "norm": lambda m, x: torch.linalg.vector_norm(m.layer(x)) + torch.linalg.norm(m.layer(x), float("inf")),
    "matrix norm": lambda m, x: torch.linalg.matrix_norm(m.layer(x)),
}


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_counted_as_torch_counts_it(name: str, reads: bool) -> None:
    module = Runs(FUNCTIONS[name], reads=reads)
    wanted = really(lambda: module(X))
    total = fxprof.profile_module(module, (X,)).total
    # An associative scan in a graph is bounded by the number of its pairs.
    assert (total.macs, total.uncounted) == (wanted, 0) or (total.bounded and total.macs >= wanted and not total.uncounted)
    assert not total.bounded or name == "associative scan"


LOOPS: dict[str, Function] = {
    "scan": lambda m, x: scan(lambda c, y: (m.layer(c) + y, y.clone()), torch.zeros(2, 8), x.expand(5, 2, 8).clone())[0],
    "map": lambda m, x: map_over(m.layer, x.expand(5, 2, 8).clone()),
}


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_its_body_as_often_as_it_is_long(name: str, reads: bool) -> None:
    total = fxprof.profile_module(Runs(LOOPS[name], reads=reads), (X,)).total
    assert (total.macs, total.uncounted) == ((5 + reads) * 2 * 8 * 8, 0)


@pytest.mark.parametrize("reads", [False, True])
def test_flex_attention_with_a_mask_that_it_makes(reads: bool) -> None:
    def function(_: Runs, x: torch.Tensor) -> torch.Tensor:
        heads = x.expand(1, 2, 128, 16).clone()
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device="cpu")
        return flex_attention(heads, heads, heads, score_mod=lambda score, b, h, i, j: score + (i - j), block_mask=mask)

    given = torch.randn(128, 16)
    module = Runs(function, reads=False)
    if reads:
        module.register_forward_pre_hook(lambda module, args: None if args[0].sum().item() < 1e9 else args)
    total = fxprof.profile_module(module, (given,)).total
    assert (total.macs, total.uncounted, total.bounded) == (2 * 2 * 128 * 128 * 16, 0, 0)


EYE = torch.eye(8).to_sparse()
SPARSE: dict[str, tuple[Function, int]] = {
    "coo": (lambda m, x: EYE @ m.weight, 8 * 8),
    "mm": (lambda m, x: torch.sparse.mm(EYE, m.weight), 8 * 8),
    "addmm": (lambda m, x: torch.sparse.addmm(m.weight, EYE, m.weight), 8 * 8),
    "csr": (lambda m, x: EYE.to_sparse_csr() @ m.weight, 8 * 8),
    "bsr": (lambda m, x: EYE.to_sparse_bsr((2, 2)) @ m.weight, 16 * 8),
    "linear": (lambda m, x: nn.functional.linear(x, EYE.to_sparse_csr()), 8 * 2),
    "sampled": (lambda m, x: torch.sparse.sampled_addmm(EYE.to_sparse_csr(), m.weight, m.weight), 8 * 8),
    "rows": (lambda m, x: torch.hspmm(EYE, m.weight).to_dense(), 8 * 8),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_products_count_what_is_stored(name: str) -> None:
    function, wanted = SPARSE[name]
    total = fxprof.profile_module(Runs(function, reads=False), (X,)).total
    assert (total.macs, total.uncounted) == (wanted, 0)


def test_a_product_of_two_sparse_matrices_is_not_counted() -> None:
    total = fxprof.profile_module(Runs(lambda m, x: (EYE @ EYE).to_dense(), reads=False), (X,)).total
    assert (total.macs, total.uncounted) == (0, 1)


@pytest.mark.parametrize("reads", [False, True])
def test_a_solve_has_a_formula(reads: bool) -> None:
    module = Runs(lambda m, x: torch.linalg.solve(m.weight + torch.eye(8), x.T), reads=reads)
    total = fxprof.profile_module(module, (X,)).total
    assert (total.macs, total.uncounted) == (8**3 // 3 + 8**2 * 2 + 128 * reads, 0)


def test_what_is_singular_only_as_zeros_does_not_fail() -> None:
    class Inverts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(256, 256))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if self.weight.sum().item() > 1e9 else torch.linalg.inv(self.weight + torch.eye(256))

    total = fxprof.profile_module(Inverts(), (X,)).total
    assert (total.macs, total.uncounted) == (256**3 // 3 + 256**3, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_spared_changes_no_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Runs(FUNCTIONS[name], reads=True)
    totals = []
    for threshold in (0, 1 << 60):
        monkeypatch.setattr(recorder, "_LARGE", threshold)
        totals.append(fxprof.profile_module(module, (X,)).total)
    assert totals[0] == totals[1]


# --- why, in words

CACHE = transformers.DynamicCache()
REASONS: dict[str, tuple[Function, str]] = {
    "number": (lambda m, x: m.layer(x) if x.sum().item() > 1e9 else x, "it decides by values of a tensor"),
    "numpy": (lambda m, x: m.layer(torch.from_numpy(x.numpy())), "it makes an array of numpy of a tensor"),
    "loop": (lambda m, x: m.layer(x) * len(range(int(x.abs().sum()))), "it decides by values of a tensor"),
    "size": (lambda _, x: torch.zeros((2, x.abs().sum().int().clamp(8, 8))), "it computes sizes from the contents"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_is_in_plain_words(name: str) -> None:
    function, reason = REASONS[name]
    profile = fxprof.profile_module(Runs(function, reads=False).eval(), (X,))
    remark = next(remark for remark in profile.remarks if "ran for real" in remark)
    assert remark.removeprefix("Runs ran for real and its children were captured one by one: ").startswith(reason)


class WithCache(Runs):
    def forward(self, x: torch.Tensor, cache: Any = None) -> torch.Tensor:
        cache.update(x[None, None], x[None, None], 0)
        return self.layer(x)  # type: ignore[no-any-return]


def test_an_object_that_is_given_is_named() -> None:
    profile = fxprof.profile_module(WithCache(lambda _, x: x, reads=False), (X, CACHE))
    assert any("it is given an object of the class DynamicCache, and an export takes" in remark for remark in profile.remarks)


def test_packed_weights_are_said_once() -> None:
    layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4))).eval()
    packed = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})  # type: ignore[no-untyped-call]
    profile = fxprof.profile_module(packed, (X,))
    assert len(profile.remarks) == 2
    assert profile.remarks[1].startswith("each of 4 modules (model.0, model.1, model.2 …) ran for real")
    assert "it works with an object of torch's C++ classes, such as packed weights" in profile.remarks[1]


def test_a_scripted_module_is_said_to_be_one() -> None:
    profile = fxprof.profile_module(nn.Sequential(nn.Linear(8, 8), torch.jit.script(nn.Linear(8, 8))).eval(), (X,))
    assert profile.macs == 2 * 2 * 8 * 8
    assert any("it is a TorchScript module" in remark for remark in profile.remarks)
    assert not any("a forward of its own" in remark for remark in profile.remarks)
