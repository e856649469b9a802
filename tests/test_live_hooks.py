"""Hooks, replaced forwards and state elsewhere: a live object costs what it costs when it really runs."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import tiny
import torch
from oracle import macs_of
from torch import nn

import fxprof

SIZE: dict[str, Any] = {"height": 64, "width": 64}
X = torch.randn(2, 8)


def agrees(make: Callable[[], nn.Module], *args: Any, **kwargs: Any) -> int:
    """The MACs of a profile, which are those of a real call."""
    torch.manual_seed(0)
    module = make().eval()
    wanted = macs_of(lambda: module(*args, **kwargs))
    torch.manual_seed(0)
    profile = fxprof.profile_module(make().eval(), args, kwargs)
    assert (profile.macs, profile.total.uncounted, profile.approximations) == (wanted, 0, ())
    return profile.macs


def pair() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))


def adding_work() -> nn.Module:
    model, side = pair(), nn.Linear(8, 8)
    model[0].register_forward_hook(lambda module, args, output: output + side(args[0]))
    return model


def changing_the_input() -> nn.Module:
    model, side = pair(), nn.Linear(16, 8)
    model[0].register_forward_pre_hook(lambda module, args: (side(torch.cat([args[0], args[0]], -1)),))
    return model


def changing_the_width() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(16, 4))
    model[0].register_forward_hook(lambda module, args, output: torch.cat([output, output], -1))
    return model


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, *, rows: int = 1) -> Any:
        return self.layer(x[:rows])


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Scaled()

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x, rows=1)


def changing_keywords() -> nn.Module:
    model = Named()
    model.inner.register_forward_pre_hook(lambda module, args, kwargs: (args, {**kwargs, "rows": 2}), with_kwargs=True)
    return model


def on_one_of_equal_blocks() -> nn.Module:
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)) for _ in range(4)]
    model, side = nn.Sequential(*blocks), nn.Linear(8, 8)
    blocks[2].register_forward_hook(lambda module, args, output: side(output))
    return model


def leaving_one_out() -> nn.Module:
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(3)])
    model[1].forward = lambda x: x
    return model


def bound_to_an_instance() -> nn.Module:
    def forward(self: Any, x: torch.Tensor) -> Any:
        return self[1](self[0](self[0](x)))

    model = pair()
    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
    return model


def in_every_second_call() -> nn.Module:
    """A closure that counts: of four calls of the block two are skipped."""
    block, calls = nn.Linear(8, 8), itertools.count()
    old = block.forward
    block.forward = lambda x: x if next(calls) % 2 else old(x)  # type: ignore[method-assign, assignment]
    return nn.Sequential(block, block, block, block)


STATE = {"calls": 0}


class Global(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        STATE["calls"] += 1
        return self.layer(x) if STATE["calls"] % 2 else x


class Settings:
    skip = False


class Switched(nn.Module):
    """Its second call finds another setting, of a class, than the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if Settings.skip else self.layer(x)


class Switching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Switched()

    def forward(self, x: torch.Tensor) -> Any:
        Settings.skip = False
        x = self.part(x)
        Settings.skip = True
        return self.part(x)


class Controller:
    def __init__(self) -> None:
        self.steps = 0


class Controlled(nn.Module):
    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.layer, self.controller = nn.Linear(8, 8), controller

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.controller.steps += 1
        return self.layer(x) if self.controller.steps < 3 else x


def sharing_a_controller() -> nn.Module:
    controller = Controller()
    return nn.Sequential(*[Controlled(controller) for _ in range(4)])


def globally() -> nn.Module:
    STATE["calls"] = 0
    return nn.Sequential(*[Global() for _ in range(5)])


MODULES = [
    adding_work,
    changing_the_input,
    changing_the_width,
    changing_keywords,
    on_one_of_equal_blocks,
    leaving_one_out,
    bound_to_an_instance,
    in_every_second_call,
    globally,
    Switching,
    sharing_a_controller,
]


@pytest.mark.parametrize("make", MODULES)
def test_what_is_around_a_module_is_part_of_its_work(make: Callable[[], nn.Module]) -> None:
    assert agrees(make, X) > 0


