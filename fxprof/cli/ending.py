"""The end of the command at a signal: Ctrl-C, SIGTERM, a closed terminal. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from types import FrameType
from typing import NoReturn

import fxprof

_TOLD = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""The signals that end the command, with the word in its message."""
_PATIENCE = 0.3
"""Seconds that the main thread has to answer a signal before another thread does."""


def ending_signals() -> list[int]:
    """The signals that end the command; this system may not have all of them."""
    return [getattr(signal, name) for name in _TOLD if hasattr(signal, name)]


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process at once at a signal, whatever code runs: one line, nothing half-written, exit code 128 + signal.

    An exception would have to pass through the code of models and packages, which may catch it, wrap it or lose it.
    A signal that another handler answers, or that is switched off as by `nohup`, stays untouched.

    Python answers a signal in the main thread, between two of its own steps; native code may delay that for seconds.
    While such code lets other threads run, one of them answers; for other code there is `second_signal_ends`.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ending_signals():
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, fxprof.interrupted_early):
                before[number] = signal.signal(number, _end)
    try:
        with _listening() if before else nullcontext():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listening() -> Iterator[None]:
    """Run a thread that answers signals if the main thread does not."""
    heard, written = os.pipe()
    os.set_blocking(written, False)
    other = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    if other == -1:
        threading.Thread(target=_listen, args=(heard,), daemon=True).start()
    else:  # another program part listens
        signal.set_wakeup_fd(other)
    try:
        yield
    finally:
        if other == -1:
            signal.set_wakeup_fd(-1)
        os.close(written)  # the thread reads the end, and stops


def _listen(heard: int) -> None:
    while numbers := os.read(heard, 64):
        for number in numbers:
            if signal.getsignal(number) is _end:
                time.sleep(_PATIENCE)
                if signal.getsignal(number) is _end:  # the main thread first switches the signals off when it answers
                    _finish(number)


@contextmanager
def second_signal_ends() -> Iterator[None]:
    """Let the system itself end the process at a second signal of a kind, until the end of the block.

    This is for native code that lets no Python code run: Python answers the first signal when that code returns, and the
    system answers the second. If the system's library cannot do that, signals wait for the end of the block.
    """
    answered = [number for number in ending_signals() if signal.getsignal(number) is _end]
    once = _once()
    if once is None or not answered or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, answered)
    for number in answered:
        once(number, once(number, None))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, _end)


@cache
def _once() -> Callable[[int, int | None], int | None] | None:
    """The C library's function that sets a handler for the next signal of a kind alone, and returns the previous handler."""
    import ctypes  # a top-level import would slow every start

    try:
        function = ctypes.CDLL(None).sysv_signal
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_void_p]
    function.restype = ctypes.c_void_p
    return function


_FINISHING = threading.Lock()
_finisher: int | None = None


def _end(number: int, _frame: FrameType | None) -> None:
    for other in ending_signals():
        signal.signal(other, signal.SIG_IGN)  # the rest takes no time, and runs once
    _finish(number)


def _finish(number: int) -> None:
    global _finisher  # noqa: PLW0603 - of the one end that a process has
    me = threading.get_ident()
    if not _FINISHING.acquire(blocking=False):
        while _finisher not in (None, me):  # another thread ends the process while this one waits
            time.sleep(1)
        return  # this thread was about to end the process
    _finisher = me
    _leave(number)


def _leave(number: int) -> NoReturn:
    parts = sys.modules.get("fxprof.parts")  # without this module nothing writes files
    if parts is not None:
        with suppress(Exception):  # the process ends, whatever the error
            parts.abandon()
    foreign = sys.modules.get("fxprof.capture.foreign")  # this module may have moved the descriptor
    stderr = 2 if foreign is None else getattr(foreign, "real_stderr", lambda: 2)()
    with suppress(OSError):
        os.write(stderr, f"fxprof: {_TOLD[signal.Signals(number).name]}; nothing was written\n".encode())
    os._exit(128 + number)
