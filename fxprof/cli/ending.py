"""How the command ends when it is told to: Ctrl-C, SIGTERM, a closed terminal. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_TOLD = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""The signals that end the command, with what it says of them."""


def ending_signals() -> list[int]:
    """The signals that end the command; this system may not have all of them."""
    return [getattr(signal, name) for name in _TOLD if hasattr(signal, name)]


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process at once when it is told to, whatever code runs: one line, nothing half-written, exit code 128 + signal.

    An exception would have to pass through the code of models and packages, which may catch it, wrap it or lose it.
    What somebody else handles, or has switched off as `nohup` does, stays as it is.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ending_signals():
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for other in ending_signals():
        signal.signal(other, signal.SIG_IGN)  # what follows takes no time, and is done once
    parts = sys.modules.get("fxprof.parts")  # nobody writes where it was not imported
    if parts is not None:
        with suppress(Exception):  # whatever it is, the process ends
            parts.abandon()
    with suppress(OSError):
        os.write(2, f"fxprof: {_TOLD[signal.Signals(number).name]}; nothing was written\n".encode())
    os._exit(128 + number)
