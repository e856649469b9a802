"""A module that ran for real is not run again where it would do the same; whatever could make it differ makes it run."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from torch import nn

import fxprof
from fxprof.capture import replay
from fxprof.result.profile import Profile

ROWS = 5
RUNS: SimpleQueue[int] = SimpleQueue()
"""One entry for each time that the Python of a `Part` really ran: a list would be put back, and would make it run again."""


def drained(queue: SimpleQueue[Any]) -> list[Any]:
    return [queue.get() for _ in range(queue.qsize())]


class Part(nn.Module):
    """Reads how many rows to work on, which only real Python can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.scale = 1.0
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        length = int(mask.sum())
        RUNS.put(length)
        return self.layer(rows[:length]) * self.scale


class Loop(nn.Module):
    """Calls its part several times, and does something in between."""

    def __init__(self, part: nn.Module, between: Callable[[Any, torch.Tensor, torch.Tensor, Any], Any], times: int = 3) -> None:
        super().__init__()
        self.part = part
        self.between = between
        self.times = times

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            result = self.part(rows, mask)
            self.between(self.part, rows, mask, result)
        return rows


def profile_of(part: nn.Module, between: Callable[..., Any] = lambda *_: None) -> Profile:
    drained(RUNS)
    return fxprof.profile_module(Loop(part, between), (torch.zeros(ROWS, 4), torch.tensor([1, 1, 0, 0, 0])))


def macs(*lengths: int) -> int:
    return sum(length * 4 * 4 for length in lengths)


def test_a_run_is_repeated_from_memory() -> None:
    profile = profile_of(Part())
    assert drained(RUNS) == [2]
    assert profile.macs == macs(2, 2, 2)
    assert [(call.entry, call.count) for call in profile.components["model"].calls] == [("part.layer", 3)]


def test_other_contents_are_another_run() -> None:
    profile = profile_of(Part(), lambda part, rows, mask, result: mask.add_(torch.tensor([0, 0, 1, 0, 0])))
    assert drained(RUNS) == [2, 3, 4]
    assert profile.macs == macs(2, 3, 4)


def test_contents_that_come_again_are_repeated() -> None:
    profile = profile_of(Part(), lambda part, rows, mask, result: mask.copy_(mask.flip(0).roll(2)))
    assert drained(RUNS) == [2]  # [1, 1, 0, 0, 0], and turned around twice
    assert profile.macs == macs(2, 2, 2)


def set_scale(part: Any, *_: Any) -> None:
    part.scale += 1.0


def set_list(part: Any, *_: Any) -> None:
    part.notes = [*getattr(part, "notes", []), 1]


def write_buffer(part: Any, *_: Any) -> None:
    part.seen.add_(1)


def set_inside(part: Any, *_: Any) -> None:
    part.layer.label = object()


@pytest.mark.parametrize("between", [set_scale, set_list, write_buffer, set_inside])
def test_a_module_that_was_changed_runs_again(between: Callable[..., Any]) -> None:
    profile = profile_of(Part(), between)
    assert drained(RUNS) == [2, 2, 2]
    assert profile.macs == macs(2, 2, 2)


class Random(Part):
    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        result = super().forward(rows, mask)
        return result * float(torch.rand(()))


class Writing(Part):
    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        result = super().forward(rows, mask)
        rows.add_(0)
        return result


class Keeping(Part):
    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        result = super().forward(rows, mask)
        self.last = result
        return result


class Something(Part):
    """Its result is not zeros, and a copy of it is not kept."""

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        return super().forward(rows, mask) + 1


class PartOfArgument(Part):
    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        super().forward(rows, mask)
        return rows[:2]


class Held(Part):
    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        super().forward(rows, mask)
        return self.seen


@pytest.mark.parametrize("part", [Random, Writing, Keeping, Something, PartOfArgument, Held])
def test_what_a_repetition_could_not_give_runs_again(part: type[Part]) -> None:
    profile = profile_of(part())
    assert drained(RUNS) == [2, 2, 2]
    assert profile.macs == macs(2, 2, 2)


class OfList(Part):
    def forward(self, rows: list[torch.Tensor], mask: torch.Tensor) -> Any:  # type: ignore[override]  # a list
        return super().forward(rows[0], mask)


def test_lists_among_the_arguments_make_it_run_again() -> None:
    class Lists(Loop):
        def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return super().forward([rows], mask)[0]  # type: ignore[arg-type]  # a list

    drained(RUNS)
    loop = Lists(OfList(), lambda *_: None)
    assert fxprof.profile_module(loop, (torch.zeros(ROWS, 4), torch.tensor([1, 1, 0, 0, 0]))).macs == macs(2, 2, 2)
    assert drained(RUNS) == [2, 2, 2]


class Through(Part):
    """Returns what it was given, and something of its own."""

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        return rows, super().forward(rows, mask), "text", None


def test_what_is_passed_through_is_the_argument_itself() -> None:
    results: SimpleQueue[Any] = SimpleQueue()

    def look(part: Any, rows: torch.Tensor, mask: torch.Tensor, result: Any) -> None:
        results.put((result[0] is rows, tuple(result[1].shape), *result[2:]))

    profile_of(Through(), look)
    assert drained(RUNS) == [2]
    assert drained(results) == [(True, (2, 4), "text", None)] * 3


def test_each_repetition_has_memory_of_its_own() -> None:
    results: SimpleQueue[torch.Tensor] = SimpleQueue()

    def look(part: Any, rows: torch.Tensor, mask: torch.Tensor, result: Any) -> None:
        results.put(result)

    profile_of(Part(), look)
    assert len({result.data_ptr() for result in drained(results)}) == 3


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(3),
        torch.ones((), dtype=torch.bfloat16),
        torch.ones(2, 3).t(),
        torch.tensor([True]),
        torch.ones(1, dtype=torch.complex64).expand(1, 1),
        torch.tensor([7]).as_strided((1,), (0,)),
        torch.ones(3, requires_grad=True),
    ],
)
def test_contents_of_every_sort_are_told_apart(tensor: torch.Tensor) -> None:
    same, other = tensor.detach().clone(), torch.zeros_like(tensor)
    assert replay._digest(tensor) == replay._digest(same)
    assert replay._digest(tensor) != replay._digest(other)
    assert replay._digest(other) == replay._digest(torch.zeros_like(other))


class Direct(Part):
    """Multiplies outside of every child."""

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        return super().forward(rows, mask) @ torch.zeros(4, 4)


def test_operators_that_ran_outside_its_children_are_repeated_too() -> None:
    assert profile_of(Direct()).macs == 2 * macs(2, 2, 2)
    assert drained(RUNS) == [2]


COUNT = {"calls": 0}


class Counting(Part):
    """Works on one row more in each call, which a counter outside of it says."""

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> Any:
        COUNT["calls"] += 1
        return super().forward(rows, mask) + self.layer(rows[: COUNT["calls"]])[:1]


def test_what_sees_state_elsewhere_runs_each_time() -> None:
    assert profile_of(Counting()).macs == macs(2, 2, 2) + macs(1, 2, 3)
    assert COUNT == {"calls": 0}
