"""Undoing the effects of a pipeline's code on the process: torch's modes, random state, warnings, loggers, output.

Only one thread captures at a time, because modules and torch have state that all threads share; the others wait.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, TextIO

import numpy as np
import torch
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import _disable_current_modes

from fxprof.capture.compiler import forgotten_tables
from fxprof.capture.waiting_threads import LOOK_EVERY, Patience
from fxprof.errors import UsageError

_CAPTURING = threading.RLock()
_capturer: list[int] = []
"""The capturing thread, once for each `alone` block that it is in."""


@contextmanager
def alone() -> Iterator[None]:
    """Make this the only thread of the process that captures, outside of the caller's dispatch modes.

    A `FakeTensorMode` of the caller's would refuse exchanged tensors, and its `FlopCounterMode` would count the rehearsal.

    Raises:
        UsageError: this thread is capturing already, or waits for a thread that does: code that runs for one profile asked for
            another one.
    """
    if _capturer and _capturer[0] == threading.get_ident():
        what = "code that runs for one profile asked for another profile"
        raise UsageError(what, "take the call of fxprof out of the module, the hook or the callback")
    _take_turn()
    try:
        _capturer.append(threading.get_ident())
        with _disable_current_modes():
            yield
    finally:
        _capturer.pop()
        _CAPTURING.release()


def _take_turn() -> None:
    waited_for, patience = 0, Patience(0)
    while not _CAPTURING.acquire(timeout=LOOK_EVERY):
        capturer = _capturer[0] if _capturer else 0
        if capturer != waited_for:
            waited_for, patience = capturer, Patience(capturer)
        if patience.is_over():
            what = "a thread that another profile waits for asked for a profile"
            raise UsageError(what, "take the call of fxprof out of the module, the hook or the callback")


class _Muted:
    """A stream that drops the output of one thread, and passes on the output of others."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread, self._dropped = stream, threading.get_ident(), StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dropped if threading.get_ident() == self._thread else self._stream, name)


@contextmanager
def muted(name: str) -> Iterator[None]:
    """Drop this thread's output to `sys.stdout` or `sys.stderr`."""
    before = getattr(sys, name)
    setattr(sys, name, _Muted(before))
    try:
        yield
    finally:
        setattr(sys, name, before)


@contextmanager
def unchanged() -> Iterator[None]:
    """Run quietly and without gradients; afterwards all global state is as before, also after an error."""
    dtype, disabled = torch.get_default_dtype(), logging.root.manager.disable
    numbers, variables = random.getstate(), dict(os.environ)
    arrays = np.random.get_state()  # noqa: NPY002 - models draw from the state that is shared
    # Standard output is for reports; some pipelines print.
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.no_grad(),
        muted("stdout"),
        forgotten_tables(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        weights = dict(parametrize._cache)  # noqa: SLF001 - the contents of `parametrize.cached` are the user's
        parametrize._cache.clear()  # noqa: SLF001 - as above
        try:
            yield
        finally:
            parametrize._cache.clear()  # noqa: SLF001 - as above
            parametrize._cache.update(weights)  # noqa: SLF001 - as above
            logging.disable(disabled)
            torch.set_default_dtype(dtype)
            random.setstate(numbers)
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})
            np.random.set_state(arrays)  # noqa: NPY002 - as above
