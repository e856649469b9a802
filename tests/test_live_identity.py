"""A module that decides by the class, the address or the identity of a tensor goes where a run goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fxprof

X = torch.randn(2, 16)
ONE = 2 * 16 * 16
KINDS = (torch.Tensor, nn.Parameter)


def is_plain(x: Any) -> bool:
    return type(x) is torch.Tensor


class Asks(nn.Module):
    """Runs its layer twice where a question is answered with yes, and once otherwise."""

    def __init__(self, question: Callable[[Any, torch.Tensor], bool]) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.question = question
        self.seen: dict[int, int] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)
        return self.layer(hidden) if self.question(self, hidden) else hidden


QUESTIONS: dict[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "is": (lambda _, x: type(x) is torch.Tensor, True),
    "is not": (lambda _, x: type(x) is not torch.Tensor, False),
    "equal": (lambda _, x: type(x) == torch.Tensor, True),  # noqa: E721 - as users write it
    "one of": (lambda _, x: type(x) in (torch.Tensor, nn.Parameter), True),
    "one of a global": (lambda _, x: type(x) in KINDS, True),
    "parameter": (lambda self, _: type(self.layer.weight) is nn.Parameter, True),
    "name": (lambda _, x: type(x).__name__ == "Tensor", True),
    "class": (lambda _, x: x.__class__ is torch.Tensor, True),
    "two": (lambda self, x: type(self.layer.weight) is type(x), False),
    "helper": (lambda _, x: is_plain(x), True),
    "address": (lambda _, x: x.data_ptr() == 0, False),
    "storage": (lambda self, x: x.untyped_storage().data_ptr() == self.layer.weight.untyped_storage().data_ptr(), False),
    "identity": (lambda self, x: id(x) in self.seen, False),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered_as_in_a_run(name: str) -> None:
    question, answer = QUESTIONS[name]
    module = Asks(question).eval()
    assert question(module, module.layer(X).detach()) is answer
    profile = fxprof.profile_module(module, (X,))
    assert profile.macs == ONE * (2 if answer else 1)
    assert any("ran for real" in remark for remark in profile.remarks)
    assert any("data_ptr" in remark for remark in profile.remarks) == (name in {"address", "storage"})


@pytest.mark.parametrize("question", [lambda _, x: isinstance(x, torch.Tensor), lambda self, _: type(self).__name__ == "Asks"])
def test_other_questions_are_exported(question: Callable[[Any, Any], bool]) -> None:
    profile = fxprof.profile_module(Asks(question).eval(), (X,))
    assert (profile.macs, profile.remarks) == (2 * ONE, ())
