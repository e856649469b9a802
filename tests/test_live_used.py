"""A pipeline or a module that has really run is profiled like a fresh one, and everything is put back, bit for bit."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import oracle
import pytest
import torch
import transformers
from families import CASES
from families.case import Case, points
from test_live_state import changes, state_of
from torch import nn

import fxprof
from fxprof.capture.optional import standing_in
from fxprof.result import Profile

QUICK = ("DDIMPipeline",)
FEWER = {"PNDMPipeline", "TextToVideoZeroPipeline", "TextToVideoZeroSDXLPipeline"}
"""Those that do not run in two steps."""
KEEPS = {"MarigoldDepthPipeline", "MarigoldNormalsPipeline", "MarigoldIntrinsicsPipeline"}
"""Those that keep what they encoded, and do not encode it again."""
ENDS = {"HunyuanImagePipeline with guidance in some steps"}
"""Those that fail at their second image, as diffusers' guider keeps the step at which the first one ended."""
NEEDED: dict[str, dict[str, Any]] = {
    # They cannot do without in a real run.
    "VisualClozeGenerationPipeline": {"generator": [torch.Generator()]},
    "LTX2ImageToVideoPipeline": {"image_crf": 0},
}
RECODES = {"LTX2ConditionPipeline"}
"""Those that compress an image as a film would be, which takes a codec in a real run."""
SMALL = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 100}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 3, "num_heads": 4, "vocab_size": 100}


def work(profile: Profile) -> dict[str, Any]:
    return {
        name: (part.macs, sorted((call.entry, call.count, call.macs) for call in part.calls))
        for name, part in profile.components.items()
    }


def arguments(name: str, case: Case) -> dict[str, Any]:
    steps = min(case.steps, 2) if name not in FEWER else case.steps
    return {
        **({"prompt": "a photo of a cat"} if case.prompt else {}),
        **({"num_inference_steps": steps} if case.steps else {}),
        **points(name, case)[""].arguments,
        **NEEDED.get(name, {}),
    }


def really_run(pipeline: Any, given: dict[str, Any]) -> int:
    """MACs of a run for real, in which packages that are not installed are stood in for as in a rehearsal."""
    with standing_in():
        return oracle.run(pipeline, set(), **given).total


def solves(profile: Profile) -> int:
    """MACs of small systems of equations and their like, which `FlopCounterMode` takes for nothing."""
    calls = [call for part in profile.components.values() for call in part.calls]
    return sum((row.macs or 0) * call.count for call in calls for row in call.ops if row.op.startswith("aten.linalg_"))


def stays_the_same(name: str, case: Case) -> None:
    torch.manual_seed(0)
    pipeline, given = points(name, case)[""].make(), arguments(name, case)
    pipeline.set_progress_bar_config(disable=True)
    before = state_of(pipeline)
    fresh = fxprof.profile(pipeline, arguments=given)
    assert changes(before, state_of(pipeline)) == []
    assert fresh.macs - solves(fresh) == really_run(pipeline, given)
    before = state_of(pipeline)
    used = fxprof.profile(pipeline, arguments=given)
    assert changes(before, state_of(pipeline)) == []
    if name in ENDS:
        assert used.approximations[0].startswith("the dry run ended at ")
        with pytest.raises(AttributeError):
            really_run(pipeline, given)
    elif name not in KEEPS:
        assert {part: macs for part, (macs, _) in work(used).items()} == {part: macs for part, (macs, _) in work(fresh).items()}
        assert used.approximations == fresh.approximations


@pytest.mark.parametrize("name", QUICK)
def test_a_used_pipeline_is_like_a_fresh_one(name: str) -> None:
    stays_the_same(name, CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK])
def test_so_is_every_other(name: str) -> None:
    if not CASES[name].runs:
        pytest.skip(f"needs {CASES[name].needs}")
    if name in RECODES and importlib.util.find_spec("av") is None:
        pytest.skip("needs av")
    stays_the_same(name, CASES[name])


class Summing(nn.Module):
    """It works with every hidden state of an encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.encoder(ids, output_hidden_states=True).hidden_states
        return torch.stack([state @ state.transpose(-1, -2) for state in states]).sum(0)


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "CLIP": lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**SMALL)),
    "CLIP with projection": lambda: transformers.CLIPTextModelWithProjection(
        transformers.CLIPTextConfig(**SMALL, projection_dim=32)
    ),
    "T5": lambda: transformers.T5EncoderModel(transformers.T5Config(**T5)),
    "UMT5": lambda: transformers.UMT5EncoderModel(transformers.UMT5Config(**T5)),
    "Llama": lambda: transformers.LlamaModel(transformers.LlamaConfig(**SMALL, num_key_value_heads=2)),
    "Gemma 2": lambda: transformers.Gemma2Model(transformers.Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8)),
    "Qwen 2": lambda: transformers.Qwen2Model(transformers.Qwen2Config(**SMALL, num_key_value_heads=2)),
    "BERT": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
}


LONG = {"CLIP with projection", "UMT5", "Llama"}
"""Those that are much like another one."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in ENCODERS])
def test_a_used_text_encoder_is_like_a_fresh_one(name: str) -> None:
    module, ids = Summing(ENCODERS[name]()).eval(), torch.arange(7)[None]
    fresh = fxprof.profile_module(module, (ids,))
    wanted = oracle.macs_of(lambda: module(ids))
    used = fxprof.profile_module(module, (ids,))
    assert (fresh.macs, used.macs, used.total.uncounted, used.approximations) == (wanted, wanted, 0, ())
    assert work(used) == work(fresh)
