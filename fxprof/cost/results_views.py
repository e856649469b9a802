"""The results of operators without contractions: views, elementwise steps, reductions, pooling."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

from fxprof.cost.kinds import KIND_OF
from fxprof.cost.registry import Shape
from fxprof.cost.results import Arguments, Expected, UnknownError, axis_of, broadcast, named, need, rule

_FIRST = ("self", "input", "a", "x")
"""Argument names for the tensor that an operator changes."""


def _first(args: Arguments) -> Shape:
    return args.shape(*_FIRST)


named(
    {
        "aten": """
            _log_softmax _safe_softmax _softmax _to_copy alias alpha_dropout bernoulli clone contiguous cumprod cumsum
            cummax cummin detach detach_ dropout empty_like feature_dropout flip full_like hardtanh layer_norm lift_fresh_copy
            log_softmax logcumsumexp native_dropout native_group_norm native_layer_norm ones_like rand_like randint_like
            randn_like relu relu_ rms_norm roll silu softmax special_softmax to tril triu zeros_like
            batch_norm instance_norm group_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
            native_batch_norm _fused_rms_norm index_put index_put_
            _unsafe_index_put index_add index_copy index_fill scatter scatter_add scatter_reduce select_scatter slice_scatter
            masked_scatter fill fill_ zero_ copy_ copy argsort sort lift_fresh
        """,
        "quantized_decomposed": """
            dequantize_per_channel dequantize_per_tensor quantize_per_channel quantize_per_tensor quantize_per_token
            dequantize_per_token
        """,
    },
    lambda args: None if "shape" in args else [_first(args)],
)

_OWN_SHAPE = (
    *("_thnn", "_transform", "_fused", "_foreach", "_prelu", "_dirichlet", "_saturate", "_amp", "_add_relu", "_fake_quantize"),
    *("_conj", "addr", "complex", "cross", "dequantize", "diff", "fake_quantize", "float_power", "frexp", "fused_moving"),
    *("gelu_backward", "ger", "glu", "gradient", "infinitely", "isreal", "kron", "lcm", "ldexp", "learnable", "linalg_cross"),
    *("log_sigmoid", "outer", "polar", "prelu", "quantize", "rrelu", "special_", "where"),
)
"""Beginnings of the names of elementwise operators with results of special shapes, or with several results."""


@rule(
    *(
        name
        for name, kind in KIND_OF.items()
        if kind == "elementwise" and name.startswith("aten.") and not name[5:].startswith(_OWN_SHAPE)
    ),
    *("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar", "aten.glu_jvp"),
)
def elementwise(args: Arguments) -> Expected:
    """The common shape of all tensors."""
    shapes = args.shapes()
    name = args.target.split(".")[1]
    if name.endswith("_") and not name.endswith("__"):
        return _first(args)
    return broadcast(*shapes) if shapes else None


@rule("aten.glu")
def glu(args: Arguments) -> Expected:
    """Half of one axis."""
    shape = list(_first(args))
    axis = axis_of(args.value("dim", -1), len(shape))
    need(shape[axis] % 2 == 0, f"a size of {shape[axis]} has no halves")
    shape[axis] //= 2
    return tuple(shape)


@rule("aten.view", "aten.reshape", "aten._unsafe_view", "aten.view_copy")
def view(args: Arguments) -> Expected:
    """The same elements in other sizes, of which one may be -1."""
    shape, wanted = _first(args), args.value("size", args.value("shape"))
    if not isinstance(wanted, tuple) or "dtype" in args:
        return None
    elements, known = prod(shape), prod(size for size in wanted if size != -1)
    need(elements == known if -1 not in wanted else (known and elements % known == 0), f"{elements:,} elements as {wanted}")
    return tuple(elements // known if size == -1 else size for size in wanted)


@rule("aten.flatten")
def flatten(args: Arguments) -> Expected:
    """Some axes as one."""
    shape = _first(args)
    start, end = (axis_of(args.value(name, default), len(shape)) for name, default in (("start_dim", 0), ("end_dim", -1)))
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


@rule("aten.unflatten")
def unflatten(args: Arguments) -> Expected:
    """One axis as several."""
    shape, sizes = _first(args), args.value("sizes", ())
    axis = axis_of(args.value("dim", 0), len(shape))
    known = prod(size for size in sizes if size != -1)
    need(known > 0 and shape[axis] % known == 0, f"a size of {shape[axis]} as {sizes}")
    return (*shape[:axis], *(shape[axis] // known if size == -1 else size for size in sizes), *shape[axis + 1 :])


@rule("aten.permute", "aten.permute_copy")
def permute(args: Arguments) -> Expected:
    """The axes in another order."""
    shape, order = _first(args), [axis_of(axis, len(_first(args))) for axis in args.value("dims", ())]
    need(sorted(order) == list(range(len(shape))), f"the order {order} of {len(shape)} axes")
    return tuple(shape[axis] for axis in order)


@rule("aten.transpose", "aten.transpose_copy", "aten.swapaxes", "aten.swapdims")
def transpose(args: Arguments) -> Expected:
    """Two axes exchanged."""
    shape = list(_first(args))
    one, two = (axis_of(args.value(f"dim{place}", args.value(f"axis{place}", 0)), len(shape)) for place in (0, 1))
    shape[one], shape[two] = shape[two], shape[one]
    return tuple(shape)


@rule("aten.t", "aten.t_copy", "aten.numpy_T", "aten.mT", "aten.adjoint", "aten.mH")
def transposed(args: Arguments) -> Expected:
    """The last two axes exchanged."""
    shape = _first(args)
    return tuple(reversed(shape)) if "numpy_T" in args.target else (*shape[:-2], *reversed(shape[-2:]))


@rule("aten.unsqueeze", "aten.unsqueeze_copy")
def unsqueeze(args: Arguments) -> Expected:
    """One more axis of size 1."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape) + 1)
    return (*shape[:axis], 1, *shape[axis:])


