"""Configurations, arguments and texts that would take all time or memory, if they were let: one line within seconds."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tiny
import torch
from commands import run
from PIL import Image
from test_pipelines import save_configurations
from torch import nn

import fxprof
from fxprof import limits, strict_json, texts
from fxprof.capture import arrays
from fxprof.capture.processors import image_processor, stand_in
from fxprof.capture.tokenizers import StandInTokenizer
from fxprof.capture.vocabularies import trusted_copy
from fxprof.capture.zero_weights import TooLargeError, counted, sizes_bounded
from fxprof.errors import CaptureError, FxprofError, TargetError
from fxprof.source.config import ComponentConfig
from fxprof.source.directory import read_object

CLIP: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "max_position_embeddings": 77,
}
UNET: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "block_out_channels": [32],
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 8,
}


def told(directory: Path, values: dict[str, Any]) -> str:
    """The one line about a component of this configuration."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(values))
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(directory)
    assert caught.value.exit_code == 3
    return caught.value.message


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({**CLIP, "num_hidden_layers": 10**9}, "(CLIPTextModel): num_hidden_layers is 1,000,000,000, more than 200"),
        ({**CLIP, "num_attention_heads": 10**7}, "(CLIPTextModel): num_attention_heads is 10,000,000, more than 1,000,000"),
        ({**CLIP, "hidden_size": 10**12}, "(CLIPTextModel): hidden_size is 1,000,000,000,000, which is not a size"),
        ({**CLIP, "hidden_size": 10**4000}, f"(CLIPTextModel): hidden_size is 1{'0' * 59}..., which is not a size"),
        ({**CLIP, "inner": {"list": [{"depths": [2, 10**8]}]}}, "(CLIPTextModel): depths is 100,000,000, more than 200"),
        ({**CLIP, "num_labels": 10**9}, "(CLIPTextModel): num_labels is 1,000,000,000, more than 1,000,000"),
        ({**UNET, "layers_per_block": 10**8}, "(UNet2DModel): layers_per_block is 100,000,000, more than 200"),
    ],
)
def test_a_number_that_no_model_has_is_refused_by_name(tmp_path: Path, values: dict[str, Any], what: str) -> None:
    assert told(tmp_path / "it", values) == f"could not build it {what}"


def test_a_model_of_too_many_modules_is_refused_while_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILT_MODULES", 500)
    message = told(tmp_path / "it", {**UNET, "layers_per_block": 200})
    assert message == "could not build it (UNet2DModel): it is made of more than 500 modules, more than any model has"


def test_modules_are_counted_only_while_a_model_is_built() -> None:
    before = nn.Module.__init__
    with counted():
        assert nn.Module.__init__ is not before
        assert [type(module).__name__ for module in nn.Sequential(nn.ReLU())] == ["ReLU"]
    assert nn.Module.__init__ is before


def test_a_model_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILT_SECONDS", 0.05)
    with counted():
        nn.ReLU()
        time.sleep(0.1)
        with pytest.raises(TooLargeError, match=r"^building it takes more than 0\.05 seconds, more than any model takes$"):
            nn.ReLU()


def test_no_tensor_beyond_all_memory_is_really_made() -> None:
    with sizes_bounded():
        assert torch.empty((3, 4)).shape == (3, 4)
        with pytest.raises(
            TooLargeError, match=r"^it makes a tensor of 10,000,000,000,000 elements, more than any model makes$"
        ):
            torch.zeros(10**6, 10**7)
        with pytest.raises(TooLargeError, match=r"^it makes a tensor of 500,000,000 elements, more than any model makes$"):
            torch.arange(0, 10**9, 2)
        with pytest.raises(TooLargeError, match=r"^it makes a tensor of 100,000,000 elements, more than any model makes$"):
            torch.outer(torch.arange(10**5), torch.arange(10**3))


def small_pipeline(directory: Path, part: str, **values: Any) -> None:
    """A pipeline of which one part's configuration says something else."""
    save_configurations(tiny.make("stable_diffusion"), directory)
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    path = directory / part / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(directory: Path, **workload: Any) -> str:
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(directory, **workload)
    return caught.value.message


def test_a_scheduler_of_a_million_orders_is_refused(tmp_path: Path) -> None:
    small_pipeline(tmp_path, "scheduler", solver_order=2 * 10**9)
    assert refused(tmp_path).endswith(": solver_order is 2,000,000,000, more than 1,000,000")


