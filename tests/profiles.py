"""Profiles for the tests: what a real one looks like, with few operators, and the awkward cases. `BUILDERS` has them all.

`tests/data/*.json` holds their saved form; `pytest --update-golden` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from fxprof.cost.traffic import NONE, Traffic
from fxprof.result import Call, Component, Geometry, Input, ModuleRecord, OpRow, Profile
from fxprof.trace.weights import BITSANDBYTES, TORCHAO, WeightGroup, gather

VERSIONS = {"fxprof": "0.1.0", "torch": "2.13.0", "diffusers": "0.42.1", "transformers": "5.23.0"}


class Maker:
    """Writes a component down module by module."""

    def __init__(self, name: str, class_name: str) -> None:
        self.name, self.class_name = name, class_name
        self.modules = [ModuleRecord("", class_name, 0)]
        self.rows: list[OpRow] = []
        self.visits: dict[str, int] = {"": 1}
        self.held: dict[str, list[WeightGroup]] = {}

    def module(self, path: str, class_name: str, params: int = 0) -> None:
        self.modules.append(ModuleRecord(path, class_name, params))
        self.visits[path] = 1

    def weight(self, path: str, class_name: str, name: str, *shape: int) -> None:
        """A parameter in float16; those of a layer called `wo` are in float32, and no package quantises it."""
        kept = path.endswith("wo")
        parts = (("float32", 4 * prod(shape)),) if kept else (("float16", 2 * prod(shape)),)
        linear = class_name == "Linear" and name == "weight"
        skipped = (BITSANDBYTES, TORCHAO) if linear and kept else ()
        group = WeightGroup("parameter", class_name, name, shape, parts, 1, linear, skipped)
        self.held.setdefault(path, []).append(group)

    def linear(self, path: str, rows: int, inside: int, outside: int) -> None:
        self.module(path, "Linear", inside * outside + outside)
        self.weight(path, "Linear", "weight", outside, inside)
        self.weight(path, "Linear", "bias", outside)
        shapes = f"{rows}x{inside}, {outside}x{inside}, {outside} -> {rows}x{outside}"
        macs = rows * inside * outside
        self.op(path, "aten.linear.default", "linear", "torch/nn/modules/linear.py:125", macs, shapes=shapes)

    def convolution(self, path: str, pixels: int, inside: int, outside: int, size: int = 3) -> None:
        self.module(path, "Conv2d", inside * outside * size * size + outside)
        self.weight(path, "Conv2d", "weight", outside, inside, size, size)
        self.weight(path, "Conv2d", "bias", outside)
        macs = pixels * inside * outside * size * size
        shapes = f"{inside}x{pixels}, {outside}x{inside}x{size}x{size}, {outside} -> {outside}x{pixels}"
        self.op(path, "aten.conv2d.default", "convolution", "torch/nn/modules/conv.py:548", macs, shapes=shapes)

    def attention(self, path: str, batch: int, length: int, width: int, source: str) -> None:
        macs = 2 * batch * length * length * width
        tokens = f"{batch}x{length}x{width}"
        shapes = f"{tokens}, {tokens}, {tokens} -> {tokens}"
        self.op(path, "aten.scaled_dot_product_attention.default", "attention", source, macs, shapes=shapes)

    def norm(self, path: str, width: int) -> None:
        self.module(path, "LayerNorm", 2 * width)
        self.weight(path, "LayerNorm", "weight", width)
        self.weight(path, "LayerNorm", "bias", width)
        self.op(path, "aten.layer_norm.default", "normalisation", "torch/nn/modules/normalization.py:217", 0)

    def op(
        self,
        path: str,
        op: str,
        kind: str,
        source: str,
        macs: int | None,
        *,
        count: int = 1,
        note: str = "",
        shapes: str = "",
    ) -> None:
        traffic = None if macs is None else Traffic(8 * count, 4 * count) if macs else NONE
        self.rows.append(OpRow(path, op, kind, source, count, macs, note=note, shapes=shapes, traffic=traffic))

    def call(self, count: int, *inputs: Input, entry: str = "") -> Call:
        below = [row for row in self.rows if not entry or f"{row.path}.".startswith(f"{entry}.")]
        visits = {path: times for path, times in self.visits.items() if not entry or f"{path}.".startswith(f"{entry}.")}
        return Call(entry, count, inputs, tuple(below), visits)

    def component(self, *calls: Call) -> Component:
        groups, places = gather(self.held.get(module.path, ()) for module in self.modules)
        sizes = [group.bytes_each for group in groups]
        modules = tuple(
            replace(module, weight_bytes=sum(sizes[place] for place in own), weights=own)
            for module, own in zip(self.modules, places, strict=True)
        )
        loaded = sum(group.bytes for group in groups)
        calls = tuple(replace(call, weight_bytes=loaded) for call in calls)
        return Component(self.name, self.class_name, modules, calls, weights=groups)


def tensor(name: str, *shape: int, dtype: str = "float16") -> Input:
    """A tensor argument."""
    return Input(name, shape, dtype)


def text_encoder(name: str, class_name: str, layers: int, width: int, length: int, *, calls: int) -> Component:
    """A transformer encoder with `q`, `k`, `v`, `out`, `fc1`, `fc2`."""
    maker = Maker(name, class_name)
    maker.module("embed", "Embedding", 32000 * width)
    maker.weight("embed", "Embedding", "weight", 32000, width)
    maker.op("embed", "aten.embedding.default", "lookup", "torch/nn/modules/sparse.py:192", 0)
    maker.module("layers", "ModuleList")
    for number in range(layers):
        layer = f"layers.{number}"
        maker.module(layer, "EncoderLayer")
        maker.module(f"{layer}.self_attn", "SelfAttention")
        for part in ("q", "k", "v", "out"):
            maker.linear(f"{layer}.self_attn.{part}_proj", length, width, width)
        maker.attention(f"{layer}.self_attn", 1, length, width, "transformers/integrations/sdpa_attention.py:96")
        maker.norm(f"{layer}.norm", width)
        maker.linear(f"{layer}.fc1", length, width, 4 * width)
        maker.linear(f"{layer}.fc2", length, 4 * width, width)
    return maker.component(maker.call(calls, tensor("input_ids", 1, length, dtype="int64")))


def transformer(blocks: int, width: int, tokens: int, *, calls: int, batch: int) -> Component:
    """A joint transformer whose last block computes less, as SD3's does."""
    maker = Maker("transformer", "SD3Transformer2DModel")
    maker.module("pos_embed", "PatchEmbed", 0)
    maker.convolution("pos_embed.proj", batch * tokens, 16, width, 2)
    maker.module("transformer_blocks", "ModuleList")
    for number in range(blocks):
        block = f"transformer_blocks.{number}"
        maker.module(block, "JointTransformerBlock")
        maker.norm(f"{block}.norm1", width)
        maker.module(f"{block}.attn", "Attention")
        for part in ("to_q", "to_k", "to_v", "to_out"):
            maker.linear(f"{block}.attn.{part}", batch * tokens, width, width)
        maker.attention(f"{block}.attn", batch, tokens, width, "diffusers/models/attention_processor.py:1503")
        maker.module(f"{block}.ff", "FeedForward")
        maker.linear(f"{block}.ff.in", batch * tokens, width, 4 * width)
        maker.linear(f"{block}.ff.out", batch * tokens, 4 * width, width)
        if number < blocks - 1:
            maker.linear(f"{block}.ff_context", batch * 333, width, 4 * width)
    maker.op("", "aten.einsum.default", "matmul", "diffusers/models/transformers/transformer_sd3.py:321", 4096 * width)
    maker.linear("proj_out", batch * tokens, width, 64)
    latents = tensor("hidden_states", batch, 16, 128, 128)
    text = tensor("encoder_hidden_states", batch, 333, 4096)
    return maker.component(maker.call(calls, latents, text, Input("return_dict", None, "", "False")))


