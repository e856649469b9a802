"""What tells values apart is the same wherever calls, modules and states are told apart."""

from __future__ import annotations

import enum
import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fxprof
from fxprof.cache.keys import key_of as key_of_result
from fxprof.capture.calls import key_of
from fxprof.capture.outer_state import outside_state
from fxprof.capture.plain_values import is_plain_value, is_same, key_of_value, token_of
from fxprof.capture.random_numbers import Generators
from fxprof.capture.reachable import is_looked_into
from fxprof.capture.replay import Memory
from fxprof.capture.sharing import fingerprint
from fxprof.capture.state import kept_since, restore, settings_of, snapshot


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Kept(enum.Flag):
    NONE = 0
    ONE = 1
    TWO = 2


PLAIN: list[Any] = [
    *(None, True, False, 1, 0, 1.0, 0.0, -0.0, 1j, "1", b"1", "", range(1), range(2), ...),
    *(torch.float32, torch.float16, torch.device("cpu"), torch.device("meta"), torch.Size([1]), torch.Size([2])),
    *(torch.strided, torch.channels_last, np.float32(1), np.float64(1), np.int64(1), np.bool_(True), float("nan")),
    *(Mode.FAST, Mode.SLOW, Kept.NONE, Kept.ONE, Kept.ONE | Kept.TWO),
]
"""All different."""


def remade(value: Any) -> Any:
    """Another object that says the same, where Python makes one."""
    made: dict[type, Callable[[Any], Any]] = {
        bytes: lambda given: bytes(bytearray(given)),
        range: lambda given: range(given.start, given.stop),
        torch.Size: lambda given: torch.Size(list(given)),
        float: lambda given: float(str(given)),
        np.float32: lambda given: np.float32(float(given)),
        np.int64: lambda given: np.int64(int(given)),
    }
    return made.get(type(value), lambda given: given)(value)


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(PLAIN, 2)])
def test_plain_values_are_told_apart(one: Any, other: Any) -> None:
    assert key_of_value(one) != key_of_value(other)
    assert not is_same(one, other)
    assert key_of((one,), {}) != key_of((other,), {})


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_each_goes_by_what_it_says_everywhere(value: Any) -> None:
    assert is_plain_value(value)
    assert not is_looked_into(value)
    same = remade(value)
    assert key_of_value(same) == key_of_value(value)
    assert is_same([same], [value])
    assert key_of((same,), {}) == key_of((value,), {})

    def held_by(value: Any) -> nn.Module:
        module: Any = nn.Module()
        module.held = value
        return module  # type: ignore[no-any-return]

    assert settings_of(held_by(same)) == settings_of(held_by(value)) != settings_of(held_by("another"))
    assert fingerprint(held_by(same)) == fingerprint(held_by(value)) != fingerprint(held_by("another"))
    module: Any = held_by(value)
    memory = Memory(Generators(()))
    memory.begin(module, (), {})
    module.held = same
    assert memory.holds_for(module)
    module.held = object()
    assert not memory.holds_for(module)


@pytest.mark.parametrize(
    "value", [object(), torch.zeros(1), nn.Module(), [], (), {}, slice(1)], ids=lambda value: type(value).__name__
)
def test_what_is_not_plain(value: Any) -> None:
    assert not is_plain_value(value)


class Text(str):
    __slots__ = ("origin",)


def test_a_text_of_a_class_of_its_own_may_hold_more() -> None:
    assert not is_plain_value(Text("x"))
    assert token_of(Text("x"), 1, lambda *_: ("other",)) != ("other",)
    assert token_of(Text("x"), 1, lambda *_: ("other",), derived=False) == ("other",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        ({1}, frozenset({1})),
        (deque([1]), deque([2])),
        (deque([1]), [1]),
        ([[1]], [[2]]),
    ],
)
def test_containers_are_told_by_what_is_in_them(one: Any, other: Any) -> None:
    def tell(value: Any) -> Any:
        return token_of(value, 4, lambda *_: ("other",))

    assert tell(one) == tell(type(one)(one)) != tell(other)
    assert is_same(one, type(one)(one))
    assert not is_same(one, other)


