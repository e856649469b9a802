"""The memory of a run: sums by hand for small components, ways to offload, budgets, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run
from profiles import VERSIONS
from torch import nn

import fxprof
from fxprof.capture.inside import LiveBytes
from fxprof.cost.lifetimes import Lifetimes, Peak
from fxprof.errors import TargetError, UsageError
from fxprof.result import Call, Component, ModuleRecord, OpRow, Profile
from fxprof.result.memory import OFFLOADS, find_memory
from fxprof.result.saved.read import load
from fxprof.trace.captured import NOT_CAPTURED
from fxprof.trace.weights import WeightGroup, gather
from fxprof.units import format_memory, read_memory

GIB = 2**30
OP = OpRow("", "aten.linear.default", "linear", "", 1, 1)


def component(name: str, sizes: dict[str, tuple[str, int]], alive: dict[str, int], **more: object) -> Component:
    """A component with one call.

    Args:
        name: its name.
        sizes: path to class and bytes of the module's own parameter.
        alive: path to the most bytes alive while the module runs.
        more: further fields of the component.
    """
    held = [
        [WeightGroup("parameter", cls, "weight", (size // 4,), (("float32", size),))] if size else []
        for cls, size in sizes.values()
    ]
    weights, places = gather(held)
    modules = tuple(
        ModuleRecord(path, cls, size // 4, size, held) for (path, (cls, size)), held in zip(sizes.items(), places, strict=True)
    )
    peak = Peak(max(alive.values()), op="aten.linear.default", path=max(alive, key=lambda path: alive[path]), others=1)
    call = Call(
        *("", 2, (), (), dict.fromkeys(sizes, 1)),
        weight_bytes=sum(size for _, size in sizes.values()),
        held_bytes=1000,
        lifetimes={"fused": Lifetimes(peak, replace(peak, bytes=peak.bytes - 1), alive)},
    )
    return Component(name, "Model", modules, (call,), weights=weights, **more)  # type: ignore[arg-type]


def profile() -> Profile:
    """A text encoder of 400 bytes; a transformer whose blocks have 1,600 and 2,000, its own table 40, a projection 200."""
    text = component("text", {"": ("Text", 0), "layer": ("Linear", 400)}, {"layer": 96})
    blocks = {
        "": ("Model", 40),
        "blocks": ("ModuleList", 0),
        "blocks.0": ("Block", 0),
        "blocks.0.a": ("Linear", 1200),
        "blocks.0.b": ("Linear", 400),
        "blocks.1": ("Block", 0),
        "blocks.1.a": ("Linear", 2000),
        "out": ("Linear", 200),
    }
    alive = {"": 10, "blocks.0.a": 700, "blocks.0.b": 900, "blocks.1.a": 510, "out": 300}
    parts = {"text": text, "transformer": component("transformer", blocks, alive)}
    return Profile("small", "Pipeline", {"dtype": "float32"}, VERSIONS, parts)


@pytest.mark.parametrize(
    ("offload", "resident", "activations"),
    [
        ("none", 400 + 3840, 900),
        ("model", 3840, 900),
        ("group", 240 + 2000, 510),  # beside block 1 the table and the projection; block 0 comes to 240 + 1,600 + 900
        ("group-leaf", 40 + 2000, 510),  # more than 40 + 1,200 + 700
        ("sequential", 40 + 2000, 510),
    ],
)
def test_weights_leave_the_device_as_diffusers_offloads_them(offload: str, resident: int, activations: int) -> None:
    memory = find_memory(profile(), offload)
    moment = memory.largest
    assert moment is not None
    assert (moment.component, moment.resident, moment.activations) == ("transformer", resident, activations)
    assert moment.total == memory.peak_bytes == resident + activations + 1000


def test_each_way_to_offload_needs_no_more_than_the_one_before() -> None:
    peaks = [find_memory(profile(), offload).peak_bytes for offload in OFFLOADS]
    assert peaks == sorted(peaks, reverse=True)


def run_of(*turns: tuple[str, int | None, int], order: str = "") -> Profile:
    """A pipeline of components of (name, turn, bytes of weights), called in an order; once each by default."""
    made = (component(name, {"": ("M", size)}, {"": 1}, offload_turn=turn) for name, turn, size in turns)
    return Profile("run", "P", {}, VERSIONS, {part.name: part for part in made}, order=tuple(order.split()))


@pytest.mark.parametrize(
    ("turns", "order", "resident"),
    [
        ([("text", 0, 100), ("unet", 1, 400), ("vae", 2, 80)], "", {"text": 100, "unet": 400, "vae": 80}),
        # The picture is encoded first; nothing comes after the autoencoder that would send it away.
        ([("vae", 2, 80), ("text", 0, 100), ("unet", 1, 400)], "vae text unet vae", {"vae": 80, "text": 180, "unet": 480}),
        # A ControlNet has no turn: it stays, and runs again beside the denoiser.
        (
            [("text", 0, 100), ("controlnet", None, 40), ("unet", 1, 400)],
            "text controlnet unet controlnet unet",
            {"text": 100, "controlnet": 440, "unet": 440},
        ),
        # The second encoder stays while the first one reads the negative prompt.
        (
            [("text", 0, 100), ("text_2", 1, 300), ("unet", 2, 200)],
            "text text_2 text text_2 unet",
            {"text": 400, "text_2": 300, "unet": 200},
        ),
        # Nobody says how they take turns, as for a component alone.
        ([("text", None, 100), ("unet", None, 400)], "", {"text": 100, "unet": 400}),
    ],
)
def test_components_take_each_others_place_in_turn(
    turns: list[tuple[str, int | None, int]], order: str, resident: dict[str, int]
) -> None:
    memory = find_memory(run_of(*turns, order=order), "model")
    assert {moment.component: moment.resident for moment in memory.moments} == resident


def test_the_order_of_calls_is_seen_in_a_dry_run(tmp_path: Path) -> None:
    profile = fxprof.profile(tiny.make("stable_diffusion_3"), steps=3, height=64, width=64)
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    assert profile.order == (*encoders, *encoders, "transformer", "vae")
    profile.save(tmp_path / "x.json")
    assert load(tmp_path / "x.json").order == profile.order
    assert [profile.components[name].offload_turn for name in profile.order[3:]] == [0, 1, 2, 4, 5]


def test_a_component_that_is_never_called_sends_nobody_away() -> None:
    run = run_of(("text", 0, 100), ("unet", 2, 400))
    idle = replace(run_of(("text_2", 1, 70)).components["text_2"], calls=())
    memory = find_memory(replace(run, components={**run.components, "text_2": idle}), "model")
    assert {moment.component: moment.resident for moment in memory.moments} == {"text": 100, "unet": 500}


def test_what_a_pipeline_excludes_from_offloading_stays() -> None:
    run = run_of(("text", 0, 100), ("unet", 1, 400))
    kept = {**run.components, "prior": replace(run_of(("prior", None, 70)).components["prior"], offload_never=True)}
    memory = find_memory(replace(run, components=kept), "model")
    assert {moment.component: moment.resident for moment in memory.moments} == {"text": 170, "unet": 470, "prior": 470}
    leaf = find_memory(replace(run, components=kept), "sequential")
    assert {moment.component: moment.resident for moment in leaf.moments} == {"text": 170, "unet": 470, "prior": 70}


def test_parts_that_offloading_treats_like_components_are_there_while_they_run() -> None:
    sizes = {"": ("Vae", 0), "encoder": ("Encoder", 500), "decoder": ("Decoder", 8), "decoder.ups": ("ModuleList", 0)}
    sizes |= {"decoder.ups.0": ("Up", 64), "decoder.ups.1": ("Up", 32)}
    vae = component("vae", sizes, {"decoder.ups.0": 10, "decoder.ups.1": 10}, offload_blocks=("encoder", "decoder"))
    memory = find_memory(Profile("v", "P", {}, VERSIONS, {"vae": vae}), "group")
    assert memory.largest is not None
    assert memory.largest.resident == 8 + 64


def test_buffers_stay_with_sequential_offloading_of_a_component_without_parameters_of_its_own() -> None:
    weights, places = gather(
        [
            [],
            [
                WeightGroup("parameter", "L", "weight", (1,), (("float32", 100),)),
                WeightGroup("buffer", "L", "table", (1,), (("float32", 30),)),
            ],
            [WeightGroup("parameter", "L", "weight", (1,), (("float32", 100),))],
        ]
    )
    modules = tuple(
        ModuleRecord(path, "L", 0, size, held) for path, size, held in zip(("", "a", "b"), (0, 130, 100), places, strict=True)
    )
    part = component("text", {"": ("T", 0), "a": ("L", 100), "b": ("L", 100)}, {"a": 1, "b": 5})
    text = replace(part, weights=weights, modules=modules, calls=(replace(part.calls[0], weight_bytes=230),))
    memory = find_memory(Profile("v", "P", {}, VERSIONS, {"text": text}), "sequential")
    assert memory.largest is not None
    assert memory.largest.resident == 100 + 30


def test_weights_that_the_pipeline_converts_count_as_converted() -> None:
    before = profile()
    part = before.components["transformer"]
    upcast = replace(part, calls=(replace(part.calls[0], weight_bytes=2 * part.weight_bytes),))
    changed = replace(before, components={**before.components, "transformer": upcast})
    assert find_memory(changed).peak_bytes == find_memory(before).peak_bytes + part.weight_bytes
    assert find_memory(changed, "model").peak_bytes == find_memory(before, "model").peak_bytes + part.weight_bytes


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.back = nn.Linear(8, 32, bias=False), nn.Linear(32, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.back(torch.relu(self.wide(x)))
        return found


def test_a_small_module_by_hand() -> None:
    memory = fxprof.profile_module(Net(), torch.zeros(4, 8)).memory()
    # Weights 2 x 8 x 32 x 4 bytes; the input 4 x 8 x 4; at relu both tensors of 4 x 32 x 4 are alive.
    assert memory.largest is not None
    assert (memory.largest.resident, memory.largest.held, memory.largest.activations) == (2048, 128, 1024)


@pytest.mark.parametrize("name", ["stable_diffusion", pytest.param("stable_diffusion_xl", marks=pytest.mark.slow)])
def test_a_whole_pipeline_takes_what_it_takes_in_a_run(name: str) -> None:
    pipeline = tiny.make(name)
    memory = fxprof.profile(pipeline, steps=2, height=64, width=64).memory()
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad(), LiveBytes() as live:
        pipeline(prompt="a photo of a cat", num_inference_steps=2, height=64, width=64)
    said = max(moment.held + moment.activations for moment in memory.moments)
    # What the scheduler keeps from before the run is in no sum.
    assert said <= live.most <= said * 1.001


def test_calls_whose_tensors_nobody_saw_make_a_lower_bound() -> None:
    whole = profile()
    part = whole.components["transformer"]
    unseen = replace(part, calls=(replace(part.calls[0], lifetimes={}, ops=(OP,)),))
    blind = replace(whole, components={**whole.components, "transformer": unseen})
    memory = find_memory(blind)
    assert (memory.sign, {moment.component: moment.sign for moment in memory.moments}) == (
        ">=",
        {"text": "", "transformer": ">="},
    )


def test_a_call_that_failed_makes_a_lower_bound_beside_python_that_was_seen() -> None:
    whole = profile()
    part = whole.components["transformer"]
    failed = replace(part.calls[0], lifetimes={}, ops=(OP._replace(op=NOT_CAPTURED, macs=None),))
    ended = replace(part, calls=(*part.calls, failed), held_bytes=10)
    assert find_memory(replace(whole, components={**whole.components, "transformer": ended})).sign == ">="


def test_between_calls_the_last_component_is_still_on_the_device() -> None:
    run = replace(run_of(("text", 0, 100), ("unet", 1, 400)), held_between={"text": 5, "unet": 7})
    own = find_memory(run, "model").moments[-1]
    assert (own.component, own.resident, own.held) == ("(pipeline)", 400, 7)


def test_a_module_whose_python_runs_for_real_counts_with_its_own_tensors() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(256, 256)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)
            return y.repeat(1000, 1) if float(y.sum()) >= 0 else y

    memory = fxprof.profile_module(Deciding(), torch.zeros(4, 256)).memory()
    assert memory.largest is not None
    # The input, the layer's result, and a thousand copies of it.
    assert memory.largest.held + memory.largest.activations == 4096 + 4096 + 4096 * 1000


def test_what_a_pipelines_own_python_makes_between_calls_counts() -> None:
    pipeline = tiny.make("stable_diffusion")
    step = pipeline.scheduler.step

    def wasteful(*args: Any, **kwargs: Any) -> Any:
        torch.ones(10_000_000).add(1)
        return step(*args, **kwargs)

    pipeline.scheduler.step = wasteful
    memory = fxprof.profile(pipeline, steps=1, height=64, width=64).memory()
    assert memory.largest is not None
    assert memory.largest.component == "(pipeline)"
    assert 80_000_000 < memory.largest.held < 81_000_000


def test_a_component_with_two_names_has_its_weights_once() -> None:
    pipeline = tiny.make("stable_diffusion_3")
    pipeline.text_encoder_2 = pipeline.text_encoder
    found = fxprof.profile(pipeline, steps=1, height=64, width=64)
    assert found.components["text_encoder"].weight_bytes > 0
    assert found.components["text_encoder_2"].weight_bytes == 0


@pytest.mark.slow
def test_a_module_that_runs_for_real_keeps_nothing_alive() -> None:
    pipeline = tiny.make("stable_diffusion")
    plain = fxprof.profile(pipeline, steps=2, height=64, width=64).memory()
    pipeline.unet.mid_block.register_forward_hook(
        lambda _module, _args, output: output if float(output.sum()) < 1 else output * 2
    )
    decided = fxprof.profile(pipeline, steps=2, height=64, width=64).memory()
    held = [next(item.held for item in memory.moments if item.entry == "decoder") for memory in (plain, decided)]
    assert held[1] <= held[0] * 1.1


def test_a_wish_that_cannot_be_met_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="offload cannot be 'disk'"):
        profile().memory("disk")
    with pytest.raises(UsageError, match="attention cannot be 'slow'"):
        profile().memory(attention="slow")
    with pytest.raises(UsageError, match="the profile of small is of float32, not of bf16"):
        profile().memory(dtype="bf16")
    broken = replace(profile(), components={"text": replace(profile().components["text"], weights=None)})
    with pytest.raises(TargetError, match="weights of text are unknown"):
        broken.memory()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    profile().save(path)
    return path


def test_a_saved_profile_has_the_same_memory(saved: Path) -> None:
    assert load(saved) == profile()
    assert find_memory(load(saved)) == find_memory(profile())


def test_the_command_for_programs(saved: Path) -> None:
    result = run("memory", saved, "--format", "json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["peak_bytes"] == 4240 + 900 + 1000
    assert [part["name"] for part in report["components"]] == ["text", "transformer"]
    assert report["components"][1]["weights_bytes"] == 3840
    call = report["components"][1]["calls"][0]
    assert {key: call[key] for key in ("entry", "count", "eager_peak_bytes", "graph_peak_bytes", "workspace_bytes")} == {
        "entry": "",
        "count": 2,
        "eager_peak_bytes": 900,
        "graph_peak_bytes": 899,
        "workspace_bytes": 0,
    }


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--budget", "1GiB"), "It fits into 1GiB: "),
        (
            ("--budget", "6K"),
            "It does not fit into 6K: 140 B too much. With --offload model it fits: the peak is 5.605 KiB then.",
        ),
        (("--budget", "5K"), "With --offload group it fits: the peak is 3.662 KiB then."),
        (("--budget", "3.6K"), "With --offload group-leaf it fits: the peak is 3.467 KiB then."),
        (
            ("--budget", "3K"),
            "--offload group, --offload group-leaf, --offload sequential makes it fit; --weights was not tried.",
        ),
        (("--device", "l4"), "It fits into l4 (22.35 GiB): "),
    ],
)
def test_whether_it_fits_and_what_makes_it_fit(saved: Path, option: tuple[str, ...], sentence: str) -> None:
    result = run("memory", saved, *option)
    assert result.exit_code == 0
    assert sentence in " ".join(result.stdout.split())


def test_a_peak_above_the_limit_ends_with_1_after_the_report(saved: Path) -> None:
    result = run("memory", saved, "--fail-over", "6KB")
    assert result.exit_code == 1
    assert "The peak is 5.996 KiB" in result.stdout
    assert result.stderr == "fxprof: the peak is 5.996 KiB, 140 B over 6KB\n"
    assert run("memory", saved, "--fail-over", "1GiB").exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--offload", "disk"),
        ("--budget", "much"),
        ("--budget", "0GiB"),
        ("--device", "l5"),
        ("--device", "l4", "--budget", "1GiB"),
        ("--weights", "nf3"),
        ("--weights", "vae=nf4"),
        ("--attention", "slow"),
        ("--fail-over", "+5%"),
    ],
)
def test_wrong_usage_is_told_without_a_report(saved: Path, options: tuple[str, ...]) -> None:
    result = run("memory", saved, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_a_file_of_an_early_format_says_what_it_lacks() -> None:
    result = run("memory", Path(__file__).parent / "data" / "format-5.json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "weights" in result.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * GIB),
        ("24GB", 24 * 10**9),
        ("24G", 24 * 10**9),
        ("1.5 MiB", 3 * 2**19),
        ("512kib", 2**19),
        ("24", 24),
        ("GiB", None),
    ],
)
def test_sizes_of_memory_are_read(text: str, size: int | None) -> None:
    assert read_memory(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.9766 KiB"), (1024, "1.000 KiB"), (3 * GIB // 2, "1.500 GiB"), (-2048, "-2.000 KiB")],
)
def test_sizes_of_memory_are_written_in_powers_of_1024(size: int, text: str) -> None:
    assert format_memory(size) == text