def prepared(class_name: str, values: dict[str, Any]) -> Any:
    """What a preparation of this configuration makes of a small image, or of a tenth of a second of sound."""
    made = image_processor("could not build it", ComponentConfig("transformers", class_name, values))
    if "FeatureExtractor" in class_name:
        return made(np.zeros(1_600, np.float32), sampling_rate=made.sampling_rate, return_tensors="np")
    return made(Image.new("RGB", (40, 30)), return_tensors="np")


@pytest.mark.parametrize(
    ("class_name", "values", "what"),
    [
        ("WhisperFeatureExtractor", {"n_fft": 20_000, "feature_size": 10_000}, "it makes an array of 10002, which is larger"),
        ("WhisperFeatureExtractor", {"n_fft": 10**12}, "n_fft is 1,000,000,000,000, which is not a size"),
        ("WhisperFeatureExtractor", {"chunk_length": 10**5}, "Extractor makes an array of 1600000000x1, which is larger"),
        ("ClapFeatureExtractor", {"fft_window_size": 10**8}, "it makes an array of 50000001, which is larger"),
        ("UnivNetFeatureExtractor", {"win_length": 10**9}, "it makes an array of 1000000001, which is larger"),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 20_000}}, "makes an array of 26666x20000x3, which is larger"),
        ("CLIPImageProcessor", {"crop_size": {"height": 12_000, "width": 12_000}}, "makes an array of 3x12000x12000, which"),
        ("ViTImageProcessor", {"size": {"height": 10, "width": 10**7}}, "makes an array of 10000000x10x3, which is larger"),
    ],
)
def test_what_prepares_images_or_sound_makes_no_large_array(class_name: str, values: dict[str, Any], what: str) -> None:
    with pytest.raises((CaptureError, TooLargeError)) as caught:
        prepared(class_name, values)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("class_name", "values"),
    [
        ("WhisperFeatureExtractor", {"n_fft": 400, "feature_size": 128}),
        ("ClapFeatureExtractor", {"fft_window_size": 1_024, "nb_max_samples": 480_000, "sampling_rate": 48_000}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}),
        ("ViTImageProcessor", {"size": {"height": 2_560, "width": 1_920}}),
    ],
)
def test_what_prepares_images_or_sound_as_real_models_do_is_used(class_name: str, values: dict[str, Any]) -> None:
    zeros, resize = np.zeros, Image.Image.resize
    assert prepared(class_name, values)
    assert (np.zeros, Image.Image.resize) == (zeros, resize)


def test_a_large_image_may_be_as_large_afterwards() -> None:
    def refuse(shape: str) -> NoReturn:
        raise AssertionError(shape)

    with arrays.bounded(Image.Image, "resize", 100, refuse):
        assert Image.new("RGB", (20, 20)).resize((20, 40)).size == (20, 40)
        with pytest.raises(AssertionError, match=r"^20x41x3$"):
            Image.new("RGB", (20, 20)).resize((20, 41))


def test_a_scheduler_makes_no_large_array(tmp_path: Path) -> None:
    small_pipeline(tmp_path, "scheduler", num_train_timesteps=10**4, _class_name="DDIMScheduler")
    assert fxprof.profile(tmp_path, height=32, width=32, steps=1).total
    with pytest.raises(TooLargeError, match=r"^it makes an array of 15000001, which"), arrays.constructing(10**7):
        np.zeros(15_000_001)


@pytest.mark.parametrize("steps", [{"num_train_timesteps": 10**6}, {"trained_betas": [0.1] * 20_000}])
def test_a_scheduler_is_not_trained_with_more_steps_than_any(tmp_path: Path, steps: dict[str, Any]) -> None:
    small_pipeline(tmp_path, "scheduler", **steps)
    assert re.search(rf"{next(iter(steps))} has [\d,]+ steps, more than 10,000", refused(tmp_path))


def test_an_image_that_no_pipeline_makes_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    small_pipeline(tmp_path, "unet", sample_size=12_000)
    assert "it makes a tensor of 1x4x12000x12000, which is larger than any that a pipeline makes" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["ModularPipeline", "StableDiffusionXLModularPipeline", "StableDiffusionPipeline"])
def test_a_pipeline_is_no_part_of_another(tmp_path: Path, kind: str) -> None:
    small_pipeline(tmp_path, "vae", pretrained_model_name_or_path="org/name")
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "vae": ["diffusers", kind]}))
    assert "it is no model, scheduler, tokenizer or processor" in refused(tmp_path)


def test_a_text_that_would_be_padded_to_a_hundred_million_tokens_is_refused(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 100000000}')
    with pytest.raises(FxprofError) as caught:
        fxprof.profile(tmp_path, height=32, width=32, steps=1)
    what = "could not tokenize a text: CLIPTokenizer would pad it to 100,000,000 tokens, more than 1,048,576"
    assert caught.value.message.replace("StandInTokenizer", "CLIPTokenizer") == what