@rule("aten.squeeze", "aten.squeeze_copy")
def squeeze(args: Arguments) -> Expected:
    """Without axes of size 1."""
    shape = _first(args)
    given = args.value("dim")
    axes = range(len(shape)) if given is None else (given,) if isinstance(given, int) else given
    gone = {axis_of(axis, len(shape)) for axis in axes}
    return tuple(size for axis, size in enumerate(shape) if axis not in gone or size != 1)


@rule("aten.expand", "aten.expand_copy", "aten.broadcast_to")
def expand(args: Arguments) -> Expected:
    """Axes of size 1 repeated."""
    shape, wanted = _first(args), args.value("size", ())
    padded = (1,) * (len(wanted) - len(shape)) + shape
    need(len(padded) == len(wanted), f"{shape} as {wanted}")
    out = tuple(own if size == -1 else size for own, size in zip(padded, wanted, strict=True))
    need(all(own in (1, size) for own, size in zip(padded, out, strict=True)), f"{shape} as {wanted}")
    return out


@rule("aten.expand_as", "aten.view_as", "aten.reshape_as")
def as_other(args: Arguments) -> Expected:
    """In the shape of another tensor."""
    return args.shape("other")


@rule("aten.repeat")
def repeat(args: Arguments) -> Expected:
    """Each axis several times."""
    shape, times = _first(args), args.value("repeats", ())
    padded = (1,) * (len(times) - len(shape)) + shape
    return tuple(size * number for size, number in zip(padded, times, strict=True))


@rule("aten.select", "aten.select_copy")
def select(args: Arguments) -> Expected:
    """One index along an axis."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    place = args.value("index")
    need(not isinstance(place, int) or -shape[axis] <= place < shape[axis], f"place {place} of {shape[axis]}")
    return (*shape[:axis], *shape[axis + 1 :])


@rule("aten.slice", "aten.slice_copy")
def slice_(args: Arguments) -> Expected:
    """A range along an axis."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    places = range(*slice(args.value("start"), args.value("end"), args.value("step", 1)).indices(shape[axis]))
    return (*shape[:axis], len(places), *shape[axis + 1 :])


