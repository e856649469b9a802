"""Processors of images and texts where torchvision is not installed: sizes and numbers of tokens, derived by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from fxprof.capture import vision
from fxprof.capture.optional import standing_in
from fxprof.capture.processors import is_processor, processor
from fxprof.capture.tokenizers import StandInProcessor
from fxprof.source.config import ComponentConfig
from fxprof.source.directory import read_object

WIDE = Image.new("RGB", (100, 60), "red")
"""100 wide, 60 high."""


def without_torchvision() -> bool:
    return importlib.util.find_spec("torchvision") is None


def made(directory: Path, class_name: str, said: list[str] | None = None, **files: dict[str, Any]) -> Any:
    for name, values in files.items():
        (directory / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    main = directory / "preprocessor_config.json"
    values = read_object(main) if main.is_file() else {}
    part = ComponentConfig("transformers", class_name, values, directory)
    return processor("could not build it", "processor", part, (said if said is not None else []).append)


def vocabulary(directory: Path, *more: str) -> None:
    words = ["<unk>", "<pad>", "</s>", "<s>", "describe", "it", *more]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(more))
    tokenizer.save(str(directory / "tokenizer.json"))


QWEN = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


@pytest.mark.parametrize("own_words", [False, True])
@pytest.mark.parametrize(
    ("class_name", "kind", "patch"),
    [
        ("Qwen2VLProcessor", "Qwen2VLImageProcessor", 14),
        ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessorFast", 14),
        ("Qwen3VLProcessor", "Qwen2VLImageProcessorFast", 16),
    ],
)
def test_qwen_turns_an_image_into_patches_and_tokens(
    tmp_path: Path, class_name: str, kind: str, patch: int, own_words: bool
) -> None:
    if own_words:
        vocabulary(tmp_path, *QWEN)
    sizes = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 3136, "max_pixels": 10**6}
    with standing_in():
        both = made(
            tmp_path,
            class_name,
            preprocessor_config={"image_processor_type": kind, **sizes},
            tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"},
        )
        found = both(text=["describe <|vision_start|><|image_pad|><|vision_end|>"], images=[WIDE], return_tensors="pt")
    # The nearest multiples of two patches: 60 x 100 becomes 4 x 8 patches of 14, or 4 x 6 of 16.
    rows, columns = round(60 / (2 * patch)) * 2, round(100 / (2 * patch)) * 2
    assert found["image_grid_thw"].tolist() == [[1, rows, columns]]
    assert found["pixel_values"].shape == (rows * columns, 3 * 2 * patch * patch)
    tokens = both.tokenizer.convert_ids_to_tokens(found["input_ids"][0].tolist())
    assert tokens.count("<|image_pad|>") == rows * columns // 4
    assert isinstance(both, getattr(transformers, class_name))


def test_qwen_prepares_a_film(tmp_path: Path) -> None:
    film = torch.zeros(4, 3, 60, 100, dtype=torch.uint8)
    with standing_in() as stand_ins:
        both = made(tmp_path, "Qwen2VLProcessor", preprocessor_config={"patch_size": 14, "merge_size": 2})
        found = both.video_processor(
            videos=[film], do_sample_frames=False, min_pixels=56 * 56, max_pixels=10**6, return_tensors="pt"
        )
    assert found["video_grid_thw"].tolist() == [[2, 4, 8]]
    assert found["pixel_values_videos"].shape == (2 * 4 * 8, 3 * 2 * 14 * 14)
    assert (stand_ins.used == {"torchvision"}) == without_torchvision()


@pytest.mark.parametrize("own_words", [False, True])
def test_pixtral_ends_each_row_of_patches(tmp_path: Path, own_words: bool) -> None:
    if own_words:
        vocabulary(tmp_path, "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    with standing_in():
        both = made(
            tmp_path,
            "PixtralProcessor",
            preprocessor_config={
                "image_processor_type": "PixtralImageProcessorFast",
                "patch_size": {"height": 16, "width": 16},
            },
            processor_config={"patch_size": 16, "spatial_merge_size": 1, "processor_class": "PixtralProcessor"},
            tokenizer_config={"tokenizer_class": "LlamaTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"},
        )
        found = both(text="describe [IMG]", images=[WIDE], return_tensors="pt")
    assert found["pixel_values"].shape == (1, 3, 64, 112)
    tokens = both.tokenizer.convert_ids_to_tokens(found["input_ids"][0].tolist())
    assert [tokens.count(token) for token in ("[IMG]", "[IMG_BREAK]", "[IMG_END]")] == [4 * 7, 3, 1]


def test_an_image_in_a_chat_has_its_tokens(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": [{"type": "image", "image": WIDE}, {"type": "text", "text": "describe it"}]}]
    with standing_in():
        both = made(tmp_path, "Qwen2VLProcessor", preprocessor_config={"patch_size": 14, "min_pixels": 56 * 56})
        found = both.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
    assert found["image_grid_thw"].tolist() == [[1, 4, 8]]
    assert (found["input_ids"] == both.tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum() == 8


def test_special_tokens_that_a_processor_asks_for_are_one_token_each(tmp_path: Path) -> None:
    with standing_in():
        both = made(tmp_path, "GlmImageProcessor", preprocessor_config={"image_processor_type": "GlmImageImageProcessor"})
        found = both(text=["a cat"], target_h=64, target_w=96, return_tensors="pt")
    tokens = both.tokenizer.convert_ids_to_tokens(found["input_ids"][0].tolist())
    assert [tokens.count(f"<|{name}|>") for name in ("grid_bos_token", "grid_eos_token")] == [2, 2]
    assert found["image_grid_thw"].tolist() == [[1, 2, 3], [1, 13, 19]]


def test_a_processor_of_a_configuration_has_no_images() -> None:
    part = ComponentConfig("transformers", "PixtralProcessor", {"model_max_length": 512})
    assert type(processor("x", "processor", part, lambda _: None)) is StandInProcessor


@pytest.mark.parametrize("name", ["GlmImageProcessor", "Qwen2VLProcessor", "CLIPProcessor"])
def test_processors_are_known_by_what_they_are(name: str) -> None:
    assert is_processor(name)


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLVideoProcessor", "CLIPTokenizer"])
def test_other_classes_are_none(name: str) -> None:
    assert not is_processor(name)


# --- the functions themselves


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [([30, 50], {}, (30, 50)), (30, {}, (30, 50)), ([30], {}, (30, 50)), (30, {"max_size": 40}, (24, 40))],
)
@pytest.mark.parametrize("image", [WIDE, torch.zeros(2, 3, 60, 100)], ids=["an image", "a tensor"])
def test_resized_to_both_sizes_or_the_shorter_side(image: Any, size: Any, options: Any, expected: tuple[int, int]) -> None:
    found = vision.resize(image, size, **options)
    assert (found.size[::-1] if isinstance(found, Image.Image) else tuple(found.shape[-2:])) == expected


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda image: vision.pad(image, [1, 2, 3, 4]), (3, 66, 104)),
        (lambda image: vision.pad(image, [1, 2]), (3, 64, 102)),
        (lambda image: vision.pad(image, 5), (3, 70, 110)),
        (lambda image: vision.crop(image, 1, 2, 30, 40), (3, 30, 40)),
        (lambda image: vision.center_crop(image, 20), (3, 20, 20)),
        (vision.rgb_to_grayscale, (1, 60, 100)),
        (lambda image: vision.grayscale_to_rgb(image[:1]), (3, 60, 100)),
        (lambda image: vision.normalize(image, [0.5] * 3, [0.5] * 3), (3, 60, 100)),
    ],
)
def test_shapes_are_those_of_torchvision(function: Any, shape: tuple[int, ...]) -> None:
    assert tuple(function(torch.zeros(3, 60, 100)).shape) == shape


def test_an_image_becomes_a_tensor_of_its_values() -> None:
    found = vision.Compose([vision.to_tensor])(Image.new("RGB", (4, 2), (255, 0, 51)))
    assert found.shape == (3, 2, 4)
    assert found[:, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert vision.pil_to_tensor(np.zeros((2, 4), dtype=np.uint8)).shape == (1, 2, 4)
    assert vision.to_pil_image(torch.zeros(3, 2, 4)).size == (4, 2)


def test_nothing_stays_behind() -> None:
    before = {name for name in sys.modules if name.partition(".")[0] in {"torchvision", "ftfy", "bs4", "cosmos_guardrail"}}
    names = dict(vars(transformers.image_utils))
    with standing_in():
        pass
    after = {name for name in sys.modules if name.partition(".")[0] in {"torchvision", "ftfy", "bs4", "cosmos_guardrail"}}
    assert after == before
    assert vars(transformers.image_utils).keys() == names.keys()