def autoencoder(pixels: int = 1024) -> Component:
    """A decoder that is entered at two of its modules, and an encoder that nobody calls."""
    maker = Maker("vae", "AutoencoderKL")
    maker.convolution("post_quant_conv", 128 * 128, 16, 16, 1)
    maker.module("encoder", "Encoder", 34_000_000)
    maker.module("decoder", "Decoder")
    maker.convolution("decoder.conv_in", 128 * 128, 16, 512)
    maker.module("decoder.up_blocks", "ModuleList")
    for number, (size, width) in enumerate([(128, 512), (256, 512), (512, 256), (pixels, 128)]):
        maker.module(f"decoder.up_blocks.{number}", "UpDecoderBlock2D")
        for resnet in range(3):
            maker.convolution(f"decoder.up_blocks.{number}.conv{resnet}", size * size, width, width)
    maker.convolution("decoder.conv_out", pixels * pixels, 128, 3)
    latents = tensor("input", 1, 16, 128, 128)
    return maker.component(maker.call(1, latents, entry="post_quant_conv"), maker.call(1, latents, entry="decoder"))


def normal() -> Profile:
    """A text-to-image pipeline of three text encoders, nothing unusual about it."""
    components = [
        text_encoder("text_encoder", "CLIPTextModelWithProjection", 4, 768, 77, calls=2),
        text_encoder("text_encoder_2", "CLIPTextModelWithProjection", 6, 1280, 77, calls=2),
        text_encoder("text_encoder_3", "T5EncoderModel", 4, 4096, 256, calls=2),
        transformer(24, 1536, 4096 + 333, calls=28, batch=2),
        autoencoder(),
    ]
    return Profile(
        target="stable-diffusion-3-medium",
        class_name="StableDiffusion3Pipeline",
        workload={
            "height": 1024,
            "width": 1024,
            "images": 1,
            "steps": 28,
            "guidance_scale": 7.0,
            "prompt": "a photo of an astronaut riding a horse on mars",
            "negative_prompt": None,
            "dtype": "float16",
        },
        versions=VERSIONS,
        components={component.name: component for component in components},
        geometry=Geometry(
            pixels_asked=(1024, 1024),
            pixels_computed=(1024, 1024),
            latents=(1, 16, 128, 128),
            text_tokens=(("text_encoder", (77,)), ("text_encoder_2", (77,)), ("text_encoder_3", (256,))),
            attention=(("transformer", (4429, 4429)), ("vae", (16384, 16384))),
            denoiser="transformer",
            denoiser_calls=28,
            denoiser_batch=2,
            guidance="in the batch",
        ),
    )


