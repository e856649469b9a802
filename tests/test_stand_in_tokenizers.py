"""Stand-in tokenizers: measured texts, chats, processors, and what the real one returns besides ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from fxprof.capture.build import Built
from fxprof.capture.processors import is_processor
from fxprof.capture.tokenizers import StandInProcessor, StandInTokenizer

BEFORE = "<|im_start|>Describe the image in detail:<|im_end|>\n"
VALUES = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "add_bos_token": False,
    "add_eos_token": False,
    "measured": [{"starts": "<|im_start|>", "ends": ":<|im_end|>\n", "characters": len(BEFORE), "tokens": 30}],
}
CHAT = [
    {"role": "system", "content": [{"type": "text", "text": "be good"}]},
    {"role": "user", "content": "a cat"},
]


def length(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text).input_ids)


@pytest.mark.parametrize(("extra", "alone", "within"), [(0, 30, 32), (1, 30, 33), (5, 30, 37)])
def test_a_measured_text_is_exact_alone_and_its_surroundings_are_not(extra: int, alone: int, within: int) -> None:
    tokenizer = StandInTokenizer("Qwen2Tokenizer", VALUES)
    tokenizer.count_extra(extra)
    assert length(tokenizer, BEFORE) == alone
    assert length(tokenizer, BEFORE + "a cat") == within


def test_a_special_token_in_a_text_is_one_token() -> None:
    assert length(StandInTokenizer("Qwen2Tokenizer", VALUES), "a<|im_end|>") == 2


@pytest.mark.parametrize("class_", [StandInTokenizer, StandInProcessor])
def test_a_chat_has_a_mark_and_a_role_before_each_message(class_: type[StandInTokenizer]) -> None:
    tokenizer = class_("Qwen2Tokenizer", VALUES)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert " ".join(text.split()) == "< system > be good < > < user > a cat < > < assistant >"
    ids = tokenizer.apply_chat_template(
        [CHAT], tokenize=True, return_dict=True, return_tensors="pt", padding="max_length", max_length=64
    )
    assert ids["input_ids"].shape == (1, 64)
    assert ids["attention_mask"].sum() == 14


def test_a_chat_template_of_the_configuration_goes_before() -> None:
    tokenizer = StandInTokenizer("X", {**VALUES, "chat_template": "{{ messages[0].role }}!"})
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "system!"


def test_positions_are_returned_where_the_real_one_returns_them() -> None:
    values = {"model_input_names": ["input_ids", "attention_mask", "position_ids"], "padding_side": "left"}
    found = StandInTokenizer("ChatGLMTokenizer", values)(["a cat"], padding="max_length", max_length=5, return_tensors="pt")
    assert found["position_ids"].tolist() == [[0, 0, 0, 1, 2]]
    assert set(StandInTokenizer("T5Tokenizer", {})("a cat")) == {"input_ids", "attention_mask"}


def test_a_processor_is_its_own_tokenizer_and_knows_no_images() -> None:
    processor = StandInProcessor("PixtralProcessor", VALUES)
    assert processor.tokenizer("a cat").input_ids == processor(text="a cat").input_ids
    with pytest.raises(NotImplementedError, match="files of the real processor"):
        processor(text="a cat", images=[object()])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("PixtralProcessor", True), ("AutoProcessor", True), ("CLIPImageProcessor", False), ("NoSuchProcessor", False)],
)
def test_processors_are_known_by_name(name: str, expected: bool) -> None:
    assert is_processor(name) is expected


def test_added_tokens_have_the_numbers_that_the_files_give_them() -> None:
    decoder = {"411": {"content": "<|image_pad|>"}, "7": {"content": "</s>"}, "x": {"content": "b"}, "9" * 30: {"content": "c"}}
    tokenizer = StandInTokenizer("Qwen2Tokenizer", {"added_tokens_decoder": decoder, "add_eos_token": False})
    assert tokenizer("a <|image_pad|><|image_pad|> b").input_ids[1:3] == [411, 411]
    assert length(tokenizer, "a <|image_pad|><|image_pad|> b") == 4


@pytest.mark.parametrize(
    "decoder", [{"1": {"content": "<a>"}, "01": {"content": "<b>"}}, ["<a>"], {"1": 3}, {"1": {"content": ""}}]
)
def test_added_tokens_that_make_no_sense_are_left_out(decoder: object) -> None:
    tokenizer = StandInTokenizer("Qwen2Tokenizer", {"added_tokens_decoder": decoder})
    assert length(tokenizer, "a cat") == 3


def test_a_tokenizer_in_a_processor_may_be_a_stand_in_too() -> None:
    processor = transformers.CLIPProcessor.__new__(transformers.CLIPProcessor)
    processor.tokenizer = StandInTokenizer("CLIPTokenizer", {})
    built = Built(SimpleNamespace(processor=processor, tokenizer=processor.tokenizer, vae=None), {})
    assert built.tokenizers == dict.fromkeys(("processor", "tokenizer"), processor.tokenizer)
