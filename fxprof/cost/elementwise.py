"""Elementwise work: the operations of norms, activations, softmax and arithmetic on single elements, by a stated table.

It is no part of any sum of MACs. One operation is one addition, subtraction, multiplication, division, comparison, choice, or
one function of one number, such as a root, an exponential, `sin`, `tanh` or `erf`; one on complex numbers is one as well.
Rules:

* Operations are counted for each element of the result, or of the first operand where elements are summed or compared.
* What is done once per row or group, such as the root in a norm, is left out.
* A bias that a linear layer or a convolution adds is one operation per element of its result.
* Fused attention scales its scores and takes their softmax; a mask that is a tensor is added. That is what the same attention
  written as products does.
* Copies, views, lookups, new tensors, arithmetic on sizes, and dropout, which passes in evaluation, are none.

Everything follows from an operator's name and its shapes, as a saved profile has them. The work of an operator that is in no
table is unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod

Shape = tuple[int, ...]
Rule = Callable[[list[Shape], list[Shape]], "int | None"]
"""A function of the shapes of operands and results; None if these do not tell."""


@lru_cache(maxsize=4096)
def operations_of(op: str, kind: str, shapes: str) -> int | None:
    """Elementwise operations of one execution; None if unknown.

    Args:
        op: the operator, as in `OpRow.op`.
        kind: its kind, as in `OpRow.kind`.
        shapes: its shapes, as in `OpRow.shapes`.
    """
    if kind in NONE:
        return 0
    namespace, _, rest = op.partition(".")
    name = rest.partition(".")[0]
    name = name if name in EACH or name in BY_SHAPES else name.removesuffix("_")
    rule = _find_rule(namespace, name, kind)
    if rule == 0:
        return 0
    sides = _parsed(shapes)
    if rule is None or sides is None:
        return None
    try:
        return rule(*sides) if callable(rule) else rule * sum(map(prod, sides[1]))
    except (IndexError, ValueError):  # a saved profile may hold any text
        return None


def _find_rule(namespace: str, name: str, kind: str) -> Rule | int | None:
    if namespace == "higher_order":
        return BY_SHAPES.get(name) if kind == "attention" else CONTROL.get(name, 0 if kind == "control" else None)
    if kind not in KNOWN or _is_backward(name):
        return None
    if name in BY_SHAPES:
        return BY_SHAPES[name]
    plain = name.removeprefix("special_").removeprefix("_foreach_")
    return EACH.get(name, EACH.get(plain, KNOWN[kind]))


def work_table() -> str:
    """The operators of `EACH`, by their operations, as a Markdown table."""
    lines = ["| for each element of the result | operators |", "|---|---|"]
    for each in sorted(set(EACH.values())):
        names = ", ".join(f"`{name}`" for name, number in EACH.items() if number == each)
        lines.append(f"| {each} | {names} |")
    return "\n".join(lines)


def _is_backward(name: str) -> bool:
    return (
        "backward" in name or name.endswith("_jvp") or name.startswith(("_fused_ad", "_fused_sgd", "_fused_moving", "_thnn_"))
    )


def _parsed(shapes: str) -> tuple[list[Shape], list[Shape]] | None:
    """Operands and results; None if a size is unknown, or the text was too long to be kept whole."""
    operands, arrow, results = shapes.partition(" -> ")
    if not arrow:
        return None
    try:
        return [_shape(text) for text in operands.split(", ") if text], [_shape(text) for text in results.split(", ") if text]
    except ValueError:
        return None


def _shape(text: str) -> Shape:
    sizes = () if text == "scalar" else text.split("x")
    if not all(size.isdecimal() for size in sizes):
        raise ValueError(text)
    return tuple(map(int, sizes))


def _norm(each: int) -> Rule:
    """A norm, with a weight and a bias if these are operands."""

    def rule(operands: list[Shape], results: list[Shape]) -> int:
        return (each + min(len(operands) - 1, 2)) * prod(results[0])

    return rule


def _first(each: int) -> Rule:
    """So many operations for each element of the first result."""
    return lambda _, results: each * prod(results[0])


def _read(each: int) -> Rule:
    """So many operations for each element of the first operand."""
    return lambda operands, _: each * prod(operands[0])


def _read_all(operands: list[Shape], _: list[Shape]) -> int:
    """One operation for each element of all operands."""
    return sum(map(prod, operands))


def _added(least: int) -> Rule:
    """One operation for each element of the result, if there are at least so many operands: the last one is a bias."""
    return lambda operands, results: prod(results[0]) if len(operands) >= least else 0


def _softmax_of_scores(operands: list[Shape], results: list[Shape]) -> int | None:
    """Scale and softmax for each pair of a query and a key, and one more for a mask."""
    query, key = operands[:2]
    masked = len(operands) > 3 and prod(operands[3]) > 1  # noqa: PLR2004 - query, key, value; single numbers are seeds
    return prod(results[0][:-1]) * key[-2] * (1 + SOFTMAX + masked) if len(query) == len(key) else None


SOFTMAX = 5
"""The largest of a row, subtract it, exponential, sum, divide."""

NONE = frozenset(("fourier", "lookup", "movement", "view", "creation", "random", "symbolic", "check"))
"""Kinds without elementwise work. Fourier transforms are counted apart, in FLOPs."""

KNOWN: Mapping[str, Rule | int | None] = {
    "elementwise": 1,
    "reduction": _read(1),
    "normalisation": None,
    "resampling": None,
    "linear": 0,
    "convolution": 0,
    "matmul": 0,
    "attention": None,
}
"""Other kinds to what an operator costs that is in neither table below: a number per element of the result, or a rule."""

CONTROL: Mapping[str, Rule | int | None] = {"cond": None, "while_loop": None, "while_loop_stack_output": None}
"""Higher-order operators whose work depends on data; the others are charged for the operators inside them alone."""

EACH: Mapping[str, int] = {
    "addcdiv": 3,
    "addcmul": 3,
    "celu": 4,
    "clamp": 2,
    "clip": 2,
    "elu": 4,
    "entr": 3,
    "erfcx": 3,
    "expit": 4,
    "gelu": 5,
    "hardshrink": 2,
    "hardsigmoid": 4,
    "hardswish": 5,
    "hardtanh": 2,
    "hypot": 4,
    "infinitely_differentiable_gelu": 5,
    "isclose": 5,
    "leaky_relu": 2,
    "lerp": 3,
    "log_sigmoid": 4,
    "logaddexp": 4,
    "logaddexp2": 4,
    "logit": 3,
    "mish": 5,
    "nan_to_num": 3,
    "prelu": 2,
    "_prelu_kernel": 2,
    "positive": 0,
    "relu6": 2,
    "selu": 5,
    "sigmoid": 4,
    "silu": 5,
    "sinc": 3,
    "softplus": 3,
    "softshrink": 3,
    "square": 1,
    "swish": 5,
    "threshold": 2,
    "xlog1py": 3,
    "xlogy": 2,
    "_add_relu": 2,
    **dict.fromkeys(("convert_element_type", "int_repr"), 0),
    **dict.fromkeys(("upsample_linear1d",), 3),
    **dict.fromkeys(("upsample_bilinear2d", "_upsample_bilinear2d_aa", "affine_grid_generator"), 7),
    **dict.fromkeys(("upsample_trilinear3d",), 15),
    **dict.fromkeys(("upsample_bicubic2d", "_upsample_bicubic2d_aa"), 31),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d"), 0),
    **dict.fromkeys(("_upsample_nearest_exact2d", "_upsample_nearest_exact3d"), 0),
    **dict.fromkeys(("dequantize", "dequantize_4bit", "dequantize_blockwise", "dequantize_affine"), 2),
    **dict.fromkeys(("dequantize_per_channel", "dequantize_per_channel_group", "dequantize_per_tensor"), 2),
    **dict.fromkeys(("dequantize_per_token", "dequantize_affine_float8_non_decomposed"), 2),
    **dict.fromkeys(("quantize_per_channel", "quantize_per_channel_group", "quantize_per_tensor", "quantize_affine"), 4),
    **dict.fromkeys(("quantize_per_token", "quantize_affine_float8_non_decomposed", "quantize_per_tensor_dynamic"), 4),
}
"""Operator, without namespace, to its operations for each element of the result; any other elementwise operator is 1.

