"""The facts that fxprof knows about an operator, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from fxprof.cost.bodies import TREATMENT_OF, TREATMENTS, treatment_of
from fxprof.cost.fourier import FOURIER
from fxprof.cost.kinds import KIND_OF, REASONS, UNKNOWN, kind_of
from fxprof.cost.registry import BUILT_IN, Formula, Formulas
from fxprof.errors import UsageError
from fxprof.trace.higher_order import PREFIX

_SPACES = ("aten.", PREFIX, "prims.", "quantized_decomposed.", "torchvision.")
"""Namespaces to search for a name without one."""


def explain(name: str, formulas: Formulas = BUILT_IN) -> str:
    """Explain how fxprof counts an operator, or why it costs no MACs.

    Args:
        name: `conv2d`, `aten.conv2d`, `aten::conv2d`, `aten.conv2d.default` or `torch.ops.aten.conv2d`.
        formulas: the table to search.

    Raises:
        UsageError: fxprof knows no such operator; the hint has the closest names.
    """
    for target in _candidates(name):
        formula = formulas.find(target) or _of_an_overload(target, formulas)
        formula = formula or FOURIER.find(target)
        if formula is not None:
            return _explain_formula(formula)
        if target.startswith(PREFIX) and (treatment := treatment_of(target)):
            return f"{target}\n  kind:  control\n\n{TREATMENTS[treatment]}"
        kind = kind_of(target)
        if kind != UNKNOWN:
            return f"{target}\n  kind:  {kind}\n\nIt costs no MACs. {REASONS[kind]}"
    raise UsageError(f"no operator called {name!r} is known, so it would be uncounted", _nearest(name, formulas))


def formula_table(formulas: Formulas = BUILT_IN) -> str:
    """All formulas with their operators and products, as a Markdown table."""
    lines = ["| kind | operators | MACs |", "|---|---|---|"]
    for formula in dict.fromkeys(formulas.table.values()):
        operators = ", ".join(f"`{target}`" for target in formula.targets)
        lines.append(f"| {formula.kind} | {operators} | {_section(formula, 'MACs')} |")
    return "\n".join(lines)


def _explain_formula(formula: Formula) -> str:
    return "\n".join(
        [
            ", ".join(formula.targets),
            f"  kind:  {formula.kind}",
            f"  from:  {formula.origin}",
            f"  reads: {', '.join(formula.parameters)}",
            "",
            formula.doc,
        ]
    )


def _of_an_overload(target: str, formulas: Formulas) -> Formula | None:
    """The formula for an operator whose overloads have separate formulas: that of `aten.lstm.input` for `aten.lstm`."""
    return next((formulas.find(name) for name in formulas if name.startswith(f"{target}.")), None)


def _candidates(name: str) -> Iterator[str]:
    plain = name.strip().replace("::", ".").removeprefix("torch.ops.")
    yield plain
    if "." not in plain or not plain.startswith(_SPACES):
        yield from (space + plain for space in _SPACES)


_OWN = "declare a formula for your own operator in a file, and name the file with --formulas"


def _nearest(name: str, formulas: Formulas) -> str:
    known = list(dict.fromkeys([*formulas, *KIND_OF, *(PREFIX + other for other in TREATMENT_OF)]))
    closest = _closest(next(_candidates(name)), known)
    return f"did you mean {' or '.join(closest)}?" if closest else f"write names as in aten.conv2d; {_OWN}"


def _closest(name: str, known: Iterable[str]) -> list[str]:
    # Operators of torch come before those of others with the same name.
    ranked = sorted(known, key=lambda target: target.startswith(_SPACES))
    by_tail = {target.partition(".")[2]: target for target in ranked}
    tails = get_close_matches(name.removeprefix("aten."), by_tail, n=3, cutoff=0.7)
    return [by_tail[tail] for tail in tails]


def _section(formula: Formula, title: str) -> str:
    """The text of one section of a formula's docstring, on one line."""
    match = re.search(rf"^{title}:(.*?)(?=^\w+:|\Z)", formula.doc, re.MULTILINE | re.DOTALL)
    return " ".join(match.group(1).split()) if match else ""
