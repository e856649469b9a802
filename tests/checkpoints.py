"""Files of weights without weights: headers as safetensors and GGUF write them, and no data behind them but a hole."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]
_BF16 = 2


def write_safetensors(path: Path, tensors: Shapes) -> None:
    header, end = {}, 0
    for name, shape in tensors.items():
        size = _BF16
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def write_gguf(path: Path, tensors: Shapes) -> None:
    pairs = [_text("general.architecture") + struct.pack("<I", 8) + _text("flux")]
    pairs.append(_text("numbers") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3))
    pairs.append(_text("words") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("b"))
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    for name, shape in tensors.items():
        data += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1]) + struct.pack("<IQ", 2, 0)
    path.write_bytes(data)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def flux(*, guidance: bool = True) -> dict[str, tuple[int, ...]]:
    """The tensors of FLUX.1 as its authors publish it: 19 double and 38 single blocks of 24 heads of 128."""
    width, tensors = 24 * 128, dict[str, tuple[int, ...]]()

    def linear(name: str, out: int, into: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = (out, into), (out,)

    linear("img_in", width, 64)
    linear("txt_in", width, 4096)
    for name, into in {"time_in": 256, "vector_in": 768, **({"guidance_in": 256} if guidance else {})}.items():
        linear(f"{name}.in_layer", width, into)
        linear(f"{name}.out_layer", width, width)
    for block in range(19):
        for side in ("img", "txt"):
            start = f"double_blocks.{block}.{side}_"
            linear(f"{start}mod.lin", 6 * width, width)
            linear(f"{start}attn.qkv", 3 * width, width)
            linear(f"{start}attn.proj", width, width)
            linear(f"{start}mlp.0", 4 * width, width)
            linear(f"{start}mlp.2", width, 4 * width)
            tensors[f"{start}attn.norm.query_norm.scale"] = tensors[f"{start}attn.norm.key_norm.scale"] = (128,)
    for block in range(38):
        start = f"single_blocks.{block}."
        linear(f"{start}modulation.lin", 3 * width, width)
        linear(f"{start}linear1", 7 * width, width)
        linear(f"{start}linear2", width, 5 * width)
        tensors[f"{start}norm.query_norm.scale"] = tensors[f"{start}norm.key_norm.scale"] = (128,)
    linear("final_layer.linear", 64, width)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return tensors


def original_name(name: str) -> str:
    """What a tensor of the UNet of Stable Diffusion 1 and 2 is called in the checkpoints of its authors."""
    for ours, theirs in _blocks():
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    if not re.search(r"transformer_blocks|attn", name):
        for ours, theirs in _LAYERS.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    return f"model.diffusion_model.{name}"


_LAYERS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _blocks() -> Iterator[tuple[str, str]]:
    yield from {
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
        "mid_block.attentions.0.": "middle_block.1.",
        "mid_block.resnets.0.": "middle_block.0.",
        "mid_block.resnets.1.": "middle_block.2.",
    }.items()
    for level in range(4):
        for layer in range(3):
            down, up = 3 * level + layer + 1, 3 * level + layer
            yield f"down_blocks.{level}.resnets.{layer}.", f"input_blocks.{down}.0."
            yield f"down_blocks.{level}.attentions.{layer}.", f"input_blocks.{down}.1."
            yield f"up_blocks.{level}.resnets.{layer}.", f"output_blocks.{up}.0."
            yield f"up_blocks.{level}.attentions.{layer}.", f"output_blocks.{up}.1."
        yield f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{3 * level + 3}.0.op."
        yield f"up_blocks.{level}.upsamplers.0.conv.", f"output_blocks.{3 * level + 2}.{2 if level else 1}.conv."
