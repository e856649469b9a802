"""What a live pipeline is asked, in whatever way its class takes it, and what is said about the run."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import torch
from commands import run
from families import flow, stable_diffusion, variants, video
from families.case import Case
from PIL import Image
from test_pipelines import save_configurations

import fxprof
from fxprof.compare.profiles import compare_profiles
from fxprof.errors import CaptureError, TargetError, UsageError
from fxprof.reports import FORMATS
from fxprof.reports.diff import build_diff as diff_report
from fxprof.reports.summary import build_summary as summary
from fxprof.result.profile import Profile
from fxprof.source import PipelineConfig, resolve


def frames_of(case: Case) -> tuple[Callable[[], Any], dict[str, Any]]:
    return case.make, dict(case.arguments)


SMALL: dict[str, Any] = {"height": 32, "width": 32}


class Passing(diffusers.StableDiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Hands everything on."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class Turbo(diffusers.StableDiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Made for two steps without guidance, with a word of its own."""

    def __call__(self, prompt: Any = None, *, sharp: bool = False, **kwargs: Any) -> Any:
        assert sharp in {True, False}
        return super().__call__(prompt, **{"num_inference_steps": 2, "guidance_scale": 0.0, **kwargs})


class Stubborn(diffusers.StableDiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Never does more than three steps, whatever it is asked for."""

    def __call__(self, prompt: Any = None, num_inference_steps: int = 50, **kwargs: Any) -> Any:
        return super().__call__(prompt, num_inference_steps=min(num_inference_steps, 3), **kwargs)


def wrapped(call: Any) -> Any:
    @functools.wraps(call)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return inner


class Decorated(diffusers.StableDiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    @wrapped
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


def made(cls: type[Any]) -> Any:
    """A pipeline of a class, with models of as few blocks as can be: what matters here is what it is asked."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    parts = {**tiny.stable_diffusion().components, "unet": unet.eval(), "scheduler": diffusers.DDIMScheduler()}
    return cls(**parts, requires_safety_checker=False)


@pytest.fixture(scope="module")
def plain() -> Profile:
    return fxprof.profile(made(diffusers.StableDiffusionPipeline), steps=3, guidance_scale=1.0, images=2, **SMALL)


@pytest.mark.parametrize("cls", [Passing, pytest.param(Decorated, marks=pytest.mark.slow)])
def test_a_class_that_hands_everything_on_takes_all_options(cls: type[Any], plain: Profile) -> None:
    passing = fxprof.profile(made(cls), steps=3, guidance_scale=1.0, images=2, **SMALL)
    assert passing.macs == plain.macs
    assert dict(passing.workload) == dict(plain.workload)
    assert passing.geometry == plain.geometry


def test_defaults_are_those_of_the_class_that_is_handed_to() -> None:
    assert fxprof.profile(made(Passing), **SMALL).workload["steps"] == 50


def calls_of(profile: Profile) -> int:
    return sum(call.count for call in profile.components["unet"].calls)


@pytest.mark.parametrize(
    ("cls", "asked", "steps", "scale"),
    [
        (Turbo, {}, 2, 0.0),
        pytest.param(Turbo, {"steps": 4}, 4, 0.0, marks=pytest.mark.slow),
        (Turbo, {"guidance_scale": 3.0}, 2, 3.0),
        pytest.param(Stubborn, {}, 3, 7.5, marks=pytest.mark.slow),
    ],
)
def test_the_steps_that_ran_are_reported(cls: type[Any], asked: dict[str, Any], steps: int, scale: float) -> None:
    profile = fxprof.profile(made(cls), **asked, **SMALL)
    assert (profile.workload["steps"], profile.workload["guidance_scale"], calls_of(profile)) == (steps, scale, steps)
    assert f"unet: {steps} calls for {steps} steps" in FORMATS["text"].render(summary(profile))


def test_steps_that_are_less_than_asked_for_are_reported() -> None:
    profile = fxprof.profile(made(Stubborn), steps=9, **SMALL)
    assert (profile.workload["steps"], calls_of(profile)) == (3, 3)


def test_steps_given_as_timesteps_are_reported() -> None:
    profile = fxprof.profile(tiny.stable_diffusion_xl(), arguments={"timesteps": [999, 500]}, **SMALL)
    assert (profile.workload["steps"], calls_of(profile)) == (2, 2)


def test_an_argument_of_its_own_is_taken_and_a_wrong_one_is_refused() -> None:
    assert fxprof.profile(made(Turbo), arguments={"sharp": True}, **SMALL).workload["sharp"] is True
    with pytest.raises(UsageError, match=r"^Turbo has no argument negativ_prompt ") as caught:
        fxprof.profile(made(Turbo), arguments={"negativ_prompt": "x"})
    assert caught.value.hint.startswith("did you mean negative_prompt? It has prompt, sharp, height, width, ")


# --- progress


def test_progress_by_print_is_heard_whole(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    fxprof.profile(made(Passing), steps=2, progress=heard.append, **SMALL)
    assert capsys.readouterr().out == ""
    fxprof.profile(made(Passing), steps=2, progress=print, **SMALL)
    printed = capsys.readouterr().out.splitlines()
    assert printed == heard
    assert printed[:2] == ["importing torch, diffusers and transformers", "building the pipeline"]
    assert any("unet" in line for line in printed[2:])
    assert any("vae" in line for line in printed[2:])


class Chatty(diffusers.StableDiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        print("chatter")  # noqa: T201  # as some pipelines do
        return super().__call__(*args, **kwargs)


@pytest.mark.slow
def test_what_a_pipeline_prints_is_not_among_what_progress_prints(capsys: pytest.CaptureFixture[str]) -> None:
    fxprof.profile(made(Chatty), steps=2, progress=print, **SMALL)
    assert "unet" in capsys.readouterr().out


# --- first errors


def test_a_picture_that_is_missing_is_asked_for_in_the_words_of_the_command_line() -> None:
    components = made(diffusers.StableDiffusionPipeline).components
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, steps=2)
    assert caught.value.hint == "give it placeholders, of which only the sizes matter: --arg image=image:1024x1024"
    assert fxprof.profile(pipeline, steps=2, arguments={"image": Image.new("RGB", (32, 32)), "strength": 1.0}).macs > 0


def test_a_mask_that_is_missing_is_asked_for_too() -> None:
    components = made(diffusers.StableDiffusionPipeline).components
    pipeline = diffusers.StableDiffusionInpaintPipeline(**components, requires_safety_checker=False)
    with pytest.raises((CaptureError, UsageError)) as caught:
        fxprof.profile(pipeline, steps=2, **SMALL)
    assert caught.value.hint.endswith("--arg image=image:32x32 --arg mask_image=mask:32x32")


def test_an_option_that_sets_what_the_pipeline_has_not_is_named() -> None:
    class Bare(diffusers.DDPMPipeline):  # type: ignore[misc]  # diffusers has no types
        pass

    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    with pytest.raises(UsageError) as caught:
        fxprof.profile(Bare(unet, diffusers.DDPMScheduler()), guidance_scale=2.0)
    assert caught.value.message == "Bare has no argument guidance_scale, which --guidance-scale sets"


def test_a_text_for_a_picture_or_a_tensor_is_answered_with_how_to_write_it() -> None:
    components = made(diffusers.StableDiffusionPipeline).components
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, steps=2, arguments={"image": "cat.png"})
    assert caught.value.hint == "give it placeholders, of which only the sizes matter: --arg image=image:1024x1024"
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(made(diffusers.StableDiffusionPipeline), steps=2, arguments={"prompt_embeds": "1x77x32"})
    assert caught.value.hint == "a tensor for a pipeline is written --arg prompt_embeds=tensor:1x77x32"


PICTURES = {
    "StableDiffusionControlNetPipeline": "--arg image=image:{0}",
    "FluxInpaintPipeline": "--arg image=image:{0} --arg mask_image=mask:{0}",
    "FluxControlPipeline": "--arg control_image=image:{0}",
    "VideoToVideoSDPipeline": "--arg video=video:16x{0}",
    "WanImageToVideoPipeline": "--arg image=image:{0}",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name.startswith("Wan") else pytest.mark.slow) for name in PICTURES]
)
def test_every_kind_of_picture_is_asked_for(name: str) -> None:
    case = {**stable_diffusion.CASES, **flow.CASES, **video.CASES, **variants.CASES}[name]
    given = {key: value for key, value in case.arguments.items() if not re.search("^(control_|mask_)?(image|video)$", key)}
    with pytest.raises((CaptureError, UsageError)) as caught:
        fxprof.profile(case.make(), steps=2, arguments=given)
    size = f"{given.get('width', 1024)}x{given.get('height', 1024)}"
    hint = f"give it placeholders, of which only the sizes matter: {PICTURES[name].format(size)}"
    assert caught.value.hint == hint


