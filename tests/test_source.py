"""Targets: directories and bundled names, and what is said about everything else."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fxprof.errors import TargetError, UsageError, printable
from fxprof.source import ComponentConfig, PipelineConfig, SingleComponent, load_zoo, names, resolve
from fxprof.source.directory import MAX_BYTES
from fxprof.source.stand_ins import StandIn, stand_in

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}
FILES: dict[str, dict[str, Any]] = {
    "unet/config.json": {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "sample_size": 8},
    "scheduler/scheduler_config.json": {"_class_name": "PNDMScheduler", "steps_offset": 1},
    "tokenizer/tokenizer_config.json": {"model_max_length": 77},
    "feature_extractor/preprocessor_config.json": {"size": 224},
}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A directory that can be read."""
    directory = tmp_path / "tiny"
    for name, values in {**FILES, "model_index.json": INDEX}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return directory


def refusal(target: str | Path) -> TargetError:
    with pytest.raises(TargetError) as caught:
        resolve(target)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return caught.value


def read(target: str | Path) -> PipelineConfig:
    config = resolve(target)
    assert isinstance(config, PipelineConfig)
    return config


def rewrite(directory: Path, **entries: Any) -> None:
    (directory / "model_index.json").write_text(json.dumps({**INDEX, **entries}))


# --- directories ---


def test_a_directory_is_read(pipeline: Path) -> None:
    config = read(pipeline)
    assert (config.name, config.class_name) == ("tiny", "StableDiffusionPipeline")
    assert config.arguments == {"requires_safety_checker": False}
    assert config.components == {
        "unet": ComponentConfig("diffusers", "UNet2DConditionModel", {"sample_size": 8}, pipeline / "unet"),
        "scheduler": ComponentConfig("diffusers", "PNDMScheduler", {"steps_offset": 1}, pipeline / "scheduler"),
        "tokenizer": ComponentConfig("transformers", "CLIPTokenizer", {"model_max_length": 77}, pipeline / "tokenizer"),
        "feature_extractor": ComponentConfig(
            "transformers",
            "CLIPImageProcessor",
            {"size": 224},
            pipeline / "feature_extractor",
        ),
        "safety_checker": None,
    }


def test_a_directory_can_be_named_by_text_and_from_inside(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(f"{pipeline}/").name == "tiny"
    monkeypatch.chdir(pipeline)
    assert resolve(".").name == "tiny"
    monkeypatch.chdir(pipeline / "unet")
    assert resolve("..").name == "tiny"


def test_a_directory_comes_before_a_bundled_name(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.rename(pipeline.parent / "sd-1.5")
    monkeypatch.chdir(pipeline.parent)
    assert read("sd-1.5").components["safety_checker"] is None


def test_a_directory_without_an_index_leaves_a_bundled_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sd-1.5").mkdir()
    (tmp_path / "flux.1-dev").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve("sd-1.5") == load_zoo("sd-1.5")
    assert resolve("flux.1-dev") == load_zoo("flux.1-dev")
    assert "it has no model_index.json" in refusal("./sd-1.5").message


def test_infinities_and_nan_are_numbers(pipeline: Path) -> None:
    text = '{"lambda_min_clipped": -Infinity, "a": Infinity, "b": NaN}'
    (pipeline / "scheduler/scheduler_config.json").write_text(text)
    scheduler = read(pipeline).components["scheduler"]
    assert scheduler is not None
    assert scheduler.values["lambda_min_clipped"] == -math.inf
    assert scheduler.values["a"] == math.inf
    assert math.isnan(scheduler.values["b"])


def test_plain_arguments_may_be_null_or_lists_of_numbers(pipeline: Path) -> None:
    rewrite(pipeline, add_watermarker=None, out_layers=[9, 18, 27], kind="a", extra={"b": 1})
    assert read(pipeline).arguments == {
        "requires_safety_checker": False,
        "add_watermarker": None,
        "out_layers": [9, 18, 27],
        "kind": "a",
        "extra": {"b": 1},
    }


def test_files_may_be_links_to_elsewhere_and_start_with_a_byte_order_mark(pipeline: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b'\xef\xbb\xbf{"sample_size": 16}')
    (pipeline / "unet/config.json").unlink()
    (pipeline / "unet/config.json").symlink_to(blob)
    unet = read(pipeline).components["unet"]
    assert unet is not None
    assert unet.values == {"sample_size": 16}


def test_an_older_scheduler_may_be_in_config_json(pipeline: Path) -> None:
    (pipeline / "scheduler/scheduler_config.json").rename(pipeline / "scheduler/config.json")
    scheduler = read(pipeline).components["scheduler"]
    assert scheduler is not None
    assert scheduler.values == {"steps_offset": 1}


def test_weights_are_never_opened(pipeline: Path) -> None:
    weights = pipeline / "unet/diffusion_pytorch_model.safetensors"
    weights.mkdir()
    assert read(pipeline).class_name == "StableDiffusionPipeline"


# --- directories that are not what diffusers writes ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it nests more than 100 deep"),
        (b'{"n": ' + b"1" * 5000 + b"}", "it is not JSON"),
        (b"[1]", "it holds [1], not an object"),
        (b"null", "it holds None, not an object"),
        (b"{}", "it has no `_class_name`"),
        (b'{"_class_name": 3}', "its `_class_name` is 3, not a name"),
        (b'{"_class_name": ""}', "its `_class_name` is '', not a name"),
    ],
)
def test_an_index_that_is_no_index_is_named(pipeline: Path, text: bytes, message: str) -> None:
    (pipeline / "model_index.json").write_bytes(text)
    error = refusal(pipeline)
    assert error.message.startswith(f"cannot read {pipeline / 'model_index.json'}: ")
    assert message in error.message


