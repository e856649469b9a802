"""The results of contractions: products, convolutions, attention, recurrent layers."""

from __future__ import annotations

from itertools import zip_longest
from math import prod

from fxprof.cost.registry import Shape
from fxprof.cost.results import Arguments, Expected, broadcast, clash, need, rule


@rule("aten.linear", "aten.mkldnn_linear")
def linear(args: Arguments) -> Expected:
    """`[*, K]` with a weight `[N, K]`, or `[K]`."""
    rows, weight = args.shape("input", "self"), args.shape("weight")
    _same(rows[-1], weight[-1], "the last size of the input", "that of the weight")
    _fits(args.optional("bias"), (*rows[:-1], *weight[:-1]))
    return (*rows[:-1], *weight[:-1])


@rule("aten.matmul", "aten.linalg_matmul", "aten.mm", "aten.bmm", "aten._int_mm", "aten.mv", "aten.dot", "aten.vdot")
def matmul(args: Arguments) -> Expected:
    """Matrices, vectors, and batches of matrices."""
    left, right = args.shape("self", "input"), args.shape("other", "mat2", "vec", "tensor")
    need(bool(left and right), "a number is not a matrix")
    inner = right[-2] if len(right) > 1 else right[0]
    _same(left[-1], inner, "the inner size of the first operand", "that of the second")
    batch = broadcast(left[:-2], right[:-2])
    return (*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))


@rule("aten.addmm", "aten._addmm_activation")
def addmm(args: Arguments) -> Expected:
    """`[M, K]` with `[K, N]`, and an added tensor."""
    left, right = args.shape("mat1"), args.shape("mat2")
    _same(left[1], right[0], "the inner size of mat1", "that of mat2")
    _fits(args.optional("self"), (left[0], right[1]))
    return (left[0], right[1])


@rule("aten.baddbmm")
def baddbmm(args: Arguments) -> Expected:
    """`[B, M, K]` with `[B, K, N]`, and an added tensor."""
    out = _batched(args)
    _fits(args.optional("self"), out)
    return out


@rule("aten.addbmm")
def addbmm(args: Arguments) -> Expected:
    """As `baddbmm`, summed over the batch."""
    out = _batched(args)[1:]
    _fits(args.optional("self"), out)
    return out


def _batched(args: Arguments) -> Shape:
    left, right = args.shape("batch1"), args.shape("batch2")
    _same(left[2], right[1], "the inner size of batch1", "that of batch2")
    _same(left[0], right[0], "the batch of batch1", "that of batch2")
    return (*left[:2], right[2])


@rule("aten.addmv")
def addmv(args: Arguments) -> Expected:
    """`[M, K]` with `[K]`, and an added tensor."""
    matrix, vector = args.shape("mat"), args.shape("vec")
    _same(matrix[1], vector[0], "the inner size of the matrix", "that of the vector")
    _fits(args.optional("self"), matrix[:1])
    return matrix[:1]


@rule("aten.einsum")
def einsum(args: Arguments) -> Expected:
    """The sizes of a label must be equal, or one."""
    equation, tensors = args.value("equation", "").replace(" ", ""), args.shapes("tensors")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if "..." in equation or not arrow or len(equation) > _LONGEST:
        return None
    need(len(terms) == len(tensors), f"the equation {equation} has {len(terms)} operands, but there are {len(tensors)} tensors")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, tensors, strict=True):
        need(len(term) == len(shape), f"the operand {term} of the equation {equation} has {len(shape)} axes")
        for label, size in zip(term, shape, strict=True):
            known = sizes.setdefault(label, size)
            need(1 in (size, known) or size == known, f"the label {label} of {equation} is {known} and {size}")
            sizes[label] = max(size, known)
    return tuple(sizes[label] for label in output)


_LONGEST = 200
"""Characters of the longest equation that is checked."""


@rule("aten.scaled_dot_product_attention", "aten._scaled_dot_product_attention_math")
def attention(args: Arguments) -> Expected:
    """Queries `[*, H, L, D]`, keys `[*, Hk, S, D]`, values `[*, Hk, S, V]`."""
    return _attention(args, mask=args.optional("attn_mask"))