Sigmoid is `1 / (1 + exp(-x))`, SiLU one product more; GELU is `x / 2 (1 + erf(x / sqrt(2)))`, and its approximation by `tanh`
counts the same. Linear interpolation weighs two, four or eight neighbours, the cubic one sixteen.
"""

_SCALED_DOT_PRODUCTS = (
    *("scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math"),
    *("_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps"),
)

BY_SHAPES: Mapping[str, Rule] = {
    # sum, subtract the mean, square, sum, scale; weight and bias
    **dict.fromkeys(("layer_norm", "native_layer_norm", "group_norm", "native_group_norm"), _norm(5)),
    # with known mean and variance, as in evaluation: subtract, scale; weight and bias
    **dict.fromkeys(("batch_norm", "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"), _first(4)),
    # square, sum, scale; weight
    **dict.fromkeys(("rms_norm", "_fused_rms_norm"), _norm(3)),
    "instance_norm": _first(7),
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax", "special_softmax"), _first(SOFTMAX)),
    **dict.fromkeys(("log_softmax", "_log_softmax", "special_log_softmax"), _first(SOFTMAX)),
    # square, sum, scale
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), _first(3)),
    # sum, subtract the mean, square, sum
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _read(4)),
    **dict.fromkeys(("norm", "linalg_vector_norm", "frobenius_norm", "native_norm"), _read(2)),
    **dict.fromkeys(("logsumexp", "special_logsumexp"), _read(4)),
    **dict.fromkeys(("aminmax", "_aminmax"), _read(2)),
    **dict.fromkeys(("mse_loss", "dist", "pairwise_distance"), _read(3)),
    "l1_loss": _read(3),
    "cosine_similarity": _read(6),
    # pooling, as if the windows did not overlap
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"), _read(1)),
    **dict.fromkeys(("adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _read(1)),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"), _read(1)),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d_with_indices"), _read(1)),
    "adaptive_max_pool3d": _read(1),
    # a gated linear unit: sigmoid of one half, and a product
    "glu": _first(5),
    "linear": _added(3),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _added(3)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _added(3)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm", "addr"), _first(1)),
    **dict.fromkeys(_SCALED_DOT_PRODUCTS, _softmax_of_scores),
    "all": _read(1),
    "equal": _read_all,
}
"""Operator, without namespace, to a rule of its shapes."""
