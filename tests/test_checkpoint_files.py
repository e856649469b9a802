"""Single files of weights as targets: their headers alone, by diffusers' own rules; damaged ones are one line."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import flux, original_name, write_gguf, write_safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxprof.errors import TargetError
from fxprof.source import CheckpointFile, load_zoo, resolve
from fxprof.source.checkpoint import read_checkpoint
from fxprof.source.config import PipelineConfig, SingleComponent

WRITERS: dict[str, Callable[[Path, Any], None]] = {"safetensors": write_safetensors, "gguf": write_gguf}
FEW = {"a.weight": (4, 320, 3, 3), "a.bias": (4,), "scalar": ()}


def refusal(path: Path) -> str:
    with pytest.raises(TargetError) as caught:
        read_checkpoint(path)
    return caught.value.message


@pytest.mark.parametrize("suffix", WRITERS)
def test_names_and_shapes_are_read_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    WRITERS[suffix](path, FEW)
    assert resolve(path) == CheckpointFile(path.name, path, FEW)


def test_a_gguf_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model", FEW)
    assert isinstance(resolve(tmp_path / "model"), CheckpointFile)


def header(path: Path, text: bytes, *, length: int | None = None, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(**changes: Any) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}).encode()


@pytest.mark.parametrize(
    ("text", "length", "reason"),
    [
        (b"", 2**63, "its header would have 9,223,372,036,854,775,808 bytes, which is more than the file or the limit"),
        (b"{}", 3, "its header would have 3 bytes, which is more than the file"),
        (b"{", None, "its header is not JSON"),
        (b"\xff\xff", None, "its header is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, None, "its header nests too deeply"),
        (b"[]", None, "its header is no JSON object"),
        (b'{"a": 1}', None, "the entry 'a' has no dtype, shape and data_offsets"),
        (entry(dtype="Q4"), None, "the tensor 'a' is of the unknown type 'Q4'"),
        (entry(shape=[-2]), None, "the tensor 'a' has an impossible shape"),
        (entry(shape=[True, True]), None, "the tensor 'a' has an impossible shape"),
        (entry(shape=[2.0]), None, "the tensor 'a' has an impossible shape"),
        (entry(shape=[2] * 9), None, "the tensor 'a' has an impossible shape"),
        (entry(shape=[2**40, 2**40]), None, "the tensor 'a' is impossibly large"),
        (entry(shape=[3]), None, "the position of the tensor 'a' does not fit its shape and the file"),
        (entry(data_offsets=[0, 800], shape=[200]), None, "the position of the tensor 'a' does not fit its shape and the file"),
        (entry(data_offsets=[8, 0]), None, "the position of the tensor 'a' does not fit its shape and the file"),
        (entry(data_offsets=[-8, 0]), None, "the position of the tensor 'a' does not fit its shape and the file"),
        (entry(data_offsets=[10**30, 10**30 + 8]), None, "the position of the tensor 'a' does not fit its shape and the file"),
        (entry(shape=[10**4_000]), None, "the tensor 'a' has an impossible shape"),
        (entry(shape=[1] * 100_000), None, "the tensor 'a' has an impossible shape"),
        (entry(dtype="\x1b" * 10**6), None, "the tensor 'a' is of the unknown type '\\x1b"),
        (b'{"a": {}, "a": {}}', None, "its header is not JSON: the field 'a' appears twice"),
        (
            b'{"a": {"dtype": "F32", "dtype": "F16"}}',
            None,
            "its header is not JSON: the field 'dtype' appears twice",
        ),
        (b'{"a": ' + b"1" * 10_000 + b"}", None, "its header is not JSON: it holds an integer of more than 4,300 digits"),
        (
            b'{"__metadata__": [' + b"[]," * 3_000_000 + b"1]}",
            None,
            "its header holds some 6,000,002 values, more than",
        ),
        (
            b'{"a": {"dtype": "F32", "shape": NaN, "data_offsets": []}}',
            None,
            "its header is not JSON: NaN is no number",
        ),
        (entry()[:-1] + b', "b": ' + entry()[6:], None, "the tensor 'b' overlaps another"),
        (
            entry()[:-1] + b', "b": ' + entry(shape=[1], data_offsets=[4, 8])[6:],
            None,
            "the tensor 'b' overlaps another one",
        ),
    ],
)
def test_a_wrong_safetensors_header_is_one_line(tmp_path: Path, text: bytes, length: int | None, reason: str) -> None:
    path = header(tmp_path / "x.safetensors", text, length=length, data=b"\0" * 8 if length is None else b"")
    assert refusal(path).startswith(f"cannot read {path}: {reason}")


def test_tensors_without_elements_lie_anywhere(tmp_path: Path) -> None:
    empty = entry(shape=[0], data_offsets=[0, 0])[6:]
    path = header(tmp_path / "x.safetensors", entry()[:-1] + b', "b": ' + empty, data=b"\0" * 8)
    assert read_checkpoint(path).tensors == {"a": (2,), "b": (0,)}


def test_a_header_of_a_hundred_megabytes_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10**8) + b"{")
        file.truncate(2 * 10**8)
    assert "its header would have 100,000,000 bytes, which is more than the file or the limit of 67,108,864" in refusal(path)


@pytest.mark.parametrize("item", [8, 9])
def test_a_gguf_file_of_millions_of_texts_or_lists_is_refused_within_seconds(tmp_path: Path, item: int) -> None:
    each = struct.pack("<Q", 0) if item == 8 else struct.pack("<IQ", 0, 0)
    path = tmp_path / "x.gguf"
    count = 3_000_000
    path.write_bytes(gguf(struct.pack("<QIIQ", 0, 9, item, count) + each * count, pairs=1))
    started = time.process_time()
    assert refusal(path) == f"cannot read {path}: it holds more than 1,200,000 texts and lists"
    assert time.process_time() - started < 8


def test_the_largest_vocabulary_of_a_gguf_file_is_read(tmp_path: Path) -> None:
    tokens, merges = 262_144, 515_000
    words = [struct.pack("<QIIQ", 0, 9, 8, count) + (struct.pack("<Q", 1) + b"a") * count for count in (tokens, merges)]
    numbers = struct.pack("<QIIQ", 0, 9, 6, tokens) + bytes(4 * tokens)
    (tmp_path / "x.gguf").write_bytes(gguf(*words, numbers, numbers, pairs=4))
    assert read_checkpoint(tmp_path / "x.gguf").tensors == {}


def gguf(*parts: bytes, version: int = 3, tensors: int = 0, pairs: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GGUF", "its header goes beyond the end of the file, or beyond the limit"),
        (gguf(version=1), "it is a GGUF file of version 1, but fxprof reads versions 2 and 3"),
        (gguf(tensors=2**60), "it names 1,152,921,504,606,846,976 tensors or values, more than the limit of 100,000"),
        (gguf(pairs=10**9), "it names 1,000,000,000 tensors or values"),
        (gguf(struct.pack("<Q", 2**50), pairs=1), "it holds a text of 1,125,899,906,842,624 bytes"),
        (gguf(struct.pack("<Q", 1) + b"\xff", pairs=1), "it holds a text that is no UTF-8"),
        (gguf(struct.pack("<QI", 0, 99), pairs=1), "it holds a value of the unknown kind 99"),
        (gguf(struct.pack("<QI", 0, 9) + struct.pack("<IQ", 9, 1) * 9, pairs=1), "it holds a value of the unknown kind 9"),
        (
            gguf(struct.pack("<QIIQ", 0, 9, 6, 2**60), pairs=1),
            "its header goes beyond the end of the file, or beyond the limit",
        ),
        (gguf(struct.pack("<QI", 0, 77), tensors=1), "the tensor '' has 77 dimensions"),
        (gguf(struct.pack("<QIQIQ", 0, 1, 2**50, 0, 0), tensors=1), "the tensor '' has an impossible shape"),
        (gguf(struct.pack("<QIQIQ", 0, 1, 4, 0, 2**50), tensors=1), "the tensor '' lies outside of the file"),
    ],
)
def test_a_wrong_gguf_header_is_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    assert refusal(path).startswith(f"cannot read {path}: {reason}")


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_byte_is_more_than_an_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"x.{suffix}"
    WRITERS[suffix](path, FEW)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = read_checkpoint(path)
    except TargetError as error:
        assert error.message.startswith(f"cannot read {path}: ")  # noqa: PT017 - most changes are refused, some are none
    else:
        assert all(size >= 0 for shape in found.tensors.values() for size in shape)


# --- which pipeline it is


@pytest.mark.parametrize(
    ("name", "guidance", "model"),
    [
        ("dev.safetensors", True, "flux.1-dev"),
        ("dev.gguf", True, "flux.1-dev"),
        ("schnell.safetensors", False, "flux.1-schnell"),
    ],
)
def test_a_transformer_belongs_to_its_bundled_pipeline(tmp_path: Path, name: str, guidance: bool, model: str) -> None:
    from fxprof.capture.checkpoints import config_of_checkpoint

    WRITERS[name.rpartition(".")[2]](tmp_path / name, flux(guidance=guidance))
    found = config_of_checkpoint(read_checkpoint(tmp_path / name))
    known = load_zoo(model)
    assert (found.name, found.class_name, found.components) == (name, known.class_name, known.components)
    assert found.note == f"{name} holds the transformer; everything else comes from the bundled model {model}"


def test_a_whole_checkpoint_of_stable_diffusion_belongs_to_its_pipeline(tmp_path: Path) -> None:
    from fxprof.capture.build import build_module
    from fxprof.capture.checkpoints import config_of_checkpoint

    part = load_zoo("sd-1.5").components["unet"]
    assert part is not None
    model = build_module(SingleComponent("unet", part), torch.float32)
    tensors = {original_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    others = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3), "cond_stage_model.transformer.x": (768,)}
    write_safetensors(tmp_path / "v1-5-pruned.safetensors", {**tensors, **others})
    found = config_of_checkpoint(read_checkpoint(tmp_path / "v1-5-pruned.safetensors"))
    assert found.components == load_zoo("sd-1.5").components
    assert found.note == "v1-5-pruned.safetensors holds the unet; everything else comes from the bundled model sd-1.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"double_blocks.3.img_mlp.0.weight": (100, 3072)},
            (
                "the transformer of flux.1-dev has a tensor transformer_blocks.3.ff.net.0.proj.weight of 12288x3072; "
                "here it is 100x3072"
            ),
        ),
        ({"double_blocks.3.img_mlp.0.weight": None}, "diffusers 0.42.1 knows no model with tensors of these names and shapes"),
    ],
)
def test_other_shapes_are_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    from fxprof.capture.checkpoints import config_of_checkpoint

    path = tmp_path / "x.safetensors"
    write_safetensors(path, {name: shape for name, shape in {**flux(), **change}.items() if shape is not None})
    with pytest.raises(TargetError) as caught:
        config_of_checkpoint(read_checkpoint(path))
    assert caught.value.message == f"cannot profile {path}: {message}"
    assert caught.value.hint == "name the directory of its pipeline, or the Hub's id, as org/name"


@pytest.mark.parametrize("tensors", [{}, {"a": (1,)}, {"a": (1,), "x.lora_A.weight": (4, 320)}])
def test_other_tensors_are_of_no_model(tmp_path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    from fxprof.capture.checkpoints import config_of_checkpoint

    write_safetensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(TargetError, match="knows no model with tensors of these names and shapes"):
        config_of_checkpoint(read_checkpoint(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("tensors", "what", "method"),
    [
        (
            ("lora_unet_down.lora_down.weight", "lora_unet_down.lora_up.weight", "lora_unet_down.alpha"),
            "a LoRA",
            "load_lora_weights",
        ),
        (("transformer.x.lora_A.weight", "transformer.x.lora_B.weight"), "a LoRA", "load_lora_weights"),
        (("unet.x.processor.to_q_lora.down.weight", "unet.x.lora_up.weight"), "", ""),
        (("emb_params",), "a textual inversion", "load_textual_inversion"),
        (("string_to_param.*",), "a textual inversion", "load_textual_inversion"),
        (("clip_l", "clip_g"), "a textual inversion", "load_textual_inversion"),
    ],
)
def test_what_is_loaded_into_a_model_is_none(tmp_path: Path, tensors: tuple[str, ...], what: str, method: str) -> None:
    from fxprof.capture.checkpoints import config_of_checkpoint

    write_safetensors(tmp_path / "x.safetensors", dict.fromkeys(tensors, (4, 768)))
    with pytest.raises(TargetError) as caught:
        config_of_checkpoint(read_checkpoint(tmp_path / "x.safetensors"))
    assert (f"it is {what}, which" in caught.value.message) == bool(what)
    assert f"after pipe.{method}(...)" in caught.value.hint or not what


def test_a_pipeline_that_is_not_bundled_is_named(tmp_path: Path) -> None:
    from fxprof.capture.checkpoints import config_of_checkpoint

    upscaler = {"model.diffusion_model.input_blocks.10.0.skip_connection.bias": (4,)}
    write_safetensors(tmp_path / "x.safetensors", upscaler)
    with pytest.raises(TargetError) as caught:
        config_of_checkpoint(read_checkpoint(tmp_path / "x.safetensors"))
    assert caught.value.hint.startswith("name the pipeline itself: its directory, or stabilityai/stable-diffusion-x4-upscaler")


# --- what lies beside


def test_weights_beside_their_configuration_are_that_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL", "latent_channels": 4}')
    write_safetensors(tmp_path / "diffusion_pytorch_model.safetensors", FEW)
    found = resolve(tmp_path / "diffusion_pytorch_model.safetensors")
    assert isinstance(found, SingleComponent)
    assert found.component.class_name == "AutoencoderKL"


def test_the_index_itself_is_its_directory(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    found = resolve(tmp_path / "model_index.json")
    assert isinstance(found, PipelineConfig)
    assert found.class_name == "DDPMPipeline"


@pytest.mark.parametrize("named", ["", "modular_model_index.json"])
def test_a_modular_pipeline_is_told_what_to_do(tmp_path: Path, named: str) -> None:
    spec = {"pretrained_model_name_or_path": "org/flux", "subfolder": "vae", "type_hint": ["diffusers", "AutoencoderKL"]}
    index = {"_class_name": "FluxModularPipeline", "_blocks_class_name": "FluxAutoBlocks", "vae": [None, None, spec]}
    (tmp_path / "modular_model_index.json").write_text(json.dumps(index))
    with pytest.raises(TargetError) as caught:
        resolve(tmp_path / named if named else tmp_path)
    what = f"cannot profile {tmp_path}: a modular_model_index.json describes blocks, not a pipeline that could be called"
    assert caught.value.message == what
    assert caught.value.hint == (
        "name the pipeline that its components come from (org/flux) as a directory with a model_index.json or as org/name, "
        "or the folder of one component"
    )