@rule(
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
    "higher_order.flex_attention",
)
def attention_of_a_backend(args: Arguments) -> Expected:
    """As `attention`; masks have other forms."""
    return _attention(args, mask=None)


def _attention(args: Arguments, mask: Shape | None) -> Shape:
    query, key, value = (args.shape(name) for name in ("query", "key", "value"))
    _same(query[-1], key[-1], "the width of the queries", "that of the keys")
    _same(key[-2], value[-2], "the number of keys", "that of values")
    grouped = args.value("enable_gqa", default=False) or "flex" in args.target
    shared = [[*shape[:-3], *([] if grouped else shape[-3:-2])] for shape in (query, key, value)]
    batch = broadcast(*(tuple(sizes) for sizes in shared))
    if grouped and len(query) > 2:  # noqa: PLR2004 - heads, positions, width
        need(query[-3] % max(key[-3], 1) == 0, f"{key[-3]} heads of keys do not divide {query[-3]} of queries")
        batch = (*batch, query[-3])
    _fits(mask, (*batch, query[-2], key[-2]))
    return (*batch, query[-2], value[-1])


@rule("aten.conv1d", "aten.conv2d", "aten.conv3d")
def convolution(args: Arguments) -> Expected:
    """Input `[N, C, *S]`, weight `[M, C/groups, *K]`; N may be missing."""
    return _convolution(args, args.shape("input"), args.shape("weight"))


@rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def transposed_convolution(args: Arguments) -> Expected:
    """Input `[N, C, *S]`, weight `[C, M/groups, *K]`; N may be missing."""
    return _transposed(args, args.shape("input"), args.shape("weight"))


@rule("aten.convolution", "aten._convolution")
def any_convolution(args: Arguments) -> Expected:
    """Direct or transposed, as the argument says."""
    which = _transposed if args.value("transposed", default=False) else _convolution
    return which(args, args.shape("input"), args.shape("weight"))


def _convolution(args: Arguments, data: Shape, weight: Shape) -> Shape:
    space = len(weight) - 2
    groups = args.value("groups", 1)
    batch, channels, sizes = _parts(data, space)
    _channels(channels, weight[1], groups)
    need(groups > 0 and weight[0] % groups == 0, f"{groups} groups do not divide {weight[0]} channels")
    _bias(args, weight[0])
    stride, dilation = args.sizes("stride", space), args.sizes("dilation", space)
    padding = _padding(args, weight[2:], dilation, space)
    out = [
        (size + pad - step * (kernel - 1) - 1) // jump + 1
        for size, pad, step, kernel, jump in zip(sizes, padding, dilation, weight[2:], stride, strict=True)
    ]
    return (*batch, weight[0], *out)