@pytest.mark.parametrize(
    "entry",
    [
        ["diffusers"],
        ["diffusers", "A", "B"],
        ["diffusers", 3],
        ["diffusers", None],
        [None, "A"],
        ["", "A"],
        [],
        [["diffusers", "A"], ["diffusers", "B"]],
    ],
)
def test_an_entry_that_is_no_component_is_named(pipeline: Path, entry: list[Any]) -> None:
    rewrite(pipeline, unet=entry)
    message = refusal(pipeline).message
    assert message.startswith(f"cannot read {pipeline / 'model_index.json'}: the entry 'unet' is [")
    assert message.endswith("], not [library, class]")


def test_a_component_outside_the_directory_is_refused(pipeline: Path) -> None:
    rewrite(pipeline, **{"../unet": ["diffusers", "UNet2DConditionModel"]})
    assert refusal(pipeline).message.endswith("'../unet' is no name for a component")


@pytest.mark.parametrize("name", ["gone", "n" * 300])
def test_a_missing_folder_is_named(pipeline: Path, name: str) -> None:
    rewrite(pipeline, **{name: ["diffusers", "UNet2DConditionModel"]})
    error = refusal(pipeline)
    whole = f"cannot read the component {name!r}: {pipeline / name} is not a directory"
    assert error.message == printable(whole, 400 - len("fxprof: "))
    assert error.hint == "a pipeline directory has one folder for each component that its model_index.json names"


@pytest.mark.parametrize("file", FILES)
def test_a_missing_configuration_is_named(pipeline: Path, file: str) -> None:
    (pipeline / file).unlink()
    assert refusal(pipeline).message.endswith(f"{pipeline / file} does not exist")


def test_a_broken_configuration_is_named(pipeline: Path) -> None:
    (pipeline / "unet/config.json").write_text('{"sample_size": }')
    assert refusal(pipeline).message.startswith(f"cannot read {pipeline / 'unet/config.json'}: it is not JSON: Expecting")


def test_a_huge_file_is_refused(pipeline: Path) -> None:
    with (pipeline / "unet/config.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert refusal(pipeline).message == (
        f"cannot read {pipeline / 'unet/config.json'}: it is larger than 64 MiB, too large for a configuration"
    )