def test_a_hook_on_one_block_costs_what_it_computes() -> None:
    assert agrees(on_one_of_equal_blocks, X) == (4 * 2 + 1) * 2 * 8 * 8


def test_the_work_around_a_module_is_put_where_it_ran() -> None:
    profile = fxprof.profile_module(adding_work(), (X,))
    nodes = {node.path: node.self_macs for node in profile.components["model"].tree.walk()}
    assert nodes == {"": 0, "0": 2 * 2 * 8 * 8, "1": 2 * 8 * 8}


def pyramid(pipeline: Any) -> Any:
    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(100, 950),
        spatial_attention_block_identifiers=["transformer_blocks", "single_transformer_blocks"],
        current_timestep_callback=lambda: pipeline.current_timestep,
    )


def faster(pipeline: Any) -> Any:
    return diffusers.FasterCacheConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(-1, 681),
        spatial_attention_block_identifiers=["transformer_blocks"],
        current_timestep_callback=lambda: pipeline.current_timestep,
        is_guidance_distilled=True,
    )


def taylor(pipeline: Any) -> Any:
    return diffusers.TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=2, max_order=1)


def magnitude(pipeline: Any) -> Any:
    return diffusers.MagCacheConfig(
        threshold=0.06, max_skip_steps=3, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=torch.ones(STEPS)
    )


STEPS = 6


def cached(config: Callable[[Any], Any]) -> Any:
    torch.manual_seed(0)
    pipeline = tiny.flux()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.transformer.enable_cache(config(pipeline))
    return pipeline


@pytest.mark.parametrize(
    "config", [pyramid, *(pytest.param(cache, marks=pytest.mark.slow) for cache in (faster, taylor, magnitude))]
)
def test_caches_of_diffusers_save_what_they_save(config: Callable[[Any], Any]) -> None:
    plain = tiny.profile("flux", **SIZE, steps=STEPS, prompt="a cat")
    pipeline = cached(config)
    wanted = macs_of(lambda: pipeline("a cat", **SIZE, num_inference_steps=STEPS))
    profile = fxprof.profile(cached(config), **SIZE, steps=STEPS, prompt="a cat")
    assert (profile.macs, profile.total.uncounted, profile.approximations) == (wanted, 0, ())
    assert wanted < plain.macs
    # After a real run its state is another one, which a pipeline's call begins anew.
    assert fxprof.profile(pipeline, **SIZE, steps=STEPS, prompt="a cat").macs == wanted


def test_a_threshold_on_a_residual_is_no_exact_number() -> None:
    pipeline = cached(lambda _: diffusers.FirstBlockCacheConfig(threshold=0.05))
    profile = fxprof.profile(pipeline, **SIZE, steps=STEPS, prompt="a cat")
    assert [sentence.partition(" (")[0] for sentence in profile.approximations] == [
        "the work of transformer.transformer_blocks.0 depends on values that only a real run knows"
    ]
    assert "first_block_cache.py" in profile.approximations[0]


@pytest.mark.slow
def test_weights_that_are_cast_for_each_call_count_like_others() -> None:
    plain = tiny.profile("flux", **SIZE, steps=2, prompt="a cat")
    pipeline = tiny.flux()
    pipeline.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    profile = fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat")
    assert (profile.macs, profile.total.uncounted, profile.approximations) == (plain.macs, 0, ())
    assert {parameter.dtype for parameter in pipeline.transformer.x_embedder.parameters()} <= {
        torch.float8_e4m3fn,
        torch.float32,
    }


@pytest.mark.parametrize("level", ["block_level", pytest.param("leaf_level", marks=pytest.mark.slow)])
def test_offloading_changes_nothing(level: str) -> None:
    plain = tiny.profile("flux", **SIZE, steps=2, prompt="a cat")
    pipeline = tiny.flux()
    pipeline.transformer.enable_group_offload(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=level,
        **({"num_blocks_per_group": 1} if level == "block_level" else {}),
    )
    profile = fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat")
    assert [(call.entry, call.count, call.macs) for call in profile.components["transformer"].calls] == [
        (call.entry, call.count, call.macs) for call in plain.components["transformer"].calls
    ]


