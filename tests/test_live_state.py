"""What a profile is given is afterwards what it was, bit for bit, also when the rehearsal fails or is interrupted."""

from __future__ import annotations

import array
import collections
import io
import logging
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from fxprof.errors import CaptureError

SIZE: dict[str, Any] = {"height": 64, "width": 64}
State = dict[str, Any]
_NO_STATE = (type, types.ModuleType, types.FunctionType, types.MethodType)


def parts_of(root: Any) -> Iterator[Any]:
    """A pipeline or a module, its parts, and the objects that these work with."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (torch.Tensor, *_NO_STATE)) or not hasattr(item, "__dict__"):
            continue
        seen[id(item)] = item
        if isinstance(item, nn.Module):
            waiting += item.modules()
        if item is root or isinstance(item, nn.Module):
            waiting += vars(item).values()
    return iter(seen.values())


def state_of(root: Any) -> State:
    """Everything that a pipeline or a module holds, and what is the process's."""
    state: State = {}
    for number, part in enumerate(parts_of(root)):
        _note(state, f"{number} {type(part).__name__}", vars(part), 0)
    return state | {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002 - the state that is shared
        "calls": (nn.Module.__call__, nn.Module._apply, torch.Tensor.numpy, torch.Tensor.tolist, torch.autograd.grad),
        "streams": (sys.stdout, sys.stderr),
        "modes": (logging.root.manager.disable, torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()),
    }


def _note(state: State, path: str, value: Any, depth: int) -> None:
    if isinstance(value, torch.Tensor):
        version = None if value.is_inference() else value._version
        state[path] = (id(value), version, value.requires_grad, value.dtype, value.detach().clone())
    elif isinstance(value, dict) and depth < 6:
        state[path] = (id(value), tuple(map(repr, dict.keys(value))))
        for key, item in dict.items(value):
            _note(state, f"{path}.{key}", item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 6:
        state[path] = (id(value), len(value))
        for at, item in enumerate(value):
            _note(state, f"{path}[{at}]", item, depth + 1)
    else:
        state[path] = (id(value), value.copy() if isinstance(value, (set, np.ndarray)) else value)


def changes(before: State, after: State) -> list[str]:
    """The names of what differs."""
    return [name for name in before.keys() | after.keys() if not _same(before.get(name), after.get(name))]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return (
            torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
            if one.dim()
            else one.equal(other)
        )
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    return one is other or (type(one) is type(other) and bool(one == other))


class Broken(Exception):  # noqa: N818 - what a user's hook raises
    """What goes wrong in the middle."""


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, *(pytest.param(error, marks=pytest.mark.slow) for error in (Broken, SystemExit))]
)
def test_all_is_put_back_when_a_hook_raises_in_the_middle(error: type[BaseException]) -> None:
    torch.manual_seed(0)
    pipeline = tiny.stable_diffusion()
    pipeline.set_progress_bar_config(disable=True)
    wanted = tiny.profile("stable_diffusion", **SIZE, steps=2, prompt="a cat").macs
    calls = {"n": 0}

    def hook(*_: Any) -> None:
        calls["n"] += 1
        if calls["n"] == 2:
            raise error("in the middle")

    handle = pipeline.unet.register_forward_hook(hook)
    before = state_of(pipeline)
    if error is Broken:
        (sentence,) = fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat").approximations
        assert sentence.startswith("the dry run ended at unet: ")
        assert "in the middle" in sentence
    else:
        with pytest.raises(error):
            fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat")
    assert changes(before, state_of(pipeline)) == []
    assert calls == {"n": 0}
    handle.remove()
    assert not pipeline.unet._forward_hooks
    assert fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat").macs == wanted


def test_a_generator_that_is_given_draws_the_same_afterwards() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    fxprof.profile(tiny.stable_diffusion(), **SIZE, steps=1, prompt="a cat", arguments={"generator": generator})
    assert torch.equal(generator.get_state(), before)


def test_an_image_is_bit_identical_after_a_profile() -> None:
    torch.manual_seed(0)
    pipeline = tiny.stable_diffusion()
    pipeline.set_progress_bar_config(disable=True)

    def image() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        made = pipeline("a cat", **SIZE, num_inference_steps=2, output_type="pt", generator=generator)
        return torch.as_tensor(made.images)

    wanted = image()
    fxprof.profile(pipeline, **SIZE, steps=3, prompt="a cat")
    assert torch.equal(image(), wanted)


