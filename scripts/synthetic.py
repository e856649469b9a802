"""Synthetic graphs of any number of operators: one like a real transformer, and the awkward cases.

`scripts/scale.py` measures fxprof on them; `tests/test_scale.py` holds it to their MACs, which `Net.macs` derives without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType

from fxprof import limits
from fxprof.trace import Frame, Op, Tensor, Trace
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent, CapturedModule

BATCH, TOKENS, HEAD = 2, 256, 64
WIDTHS = (1024, 1536, 2048, 3072)
"""Widths of the stages, in turn."""
STAGE = 50
"""Blocks in a list; FLUX.1 has 57."""
BLOCK = 90
"""Operators in a block, 4.3 for each module, as in FLUX.1."""
CHILDREN = limits.PROFILE_MODULES - 2
"""Most children of one module: beside them are the root and a list."""
LEVELS = 90
"""Levels of modules; fxprof refuses more than 100."""

Shape = tuple[int, ...]
Stack = tuple[Frame, ...]


class Net:
    """A network under construction, operator by operator.

    Args:
        ops: number of operators of the finished network.
        changed: whether it is the second version, with modules added, changed and moved.
    """

    def __init__(self, ops: int, *, changed: bool) -> None:
        self.size, self.changed = ops, changed
        self.root: Stack = (Frame("", "Net"),)
        self.modules = {"": CapturedModule("", "Net", 0)}
        self.ops: list[Op] = []
        self.macs = 0
        """MACs of all operators so far, as products of their sizes."""

    def left(self) -> int:
        """Number of operators that are still missing."""
        return self.size - len(self.ops)

    def module(self, outer: Stack, name: str, class_name: str, params: int = 0) -> Stack:
        """Add a module, and the lists that hold it if its name has dots; returns its stack."""
        path = outer[-1].path
        for part in name.split(".")[:-1]:
            path = f"{path}.{part}" if path else part
            self.modules.setdefault(path, CapturedModule(path, "ModuleList", 0))
        path = f"{path}.{name.rpartition('.')[2]}" if path else name
        self.modules[path] = CapturedModule(path, class_name, params)
        return (*outer, Frame(path, class_name))

    def op(self, target: str, stack: Stack, source: str, shape: Shape, operands: Mapping[str, Shape]) -> None:
        """Add an operator on tensors."""
        args = tuple((name, Tensor(size, "float32")) for name, size in operands.items())
        self.ops.append(Op(f"aten.{target}", args, (Tensor(shape, "float32"),), stack, source))

    def free(self, stack: Stack, source: str, shape: Shape, *targets: str) -> None:
        """Add operators that cost nothing, one after the other, each in a source line of its own."""
        for line, target in enumerate(targets):
            self.op(target, stack, f"{source}{line:02}", shape, {"self": shape})

    def linear(self, stack: Stack, name: str, rows: Shape, inside: int, outside: int) -> None:
        """Add a linear layer."""
        here = self.module(stack, name, "Linear", inside * outside + outside)
        operands: Mapping[str, Shape] = {"input": (*rows, inside), "weight": (outside, inside), "bias": (outside,)}
        self.op("linear.default", here, "torch/nn/modules/linear.py:125", (*rows, outside), operands)
        self.macs += prod(rows) * inside * outside

    def attention(self, stack: Stack, width: int) -> None:
        """Add a fused attention of all tokens over all."""
        shape = (BATCH, width // HEAD, TOKENS, HEAD)
        line = "diffusers/models/attention_processor.py:1463"
        self.op("scaled_dot_product_attention.default", stack, line, shape, dict.fromkeys(("query", "key", "value"), shape))
        self.macs += 2 * BATCH * TOKENS * TOKENS * width

    def capture(self) -> Capture:
        """The network as the only call of a pipeline's only component; modules depth first, as they are built."""
        call = CapturedCall("", 1, Trace(tuple(self.ops), (("hidden_states", Tensor((BATCH, TOKENS, WIDTHS[0]), "float32")),)))
        component = CapturedComponent("transformer", "Net", tuple(_depth_first(self.modules)), (call,))
        return Capture("SyntheticPipeline", (component,), {"height": 512, "width": 512})