# --- configurations as files


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[" + b"[]," * 2_000_000 + b"1]", "it holds some 4,000,001 values, more than 200,000"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "it nests more than 100 deep"),
        (b'{"a": "' + "\N{GRINNING FACE}".encode() + b"a" * 60_000_000 + b'"}', "it takes 228 MiB of memory as a text, more"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "it is not JSON: it holds an integer of more than 4,300 digits"),
        (b'{"a":' * 100_000, "it nests more than 100 deep"),
    ],
)
def test_a_configuration_that_would_take_much_memory_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(TargetError) as caught:
        read_object(path)
    assert caught.value.message.startswith(f"cannot read {path}: {what}")


@pytest.mark.parametrize(
    ("text", "bytes_of_each"),
    [("a", 1), ("\xe9", 1), ("\N{EURO SIGN}", 2), ("\N{GRINNING FACE}", 4)],
)
def test_what_a_text_takes_in_memory_is_known_beforehand(
    text: str, bytes_of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (text + "a" * 999).encode()
    monkeypatch.setattr(limits, "TEXT_BYTES", 1000 * bytes_of_each)
    assert texts.read_text(whole) == whole.decode()
    monkeypatch.setattr(limits, "TEXT_BYTES", 1000 * bytes_of_each - 1)
    with pytest.raises(texts.TextTooLargeError):
        texts.read_text(whole)


def test_a_file_takes_memory_for_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert texts.read_bytes(tmp_path / "x", 2**62) == b"abc"
    assert texts.read_bytes(tmp_path / "x", 1) == b"ab"  # one more than asked for, which tells that it is larger


def test_how_deep_a_value_nests() -> None:
    value: Any = 1
    assert not strict_json.nests_deeper(value, 0)
    for levels in range(1, 6):
        value = [2, value] if levels % 2 else {"a": value, "b": 1}
        assert strict_json.nests_deeper(value, levels - 1)
        assert not strict_json.nests_deeper(value, levels)


# --- options


@pytest.mark.parametrize("option", ["--arg", "--input"])
@pytest.mark.parametrize("levels", [150, 900, 50_000])
def test_an_argument_that_nests_is_one_line(option: str, levels: int, tmp_path: Path) -> None:
    result = run("profile", tmp_path / "nothing.json", option, f"a={'[' * levels}{']' * levels}")
    assert result.exit_code in (2, 3)
    assert isinstance(result.exception, SystemExit)
    said = "Error: Invalid value for" if levels < 1000 else "fxprof: cannot profile"
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(said)]
    assert len(line.replace(str(tmp_path), "")) <= 400
    assert line.endswith("': a nests more than 100 deep." if levels < 1000 else "there is no such file")


@pytest.mark.parametrize("option", ["--arg=a=", "--input=a=", "--dim=a=", "--height="])
def test_a_number_of_thousands_of_digits_is_one_line(option: str, tmp_path: Path) -> None:
    result = run("profile", tmp_path / "nothing.json", f"{option}{'1' * 5000}")
    assert result.exit_code in (2, 3)
    assert isinstance(result.exception, SystemExit)
    assert all(len(line.replace(str(tmp_path), "")) <= 400 for line in result.stderr.splitlines())


@pytest.mark.parametrize("content", [b'{"format": 2, "macs": ' + b"1" * 5000 + b"}", b'{"format": 2, "a": ' + b"[" * 1000])
def test_a_diff_of_such_files_is_one_line(content: bytes, tmp_path: Path) -> None:
    for name in ("old.json", "new.json"):
        (tmp_path / name).write_bytes(content)
    result = run("diff", tmp_path / "old.json", tmp_path / "new.json")
    assert result.exit_code == 3
    assert isinstance(result.exception, SystemExit)
    assert "old.json is not a profile" in result.stderr.splitlines()[0]


# --- chat templates beside a vocabulary