def test_a_pipeline_that_skips_its_middle_block_by_a_closure() -> None:
    def pipeline() -> Any:
        torch.manual_seed(0)
        made = tiny.stable_diffusion()
        made.set_progress_bar_config(disable=True)
        calls, old = {"n": 0}, made.unet.mid_block.forward

        def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            return old(hidden, *args, **kwargs) if calls["n"] % 3 == 1 else hidden

        made.unet.mid_block.forward = forward
        return made

    real = pipeline()
    wanted = macs_of(lambda: real("a cat", **SIZE, num_inference_steps=STEPS))
    profile = fxprof.profile(pipeline(), **SIZE, steps=STEPS, prompt="a cat")
    assert (profile.macs, profile.approximations) == (wanted, ())
    runs = profile.components["unet"].runs
    assert [(run.count, profile.components["unet"].cost_of(run).uncounted) for run in runs] == [
        (3, 0),
        (4, 0),
    ]  # PNDM calls once more


def test_a_callback_sees_the_pipeline_that_runs() -> None:
    """It takes guidance away after two steps, from the very object that it closes over."""

    def arguments(pipeline: Any) -> dict[str, Any]:
        def after(_: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if step == 1:
                pipeline._guidance_scale = 0.0
                kwargs["prompt_embeds"] = kwargs["prompt_embeds"].chunk(2)[-1]
            return kwargs

        return {"callback_on_step_end": after, "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}

    pipeline = tiny.stable_diffusion()
    pipeline.set_progress_bar_config(disable=True)
    wanted = macs_of(lambda: pipeline("a cat", **SIZE, num_inference_steps=4, **arguments(pipeline)))
    profile = fxprof.profile(pipeline, **SIZE, steps=4, prompt="a cat", arguments=arguments(pipeline))
    assert profile.macs == wanted


class Deciding(nn.Module):
    """It decides by its first layer's result whether the second one runs."""

    def __init__(self, decide: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second, self.decide = nn.Linear(8, 8), nn.Linear(8, 8), decide

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(x) if self.decide(x) else x


DECISIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "a norm": lambda x: x.norm() > 0.01,
    "a mean": lambda x: not x.abs().mean() < 0.5,
    "below a negative threshold": lambda x: x.min().item() < -0.2,
    "equality": lambda x: not torch.equal(x, torch.zeros_like(x)),
    "any": lambda x: (x > 0).any(),
    "a count": lambda x: (x > 0).sum().item() > 3,
    "a list": lambda x: x.tolist()[0][0] > 0,
    "an array": lambda x: x.numpy().min() < -0.2,
    "places": lambda x: len((x > 0).nonzero()) > 3,
    "different numbers": lambda x: len(torch.unique(x.argmax(-1))) > 1,
    "its largest": lambda x: int(x.argmax()) > 2,
    "a text": lambda x: f"{x[0, 0]:.2f}" == "0.00",
}


@pytest.mark.parametrize("decide", DECISIONS)
def test_an_early_end_by_a_value_is_no_exact_number(decide: str) -> None:
    profile = fxprof.profile_module(Deciding(DECISIONS[decide]).eval(), (X,))
    (sentence,) = profile.approximations
    assert sentence.startswith("the work of model depends on values that only a real run knows (")
    assert "test_live_hooks.py:" in sentence


class Knowing(nn.Module):
    """It decides by what is known: a mask that it is given, its own small weights and tables."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gate, self.times = nn.Linear(8, 8), nn.Parameter(torch.ones(4)), torch.tensor([1, 2])
        self.table: torch.Tensor
        self.register_buffer("table", torch.tensor([1.0, 0.0]))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)[mask]
        for times in self.times.tolist():
            x = self.layer(x) if times > 1 and mask.numpy()[0] else x
        x = self.layer(x[: int(mask.sum())]) if self.gate.mean().item() > 0.5 else x
        return self.layer(x) if self.table.sum() > 0 else x


def test_decisions_by_known_values_are_exact() -> None:
    assert agrees(Knowing, X, torch.tensor([True, False])) == (2 + 1 + 1 + 1) * 8 * 8