@pytest.mark.slow
def test_a_component_that_was_left_out_wrongly_is_named() -> None:
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(made(diffusers.StableDiffusionPipeline), steps=2, without=["vae"])
    assert caught.value.hint == "it has no vae, which StableDiffusionPipeline cannot do without: leave --without out"


def test_a_component_that_is_not_there_is_named() -> None:
    pipeline = made(diffusers.StableDiffusionPipeline)
    pipeline.unet = None
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, steps=2)
    what = "it has no unet, which StableDiffusionPipeline cannot do without: give it one, as its model_index.json should say"
    assert caught.value.hint == what


def test_a_text_for_a_function_is_told_where_functions_can_be_given() -> None:
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(made(diffusers.StableDiffusionPipeline), steps=2, arguments={"callback_on_step_end": "x"})
    assert caught.value.hint == (
        "callback_on_step_end takes a function, which can only be given in Python: fxprof.profile(target, arguments={...})"
    )


def test_pickled_weights_are_told_as_such_whatever_is_asked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.ckpt")
    for asked in ({}, SMALL):
        with pytest.raises(TargetError, match=r"it was written by torch\.save"):
            fxprof.profile(tmp_path / "model.ckpt", **asked)


def test_a_shape_in_the_place_of_a_tensor_is_told() -> None:
    for given in ((2, 3), ((2, 3),), ([2, 3],)):
        with pytest.raises(CaptureError) as caught:
            fxprof.profile_module(torch.nn.Linear(3, 3), given)
        assert caught.value.hint == "a shape is no tensor: pass torch.zeros(2, 3)"