def test_an_unreadable_file_is_named(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert refusal(pipeline).message == f"cannot read {pipeline / 'model_index.json'}: Permission denied"


# --- remote code ---


def test_a_pipeline_class_of_the_repository_is_refused(pipeline: Path) -> None:
    rewrite(pipeline, _class_name=["pipeline", "MyPipeline"])
    message = refusal(pipeline).message
    assert message.startswith(f"cannot profile {pipeline}: `_class_name` names a class of the repository")
    assert message.endswith("remote code is never run")


@pytest.mark.parametrize("file", ["my_module.py", "unet/my_module.py"])
def test_a_component_class_of_the_repository_is_refused(pipeline: Path, file: str) -> None:
    (pipeline / file).write_text("raise SystemExit")
    rewrite(pipeline, unet=["my_module", "MyUNet"])
    message = refusal(pipeline).message
    assert message == (
        f"cannot profile {pipeline}: the component 'unet' is defined in {pipeline / file}, and remote code is never run"
    )


def test_an_overlong_library_is_left_to_whoever_builds(pipeline: Path) -> None:
    rewrite(pipeline, unet=["x" * 300, "MyUNet"])
    unet = read(pipeline).components["unet"]
    assert unet is not None
    assert unet.library == "x" * 300


# --- what is no target ---


def test_a_directory_without_an_index_says_what_is_there(tmp_path: Path) -> None:
    assert refusal(tmp_path).message == f"cannot profile {tmp_path}: it has no model_index.json; in it: nothing"
    for letter in "abcdefgh":
        (tmp_path / letter).touch()
    error = refusal(tmp_path)
    assert error.message.endswith("it has no model_index.json; in it: a, b, c, d, e, f, ...")
    assert error.hint.startswith("a pipeline directory holds a model_index.json and one folder per component")


@pytest.mark.parametrize("below", ["tiny", "snapshots/451f4fe"])
def test_a_directory_above_the_pipeline_says_where_it_is(pipeline: Path, tmp_path: Path, below: str) -> None:
    cache = tmp_path / "cache"
    (cache / below).parent.mkdir(parents=True)
    pipeline.rename(cache / below)
    assert refusal(cache).hint == f"{cache / below} has one"


def test_a_component_has_a_directory_of_its_own(pipeline: Path) -> None:
    part = ComponentConfig("diffusers", "UNet2DConditionModel", {"sample_size": 8}, pipeline / "unet")
    assert resolve(pipeline / "unet") == SingleComponent("unet", part)


def test_a_component_of_transformers_names_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPTextModel"], "hidden_size": 8}')
    part = ComponentConfig("transformers", "CLIPTextModel", {"architectures": ["CLIPTextModel"], "hidden_size": 8}, tmp_path)
    assert resolve(tmp_path) == SingleComponent(tmp_path.name, part)


@pytest.mark.parametrize("text", ["{}", '{"architectures": []}', '{"_class_name": ""}', '{"architectures": [3]}'])
def test_a_component_that_names_no_class_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert "it has neither a `_class_name` nor `architectures`, so it names no class" in refusal(tmp_path).message


def test_a_component_class_of_its_own_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": ["my_module", "MyUNet"]}')
    assert refusal(tmp_path).message.endswith("remote code is never run")


def test_a_directory_that_cannot_be_listed_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    assert "it has no model_index.json; in it: nothing" in refusal(tmp_path).message


@pytest.mark.parametrize("target", ["missing.pt2", "saved.json"])
def test_a_missing_file_is_named_as_one(target: str) -> None:
    assert refusal(target).message == f"cannot profile '{target}': there is no such file"


def test_a_file_is_not_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    error = refusal(tmp_path / "model.bin")
    assert error.message == f"cannot profile '{tmp_path / 'model.bin'}': it is a file, not a pipeline"
    assert "a directory with a model_index.json" in error.hint


@pytest.mark.parametrize(
    ("target", "nearest"),
    [
        ("sd15", "did you mean 'sd-1.5'"),
        ("SD-1.5", "did you mean 'sd-1.5'"),
        ("flux", "'flux.1-dev'"),
        ("sana", "'sana-1.6b-512'"),
        ("zzzz", "`fxprof models` lists"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(target: str, nearest: str) -> None:
    error = refusal(target)
    assert error.message == f"cannot profile '{target}': it is neither a directory nor a bundled model"
    assert nearest in error.hint
    assert error.hint.endswith("`fxprof models` lists the bundled models")


@pytest.mark.parametrize("target", ["/no/such/place", "./missing", "~/models", "a/b/c", "n/" + "n" * 300 + "/n"])
def test_a_missing_directory_is_named(target: str) -> None:
    assert refusal(target).message == f"cannot profile '{target}': there is no such directory"


@pytest.mark.parametrize("target", ["", " ", "\n"])
def test_nothing_is_no_target(target: str) -> None:
    assert refusal(target).message == "no target was named"


@pytest.mark.parametrize("target", ["nul\0byte", "two\nlines", "n" * 300])
def test_names_that_no_file_system_takes_are_unknown(target: str) -> None:
    assert "it is neither a directory nor a bundled model" in refusal(target).message


@pytest.mark.parametrize("name", names())
def test_a_bundled_name_resolves(name: str) -> None:
    assert resolve(name) == load_zoo(name)
    assert resolve(name).name == name


# --- start-up ---

PROGRAM = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "diffusers", "transformers", "networkx", "click", "tabulate"}:
            raise ImportError(f"{name} imported")
sys.meta_path.insert(0, Refuse())
from fxprof.source import models, resolve
assert len(models()) >= 6
print(resolve(sys.argv[1]).class_name, resolve("sd-1.5").class_name)
"""


def test_nothing_but_the_standard_library_is_imported(pipeline: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(pipeline)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "StableDiffusionPipeline StableDiffusionPipeline\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image:768x512", StandIn("image", (768, 512))),
        ("mask:8x8", StandIn("mask", (8, 8))),
        ("video:16x8x4", StandIn("video", (16, 8, 4))),
        ("tensor:1x1280", StandIn("tensor", (1, 1280))),
        ("tensor:7:int64", StandIn("tensor", (7,), "int64")),
        ("[image:8x8, mask:8x8]", [StandIn("image", (8, 8)), StandIn("mask", (8, 8))]),
        (
            "[[image:8x8,image:8x4],[image:8x8,null]]",
            [[StandIn("image", (8, 8)), StandIn("image", (8, 4))], [StandIn("image", (8, 8)), None]],
        ),
        ("[null, mask:8x8]", [None, StandIn("mask", (8, 8))]),
        ("[[1, 2], [3]]", None),
        ("image: a cat", None),
        ("a photo of image:8x8", None),
        ("[1, 2]", None),
    ],
)
def test_stand_ins_are_read(text: str, expected: object) -> None:
    assert stand_in(text) == expected
    if isinstance(expected, StandIn):
        assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "image:768",
        "image:0x8",
        "image:8x8x8",
        "mask:8x",
        "tensor:1x77:complex",
        "image:8x8:float32",
        "tensor:99999x99999",
        "[image:8]",
        "[[image:8x8]",
        "[image:8x8]]",
        "[[[[[[[[image:8x8]]]]]]]]",
    ],
)
def test_a_malformed_stand_in_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        stand_in(text)
    assert caught.value.exit_code == 2
    assert text.strip("[]") in caught.value.message