def _depth_first(modules: Mapping[str, CapturedModule]) -> list[CapturedModule]:
    below: dict[str, list[str]] = {path: [] for path in modules}
    for path in modules:
        if path:
            below[path.rpartition(".")[0]].append(path)
    ordered, waiting = [], [""]
    while waiting:
        path = waiting.pop()
        ordered.append(modules[path])
        waiting.extend(reversed(below[path]))
    return ordered


_CHUNKS = ("silu.default", *("unsqueeze.default",) * 7)
_NORM = ("layer_norm.default", "add.Tensor", "mul.Tensor", "add.Tensor")
_RMS = ("to.dtype", "pow.Tensor_Scalar", "mean.dim", "add.Tensor", "rsqrt.default", "mul.Tensor", "to.dtype", "mul.Tensor")
_SPLIT = ("view.default",) * 3 + ("transpose.int",) * 3
_ROTATED = ("to.dtype", "view.default", "unbind.int", "neg.default", "stack.default", "flatten.using_ints", "add.Tensor")
_ROPE = _ROTATED + ("mul.Tensor", "unsqueeze.default") * 4
_JOIN = ("transpose.int", "reshape.default", "to.dtype")
_GATE = ("unsqueeze.default", "mul.Tensor", "add.Tensor", "clamp.default")


