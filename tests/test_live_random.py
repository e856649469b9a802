"""What a module draws from random generators and takes from iterators is what a run from the user's seed draws and takes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fxprof

X, MASK = torch.randn(20, 32), torch.arange(20) % 2 == 0
OWN, NUMPYS = random.Random(4), np.random.default_rng(3)
COUNTED: Iterator[int] = itertools.count(1)


def seed() -> None:
    global COUNTED  # noqa: PLW0603 - as users write it
    random.seed(11)
    np.random.seed(1)  # noqa: NPY002 - what this is about
    torch.manual_seed(2)
    OWN.seed(4)
    NUMPYS.bit_generator.state = np.random.default_rng(3).bit_generator.state
    COUNTED = itertools.count(1)


def really(module: nn.Module, *args: Any) -> int:
    seed()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*args)
    return int(counter.get_total_flops()) // 2


class Layers(nn.Module):
    """Runs as many of its layers as a function says, and then may look at a value, so that no graph can be made of it."""

    def __init__(self, number: Callable[[], int], *, reads: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(8))
        self.number, self.reads = number, reads

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[: self.number()]:
            x = layer(x)
        if self.reads and x.abs().max().item() > 1e9:
            x = x.clamp(-1, 1)
        return x


class Thrice(nn.Module):
    """Calls another module three times; a value that it reads has the calls made one by one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if int(mask.sum()) > 100:
            return x
        for _ in range(3):
            x = self.inner(x, mask)
        return x


def chosen() -> int:
    return sum([random.random() > 0.5 for _ in range(8)])


def shuffled() -> int:
    order = list(range(8))
    random.shuffle(order)
    return order[0] + 1


DRAWS: dict[str, Callable[[], Callable[[], int]]] = {
    "random": lambda: lambda: random.randint(1, 8),
    "comprehension": lambda: chosen,
    "shuffle": lambda: shuffled,
    "numpy": lambda: lambda: int(np.random.choice(8)) + 1,  # noqa: NPY002
    "torch": lambda: lambda: int(torch.randint(1, 9, ())),
    "all": lambda: lambda: random.randint(1, 3) + np.random.randint(1, 3) + int(torch.randint(1, 4, ())),  # noqa: NPY002
    "method": lambda: partial(random.Random(7).randint, 1, 8),
    "global": lambda: lambda: OWN.randint(1, 8),
    "global of numpy": lambda: lambda: int(NUMPYS.integers(1, 9)),
    "counter": lambda: lambda: next(COUNTED),
}


def made(draw: str, *, reads: bool, thrice: bool) -> nn.Module:
    module = Layers(DRAWS[draw](), reads=reads)
    return (Thrice(module) if thrice else module).eval()


@pytest.mark.parametrize(("reads", "thrice"), [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("draw", DRAWS)
def test_a_module_draws_what_it_draws_in_a_run(draw: str, reads: bool, thrice: bool) -> None:
    module = made(draw, reads=reads, thrice=thrice)
    seed()
    profile = fxprof.profile_module(module, (X, MASK))
    assert (profile.macs, profile.approximations) == (really(made(draw, reads=reads, thrice=thrice), X, MASK), ())


def stand() -> tuple[Any, ...]:
    numpys: Any = np.random.get_state()  # noqa: NPY002 - what this is about
    return random.getstate(), numpys[1].tobytes(), torch.get_rng_state().tolist()


def test_generators_are_afterwards_where_they_were() -> None:
    module = Thrice(Layers(DRAWS["all"](), reads=True)).eval()
    seed()
    before = stand()
    fxprof.profile_module(module, (X, MASK))
    assert stand() == before


class Holds(nn.Module):
    """Holds what it takes numbers from."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(8))
        self.draw = random.Random(7).randint
        self.generator, self.counter = torch.Generator().manual_seed(3), itertools.count(1)
        self.late: random.Random | None = None


class Method(Holds):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[: self.draw(1, 8)]:
            x = layer(x)
        return x


class Counter(Holds):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[: next(self.counter)]:
            x = layer(x)
        return x.clamp(-1, 1) if x.abs().max().item() > 1e9 else x


class Late(Holds):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.late is None:
            self.late = random.Random(5)
        for layer in self.layers[: self.late.randint(1, 8)]:
            x = layer(x)
        return x


class Noisy(Holds):
    """Draws in a graph, and has another draw after it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        drawn = x + torch.randn_like(x) + nn.functional.dropout(x, 0.5, training=True) + torch.rand(20, 1)
        return self.layers[0](drawn)  # type: ignore[no-any-return]


class OfItsOwn(Holds):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[0](x + torch.randn(20, 32, generator=self.generator))  # type: ignore[no-any-return]


class Seeds(Holds):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        random.seed(3)
        return self.layers[0](x)  # type: ignore[no-any-return]


class After(nn.Module):
    """Calls a module some times, and draws as many layers as it runs after each."""

    def __init__(self, inner: Holds) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.inner(x)
            number = int(torch.randint(1, 5, ())) + random.randint(0, 1)
            number += int(torch.randint(1, 3, (), generator=self.inner.generator))
            for layer in self.inner.layers[:number]:
                x = layer(x)
        return x


@pytest.mark.parametrize("kind", [Method, Counter, Late, Noisy, OfItsOwn, Seeds])
def test_who_draws_next_draws_what_it_draws_in_a_run(kind: type[Holds]) -> None:
    module = After(kind()).eval()
    seed()
    profile = fxprof.profile_module(module, (X,))
    assert (profile.macs, profile.approximations) == (really(After(kind()).eval(), X), ())


@pytest.mark.parametrize("kind", [Method, Counter, Late])
def test_a_module_alone_takes_what_it_takes_in_a_run(kind: type[Holds]) -> None:
    module = kind().eval()
    seed()
    profile = fxprof.profile_module(module, (X,))
    assert (profile.macs, profile.approximations) == (really(kind().eval(), X), ())
