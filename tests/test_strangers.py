"""Directories of strangers: no code of theirs runs, nothing is asked, nothing is contacted, nothing grows without bounds."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import oracle
import pytest
import tiny
import torch
import transformers
from test_pipelines import save_configurations
from tokenizers import Tokenizer, models, pre_tokenizers

import fxprof
from fxprof.capture.untrusted_files import cleaned, refuse_sizes
from fxprof.capture.vocabularies import _local
from fxprof.errors import CaptureError, FxprofError

SMALL: dict[str, Any] = {"height": 32, "width": 32, "steps": 1}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Offer a "y" to whoever asks, and note every attempt to contact anyone."""
    attempts: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        attempts.append(args[1:])
        raise OSError("the tests are not connected")

    def asked(*args: Any) -> str:
        attempts.append(("asked", *args))
        return "y"

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    yield attempts
    assert attempts == []


def write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def spring(folder: Path, auto_map: dict[str, Any], files: dict[str, dict[str, Any]]) -> Path:
    """Files that name a class of the folder's own code, which leaves a mark when it runs; the mark."""
    mark = folder / "ran"
    folder.mkdir(parents=True, exist_ok=True)
    code = f"open({str(mark)!r}, 'w').close()\nclass Evil:\n    pass\nclass EvilFast:\n    pass\n"
    (folder / "evil.py").write_text(code, encoding="utf-8")
    for name, values in files.items():
        write(folder / name, {**values, "auto_map": auto_map})
    return mark