def block(net: Net, outer: Stack, name: str, width: int, *, inner: int = 4, extra: bool = False) -> None:
    """Add a transformer block as in diffusers: modulation, attention with rotary embedding, feed-forward.

    It has `BLOCK` operators in 21 modules. `extra` adds a linear layer; the feed-forward has `inner` times the width.
    """
    rows, shape, heads = (BATCH, TOKENS), (BATCH, TOKENS, width), (BATCH, width // HEAD, TOKENS, HEAD)
    here = net.module(outer, name, "TransformerBlock")
    norm = net.module(here, "norm1", "AdaLayerNormZero")
    net.free(net.module(norm, "silu", "SiLU"), "torch/nn/modules/activation.py:4", (BATCH, width), *_CHUNKS[:1])
    net.linear(norm, "linear", (BATCH,), width, 6 * width)
    net.free(norm, "diffusers/models/normalization.py:1", (BATCH, width), *_CHUNKS[1:])
    net.free(net.module(norm, "norm", "LayerNorm"), "torch/nn/modules/normalization.py:2", shape, *_NORM[:1])
    net.free(norm, "diffusers/models/normalization.py:2", shape, *_NORM[1:])
    attn = net.module(here, "attn", "Attention")
    for projection in ("to_q", "to_k", "to_v"):
        net.linear(attn, projection, rows, width, width)
    if extra:
        net.linear(attn, "to_g", rows, width, width)
    net.free(attn, "diffusers/models/attention_processor.py:14", heads, *_SPLIT)
    for normed in ("norm_q", "norm_k"):
        net.free(net.module(attn, normed, "RMSNorm", HEAD), "diffusers/models/normalization.py:5", heads, *_RMS)
    net.free(attn, "diffusers/models/embeddings.py:12", heads, *_ROPE, *_ROPE)
    net.attention(attn, width)
    net.free(attn, "diffusers/models/attention_processor.py:15", shape, *_JOIN)
    net.linear(attn, "to_out.0", rows, width, width)
    net.free(net.module(attn, "to_out.1", "Dropout"), "torch/nn/modules/dropout.py:7", shape, "dropout.default")
    net.free(here, "diffusers/models/transformers/transformer.py:17", shape, *_GATE)
    net.free(net.module(here, "norm2", "LayerNorm"), "torch/nn/modules/normalization.py:2", shape, *_NORM[:1])
    net.free(here, "diffusers/models/transformers/transformer.py:18", shape, *_NORM[1:])
    feed = net.module(here, "ff", "FeedForward")
    gelu = net.module(feed, "net.0", "GELU")
    net.linear(gelu, "proj", rows, width, inner * width)
    net.free(gelu, "diffusers/models/activations.py:8", (*rows, inner * width), "gelu.default")
    net.free(net.module(feed, "net.1", "Dropout"), "torch/nn/modules/dropout.py:7", (*rows, inner * width), "dropout.default")
    net.linear(feed, "net.2", rows, inner * width, width)
    net.free(here, "diffusers/models/transformers/transformer.py:19", shape, *_GATE)


def model(net: Net) -> None:
    """Stages of equal blocks. The second version widens some and adds layers, lengthens some by a block, and renames some."""
    stage = 0
    while net.left() > BLOCK:
        kind = stage % len(WIDTHS)
        here = net.module(net.root, f"late.{stage}" if net.changed and kind == _MOVED else f"stages.{stage}", "Stage")
        for number in range(STAGE + (net.changed and kind == _LONGER)):
            if net.left() > BLOCK:
                altered = net.changed and kind == _ALTERED
                wider, extra = altered and number % 10 == 0, altered and number % 10 == 5  # noqa: PLR2004
                block(net, here, f"blocks.{number}", WIDTHS[kind], inner=3 if wider else 4, extra=extra)
        stage += 1
    fill(net)


_ALTERED, _LONGER, _MOVED = 0, 1, 2


def distinct(net: Net) -> None:
    """A list of blocks, no two of them equal, so nothing folds. The second version has a new one in the middle."""
    widths = list(range(1, net.size // BLOCK + 1))
    if net.changed:
        widths.insert(len(widths) // 2, widths.pop() + 1)
    for number, width in enumerate(widths):
        block(net, net.root, f"blocks.{number}", HEAD * width)
    fill(net)


def flat(net: Net) -> None:
    """Many equal modules in one. In the second version their numbers start at one, and some are wider."""
    count = min(net.size, CHILDREN)
    for number in range(count):
        wide = net.changed and number % 100 == 0
        name = f"layers.{number + net.changed}"
        net.linear(net.root, name, (BATCH, TOKENS), WIDTHS[0], WIDTHS[wide])
        net.free((*net.root, Frame(name, "Linear")), "net.py:1", (BATCH,), *("relu.default",) * (net.size // count - 1))
    fill(net)


def renamed(net: Net) -> None:
    """Many modules in one, all equal but the first. In the second version they have other names, and there is one less."""
    net.linear(net.root, "first", (BATCH, TOKENS), WIDTHS[0], WIDTHS[0])
    for number in range(1, min(net.size, CHILDREN) - net.changed):
        net.linear(net.root, f"{'new' if net.changed else 'old'}{number}", (BATCH, TOKENS), WIDTHS[0], WIDTHS[1])
    fill(net)


def deep(net: Net) -> None:
    """Chains of `LEVELS` modules within modules. In the second version some innermost modules are wider."""
    chain = 0
    while net.left() >= 4 * LEVELS:
        stack = net.root
        for level in range(1, LEVELS):
            stack = net.module(stack, f"inner{level % 3}" if level > 1 else f"chain{chain}", "Wrapper")
            net.free(stack, "net.py:2", (BATCH, TOKENS), *("relu.default",) * 4)
        wide = net.changed and chain % 10 == 0
        net.linear(stack, "linear", (BATCH, TOKENS), WIDTHS[0], WIDTHS[wide])
        chain += 1
    fill(net)


def sizes(net: Net) -> None:
    """One module that runs again and again, on more tokens each time. In the second version each run has one token more."""
    net.linear(net.root, "linear", (1,), WIDTHS[0], WIDTHS[0])
    weight = (WIDTHS[0], WIDTHS[0])
    for visit in range(1, net.size):
        shape = (visit + 1 + net.changed, WIDTHS[0])
        stack = (*net.root, Frame("linear", "Linear", visit))
        net.op("linear.default", stack, "net.py:30", shape, {"input": shape, "weight": weight})
        net.macs += shape[0] * prod(weight)
    fill(net)


def fill(net: Net) -> None:
    """Fill the network up to its size."""
    net.free(net.root, "net.py:1", (BATCH, TOKENS), *("view.default",) * net.left())


KINDS: Mapping[str, Callable[[Net], None]] = MappingProxyType(
    {item.__name__: item for item in (model, distinct, flat, renamed, deep, sizes)}
)
"""The builder of each kind of network, by name."""


def network(kind: str, ops: int, *, changed: bool = False) -> Net:
    """A network of one of `KINDS` with this number of operators."""
    net = Net(ops, changed=changed)
    KINDS[kind](net)
    return net
