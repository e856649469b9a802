"""A component that can be neither exported nor run is named with the reason, and what was captured before it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run
from test_pipelines import save_configurations
from torch import nn

import fxprof
from fxprof.errors import CaptureError
from fxprof.reports import FORMATS
from fxprof.reports.hotspots import build_hotspots as hotspots
from fxprof.reports.layers import build_layers as layers
from fxprof.reports.summary import build_summary as summary
from fxprof.result.profile import Profile
from fxprof.result.records import Total
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps

STEPS = 3
SIZE: dict[str, Any] = {"height": 32, "width": 32, "steps": STEPS}
REASON = "no kernel for this"
OP = "fxprof.not_captured"


def profile_of(pipeline: Any) -> Profile:
    return fxprof.profile(pipeline, **SIZE)


def failing(module: nn.Module, error: Exception | None = None, method: str = "forward") -> None:
    """Let a module of a pipeline raise, with the signature that it has; a copy of it raises, too."""
    original = getattr(type(module), method)

    def fail(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        raise error or RuntimeError(REASON)

    fail.__wrapped__ = original  # type: ignore[attr-defined]  # what inspect takes the signature from
    module.__class__ = type(type(module).__name__, (type(module),), {method: fail, "__module__": type(module).__module__})


@pytest.fixture(scope="module")
def whole() -> Profile:
    return tiny.profile("stable_diffusion_3", **SIZE)


@pytest.fixture(scope="module")
def ended() -> Profile:
    """What is left of it where the denoiser fails."""
    pipeline = tiny.make("stable_diffusion_3")
    failing(pipeline.transformer)
    return profile_of(pipeline)


def only_uncounted(profile: Profile) -> list[tuple[str, str, str, str]]:
    return [
        (name, call.entry, row.path, row.note)
        for name, component in profile.components.items()
        for call in component.calls
        for row in call.ops
        if row.macs is None and (row.op, row.kind, row.count) == (OP, "unknown", 1)
    ]


def test_a_denoiser_that_fails_leaves_the_text_encoders(whole: Profile, ended: Profile) -> None:
    profile = ended
    encoders = ["text_encoder", "text_encoder_2", "text_encoder_3"]
    assert [profile.components[name] for name in encoders] == [whole.components[name] for name in encoders]
    transformer = profile.components["transformer"]
    assert [(call.entry, call.count, call.total.of_macs) for call in transformer.calls] == [("", 1, Total(uncounted=1))]
    assert transformer.calls[0].inputs == whole.components["transformer"].calls[0].inputs
    assert profile.components["vae"].calls == ()
    assert profile.total.of_macs == Total(sum(whole.components[name].macs for name in encoders), uncounted=1)
    later = "the totals leave out everything that the pipeline computes after that, such as all of vae"
    assert profile.approximations == (f"the dry run ended at transformer: {REASON}; {later}",)
    ((name, entry, path, note),) = only_uncounted(profile)
    assert (name, entry, path) == ("transformer", "", "")
    assert note.startswith(f"{REASON}; the dry run ended here")
    assert profile.remarks == ()


def test_the_geometry_is_what_was_seen_until_then(whole: Profile, ended: Profile) -> None:
    geometry = ended.geometry
    assert (geometry.pixels_asked, geometry.pixels_computed, geometry.latents) == ((32, 32), None, None)
    assert geometry.text_tokens == whole.geometry.text_tokens
    assert (geometry.denoiser, geometry.denoiser_calls, geometry.denoiser_batch) == ("transformer", 1, 2)


def test_children_that_were_captured_before_an_inner_module_failed_stand(whole: Profile) -> None:
    pipeline = tiny.make("stable_diffusion_3")
    failing(pipeline.transformer.transformer_blocks[1].attn)
    profile = profile_of(pipeline)
    transformer = profile.components["transformer"]
    assert only_uncounted(profile)[0][:3] == ("transformer", "", "transformer_blocks.1.attn")
    assert profile.approximations[0].startswith(f"the dry run ended at transformer.transformer_blocks.1.attn: {REASON}; ")
    before = {node.path: node.total_macs for node in whole.components["transformer"].tree.walk()}
    after = {node.path: node.total.of_macs for node in transformer.tree.walk()}
    assert after["transformer_blocks.0"] == Total(before["transformer_blocks.0"] // STEPS)
    assert after["transformer_blocks.1.attn"] == Total(uncounted=1)
    assert after[""].uncounted == 1
    assert profile.geometry.denoiser_calls == 1
    assert [remark.partition(" ")[0] for remark in profile.remarks] == ["transformer", "transformer.transformer_blocks.1"]


@pytest.mark.parametrize(
    ("part", "method", "entry", "path"),
    [
        pytest.param(lambda vae: vae.decoder, "forward", "decoder", "decoder", marks=pytest.mark.slow),
        (lambda vae: vae.decoder.mid_block, "forward", "decoder", "decoder.mid_block"),
        (lambda vae: vae, "decode", "", ""),  # the pipeline uses a method, which nothing intercepts
    ],
    ids=["decoder", "a part of it", "decode"],
)
def test_a_decoder_that_fails_leaves_everything_else(
    part: Callable[[Any], nn.Module], method: str, entry: str, path: str, whole: Profile
) -> None:
    pipeline = tiny.make("stable_diffusion_3")
    failing(part(pipeline.vae), method=method)
    profile = profile_of(pipeline)
    others = [name for name in whole.components if name != "vae"]
    assert [profile.components[name] for name in others] == [whole.components[name] for name in others]
    assert [found[:3] for found in only_uncounted(profile)] == [("vae", entry, path)]
    assert profile.total.uncounted == 1
    where = ".".join(filter(None, ("vae", path)))
    assert profile.approximations == (
        f"the dry run ended at {where}: {REASON}; the totals leave out everything that the pipeline computes after that",
    )
    assert profile.geometry.latents == (whole.geometry.latents if entry else None)


def test_an_operator_without_a_kernel_for_the_cpu_is_named() -> None:
    torch.library.define("fxprof_tests::on_a_gpu", "(Tensor x) -> Tensor")
    pipeline = tiny.make("stable_diffusion_3")

    class OnAGpu(nn.Module):
        def forward(self, sample: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.ops.fxprof_tests.on_a_gpu(sample)
            return result

    pipeline.vae.decoder.conv_act = OnAGpu()
    profile = profile_of(pipeline)
    ((name, entry, path, note),) = only_uncounted(profile)
    assert (name, entry, path) == ("vae", "decoder", "decoder.conv_act")
    assert note.startswith("Could not run 'fxprof_tests::on_a_gpu' with arguments from the 'CPU' backend")


def test_what_is_to_be_installed_is_said() -> None:
    pipeline = tiny.make("stable_diffusion_3")
    failing(pipeline.transformer, ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece"))
    (sentence,) = profile_of(pipeline).approximations
    assert "(pip install sentencepiece, or pip install 'fxprof[all]' for all such packages)" in sentence


def test_without_anything_that_stands_it_is_an_error() -> None:
    pipeline = tiny.make("stable_diffusion_3")
    failing(pipeline.text_encoder.text_model.encoder)  # what it embeds is captured, and of the same component
    with pytest.raises(CaptureError, match=f"the dry run of .* failed: StableDiffusion3Pipeline says: {REASON}"):
        profile_of(pipeline)


def test_what_the_pipeline_itself_raises_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny.make("stable_diffusion_3")

    def prepare_latents(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("not this many channels")

    monkeypatch.setattr(type(pipeline), "prepare_latents", prepare_latents)  # after the text encoders were captured
    with pytest.raises(CaptureError, match="StableDiffusion3Pipeline says: not this many channels"):
        profile_of(pipeline)


def test_a_failure_that_the_pipeline_gets_over_is_none() -> None:
    class Backup(nn.Module):
        """A model that falls back on another way where the first one fails."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            failing(self.first)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            assert rows.sum().item() == 0  # reads a value, so it runs for real
            try:
                return self.first(rows)  # type: ignore[no-any-return]
            except RuntimeError:
                return self.second(rows)  # type: ignore[no-any-return]

    profile = fxprof.profile_module(Backup(), (torch.zeros(3, 4),))
    assert profile.total.of_macs == Total(3 * 4 * 4)


