"""The table that this project started from: as printed, counted again by its method, and counted as the pipelines run.

    python scripts/origin_table.py                  # print the section; minutes
    python scripts/origin_table.py --write          # put it into docs/RESULTS.md

The printed figures are facts in `tests/data/origin.toml`; every other number is counted here.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from results_page import GIGA, giga, is_autoencoder, markdown, put, tera

import fxprof
from fxprof.api import default_formulas, notable_with, versions
from fxprof.cost.count import CountedOp, count
from fxprof.result.profile import Component
from fxprof.source import load_zoo
from fxprof.trace import Op, Tensor
from fxprof.trace.captured import CapturedComponent

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "tests" / "data" / "origin.toml"

SIZE, STEPS, GUIDANCE, TEXT = 512, 30, 7.5, 77
LATENT = SIZE // 8
"""The document's latents, whatever the autoencoder."""


@dataclass(frozen=True, slots=True)
class Work:
    """The MACs of one evaluation of a denoiser, sorted by the view of the document's counter."""

    layers: int = 0
    """Linear and Conv2d modules."""
    transposed: int = 0
    transposed_thop: int = 0
    """Transposed convolutions by thop's rule: a whole kernel for each output, as if nothing were strided."""
    norms_thop: int = 0
    """LayerNorm by thop's rule: 2 for each element, 4 with weights."""
    attention: int = 0
    """`scaled_dot_product_attention`."""
    scores: int = 0
    """Elements of its score matrices."""
    square: int = 0
    """Attention with the query length on both sides."""
    square_scores: int = 0
    other: int = 0
    """All other work: attention written as matrix products."""

    def __add__(self, more: Work) -> Work:
        """Both together."""
        return Work(*(getattr(self, item.name) + getattr(more, item.name) for item in fields(self)))

    def __floordiv__(self, by: int) -> Work:
        """One of so many equal parts."""
        return Work(*(getattr(self, item.name) // by for item in fields(self)))

    @property
    def exact(self) -> int:
        """The MACs that are really computed."""
        return self.layers + self.transposed + self.attention + self.other


@dataclass(frozen=True, slots=True)
class Method:
    """The document's way of counting; each field is one of its faults, mended when False."""

    square: bool = True
    """The query length stands on both sides."""
    doubled: bool = True
    """A UNet's attention counts twice."""
    blind: bool = True
    """Work that is neither in a module nor fused attention counts zero."""
    extras: bool = True
    """thop's transposed convolutions and normalisation, and one MAC for each attention score."""

    def of(self, work: Work, *, unet: bool) -> int:
        """The figure that this method gives."""
        attention = work.square if self.square else work.attention
        scores = work.square_scores if self.square else work.scores
        attention = (attention + scores * self.extras) * (2 if self.doubled and unet else 1)
        added = work.transposed_thop + work.norms_thop if self.extras else work.transposed
        return work.layers + attention + added + (0 if self.blind else work.other)

    def as_redone(self, work: Work, *, unet: bool) -> int:
        """The figure without thop's additions to the modules, as in the column `redone`."""
        return self.of(work, unet=unet) - work.transposed_thop - work.norms_thop


@dataclass(frozen=True, slots=True)
class Measured:
    """One model of the document, counted."""

    unet: bool
    hand_made: Work
    """With the document's inputs."""
    sized: Work
    """With the latents of the pipeline instead of its own."""
    worded: Work
    """With the text of the pipeline instead of its own."""
    real: Work
    """As the pipeline runs it."""
    evaluations: int
    latents: tuple[int, int]
    """Height in the document and in the pipeline."""
    tokens: tuple[int, ...]
    """Lengths of the text that the pipeline gives to the denoiser."""
    denoiser: int
    """MACs of the whole run, like the numbers below."""
    text: int
    autoencoder: int
    autoencoder_attention: int
    total: int
    approximate: bool


def facts() -> list[dict[str, str]]:
    """The document's rows."""
    rows: list[dict[str, str]] = tomllib.loads(FACTS.read_text(encoding="utf-8"))["model"]
    return rows


def work_of(component: CapturedComponent) -> Work:
    """All calls of a captured component, sorted."""
    total = Work()
    for call in component.calls:
        for op, counted in zip(call.trace.ops, count(call.trace), strict=True):
            part = _sorted(op, counted)
            total += Work(*(getattr(part, item.name) * call.count for item in fields(part))) if part else Work()
    return total


def _sorted(op: Op, counted: CountedOp) -> Work | None:
    inside = op.stack[-1].class_name if op.stack else ""
    if counted.macs is None:
        raise ValueError(f"{op.target} cannot be counted")
    if inside == "LayerNorm" and op.target.startswith("aten.layer_norm"):
        return Work(norms_thop=(4 if op.argument("weight") is not None else 2) * _elements(op.argument("input")))
    if inside == "ConvTranspose2d" and counted.macs:
        return Work(transposed=counted.macs, transposed_thop=_transposed(op))
    if op.target.startswith("aten.scaled_dot_product_attention"):
        return _attention(op, counted.macs)
    if not counted.macs:
        return None
    return Work(layers=counted.macs) if inside in {"Linear", "Conv2d"} else Work(other=counted.macs)


def _attention(op: Op, macs: int) -> Work:
    *outer, queries, width = _shape(op.argument("query"))
    keys = _shape(op.argument("key"))[-2]
    heads = 1
    for size in outer:
        heads *= size
    square = heads * queries * queries
    return Work(attention=macs, scores=heads * queries * keys, square=2 * square * width, square_scores=square)


def _transposed(op: Op) -> int:
    channels, _, *kernel = _shape(op.argument("weight"))
    groups = op.argument("groups")
    result = _elements(op.outputs[0]) * (channels // (groups if isinstance(groups, int) else 1))
    for size in kernel:
        result *= size
    return result


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, Tensor):
        raise TypeError(f"{value!r} is no tensor")
    return tuple(size for size in value.shape if isinstance(size, int))


def _elements(value: object) -> int:
    result = 1
    for size in _shape(value):
        result *= size
    return result


_TEXT_WIDTHS = ("encoder_hid_dim", "joint_attention_dim", "cap_feat_dim", "caption_channels", "cross_attention_dim")
"""Keys of a denoiser's configuration for the width of its text; the first existing one counts."""


def hand_made(denoiser: Any, latent: int, tokens: int) -> dict[str, Any]:
    """Inputs as the document's wrappers make them: two latents, two texts."""
    import torch

    config = denoiser.config
    width = next(config[name] for name in _TEXT_WIDTHS if config.get(name))
    unet = "UNet" in type(denoiser).__name__
    inputs: dict[str, Any] = {
        "sample" if unet else "hidden_states": torch.zeros(2, config.in_channels, latent, latent),
        "timestep": torch.zeros(2),
        "encoder_hidden_states": torch.zeros(2, tokens, width),
        "return_dict": False,
    }
    if config.get("pooled_projection_dim"):
        inputs["pooled_projections"] = torch.zeros(2, config.pooled_projection_dim)
    elif type(denoiser).__name__ != "UNet2DConditionModel":
        inputs["encoder_attention_mask"] = torch.ones(2, tokens, dtype=torch.int64)
    return inputs


def _re_enacted(denoiser: Any, latent: int, tokens: int) -> Work:
    from fxprof.capture.module import capture_module

    notable = notable_with(default_formulas())
    captured = capture_module(denoiser, (), hand_made(denoiser, latent, tokens), notable=notable)
    return work_of(captured.components[0])


def measure(name: str) -> Measured:
    """Count one model in every way that the section needs."""
    import torch

    from fxprof.capture.build import build
    from fxprof.capture.pipeline import capture_pipeline
    from fxprof.result.assemble import assemble
    from fxprof.source.workload import Workload

    modules = build(load_zoo(name), torch.float32).modules
    part = "transformer" if "transformer" in modules else "unet"
    table = default_formulas()
    workload = Workload(height=SIZE, width=SIZE, steps=STEPS, guidance_scale=GUIDANCE)
    captured = capture_pipeline(load_zoo(name), workload, notable=notable_with(table))
    profile = assemble(replace(captured, target=name, versions=versions()), table)
    calls = profile.components[part].calls
    evaluations = calls[0].count if calls[0].entry == "" else STEPS
    real = work_of(next(item for item in captured.components if item.name == part)) // evaluations
    latent = profile.geometry.latents[-1] if profile.geometry.latents else LATENT
    tokens = _tokens(profile.components[part])
    first = _re_enacted(modules[part], LATENT, TEXT)
    if latent == LATENT:
        sized, worded = first, first if tokens == (TEXT,) else real
    else:
        sized, worded = _re_enacted(modules[part], latent, TEXT), _re_enacted(modules[part], LATENT, tokens[0])
    return Measured(part == "unet", first, sized, worded, real, evaluations, (LATENT, latent), tokens, **_parts(profile, part))


def _tokens(denoiser: Component) -> tuple[int, ...]:
    """Lengths of text that a denoiser works on, the negative prompt's among them."""
    if denoiser.calls[0].entry == "":
        texts = [item.shape for item in denoiser.calls[0].inputs if item.name == "encoder_hidden_states"]
        return tuple(shape[1] for shape in texts if shape)
    shapes = {call.entry + ":" + item.name: item.shape for call in denoiser.calls for item in call.inputs if item.shape}
    image = shapes["x_embedder:input"][1]
    joint = {
        item.shape[1] - image for call in denoiser.calls if call.entry == "layers.0" for item in call.inputs[:1] if item.shape
    }
    return tuple(sorted(joint, reverse=True))


def _parts(profile: fxprof.Profile, denoiser: str) -> dict[str, Any]:
    autoencoder = [part for name, part in profile.components.items() if is_autoencoder(name)]
    rows = [row for part in autoencoder for call in part.calls for row in call.ops if row.kind == "attention"]
    return {
        "denoiser": profile.components[denoiser].macs,
        "text": sum(part.macs for name, part in profile.components.items() if "text_encoder" in name),
        "autoencoder": sum(part.macs for part in autoencoder),
        "autoencoder_attention": sum(row.macs or 0 for row in rows),
        "total": profile.macs,
        "approximate": bool(profile.approximations),
    }


def measured() -> dict[str, Measured]:
    """All models of the document, two at a time."""
    rows = [row["name"] for row in facts()]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        return dict(zip(rows, pool.map(measure, rows), strict=True))


def _against(counted: int, printed: str | None) -> str:
    """The distance of a counted figure from a printed one."""
    if printed is None:
        return "-"
    off = counted / GIGA / float(printed.replace(",", "")) - 1
    return "same digits" if giga(counted) == printed else f"{off:+.3%}"


INTRO = f"""\
fxprof began as the answer to a document that printed this table for {SIZE}x{SIZE} pixels, {STEPS} steps and guidance
{GUIDANCE}. Its counter hooked modules with thop, replaced `scaled_dot_product_attention` by a formula, and took hand-made
inputs for each architecture. `python scripts/origin_table.py` counts it three times: by the document's method, with one
fault mended at a time, and as the pipelines run. The printed figures, and an earlier recount of them, are
facts in `tests/data/origin.toml`. Every other figure is counted.
"""

METHOD = f"""\
### Its method, counted again

The inputs are hand-made: batch 2, latents of {LATENT}x{LATENT}, {TEXT} text tokens. Linear and Conv2d modules count what they
compute. Attention counts 2 B H Lq Lq D, the query length on both sides, and B H Lq Lq more, one MAC for each score, for the
softmax (so says the code behind the document); in a UNet all of it twice. Attention that is not fused counts zero. This
is "counted again", and the earlier recount its measure.
To it thop adds transposed convolutions, a whole kernel for each output, and LayerNorm, 2 or 4 MACs for each element; this is
"with thop's additions", and the printed figure its measure. The last column is the softmax's MACs relative to "counted again".
"""

FAULTS = """\
### Fault by fault

The denoiser's figure, in GMACs per step, with one fault alone mended. A dash: the figure does not change. The
column "thop" is a fault of the counter's parts: LayerNorm and softmax as if they were multiply-accumulates, and transposed
convolutions without their stride. With everything mended the figure is that of one evaluation in the real run. The faults
overlap, so their effects do not add up.
"""

FED = """\
The inputs of the denoisers. Lumina refines 256 padded tokens of text, and drops the padding before its joint layers; its
guidance is a second call, with an empty text.
"""

TRUE = """\
### What a real run computes

Counted by fxprof in the pipelines' own calls. One TMAC is two TFLOPs; the document's "TFLOPs" are TMACs. A step is one
evaluation of the denoiser, with guidance; PNDM evaluates Stable Diffusion 2.1 once more than it has steps. In the
document Kandinsky's total lacks the autoencoder, which is called `movq` and was not found; parts that could not run are zero.
"""


def method_table(measured: Mapping[str, Measured]) -> str:
    """The document's method against its figures."""
    rows = []
    for row in facts():
        item = measured[row["name"]]
        again = Method().as_redone(item.hand_made, unet=item.unet)
        whole = Method().of(item.hand_made, unet=item.unet)
        scores = item.hand_made.square_scores * (2 if item.unet else 1)
        words = [row["title"], row.get("redone", "-"), giga(again), _against(again, row.get("redone"))]
        rows.append([*words, row["printed"], giga(whole), _against(whole, row["printed"]), f"{scores / again:+.2%}"])
    headers = ["GMACs per step", "recount", "counted again", "off", "printed", "with thop's additions", "off", "softmax"]
    return markdown(rows, headers)


def agreement(measured: Mapping[str, Measured]) -> str:
    """The number of figures that agree to the last digit, and the error of the others."""
    pairs = []
    for row in facts():
        item = measured[row["name"]]
        pairs.append((row["printed"], Method().of(item.hand_made, unet=item.unet)))
        if "redone" in row:
            pairs.append((row["redone"], Method().as_redone(item.hand_made, unet=item.unet)))
    others = [abs(float(text.replace(",", "")) * GIGA - macs) / GIGA for text, macs in pairs if giga(macs) != text]
    rest = f" The largest difference of the others is {max(others):.2f} GMACs per step." if others else ""
    return f"{len(pairs) - len(others)} of {len(pairs)} figures come out to the last printed digit.{rest}"


def fault_table(measured: Mapping[str, Measured]) -> str:
    """One fault mended at a time."""
    rows = []
    for row in facts():
        item = measured[row["name"]]
        base = Method().of(item.hand_made, unet=item.unet)
        mended = [
            *(Method().of(work, unet=item.unet) for work in (item.sized, item.worded)),
            *(method.of(item.hand_made, unet=item.unet) for method in MENDED),
        ]
        every = Method(square=False, doubled=False, blind=False, extras=False).of(item.real, unet=item.unet)
        cells = ["-" if figure == base else f"{giga(figure)} ({figure / base - 1:+.1%})" for figure in mended]
        rows.append([row["title"], giga(base), *cells, f"{giga(every)} ({every / base - 1:+.1%})"])
    faults = ["latent size", "text length", "query length twice", "doubled in UNets", "not fused, so zero", "thop"]
    return markdown(rows, ["mended", "nothing", *faults, "all"])


MENDED = (Method(square=False), Method(doubled=False), Method(blind=False), Method(extras=False))


def input_table(measured: Mapping[str, Measured]) -> str:
    """The inputs of the denoisers."""
    rows = []
    for row in facts():
        item = measured[row["name"]]
        latents = [f"{size}x{size}" for size in item.latents]
        tokens = " and ".join(map(str, item.tokens)) + (", approximately" if item.approximate else "")
        rows.append([row["title"], *latents, str(TEXT), tokens, str(item.evaluations)])
    headers = [
        "model",
        "latents, document",
        "latents, pipeline",
        "text tokens, document",
        "text tokens, pipeline",
        "evaluations",
    ]
    return markdown(rows, headers)


def true_table(measured: Mapping[str, Measured]) -> str:
    """The figures of the real runs."""
    rows = []
    for row in facts():
        item = measured[row["name"]]
        parts = [tera(macs) for macs in (item.denoiser, item.text, item.autoencoder, item.total)]
        step = giga(item.denoiser // item.evaluations)
        rows.append([row["title"], row["printed"], step, *parts, tera(2 * item.total), row["total"]])
    unit = ["denoiser, TMACs", "text encoders, TMACs", "autoencoder, TMACs", "total, TMACs", "total, TFLOPs"]
    return markdown(rows, ["model", "GMACs per step, printed", "GMACs per step", *unit, 'total, printed as "TFLOPs"'])


def findings(measured: Mapping[str, Measured]) -> str:
    """The document's four findings, against the real runs."""
    return "### Its four findings\n\n" + "\n".join(
        f"{number}. {part(measured)}" for number, part in enumerate((_first, _second, _third, _fourth), 1)
    )


def _shares(measured: Mapping[str, Measured], part: str) -> str:
    """The share of a part in each model's whole, the largest first."""
    shares = sorted(
        ((getattr(measured[row["name"]], part) / measured[row["name"]].total, row["title"]) for row in facts()), reverse=True
    )
    return ", ".join(f"{title} {share:.1%}" for share, title in shares)


def _first(measured: Mapping[str, Measured]) -> str:
    over = sum(item.denoiser >= 0.95 * item.total for item in measured.values())
    return (
        f'*"Transformer dominates compute: 95%+ of total MACs for all models."* It does dominate, but it reaches 95% '
        f"in {over} of {len(measured)}: {_shares(measured, 'denoiser')}."
    )


def _second(measured: Mapping[str, Measured]) -> str:
    large, row = measured["sana-1.6b-512"], next(row for row in facts() if row["name"] == "sana-1.6b-512")
    ranked = sorted((item.total, row["title"]) for row in facts() for item in [measured[row["name"]]])
    times = float(row["printed"].replace(",", "")) * GIGA * large.evaluations / large.denoiser
    return (
        f'*"SANA models are compute-intensive: {row["total"].split(".")[0]} TFLOPs."* The printed step is {times:.1f} times '
        f"the real one: latents are {large.latents[1]}x{large.latents[1]}, not {large.latents[0]}x{large.latents[0]}. In real "
        "runs, from the cheapest, in TMACs: " + ", ".join(f"{title} {tera(total)}" for total, title in ranked) + "."
    )


def _third(measured: Mapping[str, Measured]) -> str:
    deep, flat = measured["sana-1.6b-512"], measured["sd-2.1-base"]
    plain = flat.autoencoder - flat.autoencoder_attention
    grown = deep.autoencoder * (deep.latents[0] // deep.latents[1]) ** 2
    return (
        '*"VAE channels matter: a 32-channel VAE requires 13.5x more compute than a 4-channel VAE."* For the same '
        f"picture SANA's decoder, of 32 channels, takes {tera(deep.autoencoder)} TMACs and that of 4 {tera(flat.autoencoder)}: "
        f"{deep.autoencoder / flat.autoencoder:.2f} times as much. The factor is the latent size again: a decoder of 32x fed "
        f"with {LATENT}x{LATENT} makes 2048x2048 pixels, for about {tera(grown)} TMACs, {grown / plain:.1f} times the other "
        f"one's {tera(plain)} without its attention."
    )


def _fourth(measured: Mapping[str, Measured]) -> str:
    under = sum(item.text < 0.02 * item.total for item in measured.values())
    return (
        f'*"Text encoders are cheap: typically <2% of total compute."* They are below 2% in {under} of {len(measured)}: '
        f"{_shares(measured, 'text')}. An encoder costs the same however cheap the rest is, and T5 and Gemma read more than "
        f"{TEXT} tokens."
    )


def section(measured: Mapping[str, Measured]) -> str:
    """The text between the markers of the document's table."""
    for name, item in measured.items():
        if item.real.exact * item.evaluations != item.denoiser:
            raise ValueError(f"{name}: the sorted work does not add up to the profile")
    parts = [
        INTRO,
        METHOD,
        method_table(measured),
        agreement(measured),
        FAULTS,
        fault_table(measured),
        FED,
        input_table(measured),
    ]
    return "\n\n".join(part.strip() for part in [*parts, TRUE, true_table(measured), findings(measured)])


def main() -> None:
    """Print the section, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/RESULTS.md")
    asked = parser.parse_args()
    put("origin", section(measured()), write=asked.write)


if __name__ == "__main__":
    main()
