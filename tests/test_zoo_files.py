"""The bundled models: every file is what it says, and what the installed libraries build from it has the stated size."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fxprof.errors import TargetError
from fxprof.source import ComponentConfig, PipelineConfig, load_zoo, models, names, zoo, zoo_table

EXPECTED_PARAMS = {
    "auraflow-v0.3": 1_223_550_976 + 6_858_605_568 + 83_653_863,
    "chroma1-hd": 4_762_310_656 + 8_899_983_424 + 83_819_683,
    "cogview3-plus-3b": 4_762_310_656 + 2_848_836_672 + 406_100_643,
    "cogview4-6b": 8_779_194_368 + 6_369_118_272 + 406_100_643,
    "deepfloyd-if-i-xl": 4_762_310_656 + 4_304_695_110,
    "flux.1-dev": 123_060_480 + 4_762_310_656 + 11_901_408_320 + 83_819_683,
    "flux.1-schnell": 123_060_480 + 4_762_310_656 + 11_891_178_560 + 83_819_683,
    "flux.2-dev": 23_340_272_640 + 32_223_281_152 + 84_046_115,
    "flux.2-klein-4b": 4_022_468_096 + 3_875_544_576 + 84_046_115,
    "flux.2-klein-9b": 8_190_735_360 + 9_078_581_248 + 84_046_115,
    "flux.2-klein-base-4b": 4_022_468_096 + 3_875_544_576 + 84_046_115,
    "hidream-i1-dev": 123_781_632 + 694_840_320 + 4_762_310_656 + 8_030_261_248 + 17_105_733_184 + 83_819_683,
    "hidream-i1-fast": 123_781_632 + 694_840_320 + 4_762_310_656 + 8_030_261_248 + 17_105_733_184 + 83_819_683,
    "hidream-i1-full": 123_781_632 + 694_840_320 + 4_762_310_656 + 8_030_261_248 + 17_105_733_184 + 83_819_683,
    "hunyuandit": 352_035_840 + 1_669_958_656 + 1_516_534_048 + 83_653_863,
    "hunyuanimage-2.1": 8_292_166_656 + 219_314_944 + 17_425_795_520 + 405_575_491,
    "kandinsky-2.1": 560_677_632 + 1_228_661_768 + 67_832_495 + 1_022_030_080 + 303_966_208 + 123_650_304,
    "kandinsky-2.2": 1_253_057_288 + 67_832_495 + 1_026_225_920 + 1_844_907_264 + 694_659_840,
    "kandinsky-3": 8_721_797_632 + 3_055_348_228 + 270_669_103,
    "kolors": 6_243_584_000 + 2_579_458_820 + 83_653_863,
    "lcm-dreamshaper-v7": 123_060_480 + 859_602_884 + 83_653_863,
    "lcm-sdxl": 123_060_480 + 694_659_840 + 2_567_545_604 + 83_653_863,
    "lumina-image-2.0": 2_614_341_888 + 2_609_769_152 + 83_819_683,
    "lumina-next-sft": 2_506_172_416 + 1_754_898_976 + 83_653_863,
    "ovis-image-7b": 1_720_574_976 + 7_370_449_728 + 83_819_683,
    "pixart-alpha-1024": 4_762_310_656 + 611_349_152 + 83_653_863,
    "pixart-alpha-512": 4_762_310_656 + 610_856_096 + 83_653_863,
    "pixart-lcm-1024": 4_762_310_656 + 611_349_152 + 83_653_863,
    "pixart-sigma-1024": 4_762_310_656 + 610_856_096 + 83_653_863,
    "playground-v2.5": 123_060_480 + 694_659_840 + 2_567_463_684 + 83_653_863,
    "qwen-image": 8_292_166_656 + 20_430_401_088 + 126_892_531,
    "sana-1.6b-1024": 2_614_341_888 + 1_604_462_752 + 312_250_275,
    "sana-1.6b-512": 2_614_341_888 + 1_604_462_752 + 312_250_275,
    "sana-600m-512": 2_614_341_888 + 591_747_872 + 312_250_275,
    "sana-sprint-0.6b": 2_614_341_888 + 593_501_216 + 312_250_275,
    "sana-sprint-1.6b": 2_614_341_888 + 1_610_237_472 + 312_250_275,
    "sd-1.5": 123_060_480 + 859_520_964 + 83_653_863 + 303_981_588,
    "sd-2.1": 340_387_840 + 865_910_724 + 83_653_863,
    "sd-2.1-base": 340_387_840 + 865_910_724 + 83_653_863,
    "sd-turbo": 340_387_840 + 865_910_724 + 83_653_863,
    "sd3-medium": 123_650_304 + 694_659_840 + 4_762_310_656 + 2_028_328_000 + 83_819_683,
    "sd3.5-large": 123_650_304 + 694_659_840 + 4_762_310_656 + 8_056_627_520 + 83_819_683,
    "sd3.5-medium": 123_650_304 + 694_659_840 + 4_762_310_656 + 2_243_171_520 + 83_819_683,
    "sdxl-base-1.0": 123_060_480 + 694_659_840 + 2_567_463_684 + 83_653_863,
    "sdxl-refiner-1.0": 694_659_840 + 2_259_526_660 + 83_653_863,
    "sdxl-turbo": 123_060_480 + 694_659_840 + 2_567_463_684 + 83_653_863,
    "stable-cascade": 694_659_840 + 1_562_941_136 + 18_406_894 + 3_589_103_632 + 694_659_840 + 303_966_208,
    "wuerstchen": 352_984_064 + 1_055_365_280 + 18_406_894 + 693_021_440 + 993_636_896,
    "z-image-turbo": 4_022_468_096 + 6_154_908_736 + 83_819_683,
}
COMPONENTS = [(model, name) for model in names() for name, part in load_zoo(model).components.items() if part]
COUNTED = [
    (model, name) for model, name in COMPONENTS if getattr(load_zoo(model).components[name], "instantiated_params", None)
]
TOKENIZERS = [(model, name) for model, name in COMPONENTS if "tokenizer" in name]


def component(model: str, name: str) -> ComponentConfig:
    found = load_zoo(model).components[name]
    assert found is not None
    return found


def class_of(part: ComponentConfig) -> Any:
    if part.library not in {"diffusers", "transformers"}:
        return getattr(import_module(f"diffusers.pipelines.{part.library}"), part.class_name)
    return getattr(import_module(part.library), part.class_name)


@cache
def count_parameters(library: str, class_name: str, values: str) -> int:
    import torch

    cls, config = class_of(ComponentConfig(library, class_name)), json.loads(values)
    with torch.device("meta"):
        built = cls.from_config(config) if hasattr(cls, "from_config") else cls(cls.config_class.from_dict(config))
    return sum(parameter.numel() for parameter in built.parameters())


# --- the files ---


def test_the_models_are_bundled_with_their_parameters() -> None:
    assert {entry.name: entry.params for entry in models()} == EXPECTED_PARAMS


def test_an_entry_says_what_is_reconstructed() -> None:
    by_name = {entry.name: entry for entry in models()}
    assert by_name["sd-1.5"].confidence == "verbatim"
    assert by_name["pixart-alpha-512"].confidence == "reconstructed: text_encoder, transformer, vae"
    assert by_name["sana-1.6b-512"].confidence == "reconstructed: transformer"
    assert "1024x1024" in by_name["sana-1.6b-512"].note
    assert by_name["flux.1-dev"].hub_id == "black-forest-labs/FLUX.1-dev"
    assert by_name["flux.1-dev"].title == "FLUX.1 dev"


@pytest.mark.parametrize(("model", "name"), COMPONENTS)
def test_every_component_says_where_it_comes_from(model: str, name: str) -> None:
    part = component(model, name)
    assert part.sources
    assert all(part.sources)
    assert part.confidence
    assert part.values
    if part.published_params is not None:
        assert part.published_params == part.instantiated_params
        assert part.published_where
    else:
        assert not part.published_where


def test_every_part_is_used() -> None:
    text = "".join(path.read_text() for path in Path(zoo.__file__).parents[1].joinpath("zoo").rglob("*.toml"))
    unused = [
        path.stem for path in (Path(zoo.__file__).parents[1] / "zoo/parts").iterdir() if f'use = "{path.stem}"' not in text
    ]
    assert unused == []


def test_a_part_is_overridden_value_by_value() -> None:
    vae, part = component("sdxl-base-1.0", "vae"), component("sd-1.5", "vae")
    assert {key for key in vae.values if vae.values[key] != part.values.get(key)} == {
        "sample_size",
        "scaling_factor",
        "force_upcast",
    }


def test_another_size_takes_over_no_published_count() -> None:
    assert component("sd-1.5", "text_encoder").published_params == 123_060_480
    projected = component("sd3-medium", "text_encoder")
    assert (projected.class_name, projected.published_params) == ("CLIPTextModelWithProjection", None)


def test_what_a_caller_does_to_the_values_stays_with_the_caller() -> None:
    component("sd-1.5", "unet").values["block_out_channels"].append(1)
    assert component("sd-1.5", "unet").values["block_out_channels"] == [320, 640, 1280, 1280]


def test_an_unknown_name_is_a_target_error() -> None:
    with pytest.raises(TargetError, match="no model of this name is bundled"):
        load_zoo("sd-9")


@pytest.mark.parametrize(("model", "name"), TOKENIZERS)
def test_a_tokenizer_says_what_its_stand_in_needs(model: str, name: str) -> None:
    values = component(model, name).values
    assert values["padding_side"] in {"left", "right"}
    special = {values[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token") if key in values}
    assert special == set(values["token_ids"])
    assert all(0 <= token_id < values["vocab_size"] for token_id in values["token_ids"].values())
    assert values["eos_token"] in special
    around = (values["add_bos_token"], values["add_eos_token"])
    known = {"CLIP": (True, True), "T5": (False, True), "Gemma": (True, False), "Bert": (True, True), "Qwen2": (False, False)}
    family = next((family for family in known if component(model, name).class_name.startswith(family)), "")
    assert around == known.get(family, around)
    assert "bos_token" in values or not values["add_bos_token"]


def test_clip_pads_with_its_eos_and_openclip_with_the_first_token() -> None:
    clip, openclip = component("sdxl-base-1.0", "tokenizer"), component("sdxl-base-1.0", "tokenizer_2")
    assert clip.values["pad_token"] == clip.values["eos_token"]
    assert openclip.values["token_ids"][openclip.values["pad_token"]] == 0
    assert clip.values["model_max_length"] == openclip.values["model_max_length"] == 77


def test_the_table_in_the_documentation_is_current() -> None:
    text = (Path(__file__).parents[1] / "docs/zoo.md").read_text()
    table = text.partition("<!-- zoo table: begin -->\n")[2].partition("<!-- zoo table: end -->")[0]
    assert table == zoo_table()


def test_the_documentation_lists_the_keys_of_a_component() -> None:
    text = (Path(__file__).parents[1] / "docs/zoo.md").read_text()
    rows = text.partition("A component, and a part, has these keys:")[2].partition("`library`, `class`,")[0]
    assert {line.split("`")[1] for line in rows.splitlines() if line.startswith("| `")} == zoo._COMPONENT_KEYS


# --- mistakes in a file ---

MODEL = """
title = "T"
class = "P"
hub_id = "o/n"
sources = ["s"]
"""
PART = 'library = "diffusers"\nclass = "C"\nsources = ["s"]\nconfidence = "verbatim"\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PipelineConfig]]:
    """Write a model `m` and parts, and load it."""
    caches = (zoo.names, zoo._stems, zoo._read)
    (tmp_path / "parts").mkdir()

    def load(model: str, **parts: str) -> PipelineConfig:
        (tmp_path / "m.toml").write_text(model)
        for name, text in parts.items():
            (tmp_path / f"parts/{name}.toml").write_text(text)
        return load_zoo("m")

    monkeypatch.setattr(zoo, "files", lambda package: tmp_path)
    for cached in caches:
        cached.cache_clear()
    yield load
    for cached in caches:
        cached.cache_clear()


def test_none_is_said_by_name(write: Callable[..., PipelineConfig]) -> None:
    part = PART + 'none = ["a"]\n[values]\nb = 1\nc = 1'
    config = write(MODEL + 'none = ["image_encoder"]\n[components.x]\nuse = "p"\nnone = ["c"]\nvalues = { a = 2 }', p=part)
    assert config.components["image_encoder"] is None
    assert config.components["x"] == ComponentConfig(
        "diffusers",
        "C",
        values={"a": 2, "b": 1, "c": None},
        sources=("s",),
        confidence="verbatim",
    )


@pytest.mark.parametrize(
    ("model", "part", "message"),
    [
        (MODEL + "steps = 20\n[components]", "", "m.toml: unknown key steps"),
        ('title = "T"', "", "m.toml: missing class, components, hub_id, sources"),
        (MODEL + '[components.x]\nuse = "p"\nshape = 1', PART, "component 'x': unknown key shape"),
        (MODEL + '[components.x]\nuse = "p"', PART + "shape = 1", "parts/p.toml: unknown key shape"),
        (MODEL + '[components.x]\nuse = "p"', 'class = "C"', "component 'x': missing confidence, library, sources"),
        (MODEL + '[components.x]\nuse = "q"', PART, "component 'x': no part is called 'q'"),
        (MODEL + '[components.x]\nuse = "p"', 'use = "p"', "the part 'p' uses itself"),
        (MODEL + '[components.x]\nuse = "p"\nnone = ["a"]\nvalues = { a = 1 }', PART, "'a' has a value and is listed under"),
        (MODEL + 'none = ["x"]\n[components.x]\nuse = "p"', PART, "component 'x': listed under `none`, too"),
    ],
)
def test_a_mistake_in_a_file_is_refused(write: Callable[..., PipelineConfig], model: str, part: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        write(model, p=part)


# --- against the installed libraries ---


LONG = {("wuerstchen", "decoder"), ("sana-1.6b-512", "text_encoder")}
"""Those that take seconds to build."""


@pytest.mark.parametrize(
    ("model", "name"), [pytest.param(*pair, marks=pytest.mark.slow if pair in LONG else ()) for pair in COUNTED]
)
def test_a_component_has_the_stated_number_of_parameters(model: str, name: str) -> None:
    part = component(model, name)
    values = json.dumps(dict(part.values), sort_keys=True)
    assert count_parameters(part.library, part.class_name, values) == part.instantiated_params


@pytest.mark.parametrize(("model", "name"), COMPONENTS)
def test_a_component_is_counted_if_it_is_a_module(model: str, name: str) -> None:
    import torch

    part = component(model, name)
    assert issubclass(class_of(part), torch.nn.Module) == (part.instantiated_params is not None)


@pytest.mark.parametrize(("model", "name"), [pair for pair in COMPONENTS if pair not in TOKENIZERS])
def test_a_class_takes_every_value(model: str, name: str) -> None:
    part = component(model, name)
    cls = class_of(part)
    config_class = getattr(cls, "config_class", None)
    if config_class is None:
        known = set(inspect.signature(cls).parameters)
        if part.library == "transformers":
            known |= set(cls.valid_kwargs.__annotations__) | set(cls().to_dict())
    else:
        # The first is what transformers 5 keeps in `rope_parameters`, the second what ChatGLM reads without declaring it.
        known = set(config_class().to_dict()) | {"rope_theta", "original_rope"}
    assert set(part.values) - known == set()


@pytest.mark.parametrize("model", names())
def test_a_pipeline_takes_every_component_and_argument(model: str) -> None:
    config = load_zoo(model)
    from fxprof.capture.classes import pipeline_class

    parameters = inspect.signature(pipeline_class(config)).parameters
    assert set(config.components) | set(config.arguments) <= set(parameters)
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    assert required <= set(config.components) | set(config.arguments)


def test_the_measured_text_is_that_of_the_installed_pipeline() -> None:
    (measured,) = component("sana-1.6b-512", "tokenizer").values["measured"]
    pipeline = import_module("diffusers").SanaPipeline
    text = "\n".join(inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default)
    assert text.startswith(measured["starts"])
    assert text.endswith(measured["ends"])
    assert (len(text), measured["tokens"]) == (measured["characters"], 207)


def test_the_measured_template_is_that_of_the_installed_pipeline() -> None:
    """Its length is what the pipeline itself drops again."""
    pipeline = import_module("diffusers").QwenImagePipeline(*[None] * 5)
    prefix, suffix = component("qwen-image", "tokenizer").values["measured"]
    for measured, text in zip((prefix, suffix), pipeline.prompt_template_encode.split("{}"), strict=True):
        assert text.startswith(measured["starts"])
        assert text.endswith(measured["ends"])
        assert len(text) == measured["characters"]
    assert prefix["tokens"] == pipeline.prompt_template_encode_start_idx