def _padding(args: Arguments, kernel: Shape, dilation: tuple[int, ...], space: int) -> list[int]:
    """The padding of each size, both sides together."""
    padding = args.value("padding", 0)
    if padding == "same":
        return [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    return [0] * space if padding == "valid" else [2 * pad for pad in args.sizes("padding", space, 0)]


def _transposed(args: Arguments, data: Shape, weight: Shape) -> Shape:
    space = len(weight) - 2
    groups = args.value("groups", 1)
    batch, channels, sizes = _parts(data, space)
    _channels(channels, weight[0], 1)
    need(groups > 0 and channels % groups == 0, f"{groups} groups do not divide {channels} channels")
    _bias(args, weight[1] * groups)
    stride, dilation = args.sizes("stride", space), args.sizes("dilation", space)
    padding, more = args.sizes("padding", space, 0), args.sizes("output_padding", space, 0)
    out = [
        (size - 1) * jump - 2 * pad + step * (kernel - 1) + extra + 1
        for size, jump, pad, step, kernel, extra in zip(sizes, stride, padding, dilation, weight[2:], more, strict=True)
    ]
    return (*batch, weight[1] * groups, *out)


def _parts(data: Shape, space: int) -> tuple[Shape, int, Shape]:
    """Batch, channels and sizes of a convolution's input."""
    need(len(data) in (space + 1, space + 2), f"{len(data)} axes are not channels and {space} sizes")
    return data[: -space - 1], data[-space - 1], data[-space:]


def _channels(channels: int, each: int, groups: int) -> None:
    """Check that an input has the channels that a weight takes."""
    in_groups = f" ({groups} groups of {each})" if groups != 1 else ""
    need(channels == each * groups, f"the input has {channels} channels, but the weight takes {each * groups}{in_groups}")


def _bias(args: Arguments, channels: int) -> None:
    bias = args.optional("bias")
    need(bias in (None, (channels,)), f"a bias of {bias} for {channels} channels")


@rule("torchvision.deform_conv2d")
def deform_conv2d(args: Arguments) -> Expected:
    """As a convolution, at positions that `offset` gives: `[N, 2 x groups x K, *T]`."""
    data, weight, offset = args.shape("input"), args.shape("weight"), args.shape("offset")
    groups = args.value("groups", args.value("n_weight_grps", 1))
    _channels(data[1], weight[1], groups)
    taps = weight[2] * weight[3]
    need(offset[1] % (2 * taps) == 0, f"{offset[1]} offsets are not two for each of {taps} taps")
    return (data[0], weight[0], *offset[2:])


@rule("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def recurrent(args: Arguments) -> Expected:
    """Input `[T, B, I]`, or `[B, T, I]`, or without a batch; the first weights take I."""
    data, params = args.shape("input"), args.shapes("params")
    first = params[0]
    _same(data[-1], first[1], "the width of the input", "that of the first weight")
    biases = args.value("has_biases", default=True)
    bidirectional = 2 if args.value("bidirectional", default=False) else 1
    each = len(params) // max(1, args.value("num_layers", 1) * bidirectional)
    projected = each == (5 if biases else 3)
    state = params[each - 1][0] if projected else params[1][1]
    return (*data[:-1], state * bidirectional)


@rule("aten.bilinear")
def bilinear(args: Arguments) -> Expected:
    """`[*, I]` and `[*, J]` with a weight `[N, I, J]`."""
    one, two, weight = args.shape("input1"), args.shape("input2"), args.shape("weight")
    _same(one[-1], weight[1], "the last size of input1", "that of the weight")
    _same(two[-1], weight[2], "the last size of input2", "that of the weight")
    return (*one[:-1], weight[0])


@rule("aten.tensordot")
def tensordot(args: Arguments) -> Expected:
    """The sizes of each pair of axes must be equal, or one of them one."""
    left, right = args.shape("self"), args.shape("other")
    for one, two in zip_longest(args.value("dims_self", ()), args.value("dims_other", ())):
        if one is None or two is None:
            clash("both operands must sum the same number of axes")
        need(left[one] == right[two] or 1 in (left[one], right[two]), f"axes of {left[one]} and {right[two]} are summed")
    kept = [
        [size for axis, size in enumerate(shape) if axis not in {item % len(shape) for item in args.value(name, ())}]
        for shape, name in ((left, "dims_self"), (right, "dims_other"))
    ]
    return (*kept[0], *kept[1])


@rule("transformers.grouped_mm_fallback")
def grouped_product(args: Arguments) -> Expected:
    """`[M, K]` with one weight `[K, N]` for each group."""
    rows, weight = args.shape("input"), args.shape("weight")
    _same(rows[-1], weight[-2], "the inner size of the input", "that of the weight")
    return (*rows[:-1], weight[-1])


def _same(one: int, other: int, first: str, second: str) -> None:
    need(one == other, f"{first} is {one}, but {second} is {other}")


def _fits(added: Shape | None, out: Shape) -> None:
    """Check that a tensor can be added to the result without changing its shape."""
    if added is not None and prod(added) != 1:
        need(broadcast(added, out) == out, f"the added tensor is {added}, but the product is {out}")