def vocabulary(folder: Path) -> None:
    words = {word: number for number, word in enumerate(["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "a", "cat"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


TOKENIZER = {"AutoTokenizer": ["evil.Evil", "evil.EvilFast"]}
CLASSES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "AutoTokenizer": (TOKENIZER, {"tokenizer_config.json": {}, "config.json": {}}),
    "AutoTokenizer of a class": (TOKENIZER, {"tokenizer_config.json": {"tokenizer_class": "Evil"}}),
    "AutoTokenizer of a type": (
        {**TOKENIZER, "AutoConfig": "evil.Evil"},
        {"tokenizer_config.json": {}, "config.json": {"model_type": "evil"}},
    ),
    "AutoConfig": ({"AutoConfig": "evil.Evil"}, {"config.json": {"model_type": "evil"}}),
    "AutoProcessor": ({"AutoProcessor": "evil.Evil"}, {"processor_config.json": {}, "preprocessor_config.json": {}}),
    "AutoImageProcessor": ({"AutoImageProcessor": "evil.Evil"}, {"preprocessor_config.json": {}}),
    "AutoFeatureExtractor": ({"AutoFeatureExtractor": "evil.Evil"}, {"preprocessor_config.json": {}}),
    "AutoModel": ({"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}, {"config.json": {"model_type": "evil"}}),
    "CLIPProcessor": (TOKENIZER, {"tokenizer_config.json": {}, "preprocessor_config.json": {}, "config.json": {}}),
    "Qwen2VLProcessor": (
        {**TOKENIZER, "AutoImageProcessor": "evil.Evil"},
        {"tokenizer_config.json": {}, "preprocessor_config.json": {}},
    ),
    "LlavaProcessor": (
        {**TOKENIZER, "AutoProcessor": "evil.Evil", "AutoImageProcessor": "evil.Evil"},
        {"tokenizer_config.json": {}, "processor_config.json": {}, "preprocessor_config.json": {}, "config.json": {}},
    ),
    "CLIPTokenizer": (TOKENIZER, {"tokenizer_config.json": {}, "config.json": {}}),
    "CLIPImageProcessor": ({"AutoImageProcessor": "evil.Evil"}, {"preprocessor_config.json": {}, "config.json": {}}),
}


@pytest.mark.parametrize("with_vocabulary", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_no_class_makes_code_of_the_directory_run(tmp_path: Path, name: str, with_vocabulary: bool) -> None:
    auto_map, files = CLASSES[name]
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", name.partition(" ")[0]]
    write(tmp_path / "model_index.json", index)
    mark = spring(tmp_path / "tokenizer", auto_map, files)
    if with_vocabulary:
        vocabulary(tmp_path / "tokenizer")
    with suppress(FxprofError):
        fxprof.profile(tmp_path, **SMALL)
    assert not mark.exists()
    assert sys.stdin.read(2) == "y\n"


def test_an_auto_tokenizer_is_the_class_that_its_files_name(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    known = fxprof.profile(tmp_path, **SMALL)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "AutoTokenizer"]
    write(tmp_path / "model_index.json", index)
    config = json.loads((tmp_path / "tokenizer" / "tokenizer_config.json").read_text())
    spring(tmp_path / "tokenizer", TOKENIZER, {"tokenizer_config.json": {**config, "tokenizer_class": "CLIPTokenizer"}})
    found = fxprof.profile(tmp_path, **SMALL)
    assert found.macs == known.macs
    assert found.remarks == (*known.remarks, "tokenizer: ignored auto_map, because code that comes with a model is never run")


def test_what_its_files_do_not_name_is_refused_by_name(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "tiny")
    index = json.loads((tmp_path / "tiny" / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "AutoModel"]
    write(tmp_path / "tiny" / "model_index.json", index)
    write(tmp_path / "tiny" / "text_encoder" / "config.json", {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}})
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(tmp_path / "tiny", **SMALL)
    expected = "could not build text_encoder (AutoModel) of tiny: its files do not say which class of transformers that is"
    assert caught.value.message == expected


@pytest.mark.parametrize("name", ["Trainer", "TextGenerationPipeline", "GenerationConfig", "TrainingArguments"])
def test_only_parts_of_pipelines_are_built(tmp_path: Path, name: str) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "tiny")
    index = json.loads((tmp_path / "tiny" / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", name]
    write(tmp_path / "tiny" / "model_index.json", index)
    write(tmp_path / "tiny" / "text_encoder" / "config.json", {"output_dir": str(tmp_path / "made")})
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(tmp_path / "tiny", **SMALL)
    assert caught.value.message == (
        f"could not build text_encoder ({name}) of tiny: it is no model, scheduler, tokenizer or processor"
    )
    assert not (tmp_path / "made").exists()


def test_code_named_deep_in_a_configuration_is_ignored(tmp_path: Path) -> None:
    config = transformers.LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "projection_dim": 16,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 128,
        },
        image_token_index=5,
    )
    values = {**config.to_dict(), "architectures": ["LlavaForConditionalGeneration"]}
    values["text_config"]["auto_map"] = values["vision_config"]["auto_map"] = {"AutoModel": "evil.Evil"}
    mark = spring(tmp_path, {"AutoModel": "evil.Evil"}, {"config.json": values})
    profile = fxprof.profile(tmp_path, inputs={"input_ids": "1x8:int64"})
    model = transformers.LlavaForConditionalGeneration(config).eval()
    assert profile.macs == oracle.macs_of(lambda: model(input_ids=torch.zeros(1, 8, dtype=torch.int64))) > 0
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"use_pretrained_backbone": True, "backbone": "microsoft/resnet-18"},
            "its backbone is the repository 'microsoft/resnet-18'",
        ),
        ({"backbone": "org/net", "use_timm_backbone": False}, "its backbone is the repository 'org/net'"),
    ],
)
def test_a_backbone_of_another_repository_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = {**transformers.DPTConfig(hidden_size=16).to_dict(), "architectures": ["DPTForDepthEstimation"], **change}
    values.pop("backbone_config", None)
    write(tmp_path / "config.json", values)
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(tmp_path, inputs={"pixel_values": "1x3x32x32"})
    assert message in caught.value.message
    assert caught.value.hint == "write that model's configuration into the file, under backbone_config"


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_a_repository_is_ignored_by_name(tmp_path: Path, key: str) -> None:
    model = tiny.clip_text()
    model.config.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["CLIPTextModel"]}
    write(tmp_path / "config.json", values)
    known = fxprof.profile(tmp_path, inputs={"input_ids": "1x77:int64"})
    write(tmp_path / "config.json", {**values, key: "kernels-community/flash-attn", "_name_or_path": "openai/clip"})
    found = fxprof.profile(tmp_path, inputs={"input_ids": "1x77:int64"})
    assert found.macs == known.macs
    told = f"CLIPTextModel: ignored {key}, because a kernel of a repository is never fetched"
    assert [told] == [line for line in found.remarks if "ignored" in line] or key.startswith("_")