def uncounted() -> Profile:
    """Operators without a formula: one beside others, and a component of nothing else; four images in one run."""
    maker = Maker("unet", "UNet2DConditionModel")
    for number in range(4):
        maker.module(f"blocks.{number}", "FusedBlock")
        maker.convolution(f"blocks.{number}.conv", 64 * 64, 320, 320)
        note = "no formula; see `fxprof explain` for how to add one"
        maker.op(
            f"blocks.{number}",
            "mylib.fused_attention.default",
            "unknown",
            "mylib/blocks.py:40",
            None,
            count=2,
            note=note,
            shapes="8x4096x320 -> 8x4096x320",
        )
    unet = maker.component(
        maker.call(30, tensor("sample", 8, 4, 64, 64), Input("timestep_cond", None, "", "None")),
        maker.call(1, tensor("sample", 4, 4, 64, 64), Input("timestep_cond", None, "", "None")),
    )
    safety = Maker("safety_checker", "StableDiffusionSafetyChecker")
    safety.op("", "mylib.classify.default", "unknown", "", None)
    return Profile(
        target="my-fused-model",
        class_name="StableDiffusionPipeline",
        workload={"height": 512, "width": 512, "images": 4, "steps": 30, "guidance_scale": 7.5, "dtype": "float32"},
        versions=VERSIONS,
        components={"unet": unet, "safety_checker": safety.component(safety.call(1, tensor("clip_input", 4, 3, 224, 224)))},
        geometry=Geometry((512, 512), (512, 512), (4, 4, 64, 64), denoiser="unet", denoiser_calls=31, denoiser_batch=8),
    )


def bounded() -> Profile:
    """An upper bound, resolution binning, approximate text, tiling, an unusual kind, and a component that is never called."""
    maker = Maker("transformer", "SanaTransformer2DModel")
    maker.linear("proj", 1024, 2240, 2240)
    maker.rows.append(
        OpRow(
            "",
            "higher_order.cond",
            "control",
            "diffusers/models/x.py:7",
            1,
            4_000_000,
            bounded=True,
            note="the more expensive branch",
        )
    )
    maker.op("gru", "aten.gru.input", "recurrent", "", 123_456)
    idle = Maker("image_encoder", "CLIPVisionModelWithProjection")
    idle.modules.append(ModuleRecord("proj", "Linear", 1_000_000))
    return Profile(
        target="sana",
        class_name="SanaPipeline",
        workload={"height": 1000, "width": 1000, "images": 2, "steps": 1, "use_resolution_binning": True},
        versions=VERSIONS,
        components={
            "transformer": maker.component(maker.call(1, tensor("hidden_states", 2, 32, 32, 32))),
            "image_encoder": idle.component(),
        },
        geometry=Geometry(
            pixels_asked=(1000, 1000),
            pixels_computed=(1024, 1024),
            latents=(2, 32, 32, 32),
            text_tokens=(("text_encoder", (300, 494)), ("text_encoder_2", ())),
            denoiser="transformer",
            denoiser_calls=1,
            denoiser_batch=2,
            guidance="off",
            tiling=True,
            slicing=True,
        ),
        approximations=(
            "The tokenizer is a stand-in: the length of text that is not padded to a fixed length is approximate.",
        ),
        remarks=("The safety checker was left out.",),
    )


ODD = "naïve|pipe</script><b>`tick`_under_*star*[link](x)&amp;" + "x" * 90
"""A name with everything that some format reads as a sign."""


def odd() -> Profile:
    """Names that are long, not ASCII, or that a format could take for its own signs."""
    maker = Maker("τransformer|</script>", ODD)
    maker.linear(ODD.replace(".", ""), 10, 10, 10)
    maker.op("line\nbreak\x1b[31m", 'op"quoted",with,commas', "linear", "a|b.py:1", 0)
    maker.op("line\nbreak\x1b[31m", 'op"quoted",with,commas', "linear", "a|b.py:2", 999_950)
    return Profile(
        target=ODD,
        class_name="Pipeline\nOf\tLines",
        workload={
            "prompt": 'a "quoted" prompt, with | and </script> and\na line break that goes on for a long while',
            "images": 1,
        },
        versions=VERSIONS,
        components={maker.name: maker.component(maker.call(3, tensor("x|y", 10, 10), Input("flag", None, "", "True")))},
        remarks=("A remark about <b>markup</b> | and pipes.",),
    )


BUILDERS: Mapping[str, Callable[[], Profile]] = {"normal": normal, "uncounted": uncounted, "bounded": bounded, "odd": odd}
