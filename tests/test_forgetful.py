"""Models whose functions remember results: a capture neither takes from such a memory nor leaves anything in it."""

from __future__ import annotations

import functools

import torch
from torch import nn

import fxprof


class Remembering(nn.Module):
    """A table that is computed once for each length, and a branch that no export follows."""

    def __init__(self) -> None:
        super().__init__()
        self.angles = torch.linspace(0.0, 1.0, 8)
        self.inner = nn.Linear(8, 4)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - as models have it
    def table(self, length: int) -> torch.Tensor:
        made: torch.Tensor = self.angles.expand(length, 8) * torch.arange(1, length + 1)[:, None]
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inner(x + torch.cat([self.table(len(x))]))
        return y if y.sum().item() > 1e6 else y + 1


def test_a_table_of_an_export_that_was_refused_is_not_met_again() -> None:
    model = Remembering().eval()
    profile = fxprof.profile_module(model, (torch.zeros(3, 8),))
    assert profile.macs == 3 * 8 * 4
    assert Remembering.table.cache_info().currsize == 0


def test_a_model_computes_afterwards_what_it_did_before() -> None:
    model, x = Remembering().eval(), torch.ones(3, 8)
    Remembering.table.cache_clear()
    fxprof.profile_module(model, (x,))
    with torch.no_grad():
        found = model(x)
        expected = model.inner(x + model.angles * torch.tensor([[1.0], [2.0], [3.0]])) + 1
    assert torch.equal(found, expected)


def test_what_was_remembered_before_stays() -> None:
    model = Remembering().eval()
    Remembering.table.cache_clear()
    table, method = model.table(3), Remembering.table
    fxprof.profile_module(model, (torch.zeros(3, 8),))
    assert Remembering.table is method
    assert model.table(3) is table
    assert Remembering.table.cache_info().currsize == 1


def test_a_model_may_clear_what_it_remembers() -> None:
    class Clearing(Remembering):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.table.cache_clear()
            return super().forward(x)

    assert fxprof.profile_module(Clearing().eval(), (torch.zeros(2, 8),)).macs == 2 * 8 * 4