def test_a_local_pipeline_contacts_nothing(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    for path in tmp_path.glob("*/config.json"):
        write(path, {**json.loads(path.read_text()), "_name_or_path": "org/elsewhere"})
    assert fxprof.profile(tmp_path, **SMALL).macs == tiny.profile("stable_diffusion", **SMALL).macs


def test_what_is_ignored_is_said_once_and_the_rest_is_kept() -> None:
    values = {"a": {"auto_map": {"AutoModel": "x.Y"}, "b": [1, {"auto_map": {"AutoModel": "x.Y"}}]}, "trust_remote_code": False}
    assert cleaned(values) == ({"a": {"b": [1, {}]}}, ["auto_map, because code that comes with a model is never run"])


# --- what grows


def with_tokenizer(directory: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    save_configurations(tiny.make("stable_diffusion"), directory)
    vocabulary(directory / "tokenizer")
    path = directory / "tokenizer" / "tokenizer.json"
    values = json.loads(path.read_text())
    change(values)
    write(path, values)
    return directory


def test_a_normalizer_that_grows_is_refused(tmp_path: Path) -> None:
    twice = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}

    def grow(values: dict[str, Any]) -> None:
        values["normalizer"] = {"type": "Sequence", "normalizers": [twice] * 60}

    with_tokenizer(tmp_path, grow)
    with pytest.raises(FxprofError, match=r"its normalizer makes texts more than 10,000 times as long$"):
        fxprof.profile(tmp_path, **SMALL)


def test_a_normalizer_as_they_are_is_used(tmp_path: Path) -> None:
    usual = [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        {"type": "Lowercase"},
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    with_tokenizer(tmp_path, lambda values: values.update(normalizer={"type": "Sequence", "normalizers": usual}))
    profile = fxprof.profile(tmp_path, **SMALL)
    assert profile.macs == tiny.profile("stable_diffusion", **SMALL).macs


def test_a_panic_of_the_tokenizers_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: object, **__: object) -> None:
        raise PanicException("index out of bounds: the len is 3 but the index is 7")

    with_tokenizer(tmp_path / "tiny", lambda _: None)
    monkeypatch.setattr(transformers.CLIPTokenizer, "from_pretrained", panic)
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(tmp_path / "tiny", **SMALL)
    start = "could not build tokenizer (CLIPTokenizer) of tiny: PanicException: index out of bounds"
    assert caught.value.message.startswith(start)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"n_layer": 1000}, "n_layer is 1,000, more than 200"),
        ({"attention_types": [[["global", "local"], 10**8]]}, "attention_types holds 100,000,000, more than 1,000,000"),
        ({"down_block_types": ["DownBlock2D"] * 500}, "down_block_types has 500 entries, more than 200"),
        ({"vision": {"layer_types": ["full"] * 201}}, "layer_types has 201 entries, more than 200"),
    ],
)
def test_numbers_and_lists_that_make_too_many_layers_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(CaptureError, match=re.escape(told)):
        refuse_sizes("could not build it", values)


def test_lists_of_real_models_are_not_refused() -> None:
    refuse_sizes("x", {"attention_types": [[["global", "local"], 12]], "layer_types": ["full"] * 126, "mean": [0.5] * 1000})


def test_a_tokenizer_is_told_of_no_other_file(tmp_path: Path) -> None:
    other = tmp_path / "vocabulary.json"
    other.write_text("{}")
    named = {"vocab": str(other), "merges": str(other), "init_inputs": [str(other)], "vocab_file": "x", "spelling": str(other)}
    assert _local({**named, "eos_token": "</s>", "model_max_length": 77}) == {"eos_token": "</s>", "model_max_length": 77}
