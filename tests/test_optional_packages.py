"""A package that some pipelines need and that is not installed: it is named, with how to get it."""

from __future__ import annotations

import builtins
import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny
import torch
import transformers
from families.case import picture
from families.films import CASES as FILMS
from families.packages import PAIRS, cosmos, glm_image, kandinsky_5, motif, omnigen, visual_cloze
from families.video import CASES
from test_pipelines import save_configurations

import fxprof
from fxprof.capture import error_causes
from fxprof.capture.optional import standing_in
from fxprof.errors import CaptureError

ALL = "pip install {0}, or pip install 'fxprof[all]' for all such packages"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def told(text: str) -> str:
    return f"\n{text} but it was not found in your environment."


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'ftfy'", name="ftfy"), "ftfy"),
        (ModuleNotFoundError("No module named 'google.protobuf'", name="google.protobuf"), "protobuf"),
        (ModuleNotFoundError("No module named 'bs4'", name="bs4"), "beautifulsoup4"),
        (ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers"), "timm"),
        (ImportError(told("APipeline requires the ftfy library")), "ftfy"),
        (ImportError(told("APipeline requires the Beautiful Soup library")), "beautifulsoup4"),
        (ImportError(told("ATokenizer requires the SentencePiece library")), "sentencepiece"),
        (ImportError(told("AProcessor requires the OpenCV library")), "opencv-python-headless"),
        (ImportError(told("AProcessor requires the Torchvision library")), "Torchvision"),
        (ValueError("`tiktoken` is required to read a `tiktoken` file."), "tiktoken"),
        (ValueError("You need to have sentencepiece or tiktoken installed to convert a slow tokenizer."), "sentencepiece"),
        (NameError("name 'ftfy' is not defined", name="ftfy"), "ftfy"),
        (RuntimeError("Failed to import x because of the following error:\nNo module named 'timm'"), None),
        (ValueError("`height` is required to be a multiple of 8"), None),
        (NameError("name 'hight' is not defined", name="hight"), None),
        (ImportError("cannot import name 'a' from 'b'"), None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_missing_packages_are_recognised(error: BaseException, package: str | None) -> None:
    assert error_causes.missing_package(raised(error)) == package


def test_the_cause_of_an_error_is_looked_at() -> None:
    cause = raised(ModuleNotFoundError("No module named 'timm'", name="timm"))
    error = raised(RuntimeError("Failed to import diffusers.pipelines.x because of the following error"), cause)
    failure = error_causes.failure("could not build x", error)
    assert failure.message == "could not build x: Failed to import diffusers.pipelines.x because of the following error"
    assert failure.hint == "pip install timm"


def test_packages_of_the_extra_are_what_the_hint_says() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(set(error_causes._OPTIONAL.values())) == sorted(project["optional-dependencies"]["all"])
    for package in project["optional-dependencies"]["all"]:
        assert error_causes.failure("x", ImportError(f"x requires the {package} library")).hint == ALL.format(package)


# --- where it happens


def save(directory: Path, index: dict[str, Any], tokenizer: dict[str, Any]) -> Path:
    (directory / "tokenizer").mkdir(parents=True)
    (directory / "model_index.json").write_text(json.dumps(index))
    (directory / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer" / "vocab.txt").write_text("a")
    return directory


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make packages impossible to import."""

    def missing(*names: str) -> None:
        real = builtins.__import__

        def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
            if name.partition(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(name, *args, **kwargs)

        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(builtins, "__import__", refusing)

    return missing


def test_a_vocabulary_that_cannot_be_read_is_counted_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Any
) -> None:
    def load(*_args: object, **_options: object) -> None:
        __import__("sentencepiece")

    pipeline = tiny.make("pixart")
    save_configurations(pipeline, tmp_path)
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(b"\0")
    options: dict[str, Any] = {"height": 32, "width": 32, "steps": 2, "arguments": {"use_resolution_binning": False}}
    monkeypatch.setattr(transformers.T5Tokenizer, "from_pretrained", load)
    refuse("sentencepiece")
    profile = fxprof.profile(tmp_path, **options)
    assert profile.macs == tiny.profile("pixart", height=32, width=32, steps=2).macs
    reason = f"No module named 'sentencepiece' ({ALL.format('sentencepiece')})"
    assert profile.remarks == (f"tokenizer counted words, because its vocabulary cannot be read: {reason}",)
    assert profile.approximations == ()  # the text is padded to a fixed length


def test_a_pipeline_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Placeholder:
        """As diffusers puts in the place of a class whose packages are missing."""

        _backends = ("ftfy",)

        def __init__(self) -> None:
            raise ImportError(told("HiddenPipeline requires the ftfy library"))

    monkeypatch.setattr(diffusers, "HiddenPipeline", Placeholder, raising=False)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(save(tmp_path / "tiny", {"_class_name": "HiddenPipeline"}, {}))
    assert caught.value.message.startswith("could not build tiny: HiddenPipeline requires the ftfy library")
    assert caught.value.hint == ALL.format("ftfy")


def test_a_pipeline_that_uses_what_it_did_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def clean(*_args: object, **_options: object) -> None:
        cv2.resize(1)  # type: ignore[name-defined]  # noqa: F821  # as diffusers does where it is not installed

    pipeline = tiny.make("stable_diffusion")
    monkeypatch.setattr(type(pipeline), "encode_prompt", clean)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, height=32, width=32, steps=1)
    assert "name 'cv2' is not defined" in caught.value.message
    assert caught.value.hint == ALL.format("opencv-python-headless")


# --- what a rehearsal can do without

FTFY = "ftfy is not installed, so text was used without its corrections; pip install ftfy"
GUARDRAIL = "cosmos_guardrail is not installed, so its checks of text and video are not in the totals"
GUARDRAIL += "; pip install cosmos_guardrail"
FILM: dict[str, Any] = {
    "height": 32,
    "width": 32,
    "steps": 1,
    "arguments": {"num_frames": 5, "image": picture(), "max_sequence_length": 16},
}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a photo of a cat", ()),
        (
            "a caf\u00e9 &amp; a cat",
            ("ftfy is not installed, so text was used without its corrections; pip install ftfy",),
        ),
    ],
)
@pytest.mark.slow  # what stands in for the package is tried quickly below
@pytest.mark.skipif(importlib.util.find_spec("ftfy") is not None, reason="ftfy is installed")
def test_a_cleaner_of_prompts_is_not_needed(tmp_path: Path, prompt: str, said: tuple[str, ...]) -> None:
    pipeline = CASES["WanImageToVideoPipeline"].make()
    save_configurations(pipeline, tmp_path)
    profile = fxprof.profile(tmp_path, prompt=prompt, **FILM)
    assert profile.macs == fxprof.profile(pipeline, prompt=prompt, **FILM).macs
    assert profile.remarks == said


def test_what_a_module_would_have_imported_is_gone_afterwards() -> None:
    home = importlib.import_module("diffusers.pipelines.wan.pipeline_wan_i2v")
    before = dict(vars(home))
    with standing_in() as stand_ins:
        assert home.prompt_clean("  a   cat&amp;dog ") == "a cat&dog"
        assert (stand_ins.used == {"ftfy"}) == ("ftfy" not in before)
    assert vars(home) == before


@pytest.mark.skipif(importlib.util.find_spec("bs4") is not None, reason="bs4 is installed")
def test_markup_is_taken_out_of_text() -> None:
    with standing_in() as stand_ins:
        found = sys.modules["bs4"].BeautifulSoup("a <b>cat</b> &amp; a dog", features="html.parser").text
    assert found == "a cat & a dog"
    assert stand_ins.remarks == [
        "bs4 is not installed, so markup was removed from text by a simpler rule; pip install beautifulsoup4"
    ]


@pytest.mark.skipif(importlib.util.find_spec("cosmos_guardrail") is not None, reason="cosmos_guardrail is installed")
@pytest.mark.parametrize(
    "entry",
    [
        None,
        *(pytest.param(entry, marks=pytest.mark.slow) for entry in (["cosmos_guardrail", "CosmosSafetyChecker"], [None, None])),
    ],
)
def test_a_guardrail_is_left_out_and_said(tmp_path: Path, entry: Any) -> None:
    pipeline = cosmos()
    pipeline.register_modules(safety_checker=None)
    save_configurations(pipeline, tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index.pop("safety_checker", None)
    (tmp_path / "model_index.json").write_text(json.dumps(index | ({"safety_checker": entry} if entry else {})))
    options: dict[str, Any] = {"height": 32, "width": 32, "steps": 1, "arguments": {"num_frames": 9, "max_sequence_length": 16}}
    profile = fxprof.profile(tmp_path, **options)
    assert profile.macs == fxprof.profile(cosmos(), **options).macs
    told = (
        "cosmos_guardrail is not installed, so its checks of text and video are not in the totals; pip install cosmos_guardrail"
    )
    assert told in profile.remarks


@pytest.mark.slow  # test_processors.py has what such processors do
def test_a_pipeline_that_needs_torchvision_for_its_processor_is_built(tmp_path: Path) -> None:
    pipeline = omnigen()
    save_configurations(pipeline, tmp_path)
    profile = fxprof.profile(tmp_path, height=32, width=32, steps=1)
    assert profile.macs == fxprof.profile(pipeline, height=32, width=32, steps=1).macs > 0


@pytest.mark.slow
def test_a_pipeline_that_asks_for_a_generator_gets_one(tmp_path: Path) -> None:
    pipeline = visual_cloze()
    save_configurations(pipeline, tmp_path)
    arguments = {"task_prompt": "a task", "content_prompt": "a cat", "image": PAIRS}
    profile = fxprof.profile(tmp_path, steps=1, arguments=arguments)
    given = fxprof.profile(pipeline, steps=1, arguments={**arguments, "generator": torch.Generator()})
    assert profile.macs == given.macs > 0
    assert profile.workload["image"] == "[[image:32x32, image:32x32], [image:32x32, None]]"
    assert "generator" not in profile.workload


@pytest.mark.parametrize(
    ("make", "options"),
    [
        pytest.param(motif, {"height": 32, "width": 32, "arguments": {"num_frames": 5}}, marks=pytest.mark.slow),
        pytest.param(glm_image, {"height": 32, "width": 32}, marks=pytest.mark.slow),
        pytest.param(
            kandinsky_5, {"height": 1024, "width": 1024, "arguments": {"max_sequence_length": 16}}, marks=pytest.mark.slow
        ),
    ],
)
def test_configurations_say_what_the_object_does(tmp_path: Path, make: Any, options: dict[str, Any]) -> None:
    pipeline = make()
    if make is kandinsky_5:
        pipeline.resolutions = [(1024, 1024)]  # which no configuration says
    save_configurations(pipeline, tmp_path)
    profile = fxprof.profile(tmp_path, steps=1, **options)
    assert profile.macs == fxprof.profile(pipeline, steps=1, **options).macs > 0
    assert profile.total.uncounted == 0


# --- what a function asks for in order to refuse


CODEC = "av is not installed, so images were not compressed before they were used; their sizes are the same; pip install av"


@pytest.mark.skipif(importlib.util.find_spec("av") is not None, reason="av is installed")
@pytest.mark.parametrize(("size", "expected"), [((33, 20, 3), (32, 20, 3)), ((32, 21, 3), (32, 20, 3))])
def test_a_picture_comes_back_from_a_codec_with_even_sides(size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    home = importlib.import_module("diffusers.pipelines.ltx2.utils")
    picture_in = np.arange(np.prod(size)).reshape(size).astype(np.uint8)
    with standing_in() as stand_ins:
        found = home.apply_image_conditioning_crf(picture_in, 33)
    assert found.shape == expected
    assert (found == picture_in[: expected[0], : expected[1]]).all()
    assert stand_ins.remarks == [CODEC]


@pytest.mark.skipif(importlib.util.find_spec("av") is not None, reason="av is installed")
def test_the_package_is_as_missing_as_before_where_its_stand_in_cannot_serve() -> None:
    home = importlib.import_module("diffusers.pipelines.ltx2.utils")
    asked = home.is_av_available
    with standing_in():
        assert home.is_av_available() is True
        assert importlib.import_module("diffusers.utils").is_av_available() is False
        assert importlib.import_module("diffusers.utils.import_utils").is_av_available() is False
        with pytest.raises(ImportError, match="PyAV is required"):
            importlib.import_module("diffusers.pipelines.ltx2.export_utils")
    assert home.is_av_available is asked
    with pytest.raises(ImportError, match="PyAV is required"):
        home.apply_image_conditioning_crf(np.zeros((8, 8, 3), dtype=np.uint8), 33)


@pytest.mark.skipif(importlib.util.find_spec("bs4") is not None, reason="bs4 is installed")
def test_a_pipeline_that_would_go_without_is_not_told_that_a_package_is_there() -> None:
    home = importlib.import_module("diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha")
    with standing_in():
        assert home.is_bs4_available() is False


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("av") is not None, reason="av is installed")
def test_an_image_that_conditions_a_film_needs_no_codec(tmp_path: Path) -> None:
    case = FILMS["LTX2ImageToVideoPipeline"]
    pipeline = case.make()
    save_configurations(pipeline, tmp_path)
    profile = fxprof.profile(tmp_path, prompt="a photo of a cat", steps=1, arguments=dict(case.arguments))
    bare = fxprof.profile(pipeline, prompt="a photo of a cat", steps=1, arguments={**case.arguments, "image_crf": 0})
    assert profile.macs == bare.macs > 0
    assert set(profile.remarks) - set(bare.remarks) == {CODEC}