# --- one component


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("one") / "unet"
    tiny.stable_diffusion().unet.save_config(folder)
    return str(folder)


@pytest.fixture(scope="module")
def one_call() -> Profile:
    """What the component costs when it is called with tensors."""
    module = tiny.stable_diffusion().unet
    return fxprof.profile_module(module, (torch.zeros(2, 4, 8, 8), torch.tensor(2), torch.zeros(2, 7, 32)))


@pytest.mark.parametrize(
    "timestep", ["2", ":int64", "2.5", *(pytest.param(text, marks=pytest.mark.slow) for text in ("2:int64", "1:float32"))]
)
def test_a_timestep_is_what_a_person_means(unet: str, timestep: str, one_call: Profile, tmp_path: Path) -> None:
    rest = ("--input", "sample=2x4x8x8", "--input", "encoder_hidden_states=2x7x32", "-o", tmp_path / "x.json")
    result = run("profile", unet, "--input", f"timestep={timestep}", *rest)
    assert (result.exit_code, result.stderr) == (0, "")
    assert fxprof.load(tmp_path / "x.json").macs == one_call.macs


def test_a_number_is_a_tensor_where_the_model_takes_nothing_else(tmp_path: Path) -> None:
    module = tiny.stable_diffusion_3().transformer
    module.save_config(tmp_path / "transformer")
    shapes = {"hidden_states": (2, 8, 8, 8), "encoder_hidden_states": (2, 7, 64), "pooled_projections": (2, 64)}
    texts = {name: "x".join(map(str, shape)) for name, shape in shapes.items()}
    counted = fxprof.profile(tmp_path / "transformer", inputs={**texts, "timestep": 2})
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    whole = fxprof.profile_module(module, (), {**tensors, "timestep": torch.tensor([2, 2])})
    assert counted.macs == whole.macs > 0
    assert counted.workload["timestep"] == "tensor:2:int64"


def test_a_shape_as_python_writes_it_is_one(unet: str) -> None:
    inputs = {"sample": "2, 4, 8, 8", "timestep": 2, "encoder_hidden_states": "2x7x32"}
    assert fxprof.profile(unet, inputs=inputs).macs == fxprof.profile(unet, inputs={**inputs, "sample": "2x4x8x8"}).macs


def test_a_text_that_is_no_shape_is_told(unet: str) -> None:
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(unet, inputs={"sample": "big", "timestep": 2, "encoder_hidden_states": "2x7x32"})
    assert caught.value.hint == "sample was taken for a text; write a tensor by its shape, such as 1x16x64x64 or 1x77:int64"


# --- notes of bundled models


NOTE = "sd-turbo: Made for one to four steps without guidance; the pipeline runs 50 with guidance 7.5 unless told"


@pytest.fixture(scope="module")
def turbo() -> Profile:
    return fxprof.profile("sd-turbo", steps=1, height=64, width=64)


@pytest.mark.parametrize("form", ["text", "json", "csv", "markdown"])
@pytest.mark.parametrize("command", [("profile",), ("layers",), ("hotspots",), ("diff",)])
def test_the_note_of_a_bundled_model_is_in_every_report(
    form: str, command: tuple[str, ...], turbo: Profile, tmp_path: Path
) -> None:
    turbo.save(tmp_path / "turbo.json")
    targets = [tmp_path / "turbo.json"] * (2 if command == ("diff",) else 1)
    result = run(*command, *targets, "--format", form)
    assert result.exit_code == 0
    assert NOTE in " ".join(result.stdout.split())


@pytest.mark.slow
def test_the_note_goes_with_a_captured_run(tmp_path: Path) -> None:
    save_configurations(tiny.stable_diffusion(), tmp_path / "tiny")
    config = resolve(tmp_path / "tiny")
    assert isinstance(config, PipelineConfig)
    noted = replace(config, note="Made for one step.")
    direct = fxprof.save_graphs(noted, tmp_path / "graphs", steps=1, height=16, width=16)
    assert direct.remarks[0] == "tiny: Made for one step."
    assert fxprof.profile(tmp_path / "graphs").remarks == direct.remarks


# --- videos


VIDEOS = {
    "AnimateDiffPipeline": (frames_of(stable_diffusion.CASES["AnimateDiffPipeline"]), 4),  # decoded image by image
    "TextToVideoSDPipeline": (frames_of(video.CASES["TextToVideoSDPipeline"]), 2),
    "WanPipeline": (frames_of(video.CASES["WanPipeline"]), 9),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in VIDEOS])
def test_a_video_is_told_as_one(name: str) -> None:
    (make, arguments), frames = VIDEOS[name]
    pipeline = make()
    profile = fxprof.profile(pipeline, steps=2, arguments=arguments)
    text = FORMATS["text"].render(summary(profile))
    assert profile.workload["frames"] == frames
    assert "MACs per video by kind of work" in text
    assert "\nper video: " in text
    assert " videos 1, " in text
    assert "per image" not in text
    longer = compare_profiles(profile, fxprof.profile(pipeline, steps=3, arguments=arguments))
    assert "\n\nper video: " in FORMATS["text"].render(diff_report(longer))
    assert "\n\nper video: " in FORMATS["markdown"].render(diff_report(longer))


@pytest.mark.parametrize("output_type", ["latent", *(pytest.param(name, marks=pytest.mark.slow) for name in ("np", "pil"))])
def test_it_is_a_video_in_whatever_form_it_is_returned(output_type: str) -> None:
    (make, arguments), frames = VIDEOS["WanPipeline"]
    profile = fxprof.profile(make(), steps=2, arguments={**arguments, "output_type": output_type})
    assert profile.workload["frames"] == frames


@pytest.mark.slow
def test_several_videos_of_one_run_are_told_apart_from_one() -> None:
    (make, arguments), _ = VIDEOS["WanPipeline"]
    lines = FORMATS["text"].render(summary(fxprof.profile(make(), steps=2, images=2, arguments=arguments))).splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("per ")] == ["per run of 2 videos", "per video"]


@pytest.mark.slow  # the reports of other tests are of images, too
def test_an_image_is_still_an_image() -> None:
    profile = fxprof.profile(made(Passing), steps=1, **SMALL)
    assert "frames" not in profile.workload
    assert "\nper image: " in FORMATS["text"].render(summary(profile))
