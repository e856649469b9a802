"""The cost of a trace: formulas, the counting pass, the module hierarchy."""

from fxprof.cost import formulas
from fxprof.cost.registry import BUILT_IN, KINDS, Formula, Formulas, formula

__all__ = ["BUILT_IN", "KINDS", "Formula", "Formulas", "formula", "formulas"]
