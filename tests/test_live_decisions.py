"""Decisions by values that only a real run knows are never given as exact, however they are written."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

import fxprof

X = torch.randn(2, 16)
Decide = Callable[[torch.Tensor], object]


class Deciding(nn.Module):
    """Works three times as much where a test of its hidden values says so."""

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.decide = decide

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        if self.decide(hidden):
            hidden = self.layer(self.layer(hidden))
        return hidden


DECISIONS: dict[str, Decide] = {
    "finite and large": lambda h: torch.isfinite(h).all() and h.abs().max() > 1,
    "no nan and large": lambda h: not torch.isnan(h).any() and h.mean() > 1,
    "between, as tensors": lambda h: 1 < h.mean() < 1e6,
    "between, as a number": lambda h: 0 < h.mean().item() < 1000,
    "a small window": lambda h: 0.02 < h.mean().item() < 0.9,
    "a difference": lambda h: abs(h.mean().item() - h.norm().item()) > 0.1,
    "a ratio": lambda h: h.norm().item() / (h.mean().item() + 1e-9) > 2,
    "a range of integers": lambda h: int(h.abs().max()) in range(3, 50),
    "scaled": lambda h: (h * 1e12).mean().item() > 1e10,
    "the larger of two": lambda h: max(h[0, 0], torch.tensor(0.0)) > 0,
    "how many differ": lambda h: len({float(value) for value in h[0]}) > 3,
    "how many differ in a list": lambda h: len(set(h.flatten().tolist())) > 3,
    "the end of a text": lambda h: h.argmax(-1)[0].item() == 2,
    "stored elements": lambda h: h.to_sparse()._nnz() > 3,
    "stored rows": lambda h: h.relu().to_sparse_csr().values().numel() > 3,
    "places of stored elements": lambda h: h.to_sparse().coalesce().indices().shape[1] > 3,
    "a copy by pickle": lambda h: pickle.loads(pickle.dumps(h.detach())).mean() > 1,
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_is_marked(name: str) -> None:
    profile = fxprof.profile_module(Deciding(DECISIONS[name]), (X,))
    assert profile.approximations
    assert all("depends on values that only a real run knows" in sentence for sentence in profile.approximations)


def test_what_is_read_to_be_shown_decides_nothing() -> None:
    profile = fxprof.profile_module(Deciding(lambda h: f"{h.mean().item():.3f}" == ""), (X,))
    assert (profile.macs, profile.approximations) == (2 * 16 * 16, ())
    remark = next(remark for remark in profile.remarks if "other values" in remark)
    assert "model reads a value that only a real run knows (a number read out of a tensor in " in remark
    assert "test_live_decisions.py:" in remark
    assert remark.endswith("; 17 other values changed nothing counted")


def test_a_decision_that_no_other_value_shows_is_named() -> None:
    profile = fxprof.profile_module(Deciding(lambda h: h.mean().item() == 3.14159), (X,))
    assert not profile.approximations
    assert any("other values changed nothing counted" in remark for remark in profile.remarks)
