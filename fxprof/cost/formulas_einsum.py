"""Formulas of contractions over named axes, which torch runs as a chain of pairwise products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from fxprof import limits
from fxprof.cost.registry import Shape, formula

_ELLIPSIS = "..."


@formula("aten.einsum", kind="matmul")
def einsum(equation: str, tensors: Sequence[Shape], path: Sequence[int] | None) -> int:
    """Contraction over named axes, two operands at a time.

    Shapes: one group of labels per operand; "..." stands for axes that broadcast; a repeated label takes the diagonal.
    MACs:   for each pair, left to right or along path: the product of all sizes of the pair, summed axes included.
    Notes:  a pair that sums over no axis is an elementwise or outer product and costs none, as in torch's decomposition.
            Axes that only one operand has are summed beforehand and not multiplied; so are axes where the other has size 1.
    """
    _check_size(equation, len(tensors))
    operands, kept = _aligned(equation.replace(" ", ""), tensors)
    sharing = [sum(sizes[axis] != 1 for sizes in operands) for axis in range(len(operands[0]))]
    macs = 0
    steps = list(path or ())
    while len(operands) > 1:
        first, second = sorted((steps.pop(0), steps.pop(0))) if path else (0, 1)
        right, left = operands.pop(second), operands.pop(first)
        cost, product = multiply_pair(left, right, _summed_now(left, right, sharing, kept))
        macs += cost
        operands.insert(len(operands) if path else 0, product)
    return macs


def _check_size(equation: str, operands: int) -> None:
    """Refuse more labels than torch has letters, and more operands than any real product."""
    if operands > limits.EINSUM_OPERANDS:
        raise ValueError(f"an equation of {operands:,} operands; the limit is {limits.EINSUM_OPERANDS:,}")
    if len(equation) > _LONGEST_TERM * (operands + 1) or len(set(equation) - set(" .,->")) > _LETTERS:
        raise ValueError(f"an equation with more labels than torch has letters, {_LETTERS}")


_LETTERS = 52
_LONGEST_TERM = 80
"""Characters of one operand: a letter for each of 64 axes, dots, a comma, an arrow."""


@formula("aten.bilinear", kind="linear")
def bilinear(input1: Shape, input2: Shape, weight: Shape) -> int:
    """Bilinear layer.

    Shapes: input1 [*, I], input2 [*, J], weight [N, I, J] -> out [*, N].
    MACs:   prod(*) x N x J x (I + 1): input1 with the weight first, the result with input2 then.
    Notes:  the bias adds none.
    """
    rows = prod(input1[:-1])
    return trilinear(
        i1=(rows, input1[-1]),
        i2=weight,
        i3=(rows, input2[-1]),
        expand1=(1, 3),
        expand2=(0,),
        expand3=(1, 2),
        sumdim=(2, 3),
        unroll_dim=1,
    )


@formula("aten._trilinear", kind="matmul")
def trilinear(
    *,
    i1: Shape,
    i2: Shape,
    i3: Shape,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> int:
    """Sum of products of three tensors, two at a time, in a loop over one axis.

    Shapes: i1, i2, i3, each with axes of size 1 put in at expand1, expand2, expand3.
    MACs:   per round of the loop: i1 with i2 over the axes that i3 lacks, the result with i3 over the other summed axes.
    Notes:  a pair that sums over no axis is an elementwise product and costs none.
    """
    one, two, three = _expand(i1, expand1), _expand(i2, expand2), _expand(i3, expand3)
    rounds = max((one[unroll_dim], two[unroll_dim], three[unroll_dim]), key=lambda size: size != 1)
    for sizes in (one, two, three):
        sizes[unroll_dim] = 1
    inner = {axis for axis in sumdim if axis != unroll_dim and axis in expand3}
    outer = {axis for axis in sumdim if axis != unroll_dim and axis not in expand3}
    first, product = multiply_pair(one, two, inner)
    second, _ = multiply_pair(product, three, outer)
    return rounds * (first + second)


def multiply_pair(left: Sequence[int], right: Sequence[int], summed: set[int]) -> tuple[int, list[int]]:
    """The MACs and the sizes of the product of two operands of equal rank, summed over some axes.

    With a summed axis it is one batched matrix product; without, it is elementwise and costs none.
    """
    # A summed axis that one operand lacks is summed in the other before the product.
    alone = {axis for axis in summed if 1 in (left[axis], right[axis])}
    sizes = [1 if axis in alone else b if a == 1 else a for axis, (a, b) in enumerate(zip(left, right, strict=True))]
    return prod(sizes) if summed else 0, [1 if axis in summed else size for axis, size in enumerate(sizes)]


def _summed_now(left: list[int], right: list[int], sharing: list[int], kept: Sequence[bool]) -> set[int]:
    """The axes to sum in the product of a pair: those that no later operand has. Updates `sharing` and the operands."""
    summed = set()
    for axis in range(len(left)):
        if kept[axis]:
            continue
        if left[axis] != 1 and right[axis] != 1:
            sharing[axis] -= 1
            if sharing[axis] == 1:
                summed.add(axis)
                sharing[axis] = 0
        elif sharing[axis] == 1 and (left[axis] != 1 or right[axis] != 1):
            left[axis] = right[axis] = 1  # summed in its operand before the product
            sharing[axis] = 0
    return summed


def _aligned(equation: str, tensors: Sequence[Shape]) -> tuple[list[list[int]], list[bool]]:
    """The operands with the same axes in the same order (size 1 for a missing axis), and a flag for each axis that is kept."""
    inputs, arrow, output = equation.partition("->")
    terms = [_labels(term) for term in inputs.split(",")]
    sizes = [dict(_sizes(labels, shape)) for labels, shape in zip(terms, tensors, strict=True)]
    axes = list(dict.fromkeys(axis for operand in sizes for axis in operand))
    wanted = set(_labels(output)) if arrow else _implicit_output(terms)
    kept = [(_ELLIPSIS if axis.startswith(_ELLIPSIS) else axis) in wanted for axis in axes]
    return [[operand.get(axis, 1) for axis in axes] for operand in sizes], kept


def _implicit_output(terms: list[list[str]]) -> set[str]:
    """The result's labels without an arrow: labels that occur once, and the axes under the ellipsis."""
    seen = Counter(label for labels in terms for label in labels)
    return {label for label, count in seen.items() if count == 1 or label == _ELLIPSIS}


def _labels(term: str) -> list[str]:
    """The labels of one operand: `b...d` is b, ..., d."""
    before, ellipsis, after = term.partition(_ELLIPSIS)
    return [*before, *([_ELLIPSIS] if ellipsis else []), *after]


def _sizes(labels: list[str], shape: Shape) -> list[tuple[str, int]]:
    """Axis and size; axes under the ellipsis are numbered from the right, like in broadcasting."""
    hidden = len(shape) - (len(labels) - (_ELLIPSIS in labels))
    named: list[str] = []
    for label in labels:
        named += [f"{_ELLIPSIS}{place}" for place in range(hidden, 0, -1)] if label == _ELLIPSIS else [label]
    return list(zip(named, shape, strict=True))


def _expand(shape: Shape, axes: Sequence[int]) -> list[int]:
    sizes = list(shape)
    for axis in sorted(axes):
        sizes.insert(axis, 1)
    return sizes
