"""Formulas against torch itself: what `FlopCounterMode` sees of the same operator, or of what torch makes of it.

Cases are random shapes from a fixed seed. Where `FlopCounterMode` does not see an operator, which is stated at each, the
operator is compared with a product written out here, or with the operators that torch decomposes it into.
"""

from __future__ import annotations

import inspect
import random
import runpy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from oracle import macs_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof.cost.agreement import check_trace
from fxprof.cost.count import count
from fxprof.cost.registry import BUILT_IN
from fxprof.trace import Op, Tensor, Trace, Value
from fxprof.trace.higher_order import PARAMETERS, PREFIX

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns about its own exports of recurrent layers

CASES = 20
aten = torch.ops.aten


def plain(value: Any) -> Value:
    if isinstance(value, torch.Tensor):
        return Tensor(tuple(value.shape), str(value.dtype).removeprefix("torch."))
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def record(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Op:
    """One call of an operator, arguments by the names of its schema."""
    schema = function._schema
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | dict(kwargs)
    bound = tuple((item.name, plain(given[item.name])) for item in schema.arguments if item.name in given)
    results = result if isinstance(result, tuple) else (result,)
    return Op(str(function), bound, tuple(plain(item) for item in results))


def ours(*ops: Op) -> int:
    check_trace(Trace(ops), "the operator")  # what really ran never contradicts itself
    found = count(Trace(ops))
    assert [op.target for op in found if op.macs is None] == []
    return sum(op.macs or 0 for op in found)


def counted(function: Any, *args: Any, **kwargs: Any) -> int:
    """Our MACs of one operator, run on the spot."""
    with torch.no_grad():
        return ours(record(function, args, kwargs, function(*args, **kwargs)))


class Recorder(TorchDispatchMode):
    """Collects the operators that reach the dispatcher below autograd: what torch makes of a composite one."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.ops.append(record(func, args, kwargs or {}, result))
        return result


def made_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Our MACs of the operators that torch runs for a composite one."""
    with torch.no_grad(), Recorder() as recorder:
        function(*args, **kwargs)
    return ours(*recorder.ops)


def check(function: Any, *args: Any, **kwargs: Any) -> None:
    """One operator, whole and as torch takes it apart, against what `FlopCounterMode` sees."""
    expected = macs_of(lambda: function(*args, **kwargs))
    assert expected > 0, "FlopCounterMode sees the operator"
    assert counted(function, *args, **kwargs) == expected


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


class Draw(random.Random):
    """Random sizes."""

    def size(self, most: int = 9) -> int:
        return self.randint(1, most)

    def sizes(self, least: int, most: int) -> tuple[int, ...]:
        return tuple(self.size(5) for _ in range(self.randint(least, most)))


@pytest.fixture(params=range(CASES))
def draw(request: pytest.FixtureRequest) -> Draw:
    return Draw(request.param)


# --- matrix products


def test_linear(draw: Draw) -> None:
    inner, outer = draw.size(), draw.size()
    check(aten.linear.default, meta(*draw.sizes(1, 3), inner), meta(outer, inner), draw.choice([None, meta(outer)]))


def test_matmul(draw: Draw) -> None:
    rows, inner, columns, batch = draw.size(), draw.size(), draw.size(), draw.sizes(1, 3)
    left = [*(draw.choice([1, size]) for size in batch), rows, inner]
    right = [*(draw.choice([1, size]) for size in batch), inner, columns]
    check(aten.matmul.default, meta(*left), meta(*right[draw.choice([0, len(batch)]) :]))
    check(aten.matmul.default, meta(inner), meta(inner, columns))


def test_products_of_matrices(draw: Draw) -> None:
    batch, rows, inner, columns = (draw.size() for _ in range(4))
    left, right = meta(rows, inner), meta(inner, columns)
    many_left, many_right = meta(batch, rows, inner), meta(batch, inner, columns)
    check(aten.mm.default, left, right)
    check(aten.addmm.default, meta(columns), left, right)
    check(aten.bmm.default, many_left, many_right)
    check(aten.baddbmm.default, meta(rows, columns), many_left, many_right)
    check(aten.linalg_matmul.default, many_left, many_right)
    check(aten.inner.default, many_left, meta(columns, inner))
    check(aten.chain_matmul.default, [left, right, meta(columns, 4)])
    check(aten.linalg_multi_dot.default, [left, right, meta(columns, 4), meta(4)])
    check(aten.linalg_multi_dot.default, [meta(inner), meta(inner, columns), meta(columns, rows), meta(rows, inner)])


def test_tensordot(draw: Draw) -> None:
    kept, other_kept, summed = draw.sizes(1, 2), draw.sizes(1, 2), draw.sizes(0, 2)
    dims = list(range(len(kept), len(kept) + len(summed)))
    check(aten.tensordot.default, meta(*kept, *summed), meta(*summed, *other_kept), dims, list(range(len(summed))))


def test_products_that_the_counter_does_not_see(draw: Draw) -> None:
    """`FlopCounterMode` has no formula for these: products by hand."""
    batch, rows, inner, columns = (draw.size() for _ in range(4))
    unseen: list[tuple[int, Any, tuple[Any, ...]]] = [
        (rows * inner * columns, aten.addmm_.default, (meta(rows, columns), meta(rows, inner), meta(inner, columns))),
        (rows * inner, aten.mv.default, (meta(rows, inner), meta(inner))),
        (rows * inner, aten.matmul.default, (meta(rows, inner), meta(inner))),
        (rows * inner, aten.linear.default, (meta(rows, inner), meta(inner))),
        (rows * inner, aten.addmv.default, (meta(rows), meta(rows, inner), meta(inner))),
        (inner, aten.dot.default, (torch.empty(inner), torch.empty(inner))),
        (inner, aten.vdot.default, (torch.empty(inner), torch.empty(inner))),
        (
            batch * rows * inner * columns,
            aten.addbmm.default,
            (meta(rows, columns), meta(batch, rows, inner), meta(batch, inner, columns)),
        ),
        (batch * rows * inner, aten.linalg_vecdot.default, (meta(batch, 1, inner), meta(rows, inner))),
        (0, aten.inner.default, (meta(rows, inner), meta())),
        (0, aten.outer.default, (meta(rows), meta(columns))),
    ]
    for expected, function, args in unseen:
        assert macs_of(partial(function, *args)) == 0, "the counter has learned it: use it"
        assert counted(function, *args) == expected


def test_integer_and_packed_products(draw: Draw) -> None:
    """`FlopCounterMode` has no formula for these: products by hand."""
    rows, inner, columns = 8 * draw.size(4) + 16, 32 * draw.size(4), 16 * draw.size(4)
    small = {"dtype": torch.int8}
    expected = rows * inner * columns
    assert counted(aten._int_mm.default, meta(rows, inner, **small), meta(inner, columns, **small)) == expected
    half = meta(rows, inner, dtype=torch.bfloat16)
    scales = meta(columns, dtype=torch.bfloat16)
    assert counted(aten._weight_int8pack_mm.default, half, meta(columns, inner, **small), scales) == expected
    packed = meta(columns, inner // 2, dtype=torch.uint8)
    zeros = meta(inner // 32, columns, 2, dtype=torch.bfloat16)
    assert counted(aten._weight_int4pack_mm_for_cpu.default, half, packed, 32, zeros) == expected


def test_scaled_mm(draw: Draw) -> None:
    rows, inner, columns = 16 * draw.size(), 16 * draw.size(), 16 * draw.size()
    left = meta(rows, inner, dtype=torch.float8_e4m3fn)
    right = meta(columns, inner, dtype=torch.float8_e4m3fn).t()
    check(aten._scaled_mm.default, left, right, meta(), meta(), out_dtype=torch.bfloat16)


def test_grouped_mm(draw: Draw) -> None:
    """`FlopCounterMode` has no formula for it: the products of the groups by hand."""
    groups, rows, inner, columns = draw.size(), 8 * draw.size(), 8 * draw.size(), 8 * draw.size()
    ends = meta(groups, dtype=torch.int32)
    half = torch.bfloat16
    per_group = rows * inner * columns
    experts = meta(groups, columns, inner, dtype=half).transpose(1, 2)
    assert counted(aten._grouped_mm.default, meta(groups * rows, inner, dtype=half), experts, ends) == groups * per_group
    assert counted(aten._grouped_mm.default, meta(groups, rows, inner, dtype=half), experts) == groups * per_group


# --- contractions over named axes

EQUATIONS = (
    "bij,bjk->bik",
    "ij,jk",
    "bhqd,bhkd->bhqk",
    "...ij,...jk->...ik",
    "...i,ij->...j",
    "b...d,dk->b...k",
    "iij,jk->ik",
    "ij,jk,kl->il",
    "ij,ik,il->jkl",
    "ab,bc,cd,da->",
    "i,i->",
    "ijk,jl->il",
    "bij,bij->b",
    "nchw,cdhw->nd",
    "ijk,ilk,i->jl",
)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str) -> None:
    for seed in range(CASES):
        draw = Draw(seed)
        sizes = {label: draw.randint(2, 6) for label in "abcdhijklnqw"}
        hidden = draw.sizes(0, 2)
        tensors = []
        for term in equation.partition("->")[0].split(","):
            before, dots, after = term.partition("...")
            shape = [*(sizes[label] for label in before), *(hidden if dots else ()), *(sizes[label] for label in after)]
            tensors.append(meta(*shape))
        paths = [None] if len(tensors) == 2 else [None, [1, 2, 0, 1] if len(tensors) == 3 else [0, 2, 0, 1, 0, 1]]
        for path in paths:
            check(aten.einsum.default, equation, tensors, path=path)


@pytest.mark.parametrize("equation", ["i,j->ij", "ij,ij->ij", "...n,d->...nd", "ij->ji", "ij->", "ii->i"])
def test_einsum_without_a_contraction_costs_nothing(equation: str) -> None:
    shapes = [(4, 4) if len(term.replace("...", "x")) == 2 else (4,) for term in equation.partition("->")[0].split(",")]
    tensors = [meta(*shape) for shape in shapes]
    assert macs_of(lambda: aten.einsum.default(equation, tensors)) == 0
    assert counted(aten.einsum.default, equation, tensors) == made_of(aten.einsum.default, equation, tensors) == 0


def test_einsum_with_sizes_of_one(draw: Draw) -> None:
    """Sizes of 1 broadcast and are summed beforehand: whole and taken apart agree, with the counter too."""

    def size(full: int) -> int:
        return draw.choice([1, full])

    tensors = [meta(size(2), size(3), size(4)), meta(size(4), size(5)), meta(size(2), size(5), 6)]
    equation = draw.choice(["bij,jk,bkl->bil", "bij,jk,bkl->il", "bij,jk,bkl->b"])
    expected = macs_of(lambda: aten.einsum.default(equation, tensors))
    assert counted(aten.einsum.default, equation, tensors) == made_of(aten.einsum.default, equation, tensors) == expected


def test_bilinear(draw: Draw) -> None:
    """`FlopCounterMode` sees `_trilinear` as one operator without a formula: compared with the einsum of the same pairs."""
    rows, left, right, outer = draw.sizes(1, 2), draw.size() + 1, draw.size() + 1, draw.size() + 1
    args = meta(*rows, left), meta(*rows, right), meta(outer, left, right)
    by_pairs = [meta(torch.Size(rows).numel(), left), meta(outer, left, right), meta(torch.Size(rows).numel(), right)]
    whole = counted(aten.bilinear.default, *args)
    assert whole == made_of(aten.bilinear.default, *args)
    if by_pairs[0].shape[0] > 1:
        assert whole == macs_of(lambda: torch.ops.aten.einsum("bi,nij,bj->bn", by_pairs))


@pytest.mark.parametrize("rows", [25, 26])
@pytest.mark.parametrize("mode", [None, 0, 1, 2])
def test_cdist(rows: int, mode: int | None) -> None:
    """`FlopCounterMode` does not look into it: compared with the matrix product that it decomposes into, where it does."""
    from fxprof.capture.translate import translate

    class Distances(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = aten.cdist.default(left, right, 2.0, mode)
            return result

    args = torch.zeros(2, rows, 3), torch.zeros(2, 5, 3)
    with torch.no_grad():
        program = torch.export.export(Distances(), args).run_decompositions()
    products = [op for op in count(translate(program)) if op.target in {"aten.mm.default", "aten.bmm.default"}]
    expected = sum(op.macs or 0 for op in products)
    assert counted(aten.cdist.default, *args, 2.0, mode) == expected
    assert counted(aten._cdist_forward.default, *args, 2.0, mode) == expected
    assert (expected > 0) == (mode == 1 or (mode in {None, 0} and rows > 25))


def test_cov(draw: Draw) -> None:
    """The counter sees the matrix product inside."""
    variables, observations = draw.size() + 1, draw.size() + 1
    check(aten.cov.default, torch.zeros(variables, observations))


# --- convolutions


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolution(rank: int, *, transposed: bool) -> None:
    for seed in range(CASES):
        draw = Draw(seed)
        groups, batch = draw.size(3), draw.size(3)
        inputs, outputs = groups * draw.size(4), groups * draw.size(4)
        kernel = tuple(draw.size(3) for _ in range(rank))
        stride, dilation, padding = ([draw.size(2) for _ in range(rank)] for _ in range(3))
        spatial = tuple(draw.randint(6, 9) for _ in range(rank))
        weight = (inputs, outputs // groups, *kernel) if transposed else (outputs, inputs // groups, *kernel)
        args = (meta(batch, inputs, *spatial), meta(*weight), draw.choice([None, meta(outputs)]), stride, padding)
        more = (dilation, transposed, [0] * rank, groups)
        check(aten.convolution.default, *args, *more)
        check(aten._convolution.default, *args, *more, False, False, False, False)
        if transposed:
            name = f"conv_transpose{rank}d"
            overload = getattr(aten, name).default if rank == 1 else getattr(aten, name).input
            check(overload, *args, [0] * rank, groups, dilation)
        else:
            check(getattr(aten, f"conv{rank}d").default, *args, dilation, groups)
            check(getattr(aten, f"conv{rank}d").padding, *args[:3], [1] * rank, "same", dilation, groups)
            check(getattr(aten, f"conv{rank}d").default, meta(inputs, *spatial), *args[1:], dilation, groups)
        out = aten.convolution.default(*args, *more)
        backward = (out, *args[:2], None, *args[3:], *more)
        check(aten.convolution_backward.default, *backward, [True, groups == 1, False])
        # The counter takes the gradient of a grouped weight for one without groups; it is the forward work turned around.
        assert counted(aten.convolution_backward.default, *backward, [False, True, False]) == macs_of(
            partial(aten.convolution.default, *args, *more)
        )


def test_conv_tbc(draw: Draw) -> None:
    """`FlopCounterMode` has no formula for it: compared with the convolution of the same sizes."""
    length, batch, inputs, outputs, kernel = draw.randint(5, 9), *(draw.size() for _ in range(3)), draw.size(4)
    expected = macs_of(lambda: F.conv1d(meta(batch, inputs, length), meta(outputs, inputs, kernel)))
    args = torch.zeros(length, batch, inputs), torch.zeros(kernel, inputs, outputs), torch.zeros(outputs)
    assert counted(aten.conv_tbc.default, *args) == expected


# --- attention


def heads(draw: Draw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, many, width, queries, keys = draw.size(3), draw.size(4), 8 * draw.size(4), draw.size(), draw.size()
    return meta(batch, many, queries, width), meta(batch, many, keys, width), meta(batch, many, keys, width)


def test_attention(draw: Draw) -> None:
    query, key, value = heads(draw)
    check(aten.scaled_dot_product_attention.default, query, key, value, is_causal=draw.choice([True, False]))
    check(aten.scaled_dot_product_attention.default, query, key, meta(*value.shape[:-1], 8 * draw.size()))
    check(aten.scaled_dot_product_attention.default, query[0], key[0], value[0])
    share = draw.size(3)
    many_heads = meta(query.shape[0], query.shape[1] * share, *query.shape[2:])
    check(aten.scaled_dot_product_attention.default, many_heads, key, value, enable_gqa=True)
    check(aten._scaled_dot_product_attention_math.default, query, key, value)


def test_fused_attention(draw: Draw) -> None:
    query, key, value = heads(draw)
    check(aten._scaled_dot_product_flash_attention.default, query, key, value)
    check(aten._scaled_dot_product_efficient_attention.default, query, key, value, None, False)
    check(aten._scaled_dot_product_cudnn_attention.default, query, key, value, None, False)
    expected = macs_of(lambda: aten._scaled_dot_product_flash_attention.default(query, key, value))
    # The counter has no formula for these two, which do the same work.
    assert counted(aten._scaled_dot_product_flash_attention_for_cpu.default, query, key, value) == expected
    assert counted(aten._scaled_dot_product_fused_attention_overrideable.default, query, key, value) == expected


def test_attention_kernels_have_the_heads_after_the_positions(draw: Draw) -> None:
    """`FlopCounterMode` takes their axes for [B, H, L, D]; the work is that of the operator which calls them."""
    query, key, value = heads(draw)
    expected = macs_of(lambda: aten._scaled_dot_product_flash_attention.default(query, key, value))
    turned = [tensor.transpose(1, 2) for tensor in (query, key, value)]
    lengths = query.shape[2], key.shape[2]
    half = [tensor.to(torch.float16) for tensor in turned]
    assert counted(aten._flash_attention_forward.default, *half, None, None, *lengths, 0.0, False, False) == expected
    assert counted(aten._efficient_attention_forward.default, *turned, None, None, None, *lengths, 0.0, 0) == expected


def test_attention_kernels_on_ragged_sequences(draw: Draw) -> None:
    """Starts on the meta device have no values, so `FlopCounterMode` too takes every sequence to be the longest."""
    sequences, many, width, longest = draw.size(), draw.size(4), 8 * draw.size(4), draw.size()
    total = sequences * longest
    tensors = [meta(total, many, width, dtype=torch.float16) for _ in range(3)]
    starts = meta(sequences + 1, dtype=torch.int32)
    check(aten._flash_attention_forward.default, *tensors, starts, starts, longest, longest, 0.0, False, False)
    wide = [tensor[None] for tensor in tensors]
    check(aten._efficient_attention_forward.default, *wide, None, starts, starts, longest, longest, 0.0, 0)


def test_attention_backward(draw: Draw) -> None:
    query, key, value = (tensor.to(torch.float16) for tensor in heads(draw))
    out, logsumexp, starts_q, starts_k, most_q, most_k, seed, offset, _ = aten._scaled_dot_product_flash_attention.default(
        query, key, value
    )
    more = (logsumexp, starts_q, starts_k, most_q, most_k, 0.0, False, seed, offset)
    check(aten._scaled_dot_product_flash_attention_backward.default, out, query, key, value, out, *more)


def test_multi_head_attention_in_one_operator(draw: Draw) -> None:
    """`FlopCounterMode` sees the fused operator as one without a formula: compared with the same layer in plain operators."""
    many = draw.size(3)
    width, batch, length = 2 * many * draw.size(3), draw.size(3), draw.size()
    layer = nn.TransformerEncoderLayer(width, many, 3 * width, batch_first=True)  # in training mode it takes the plain way
    source = torch.zeros(batch, length, width)
    attention = layer.self_attn
    packed = (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias)
    expected = macs_of(lambda: attention(source, source, source))
    assert counted(aten._native_multi_head_attention.default, source, source, source, width, many, *packed) == expected
    norms = (layer.norm1.weight, layer.norm1.bias, layer.norm2.weight, layer.norm2.bias)
    feed_forward = (layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias)
    arguments = (source, width, many, *packed, False, False, 1e-5, *norms, *feed_forward)
    assert counted(aten._transformer_encoder_layer_fwd.default, *arguments) == macs_of(lambda: layer(source))


# --- recurrent layers


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent(layer: Any, draw: Draw) -> None:
    """The counter sees the matrix products inside, unless oneDNN runs the layer; the second run is on packed sequences."""
    inputs, hidden, layers, batch, length = (draw.size(5) for _ in range(5))
    both, first = draw.choice([True, False]), draw.choice([True, False])
    options: dict[str, Any] = {"nonlinearity": draw.choice(["tanh", "relu"])} if layer is nn.RNN else {}
    if layer is nn.LSTM and hidden > 1:
        options["proj_size"] = draw.choice([0, hidden - 1])
    made = layer(inputs, hidden, layers, bidirectional=both, batch_first=first, **options)
    source = torch.zeros(batch, length, inputs) if first else torch.zeros(length, batch, inputs)
    whole = whole_recurrent(made, source)
    with torch.backends.mkldnn.flags(enabled=False):
        assert whole == macs_of(lambda: made(source))
    lengths = [draw.size(length) for _ in range(batch)]
    packed = nn.utils.rnn.pack_padded_sequence(source, lengths, batch_first=first, enforce_sorted=False)
    with torch.backends.mkldnn.flags(enabled=False):
        assert whole_recurrent(made, packed) == macs_of(lambda: made(packed))


def whole_recurrent(made: nn.RNNBase, source: Any) -> int:
    """The layer as one operator, as an exported graph holds it."""
    function = {"LSTM": aten.lstm, "GRU": aten.gru, "RNN_TANH": aten.rnn_tanh, "RNN_RELU": aten.rnn_relu}[made.mode]
    packed = isinstance(source, nn.utils.rnn.PackedSequence)
    rows = int(source.batch_sizes[0]) if packed else source.shape[0 if made.batch_first else 1]
    ways = made.num_layers * (2 if made.bidirectional else 1)
    state = torch.zeros(ways, rows, made.proj_size or made.hidden_size)
    hx = [state, torch.zeros(ways, rows, made.hidden_size)] if made.mode == "LSTM" else state
    middle = (hx, made._flat_weights, made.bias, made.num_layers, 0.0, False, made.bidirectional)
    if packed:
        return counted(function.data, source.data, source.batch_sizes, *middle)
    return counted(function.input, source, *middle, made.batch_first)


@pytest.mark.parametrize(
    ("function", "gates"), [(aten.lstm_cell, 4), (aten.gru_cell, 3), (aten.rnn_tanh_cell, 1), (aten.rnn_relu_cell, 1)]
)
def test_cells(function: Any, gates: int, draw: Draw) -> None:
    batch, inputs, hidden = draw.size(), draw.size(), draw.size()
    state = meta(batch, hidden)
    hx = [state, state] if gates == 4 else state
    check(function.default, meta(batch, inputs), hx, meta(gates * hidden, inputs), meta(gates * hidden, hidden))


# --- names


def schemas(target: str) -> Iterator[Any]:
    """The schemas of the overloads that a formula applies to; none where this torch does not have the operator."""
    space, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, space), name, None)
    for each in packet.overloads() if packet is not None else ():
        # einsum.sublist takes any number of arguments without names; no graph holds it.
        if each == overload if overload else not each.endswith("out") and each != "sublist":
            yield getattr(packet, each)._schema


@pytest.mark.parametrize("target", sorted(BUILT_IN))
def test_every_parameter_of_a_formula_is_an_argument_of_its_operator(target: str) -> None:
    import torch.nn.attention.varlen  # noqa: F401 - registers its operators
    import transformers.integrations.moe  # noqa: F401 - as above

    # One with a default may be the argument of another operator with the same formula, as `A` of `linalg_det`.
    parameters = set(BUILT_IN.table[target].parameters) - BUILT_IN.table[target].optional - {"out", "outs"}
    if target.startswith(PREFIX):
        assert parameters <= set(PARAMETERS[target.removeprefix(PREFIX)])
        return
    found = list(schemas(target))
    if not found and target.startswith(("mkl", "onednn.", "torchvision.", "bitsandbytes.")):
        pytest.skip("this torch is built without the library, or the package is not installed")
    assert found
    for schema in found:
        assert parameters <= {argument.name for argument in schema.arguments}, schema


def test_every_optional_parameter_of_a_formula_is_an_argument_of_one_of_its_operators() -> None:
    arguments: dict[Any, set[str]] = {}
    for target, item in BUILT_IN.table.items():
        if target.startswith(PREFIX):
            named = set(PARAMETERS[target.removeprefix(PREFIX)])
        else:
            named = {argument.name for schema in schemas(target) for argument in schema.arguments}
        arguments.setdefault(item.function, set()).update(named)
    for item in BUILT_IN.table.values():
        if arguments[item.function]:  # else this torch is built without the library
            assert item.optional <= arguments[item.function], item.function


@pytest.mark.parametrize("target", sorted(BUILT_IN))
def test_an_argument_that_a_graph_leaves_out_has_the_default_of_the_schema(target: str) -> None:
    """A graph, live or in a file, holds only what was given."""
    ours = inspect.signature(BUILT_IN.table[target].function).parameters
    for schema in () if target.startswith(PREFIX) else schemas(target):
        for argument in schema.arguments:
            if argument.name in ours and argument.default_value is not None:
                default = ours[argument.name].default
                given = list(default) if isinstance(default, tuple) else default
                function = BUILT_IN.table[target].function
                # A norm has one formula for two operators, whose defaults are two names of one order.
                same = given == argument.default_value or function() == function(**{argument.name: argument.default_value})
                assert same, argument.name


# --- whole graphs: the undecomposed and the decomposed graph cost the same


class Everything(nn.Module):
    """Layers that decompose into quite different operators."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding="same", groups=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.lstm = nn.LSTM(16, 6, bidirectional=True, batch_first=True)
        self.bilinear = nn.Bilinear(12, 16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.up(self.conv(image)).flatten(2)
        tokens = self.encoder(torch.einsum("bcl,bdl->bcd", tokens, tokens).repeat(1, 1, 4))
        hidden, _ = self.lstm(tokens)
        return torch.cdist(self.bilinear(hidden, tokens).repeat(1, 8, 1), hidden[..., :5])


def test_a_graph_costs_the_same_after_decomposition() -> None:
    from fxprof.capture.translate import translate

    program = torch.export.export(Everything().eval(), (torch.zeros(2, 3, 8, 8),))
    before, after = count(translate(program)), count(translate(program.run_decompositions()))
    assert [op.target for op in (*before, *after) if op.macs is None] == []
    assert {op.target for op in before if op.macs} != {op.target for op in after if op.macs}
    assert sum(op.macs or 0 for op in before) == sum(op.macs or 0 for op in after) > 0


class Bodies(nn.Module):
    """Operators that hold others."""

    def forward(self, rows: torch.Tensor, weight: torch.Tensor) -> Any:
        branch = torch.cond(rows.sum() > 0, lambda x, w: x @ w, lambda x, w: (x @ w) @ w, (rows, weight))
        higher_order: Any = torch._higher_order_ops  # its annotations are too narrow
        mapped = higher_order.map(lambda row, w: (w @ row[:, None])[:, 0], rows, weight)
        carry, scanned = higher_order.scan(lambda c, x: (c @ weight, x + c[0]), branch, rows)
        with torch.no_grad():
            silent = rows @ weight
        return mapped, carry, scanned, silent


def test_bodies_of_an_exported_graph_are_counted() -> None:
    from fxprof.capture.translate import translate

    found = count(translate(torch.export.export(Bodies(), (torch.zeros(5, 4), torch.zeros(4, 4)))))
    by_operator = [(op.macs, op.times, op.bounded) for op in found if op.macs]
    assert [op.target for op in found if op.macs is None] == []
    product = 5 * 4 * 4
    assert by_operator == [(product, 1, True), (product, 1, True), (4 * 4, 5, False), (product, 5, False), (product, 1, False)]


@pytest.mark.parametrize("share", [1, 2])
def test_flexible_attention(share: int) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    from fxprof.capture.translate import translate

    class Flexible(nn.Module):
        def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Any:
            return flex_attention(query, key, value, lambda score, *_: score * 2, enable_gqa=share > 1)

    tensors = (torch.zeros(2, 4 * share, 6, 8), torch.zeros(2, 4, 10, 8), torch.zeros(2, 4, 10, 8))
    found = count(translate(torch.export.export(Flexible(), tensors)))
    query, key, value = tensors[0], *(tensor.repeat_interleave(share, 1) for tensor in tensors[1:])
    expected = macs_of(lambda: F.scaled_dot_product_attention(query, key, value))
    assert [op.macs for op in found if op.kind == "attention"] == [expected]
    assert sum(op.macs or 0 for op in found) == expected


def test_the_example_of_the_document_runs(tmp_path: Path) -> None:
    import fxprof
    from fxprof.cost.plugins import load_file

    text = (Path(__file__).parents[1] / "docs/counting.md").read_text(encoding="utf-8")
    operator, formulas = (block.partition("```")[0] for block in text.split("```python\n")[1:3])
    for name, source in (("gated.py", operator), ("my_formulas.py", formulas)):
        (tmp_path / name).write_text(source)
    runpy.run_path(str(tmp_path / "gated.py"))

    class Gated(nn.Module):
        def forward(self, x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> Any:
            return torch.ops.mylib.gated_linear(x, gate, up)

    args = torch.zeros(2, 5, 7), torch.zeros(7, 3), torch.zeros(7, 3)
    without = fxprof.profile_module(Gated(), args)
    assert (without.macs, without.total.uncounted) == (0, 1)
    counted_now = fxprof.profile_module(Gated(), args, formulas=load_file(tmp_path / "my_formulas.py", BUILT_IN))
    assert (counted_now.macs, counted_now.total.uncounted) == (2 * 2 * 5 * 7 * 3, 0)
