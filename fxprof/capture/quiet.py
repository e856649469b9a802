"""Whatever a pipeline's code does to the process, undone: torch's modes, random state, warnings, loggers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def unchanged() -> Iterator[None]:
    """Run quietly and without gradients; afterwards, whatever happened, everything global is as before."""
    dtype = torch.get_default_dtype()
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            torch.set_default_dtype(dtype)
