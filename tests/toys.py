"""Small modules that carry the MACs that each of their module paths must be found to cost."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional


class Toy(nn.Module):
    expected: ClassVar[dict[str, int]]
    """Module path to its own MACs, for `example`."""
    example: ClassVar[tuple[Any, ...]]


class Nested(Toy):
    """An inner block with a convolution and a linear layer, and an activation that costs nothing."""

    expected: ClassVar = {
        "": 0,
        "block": 0,
        "block.conv": 2 * 8 * 16 * 16 * 3 * 3 * 3,
        "block.act": 0,
        "head": 2 * 16 * 16 * 8 * 5,
    }
    example = (torch.zeros(2, 3, 16, 16),)

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential()
        self.block.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.block.act = nn.SiLU()
        self.head = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.block(images)
        result: torch.Tensor = self.head(hidden.permute(0, 2, 3, 1))
        return result


class CalledTwice(Toy):
    """One module, two calls: one path, both costs."""

    expected: ClassVar = {"": 0, "layer": 2 * (3 * 4 * 4)}
    example = (torch.zeros(3, 4),)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(self.layer(rows))
        return result


class Shared(Toy):
    """One module under two names, and a third module that only shares its weight."""

    expected: ClassVar = {"": 0, "first": 2 * (3 * 4 * 4), "tied": 3 * 4 * 4}
    example = (torch.zeros(3, 4),)
    params = 4 * 4 + 4 + 4
    """The weight once, two biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.tied(self.second(self.first(rows)))
        return result


class Functional(Toy):
    """Operators that no module stands for belong to the module whose forward they stand in."""

    expected: ClassVar = {"": 3 * 4 * 7, "inner": 3 * 7 * 7}
    example = (torch.zeros(3, 4),)

    class Inner(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows @ torch.ones(7, 7)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7, 4))
        self.inner = self.Inner()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(functional.linear(rows, self.weight))
        return result


class ExplicitForward(Toy):
    """A layer whose `forward` is called by hand is not entered: its caller gets the cost."""

    expected: ClassVar = {"": 3 * 4 * 4, "layer": 3 * 4 * 4}
    example = (torch.zeros(3, 4),)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(self.layer.forward(rows))
        return result


class Subgraphs(Toy):
    """Work inside of `wrap_with_set_grad_enabled`, `wrap_with_autocast` and `cond` is not lost."""

    expected: ClassVar = {"": 3 * 4 * 4, "layer": 2 * (3 * 4 * 4)}
    example = (torch.zeros(3, 4),)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            rows = self.layer(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows = self.layer(rows).float()
        weight = self.weight
        result: torch.Tensor = torch.cond(rows.sum() > 0, lambda x: x @ weight, lambda x: x * 2, (rows,))
        return result


class Attention(Toy):
    """Grouped queries, another length and another width of the values."""

    expected: ClassVar = {"": 2 * 8 * 5 * 7 * (16 + 16)}
    example = (torch.zeros(2, 8, 5, 16), torch.zeros(2, 4, 7, 16), torch.zeros(2, 4, 7, 16))

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)


class ReadsValues(Toy):
    """Reads a length out of a mask: its Python runs for real, its children are captured, its own product is seen."""

    expected: ClassVar = {"": 2 * 4 * 4, "embed": 6 * 4 * 4, "head": 2 * 4 * 4}
    example = (torch.zeros(6, 4), torch.tensor([1, 1, 0, 0, 0, 0]))

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        length = sum(mask.tolist())
        result: torch.Tensor = self.head(self.embed(rows)[:length] @ self.weight)
        return result


TOYS: list[type[Toy]] = [
    Nested,
    CalledTwice,
    Shared,
    Functional,
    ExplicitForward,
    Subgraphs,
    Attention,
    ReadsValues,
]
