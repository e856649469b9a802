"""What a module keeps outside of itself, wherever Python lets it: seen in a profile, and as it was afterwards."""

from __future__ import annotations

import contextvars
import itertools
import os
import queue
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import nn

import fxprof
from fxprof.errors import CaptureError

X = torch.ones(4, 8)
ONE = 4 * 8 * 8
"""MACs of one product."""


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)


def helper(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    held = vars(helper).setdefault("weight", weight * 2)
    return x @ held  # type: ignore[no-any-return]


class FunctionAttribute(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return helper(x, self.layer.weight)


VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE", default=None)
LOCAL = threading.local()
WEAK: weakref.WeakKeyDictionary[nn.Module, torch.Tensor] = weakref.WeakKeyDictionary()


class ContextVariable(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if VARIABLE.get() is None:
            VARIABLE.set(self.layer.weight * 2)
        return x @ VARIABLE.get()  # type: ignore[no-any-return]


class ThreadLocal(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(LOCAL, "weight"):
            LOCAL.weight = self.layer.weight * 2
        return x @ LOCAL.weight  # type: ignore[no-any-return]


class WeakKeys(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self not in WEAK:
            WEAK[self] = self.layer.weight * 2
        return x @ WEAK[self]


class Kept:
    weight: Any = None

    @classmethod
    def get(cls, weight: torch.Tensor) -> torch.Tensor:
        if cls.weight is None:
            cls.weight = weight * 2
        return cls.weight  # type: ignore[no-any-return]


class HelperClass(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ Kept.get(self.layer.weight)


class Single:
    instance: Any = None
    held: dict[str, torch.Tensor]

    def __new__(cls) -> Self:
        if cls.instance is None:
            cls.instance = super().__new__(cls)
            cls.instance.held = {}
        return cls.instance  # type: ignore[no-any-return]


class Singleton(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ Single().held.setdefault("weight", self.layer.weight * 2)


class MakesClassAttribute(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "made" not in vars(type(self)):
            type(self).made = self.layer.weight * 2  # type: ignore[attr-defined]
        return x @ type(self).made  # type: ignore[attr-defined, no-any-return]


CACHES = [
    FunctionAttribute, ContextVariable, ThreadLocal, WeakKeys, HelperClass, Singleton, MakesClassAttribute,
]  # fmt: skip


@pytest.mark.parametrize("kind", CACHES, ids=lambda kind: kind.__name__)
def test_what_is_cached_elsewhere_is_not_what_a_rehearsal_made(kind: type[Base]) -> None:
    module = kind().eval()
    assert fxprof.profile_module(module, (X,)).macs == ONE
    assert type(module(X)) is torch.Tensor
    torch.testing.assert_close(module(X), X @ (module.layer.weight * 2))


CACHE = """
weight = None


def get(x, layer):
    global weight
    if weight is None:
        weight = layer.weight * 2
    return x @ weight
"""


@pytest.mark.parametrize("before", [False, True])
def test_a_module_that_forward_imports(before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Imports(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            import lazily_imported  # type: ignore[import-not-found]

            return lazily_imported.get(x, self.layer)  # type: ignore[no-any-return]

    (tmp_path / "lazily_imported.py").write_text(CACHE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lazily_imported", raising=False)
    if before:
        __import__("lazily_imported")
    module = Imports().eval()
    assert fxprof.profile_module(module, (X,)).macs == ONE
    assert ("lazily_imported" in sys.modules) is before
    torch.testing.assert_close(module(X), X @ (module.layer.weight * 2))


# --- counters and containers


def appended(held: Any) -> int:
    held.append(1)
    return len(held) - 1


def counted(held: Any) -> int:
    held["a"] = held.get("a", 0) + 1
    return held["a"]  # type: ignore[no-any-return]


def put(held: queue.Queue[int]) -> int:
    held.put(1)
    return held.qsize()


CONTAINERS: dict[str, tuple[Callable[[], Any], Callable[[Any], int]]] = {
    "a list": (lambda: [0], appended),
    "a deque": (lambda: deque([0]), appended),
    "a bytearray": (lambda: bytearray(b"a"), appended),
    "a Counter": (Counter, counted),
    "a queue": (queue.Queue, put),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("adds", [False, True])
def test_a_first_call_is_counted_as_the_first_one(name: str, adds: bool) -> None:
    make, step = CONTAINERS[name]

    class Repeats(Base):
        def __init__(self) -> None:
            super().__init__()
            self.held, self.seen = make(), {1}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if adds:
                self.seen.add(len(self.seen) + 7)
            for _ in range(step(self.held)):
                x = self.layer(x)
            return x

    module = Repeats().eval()
    for _ in range(2):  # also the second time, for nothing of it is left
        assert fxprof.profile_module(module, (X,)).macs == ONE
    assert module.seen == {1}


def test_the_environment_is_as_it_was() -> None:
    class Counts(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            os.environ["FXPROF_TEST"] = str(int(os.environ.get("FXPROF_TEST", "0")) + 1)
            return self.layer(x)  # type: ignore[no-any-return]

    assert fxprof.profile_module(Counts().eval(), (X,)).macs == ONE
    assert "FXPROF_TEST" not in os.environ


# --- iterators

NUMBERS = [1, 2, 3, 4, 5]
ITERATORS: dict[str, Callable[[], Iterator[Any]]] = {
    "cycle": lambda: itertools.cycle(NUMBERS),
    "chain": lambda: itertools.chain(NUMBERS, NUMBERS),
    "a chain of a chain": lambda: enumerate(itertools.chain(iter(NUMBERS), map(str, NUMBERS))),
    "islice": lambda: itertools.islice(iter(NUMBERS), 1, 4, 2),
    "accumulate": lambda: itertools.accumulate(NUMBERS),
    "tee": lambda: itertools.tee(NUMBERS)[0],
    "map": lambda: map(str, NUMBERS),
    "filter": lambda: filter(None, NUMBERS),
    "zip": lambda: zip(NUMBERS, NUMBERS, strict=True),
    "takewhile": lambda: itertools.takewhile(bool, NUMBERS),
    "product": lambda: itertools.product(NUMBERS, NUMBERS),
    "count": lambda: itertools.count(3),
    "repeat": lambda: itertools.repeat(2, 4),
    "a list's": lambda: iter(NUMBERS),
    "compress": lambda: itertools.compress(NUMBERS, [0, 1, 1, 0, 1]),
}


class Advances(Base):
    def __init__(self, held: Iterator[Any]) -> None:
        super().__init__()
        self.held = held

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        next(self.held)
        return self.layer(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ITERATORS)
@pytest.mark.parametrize("advanced", [0, 1])
def test_an_iterator_stays_where_it_is(name: str, advanced: int) -> None:
    held, same = ITERATORS[name](), ITERATORS[name]()
    for _ in range(advanced):
        assert next(held) == next(same)
    assert fxprof.profile_module(Advances(held).eval(), (X,)).macs == ONE
    assert list(itertools.islice(held, 6)) == list(itertools.islice(same, 6))


@pytest.mark.parametrize("make", [lambda: map(str, (number for number in NUMBERS)), lambda: itertools.pairwise(NUMBERS)])
def test_one_that_nobody_can_copy_is_told(make: Callable[[], Iterator[Any]]) -> None:
    held, same = make(), make()
    with pytest.raises(CaptureError, match=r"it advances the iterator (map|pairwise), which cannot be reset"):
        fxprof.profile_module(Advances(held).eval(), (X,))
    assert next(held) == next(same)
