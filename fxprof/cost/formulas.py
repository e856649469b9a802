"""The formulas that fxprof brings: importing this module fills `fxprof.cost.registry.BUILT_IN`.

Conventions for all formulas: one MAC is one multiply and one add of a contraction; a bias adds none; taps on zero padding are
counted; attention is dense. A total equals half of the FLOPs that `torch.utils.flop_counter.FlopCounterMode` reports, for
operators that it sees.
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