@rule("aten.narrow", "aten.narrow_copy")
def narrow(args: Arguments) -> Expected:
    """A range along an axis by its length."""
    shape, length = _first(args), args.value("length")
    axis = axis_of(args.value("dim", 0), len(shape))
    need(0 <= length <= shape[axis], f"a length of {length} of {shape[axis]}")
    return (*shape[:axis], length, *shape[axis + 1 :])


@rule("aten.split", "aten.split_with_sizes", "aten.split_with_sizes_copy", "aten.split_copy")
def split(args: Arguments) -> Expected:
    """Pieces along an axis, of one size or of several."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    size = args.value("split_size", args.value("split_sizes"))
    pieces = size if isinstance(size, tuple) else _pieces(shape[axis], size)
    need(sum(pieces) == shape[axis], f"a size of {shape[axis]} in pieces of {size}")
    return [(*shape[:axis], piece, *shape[axis + 1 :]) for piece in pieces]


@rule("aten.chunk")
def chunk(args: Arguments) -> Expected:
    """A number of pieces along an axis; the last one may be smaller."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    size = ceil(shape[axis] / args.value("chunks"))
    return [(*shape[:axis], piece, *shape[axis + 1 :]) for piece in _pieces(shape[axis], size)]


def _pieces(whole: int, size: int) -> list[int]:
    need(size > 0 or whole == 0, f"pieces of {size}")
    return [min(size, whole - start) for start in range(0, whole, size or 1)] or [0]