@pytest.mark.parametrize("place", [pytest.param("transformer", marks=pytest.mark.slow), "transformer.pos_embed"])
def test_a_bug_of_fxprof_keeps_its_traceback(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fxprof.capture import export

    def spoil(line: str) -> None:
        if line == f"capturing {place}":
            monkeypatch.setattr(export, "_is_symbolic", None)

    pipeline = tiny.make("stable_diffusion_3")
    if place != "transformer":
        failing(pipeline.transformer.transformer_blocks[1].attn)  # so that its children are captured one by one
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        fxprof.profile(pipeline, **SIZE, progress=spoil)


def test_a_text_that_is_longer_fails_in_the_same_place(ended: Profile) -> None:
    """The second rehearsal, which tells whether the length of the text matters, ends where the first one did."""
    assert not any("length of text" in sentence for sentence in ended.approximations)
    pipeline = tiny.make("sana")  # does not pad its text
    failing(pipeline.transformer)
    workload = {**SIZE, "arguments": tiny.UNBINNED["sana"]}
    assert any("length of text" in sentence for sentence in fxprof.profile(pipeline, **workload).approximations)


def test_a_profile_with_a_failure_is_saved_and_read_again(ended: Profile) -> None:
    assert loads(dumps(ended), "x") == ended


def test_every_report_shows_the_failure(ended: Profile) -> None:
    profile = ended
    for document in (summary(profile), layers(profile), hotspots(profile), hotspots(profile, "op")):
        text = " ".join(FORMATS["text"].render(document).split())
        assert f"{OP}, 1 time, in transformer; {REASON}; the dry run ended here" in text
        assert "transformer" in text
        assert "uncounted ?" in text
    text = FORMATS["text"].render(summary(profile))
    assert f"per image, approximately: ≥{profile.macs / 1e6:.2f} M MACs" in text
    assert "the dry run ended at transformer" in text
    tree = profile.hierarchy("transformer")
    assert (tree.nodes[""]["uncounted"], tree.nodes[""]["total_macs"]) == (1, 0)


@pytest.fixture
def misfit(tmp_path: Path) -> Path:
    """A saved pipeline whose UNet takes text of another width than its text encoder gives."""
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "misfit")
    file = tmp_path / "misfit" / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "cross_attention_dim": 24}))
    return tmp_path / "misfit"


def test_the_command_line_reports_what_stands_and_strict_fails(misfit: Path, tmp_path: Path) -> None:
    workload = ["--height", "32", "--width", "32", "--steps", "1"]
    saved = tmp_path / "misfit.json"
    result = run("profile", misfit, *workload, "-o", saved)
    assert (result.exit_code, result.output) == (0, "")
    assert "the dry run ended at unet." in " ".join(run("profile", saved).stdout.split())
    for command in (["profile", str(misfit), *workload], ["profile", str(saved)], ["layers", str(saved)]):
        strict = run(*command, "--strict")
        assert strict.exit_code == 1
        assert "≥" in strict.stdout
        lines = strict.stderr.splitlines()
        assert lines[0].startswith("fxprof: unet was not captured to its end: mat1 and mat2 shapes cannot be multiplied")
    assert run("profile", saved, "--component", "text_encoder", "--strict").exit_code == 0