def test_what_hooks_close_over_is_put_back() -> None:
    kept: dict[str, Any] = {"outputs": [], "deep": {"n": [0]}}

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        kept["outputs"].append(output)
        kept["deep"]["n"][0] += 1
        kept["new"] = output

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    handle = model[0].register_forward_hook(hook)
    assert fxprof.profile_module(model, (torch.randn(2, 8),)).macs == 2 * 2 * 8 * 8
    assert kept == {"outputs": [], "deep": {"n": [0]}}
    handle.remove()
    assert not model[0]._forward_hooks


def test_modes_of_the_caller_stand_aside() -> None:
    layer, x = nn.Linear(8, 4), torch.ones(2, 8)
    with FakeTensorMode():
        assert fxprof.profile_module(layer, (x,)).macs == 64
    with FakeTensorMode():
        assert fxprof.profile_module(nn.Linear(8, 4), (torch.ones(2, 8),)).macs == 64
    with FlopCounterMode(display=False) as counter:
        fxprof.profile_module(layer, (x,))
        layer(x)
    assert counter.get_total_flops() == 128


def test_weights_that_torch_remembers_are_not_of_the_rehearsal() -> None:
    layer, x = nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), torch.ones(2, 8)
    with nn.utils.parametrize.cached():
        fxprof.profile_module(layer, (x,))
        assert type(layer(x)) is torch.Tensor


class Advancing(nn.Module):
    """Does more at its second call, by something that it holds."""

    def __init__(self, held: Any, advance: Callable[[Any], int]) -> None:
        super().__init__()
        self.layer, self.held, self.advance = nn.Linear(8, 8), held, advance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        return hidden if self.advance(self.held) <= 1 else self.layer(hidden)


def appended(held: Any, item: Any) -> int:
    held.append(item)
    return len(held)


def written(held: io.BytesIO) -> int:
    held.write(b"x")
    return held.tell()


ADVANCED: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "bytearray": (bytearray(), lambda held: appended(held, 1)),
    "array": (array.array("i"), lambda held: appended(held, 1)),
    "file in memory": (io.BytesIO(), written),
    "iterator of a deque": (iter(collections.deque([1, 2, 3])), next),
}


@pytest.mark.parametrize("name", ADVANCED)
def test_what_python_holds_beside_lists_is_put_back(name: str) -> None:
    held, advance = ADVANCED[name]
    assert fxprof.profile_module(Advancing(held, advance), (torch.ones(2, 8),)).macs == 2 * 8 * 8
    assert advance(held) == 1


class Advances(nn.Module):
    """Takes its strengths from a generator, which nobody can copy."""

    def __init__(self, strengths: Iterator[float]) -> None:
        super().__init__()
        self.layer, self.strengths = nn.Linear(4, 4), strengths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * next(self.strengths)  # type: ignore[no-any-return]


def strengths() -> Iterator[float]:
    yield 0.5
    yield 0.25


def test_a_generator_that_would_be_advanced_is_told_and_stays() -> None:
    held = strengths()
    with pytest.raises(CaptureError) as caught:
        fxprof.profile_module(Advances(held), (torch.ones(2, 4),))
    said = "could not capture Advances: it advances the generator strengths, which cannot be reset afterwards"
    assert str(caught.value).startswith(said)
    assert next(held) == 0.5
    assert fxprof.profile_module(nn.Identity(), (torch.ones(2),)).macs == 0


def test_one_in_a_hook_ends_the_rehearsal_of_a_pipeline() -> None:
    held, pipeline = strengths(), tiny.stable_diffusion()
    pipeline.unet.register_forward_pre_hook(lambda *_: setattr(pipeline, "strength", next(held)))
    (sentence, *_) = fxprof.profile(pipeline, **SIZE, steps=1, prompt="a cat").approximations
    assert "the generator strengths" in sentence
    assert next(held) == 0.5


def test_one_that_is_only_held_changes_nothing() -> None:
    module = nn.Linear(4, 4)
    held = strengths()
    module.kept = held  # type: ignore[assignment]
    assert fxprof.profile_module(module, (torch.ones(2, 4),)).macs == 2 * 4 * 4
    assert next(held) == 0.5