def test_containers_have_bounds() -> None:
    assert token_of([[1]], 1, lambda _, depth: ("other", depth)) == (list, ("other", 0))
    assert token_of([1, 2], 1, lambda *_: ("other",), most=1) == ("other",)
    assert token_of({"a": 1, "b": 2}, 1, lambda *_: ("other",), ignored={"b"}) == (dict, (str, "a"), (int, 1))
    assert token_of({"b", "a"}, 1, lambda *_: ("other",)) == (set, (str, "a"), (str, "b"))


class Holding(nn.Module):
    """Counts its calls in something that it holds."""

    def __init__(self, held: Any, change: Callable[[nn.Module], None]) -> None:
        super().__init__()
        self.held, self.change = held, change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.change(self)
        return x


def replaced(value: Any) -> Callable[[Any], None]:
    return lambda module: setattr(module, "held", value)


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (list, lambda module: module.held.append(1)),
        (lambda: deque([2]), lambda module: module.held.append(1)),
        (lambda: deque([2], maxlen=1), lambda module: module.held.append(1)),
        (lambda: defaultdict(int), lambda module: module.held.update(a=1)),
        (lambda: Counter("a"), lambda module: module.held.update("a")),
        (lambda: OrderedDict(a=0), lambda module: module.held.update(a=1)),
        (lambda: frozenset({1}), replaced(frozenset({1, 2}))),
        (lambda: 1j, replaced(2j)),
        (lambda: np.float32(1), replaced(np.float32(2))),
        (lambda: torch.zeros(3), replaced(5)),
    ],
)
def test_what_a_module_keeps_is_seen_in_whatever_holds_it_and_put_back(held: Any, change: Any) -> None:
    module = Holding(held(), change)
    before = snapshot(module)
    assert kept_since(before) == ""
    module(torch.zeros(1))
    assert kept_since(before) == "Holding.held"
    restore(before)
    assert kept_since(before) == ""
    assert is_same(module.held, held()) or torch.equal(module.held, held())


class Deep(nn.Module):
    """Works on more rows at each call, as many as are in a queue."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rows = nn.Linear(4, 4), deque([0])

    def forward(self, x: torch.Tensor) -> Any:
        self.rows.append(0)
        return self.layer(x[: len(self.rows)])


class Switched(nn.Module):
    """Works on more rows in one mode than in another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.dtype = nn.Linear(4, 4), torch.float32

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x[:3] if self.dtype is torch.float16 else x[:2])


class Twice(nn.Module):
    def __init__(self, part: nn.Module, between: Callable[[Any], None] = lambda _: None) -> None:
        super().__init__()
        self.part, self.between = part, between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.part(x)
        self.between(self.part)
        if x.sum().item() == 0:  # so that it runs for real, and its part is captured call by call
            self.part(x)
        return x


@pytest.mark.parametrize(
    ("part", "between"), [(Deep, lambda _: None), (Switched, lambda part: setattr(part, "dtype", torch.float16))]
)
def test_the_work_of_two_calls_that_differ_in_such_a_state(part: type[nn.Module], between: Callable[[Any], None]) -> None:
    profile = fxprof.profile_module(Twice(part(), between), (torch.zeros(9, 4),))
    assert profile.macs == (2 + 3) * 4 * 4


def test_modules_with_equal_sets_are_alike_until_one_changes() -> None:
    one, other = Holding({1, 2}, print), Holding({2, 1}, print)
    assert fingerprint(one) == fingerprint(other)
    other.held.add(3)
    assert fingerprint(one) != fingerprint(other)


SCALE = np.float32(1)


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def scale() -> None:
            global SCALE  # noqa: PLW0603 - which is what makes it state
            SCALE = np.float32(2)

        return x * float(SCALE)


def set_scale(value: Any) -> None:
    global SCALE  # noqa: PLW0603 - as above
    SCALE = value


def test_a_number_of_numpy_that_a_function_sees_elsewhere_is_state() -> None:
    before = outside_state(Scaled())
    set_scale(np.float32(3))
    assert before != outside_state(Scaled())
    set_scale(np.float32(1))
    assert before == outside_state(Scaled())


@pytest.mark.parametrize("values", [(b"a", b"b"), (1j, 2j), (1j, "1j"), (b"a", "b'a'")])
def test_results_are_keyed_by_such_arguments(values: tuple[Any, Any]) -> None:
    one, other = (key_of_result("profile", value) for value in values)
    assert None not in (one, other)
    assert one != other
