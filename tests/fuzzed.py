"""The module whose exported graph is changed at random; small, and with something of everything in it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

MACS = 2 * 64 * 4 * 27 + 2 * 2 * 64 * 64 * 4 + 2 * 4 * 5
"""Of the convolution, the attention and the linear layer, at the example's sizes."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1)
        chosen: torch.Tensor = torch.cond(mixed.sum() > 0, self.fc, lambda a: self.fc(a).relu(), (mixed,))
        return chosen.reshape(x.shape[0] * 5)


def save(path: Path) -> None:
    """Export the module with a batch that may vary, and save it."""
    sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Net().eval(), (torch.ones(2, 3, 8, 8),), dynamic_shapes=sizes, strict=False)
        torch.export.save(program, path)
