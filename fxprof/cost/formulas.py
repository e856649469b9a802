"""The formulas that fxprof brings: importing this module fills `fxprof.cost.registry.BUILT_IN`.

Conventions, the same for all: one MAC is one multiply and one add of a contraction; a bias adds none; taps on zero padding
are counted; attention is dense. A total equals half of what `torch.utils.flop_counter.FlopCounterMode` reports, where that
sees the operator.
"""

from __future__ import annotations

from fxprof.cost import (
    formulas_attention,
    formulas_convolution,
    formulas_einsum,
    formulas_matmul,
    formulas_quantised,
    formulas_recurrent,
    formulas_solve,
)
from fxprof.cost.registry import BUILT_IN

__all__ = [
    "BUILT_IN",
    "formulas_attention",
    "formulas_convolution",
    "formulas_einsum",
    "formulas_matmul",
    "formulas_quantised",
    "formulas_recurrent",
    "formulas_solve",
]
