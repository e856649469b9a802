"""What a live pipeline is asked, in whatever way its class takes it, and what is said about the run."""

from __future__ import annotations

import functools
from typing import Any

import diffusers
import pytest
import tiny
from PIL import Image

import fxprof
from fxprof.errors import CaptureError, UsageError
from fxprof.reports import FORMATS
from fxprof.reports.summary import summary

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
    pipeline = tiny.stable_diffusion()
    pipeline.scheduler = diffusers.DDIMScheduler()
    return cls(**pipeline.components, requires_safety_checker=False)


@pytest.mark.parametrize("cls", [Passing, Decorated])
def test_a_class_that_hands_everything_on_takes_all_options(cls: type[Any]) -> None:
    plain = fxprof.profile(made(diffusers.StableDiffusionPipeline), steps=3, guidance_scale=1.0, images=2, **SMALL)
    passing = fxprof.profile(made(cls), steps=3, guidance_scale=1.0, images=2, **SMALL)
    assert passing.macs == plain.macs
    assert dict(passing.workload) == dict(plain.workload)
    assert passing.geometry == plain.geometry


def test_defaults_are_those_of_the_class_that_is_handed_to() -> None:
    assert fxprof.profile(made(Passing), **SMALL).workload["steps"] == 50


def calls_of(profile: fxprof.Profile) -> int:
    return sum(call.count for call in profile.components["unet"].calls)


@pytest.mark.parametrize(
    ("cls", "asked", "steps", "scale"),
    [(Turbo, {}, 2, 0.0), (Turbo, {"steps": 4}, 4, 0.0), (Turbo, {"guidance_scale": 3.0}, 2, 3.0), (Stubborn, {}, 3, 7.5)],
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


def test_what_a_pipeline_prints_is_not_among_what_progress_prints(capsys: pytest.CaptureFixture[str]) -> None:
    fxprof.profile(made(Chatty), steps=2, progress=print, **SMALL)
    assert "unet" in capsys.readouterr().out


# --- first errors


def test_a_picture_that_is_missing_is_asked_for_in_the_words_of_the_command_line() -> None:
    components = made(diffusers.StableDiffusionPipeline).components
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, steps=2)
    assert caught.value.hint == "give it stand-ins, of which only the sizes matter: --arg image=image:1024x1024"
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
