"""Whatever a pipeline's code does to the process, undone: torch's modes, random state, warnings, loggers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import torch


@contextmanager
def unchanged() -> Iterator[None]:
    """Run quietly and without gradients; afterwards, whatever happened, everything global is as before."""
    dtype = torch.get_default_dtype()
    disabled = logging.root.manager.disable
    quiet = redirect_stdout(StringIO())  # standard output is for reports; some pipelines print
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad(), quiet:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            torch.set_default_dtype(dtype)
