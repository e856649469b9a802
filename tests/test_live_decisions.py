"""Decisions by values that only a real run knows are never given as exact, however they are written."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import fxprof
from fxprof.errors import CaptureError

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


class Twice(nn.Module):
    """Two layers of which a test may choose between."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)


class Until(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        for _ in range(int(hidden.abs().max() * 100)):
            hidden = self.layer(hidden)
        return hidden


class InPython(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = float(self.layer(x).abs().sum())
        while left > 0.5:
            left -= 0.25
        return x


class Swallowed(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        try:
            times = min(5, int(hidden.abs().max() * 100))
        except Exception:  # noqa: BLE001 - as in code that also works in a graph
            times = 0
        for _ in range(times):
            hidden = self.layer(hidden)
        return hidden


class Branch(Twice):
    """Reads a value, so that it runs for real, and then has torch take a branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        f"{hidden.sum().item():.1f}"
        taken: torch.Tensor = torch.cond(hidden.sum() > 0, self.layer, lambda y: y * 2, (x,))
        return taken


class Shown(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        return self.layer(hidden) if repr(hidden[0, 0]).startswith("tensor(-") else hidden


class Falls(Twice):
    """Goes on in another way where a matrix is not positive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        square = hidden @ hidden.T
        try:
            root: torch.Tensor = torch.linalg.cholesky(square)
        except RuntimeError:
            root = torch.linalg.cholesky(square + torch.eye(2)) @ self.layer(hidden)
        return root


class OutOfRange(Twice):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        with contextlib.suppress(IndexError):
            hidden += self.table((hidden.sum(-1) * 100).long())
            return hidden
        return torch.relu(self.layer(hidden))


@pytest.mark.parametrize(
    "kind", [pytest.param(Until, marks=pytest.mark.slow), InPython, Swallowed, Branch, Shown, Falls, OutOfRange]
)
def test_what_cannot_be_told_is_marked_and_ends(kind: type[nn.Module]) -> None:
    profile = fxprof.profile_module(kind(), (X,))
    assert profile.approximations
    assert all("depends on values that only a real run knows" in sentence for sentence in profile.approximations)


def test_a_loop_that_zeros_never_end_is_refused() -> None:
    class Grows(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.layer(x)
            while hidden.norm() < 1:
                hidden = hidden * 2
            return hidden

    with pytest.raises(CaptureError, match=r"a loop reads a value that only a real run knows 10,000 times in .*for zeros"):
        fxprof.profile_module(Grows(), (X,))


def test_what_a_call_is_given_is_not_written_to() -> None:
    class Writes(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(2)
            return self.layer(x) if self.layer(x).sum() > -1e9 else x

    given = torch.ones(2, 16)
    fxprof.profile_module(Writes(), (given,))
    assert torch.equal(given, torch.ones(2, 16))
    assert given._version == 0


def test_own_code_is_not_told_that_it_is_exported() -> None:
    class Asks(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.layer(x)
            return hidden if torch.compiler.is_compiling() or torch.compiler.is_exporting() else self.layer(hidden)

    assert fxprof.profile_module(Asks(), (X,)).macs == 2 * 2 * 16 * 16


_TRACED = """
import sys
import torch
import fxprof
from tests_of_decisions import InPython

fxprof.profile_module(InPython().eval(), (torch.ones(2, 16),))
sys.setprofile(lambda *_: None)
print([square for square in map(lambda number: number**2, range(3))])
"""
"""Python asks for errors from other threads at every step, where one was called back: profilers then never end."""

_COMPILED = """
import torch
from torch import nn
import fxprof


class Branch(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y * 3, (x,))


fxprof.profile_module(Branch().eval(), (torch.ones(2, 16),))
asks = torch.compile(lambda x: x + 1 if torch.compiler.is_compiling() else x, backend="eager", fullgraph=True)
print(asks(torch.zeros(3, dtype=torch.int64)).tolist())
"""
"""Its compiler makes a table of torch's functions when it is first needed, and some of these are others in a rehearsal."""


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        pytest.param(_TRACED, "[0, 1, 4]\n", marks=pytest.mark.slow),
        pytest.param(_COMPILED, "[1, 1, 1]\n", marks=pytest.mark.slow),
    ],
)
def test_the_rest_of_the_process_goes_on_as_if_nothing_had_been(program: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "tests_of_decisions.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr
