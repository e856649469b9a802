"""The table of operators that cost nothing, against the operators of the installed torch."""

from __future__ import annotations

import builtins
import math
import operator
from functools import reduce
from types import ModuleType

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
import torch.export.custom_ops  # registers export
import torch.nn.attention.varlen  # registers torch_attn
import torchao_ops  # noqa: F401 - registers torchao
import transformers.integrations.moe  # noqa: F401 - registers transformers

from fxprof.cost.fourier import FOURIER
from fxprof.cost.kinds import KIND_OF, REASONS, kind_of
from fxprof.cost.registry import BUILT_IN
from fxprof.trace.higher_order import PREFIX

MODULES: dict[str, ModuleType] = {"operator": operator, "math": math, "builtins": builtins, "torch": torch}
ABSENT_HERE = {
    "bitsandbytes": "only where that is installed",
    "mkldnn": "only where torch is built with oneDNN",
    "mkl": "only where torch is built with MKL",
    "onednn": "only where torch is built with oneDNN",
    "torchvision": "only where torchvision is installed",
    "_c10d_functional": "only where torch is built for several processes",
    "torch._enter_autocast": "lives in torch.amp.autocast_mode",
    "torch._exit_autocast": "lives in torch.amp.autocast_mode",
    "torch._set_grad_enabled": "lives in torch._C",
}


def exists(target: str) -> bool:
    space, _, name = target.partition(".")
    if target.startswith(PREFIX):
        return name in torch._ops._higher_order_ops
    if space in MODULES:
        return hasattr(MODULES[space], name)
    return hasattr(reduce(getattr, name.split("."), getattr(torch.ops, space)), "__call__")  # noqa: B004 - ops are looked up lazily


@pytest.mark.parametrize("space", sorted({target.partition(".")[0] for target in [*KIND_OF, *BUILT_IN]}))
def test_every_operator_exists(space: str) -> None:
    missing = []
    for target in [*KIND_OF, *BUILT_IN]:
        if target.startswith(f"{space}.") and target not in ABSENT_HERE:
            try:
                found = exists(target)
            except AttributeError:
                found = False
            missing += [] if found else [target]
    if missing and space in ABSENT_HERE:
        pytest.skip(f"{ABSENT_HERE[space]}: {', '.join(missing)}")
    assert missing == []


def test_every_core_operator_is_known() -> None:
    unknown = []
    for name in {
        full.partition("::")[2].partition(".")[0] for full in torch._C._dispatch_get_all_op_names() if full.startswith("aten::")
    }:
        packet = getattr(torch.ops.aten, name)
        if any(torch.Tag.core in getattr(packet, overload).tags for overload in packet.overloads()):
            target = f"aten.{name}.default"
            if BUILT_IN.find(target) is None and kind_of(target) == "unknown" and name not in UNCOUNTED:
                unknown.append(name)
    assert sorted(unknown) == []


UNCOUNTED: set[str] = set()
"""Core operators that do contract and have no formula, on purpose."""


def test_what_contracts_without_a_formula_is_unknown() -> None:
    for name in [
        *UNCOUNTED,
        "linalg_svd",
        "linalg_matrix_exp",
        "linalg_eigh",
        "linalg_qr",
    ]:
        assert kind_of(f"aten.{name}.default") == "unknown"
        assert BUILT_IN.find(f"aten.{name}.default") is None


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("aten.add.Tensor", "elementwise"),
        ("aten.add_.Tensor", "elementwise"),
        ("aten.masked_fill_.Scalar", "elementwise"),
        ("aten.outer.default", "elementwise"),
        ("aten.layer_norm.default", "normalisation"),
        ("aten.softmax.int", "normalisation"),
        ("aten.mean.dim", "reduction"),
        ("aten.upsample_nearest2d.vec", "resampling"),
        ("aten.embedding.default", "lookup"),
        ("aten.index_put_.default", "movement"),
        ("aten.to.dtype", "movement"),
        ("aten.pixel_shuffle.default", "movement"),
        ("aten.unflatten.int", "view"),
        ("aten.detach_.default", "view"),
        ("aten.arange.start_step", "creation"),
        ("aten.dropout.default", "random"),
        ("aten.fft_fftn.default", "fourier"),
        ("aten.stft.center", "fourier"),
        ("torchvision.nms.default", "lookup"),
        ("torchvision.roi_align.default", "resampling"),
        ("aten.sym_size.int", "symbolic"),
        ("operator.floordiv", "symbolic"),
        ("torch.sym_max", "symbolic"),
        ("aten._assert_scalar.default", "check"),
        ("quantized_decomposed.dequantize_per_tensor.default", "elementwise"),
        ("torchao.dequantize_affine.default", "elementwise"),
        ("torchao.choose_qparams_affine.default", "reduction"),
        ("export.access_subclass_inner_tensor.default", "view"),
        ("prims.convert_element_type.default", "movement"),
        ("operator.matmul", "unknown"),
        ("mylib.add.default", "unknown"),
    ],
)
def test_kind(target: str, kind: str) -> None:
    assert kind_of(target) == kind


def test_every_transform_has_its_flops() -> None:
    assert {name for name, kind in KIND_OF.items() if kind == "fourier"} == set(FOURIER)


def test_every_reason_is_one_sentence() -> None:
    assert all(reason.endswith(".") and ". " not in reason for reason in REASONS.values())
