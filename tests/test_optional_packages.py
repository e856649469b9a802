"""A package that some pipelines need and that is not installed: it is named, with how to get it."""

from __future__ import annotations

import builtins
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import transformers

import fxprof
from fxprof.capture import blame
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
    assert blame.missing_package(raised(error)) == package


def test_the_cause_of_an_error_is_looked_at() -> None:
    cause = raised(ModuleNotFoundError("No module named 'timm'", name="timm"))
    error = raised(RuntimeError("Failed to import diffusers.pipelines.x because of the following error"), cause)
    failure = blame.failure("could not build x", error)
    assert failure.message == "could not build x: Failed to import diffusers.pipelines.x because of the following error"
    assert failure.hint == "pip install timm"


def test_packages_of_the_extra_are_what_the_hint_says() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(set(blame._OPTIONAL.values())) == sorted(project["optional-dependencies"]["all"])
    for package in project["optional-dependencies"]["all"]:
        assert blame.failure("x", ImportError(f"x requires the {package} library")).hint == ALL.format(package)


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


def test_a_tokenizer_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Any) -> None:
    def load(*_args: object, **_options: object) -> None:
        __import__("sentencepiece")

    monkeypatch.setattr(transformers.T5Tokenizer, "from_pretrained", load)
    refuse("sentencepiece")
    index = {"_class_name": "PixArtAlphaPipeline", "tokenizer": ["transformers", "T5Tokenizer"]}
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(save(tmp_path / "tiny", index, {}))
    assert caught.value.message == "could not build tokenizer (T5Tokenizer) of tiny: No module named 'sentencepiece'"
    assert caught.value.hint == ALL.format("sentencepiece")


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
        ftfy.fix_text("a")  # type: ignore[name-defined]  # noqa: F821  # as diffusers does where it is not installed

    pipeline = tiny.make("stable_diffusion")
    monkeypatch.setattr(type(pipeline), "encode_prompt", clean)
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(pipeline, height=32, width=32, steps=1)
    assert "name 'ftfy' is not defined" in caught.value.message
    assert caught.value.hint == ALL.format("ftfy")