def test_further_chat_templates_are_copied_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "additional_chat_templates"
    folder.mkdir()
    (tmp_path / "chat_template.jinja").write_text("a")
    (folder / "tool.jinja").write_text("b")
    (folder / "evil.py").write_text("c")
    (folder / "long.jinja").write_text("d" * (limits.TEMPLATE + 1))
    with trusted_copy(tmp_path) as copy:
        files = {str(path.relative_to(copy)): path.read_text() for path in copy.rglob("*") if path.is_file()}
    assert files == {"chat_template.jinja": "a", "additional_chat_templates/tool.jinja": "b"}


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="there is no such file")
def test_a_link_to_what_has_no_end_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").symlink_to("/dev/zero")
    (tmp_path / "spm.model").symlink_to("/proc/self/pagemap")
    with trusted_copy(tmp_path) as copy:
        assert {path.name for path in copy.iterdir()} == {"vocab.json"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    """Neither as a file of a tokenizer nor where its configuration names one."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("vocab.txt", "merges.txt", "tokenizer.json"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "vocab.json").write_text("{}")
    named = {"vocab": str(tmp_path / "pipe"), "merges_file": "pipe", "other": str(tmp_path / "pipe"), "model_max_length": 77}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    with trusted_copy(tmp_path) as copy:
        assert {path.name for path in copy.iterdir()} == {"vocab.json", "tokenizer_config.json"}
        assert json.loads((copy / "tokenizer_config.json").read_text()) == {"model_max_length": 77}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", marks=pytest.mark.slow),
        pytest.param(b"\0" * 1_000_000, marks=pytest.mark.slow),
        b"\n\xff\xff\xff\xff\x0f",
        b"\n\x04\n\x02ab" * 100_000,
    ],
)
def test_a_model_of_sentencepiece_that_is_none_is_one_line_or_used(tmp_path: Path, content: bytes) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "tokenizer": ["transformers", "T5Tokenizer"]}))
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(content)
    with suppress(FxprofError):
        fxprof.profile(tmp_path, height=32, width=32, steps=1)


def test_a_list_of_too_many_entries_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"a\n" * (limits.VOCABULARY + 1))
    with (
        pytest.raises(CaptureError, match=r"it has more than 1,200,000 entries, more than any vocabulary has$"),
        trusted_copy(tmp_path),
    ):
        pass


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_the_pieces_of_sentencepiece_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, refused: bool
) -> None:
    monkeypatch.setattr(limits, "VOCABULARY", 1_000)
    piece = b"\n\xce\x01\n" + b"\xcb\x01" + b"x" * 203
    (tmp_path / "spiece.model").write_bytes(piece * (1_000 + more) + b"\x12\x00")
    if refused:
        with pytest.raises(CaptureError, match=r"it has more than 1,000 entries"), trusted_copy(tmp_path):
            pass
    else:
        with trusted_copy(tmp_path) as copy:
            assert (copy / "spiece.model").is_file()


def test_files_with_several_lines_for_an_entry_are_used(tmp_path: Path) -> None:
    """Merges of real models, written a line for each bracket and word, and models of SentencePiece, whose fields begin so."""
    lines = b"\n" * (limits.VOCABULARY + 1)
    (tmp_path / "tokenizer.json").write_bytes(b"{" + lines + b"}")
    (tmp_path / "spiece.model").write_bytes(lines)
    with trusted_copy(tmp_path) as copy:
        assert {path.name for path in copy.iterdir()} == {"tokenizer.json", "spiece.model"}


# --- what is made of texts


def repeated(key: str, parts: str, step: dict[str, Any], times: int) -> dict[str, Any]:
    return {key: {"type": "Sequence", parts: [step] * times}}


def charsmap(text: str) -> str:
    return base64.b64encode((4).to_bytes(4, "little") + bytes(4) + b"a\0" + text.encode() + b"\0").decode()


def post(ids: int, times: int) -> dict[str, Any]:
    pieces = [{"SpecialToken": {"id": "x", "type_id": 0}}] * times + [{"Sequence": {"id": "A", "type_id": 0}}]
    special = {"x": {"id": "x", "ids": [1] * ids, "tokens": ["<s>"] * ids}}
    return {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": special}


def added(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": number, "content": f"<x{number}>", **more} for number in range(count)]


TWICE = [{"Sequence": {"id": "A", "type_id": 0}}] * 2
BYTES = {"type": "ByteLevel"}
ANYWHERE = {"type": "Replace", "pattern": {"Regex": ""}, "content": "a"}
LONG = {"type": "Precompiled", "precompiled_charsmap": charsmap("x" * 200)}
GROWN = r"its {} makes texts more than 10,000 times as long$"
LONG_WORDS = {"type": "WordPiece", "max_input_chars_per_word": 10**9, "vocab": {"b": 0}}
LONG_PIECES = {"type": "Unigram", "vocab": [["b" * 40_000, 0.0]]}
STEPS = r"it takes more than 10,000,000 steps for a character$"
TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "words of any length": ({"model": LONG_WORDS}, STEPS),
    "long entries and long texts": ({"model": LONG_PIECES, "normalizer": {**ANYWHERE, "content": "b" * 9_000}}, STEPS),
    "a vocabulary like no other": (
        {"model": {"type": "WordLevel", "vocab": {str(number): number for number in range(limits.VOCABULARY + 1)}}},
        r"it has more than 1,200,000 entries, more than any vocabulary has$",
    ),
    "bytes": (repeated("normalizer", "normalizers", BYTES, 40), GROWN.format("normalizer")),
    "a pattern that matches nothing": (repeated("normalizer", "normalizers", ANYWHERE, 40), GROWN.format("normalizer")),
    "a character that becomes a text": (repeated("normalizer", "normalizers", LONG, 2), GROWN.format("normalizer")),
    "a normalizer in normalizers": (
        {"normalizer": {"type": "Sequence", "normalizers": [repeated("x", "normalizers", BYTES, 40)["x"]]}},
        GROWN.format("normalizer"),
    ),
    "bytes of words": (repeated("pre_tokenizer", "pretokenizers", BYTES, 40), GROWN.format("pre-tokenizer")),
    "both": (
        repeated("normalizer", "normalizers", BYTES, 4) | repeated("pre_tokenizer", "pretokenizers", BYTES, 4),
        GROWN.format("pre-tokenizer"),
    ),
    "a decoder": (repeated("decoder", "decoders", ANYWHERE, 40), GROWN.format("decoder")),
    "special tokens": (
        {"post_processor": post(2_000, 1_000)},
        r"its post-processor makes more than 20,000 tokens of a text$",
    ),
    "texts that double": (
        repeated("post_processor", "processors", {"type": "TemplateProcessing", "single": TWICE, "special_tokens": {}}, 40),
        r"its post-processor makes more than 20,000 tokens of a text$",
    ),
    "a multiple": ({"padding": {"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}}, r"to 1,000,000,000 tokens$"),
    "added tokens": ({"added_tokens": added(20_001, normalized=False)}, r"it adds more than 20,000 tokens$"),
    "normalized tokens": (
        {"added_tokens": added(20_000, normalized=True), **repeated("normalizer", "normalizers", {"type": "Strip"}, 3_000)},
        r"the tokens that it adds take too long to normalize$",
    ),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_makes_too_much_is_one_line(name: str, tmp_path: Path) -> None:
    values, message = TOKENIZERS[name]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(values))
    with pytest.raises(CaptureError, match=message) as caught, trusted_copy(tmp_path):
        pass
    assert caught.value.message.startswith(f"cannot use {path}: ")


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {str(number): {"content": "a"} for number in range(20_001)}}),
        ("special_tokens_map.json", {"additional_special_tokens": ["a"] * 20_001}),
        ("added_tokens.json", {f"a{number}": number for number in range(20_001)}),
    ],
)
def test_tokens_that_another_file_adds_are_counted(file: str, values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / file).write_text(json.dumps(values))
    with pytest.raises(CaptureError, match=rf"{file}: it adds more than 20,000 tokens$"), trusted_copy(tmp_path):
        pass


def test_tokenizers_as_they_are_are_used(tmp_path: Path) -> None:
    space = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    quote = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
    table = {"type": "Precompiled", "precompiled_charsmap": charsmap("x" * 18)}
    kinds = [{"type": kind} for kind in ("NFKD", "StripAccents", "Lowercase")]
    values = {
        "normalizer": {"type": "Sequence", "normalizers": [quote, quote, *kinds, table, space]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace"}]},
        "post_processor": post(1, 2),
        "added_tokens": added(100, normalized=True) + added(6_400, normalized=False),
        "decoder": {"type": "Sequence", "decoders": [{**space, "content": "a"}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "padding": {"strategy": {"Fixed": 77}, "pad_to_multiple_of": 8},
        "model": {"type": "Unigram", "vocab": [["a" * 512, 0.0]]},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    with trusted_copy(tmp_path) as copy:
        assert json.loads((copy / "tokenizer.json").read_text()) == values


def test_a_stand_in_of_many_added_tokens_is_made_within_seconds_or_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")

    def made(count: int) -> StandInTokenizer:
        values = {"added_tokens_decoder": {str(number): {"content": f"t{number}"} for number in range(count)}}
        return stand_in(ComponentConfig("transformers", "CLIPTokenizer", values, tmp_path), ("input_ids",))

    started = time.perf_counter()
    assert made(20_000).convert_tokens_to_ids("t19999") == 19_999
    assert time.perf_counter() - started < 10
    with pytest.raises(CaptureError, match=r"tokenizer_config.json: it adds more than 20,000 tokens$"):
        made(20_001)