@rule("aten.unbind", "aten.unbind_copy")
def unbind(args: Arguments) -> Expected:
    """Every index along an axis."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    return [(*shape[:axis], *shape[axis + 1 :])] * shape[axis]


@rule("aten.cat", "aten.concat", "aten.concatenate")
def cat(args: Arguments) -> Expected:
    """Tensors end to end, without empty tensors of one axis."""
    shapes = [shape for shape in args.shapes("tensors") if shape != (0,)]
    if not shapes:
        return None
    axis = axis_of(args.value("dim", args.value("axis", 0)), len(shapes[0]))
    around = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    need(len(around) == 1, f"tensors of {' and '.join(map(str, sorted(set(shapes))[:4]))} end to end")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


@rule("aten.stack")
def stack(args: Arguments) -> Expected:
    """Tensors side by side."""
    shapes = args.shapes("tensors")
    need(len(set(shapes)) == 1, f"tensors of {' and '.join(map(str, sorted(set(shapes))[:4]))} side by side")
    axis = axis_of(args.value("dim", 0), len(shapes[0]) + 1)
    return (*shapes[0][:axis], len(shapes), *shapes[0][axis:])


@rule("aten.embedding")
def embedding(args: Arguments) -> Expected:
    """A row of the weight for each index."""
    return (*args.shape("indices"), *args.shape("weight")[1:])


@rule("aten.index_select")
def index_select(args: Arguments) -> Expected:
    """Some indices along an axis."""
    shape = _first(args)
    axis = axis_of(args.value("dim", 0), len(shape))
    return (*shape[:axis], prod(args.shape("index")), *shape[axis + 1 :])


@rule("aten.gather", "aten.take")
def gather(args: Arguments) -> Expected:
    """One element for each index."""
    return args.shape("index")


@rule("aten.constant_pad_nd", "aten.pad", "aten.reflection_pad1d", "aten.reflection_pad2d", "aten.replication_pad2d")
def pad(args: Arguments) -> Expected:
    """More, or less, at the ends of the last axes."""
    shape, more = list(_first(args)), args.value("pad", args.value("padding", ()))
    for place in range(len(more) // 2):
        shape[-place - 1] += more[2 * place] + more[2 * place + 1]
    return tuple(shape)


named(
    {
        "aten": """
            all amax amin any argmax argmin logsumexp max mean min nansum prod std sum var count_nonzero linalg_vector_norm norm
            nanmean median
        """
    },
    lambda args: _reduced(args),  # noqa: PLW0108 - it is defined below
)


def _reduced(args: Arguments) -> Expected:
    """Without the axes that are reduced, or with size 1 in their place."""
    shape = _first(args)
    if "other" in args:
        return broadcast(shape, args.shape("other"))
    given: Any = args.value("dim")
    if given is None and not args.value("keepdim", default=False):
        return ()
    if type(given) not in (int, tuple, type(None)):
        raise UnknownError
    axes = range(len(shape)) if given in (None, ()) else (given,) if isinstance(given, int) else given
    gone = {axis_of(axis, len(shape)) for axis in axes}
    kept = (1,) if args.value("keepdim", default=False) else ()
    return [tuple(part for axis, size in enumerate(shape) for part in (kept if axis in gone else (size,)))]


named(
    {"aten": "empty full new_empty new_full new_ones new_zeros ones rand randint randn zeros"},
    lambda args: args.value("size"),
)


@rule("aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d", "aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d")
def pool(args: Arguments) -> Expected:
    """Windows over the last axes."""
    shape = _first(args)
    space = int(args.target.split(".")[1].removesuffix("d")[-1])
    kernel = args.sizes("kernel_size", space)
    stride = args.sizes("stride", space) if args.value("stride", ()) != () else kernel
    padding, dilation = args.sizes("padding", space, 0), args.sizes("dilation", space)
    upwards = args.value("ceil_mode", default=False)
    out = [
        _windows(size, window, step, edge, jump, upwards=upwards)
        for size, window, step, edge, jump in zip(shape[-space:], kernel, stride, padding, dilation, strict=True)
    ]
    return (*shape[:-space], *out)


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int, *, upwards: bool) -> int:
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-room // stride) + 1 if upwards else room // stride + 1
    # With rounding up, the last window must begin inside the input or the padding on the left.
    return count - 1 if upwards and (count - 1) * stride >= size + padding else count


@rule("aten.adaptive_avg_pool1d", "aten.adaptive_avg_pool2d", "aten.adaptive_avg_pool3d", "aten._adaptive_avg_pool2d")
def adaptive_pool(args: Arguments) -> Expected:
    """A given number of windows over the last axes."""
    sizes = args.value("output_size", ())
    return (*_first(args)[: -len(sizes)], *sizes) if isinstance(sizes, tuple) else None


@rule(
    *(f"aten.upsample_{way}" for way in ("nearest1d", "nearest2d", "nearest3d", "bilinear2d", "bicubic2d", "linear1d")),
    *("aten.upsample_trilinear3d", "aten._upsample_nearest_exact2d", "aten._upsample_bilinear2d_aa"),
    "aten._upsample_bicubic2d_aa",
)
def upsample(args: Arguments) -> Expected:
    """The last axes in given sizes, or times given factors."""
    shape, sizes, factors = _first(args), args.value("output_size"), args.value("scale_factors")
    if isinstance(sizes, tuple):
        return (*shape[: -len(sizes)], *sizes)
    if isinstance(factors, tuple):
        tail = shape[-len(factors) :]
        return (*shape[: -len(factors)], *(int(size * factor) for size, factor in zip(tail, factors, strict=True)))
    return None


@rule("aten.pixel_shuffle")
def pixel_shuffle(args: Arguments) -> Expected:
    """Channels become pixels."""
    shape, factor = _first(args), args.value("upscale_factor")
    need(shape[-3] % factor**2 == 0, f"{shape[-3]} channels for a factor of {factor}")
    return (*shape[:-3], shape[-3] // factor**2, shape[-2] * factor, shape[-1] * factor)


@rule("aten.pixel_unshuffle")
def pixel_unshuffle(args: Arguments) -> Expected:
    """Pixels become channels."""
    shape, factor = _first(args), args.value("downscale_factor")
    need(shape[-2] % factor == 0 == shape[-1] % factor, f"{shape[-2]}x{shape[-1]} pixels for a factor of {factor}")
    return (*shape[:-3], shape[-3] * factor**2, shape[-2] // factor, shape[-1] // factor)
