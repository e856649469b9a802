"""A time limit for code that does not end with other values: a loop until a residual is small, a range of 10^30.

Where such a loop calls torch, the rehearsal itself checks the time. A loop of plain Python, such as `while t > 0.5: t -= 0.25`,
is ended from another thread, and only in the user's code: code of torch or fxprof never ends half way.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_OTHERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
_LOOK_EVERY = 0.02
_set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc


class EndlessError(BaseException):
    """The user's code has run longer than its limit; no `except Exception` of its own may hide this."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raise an error in this thread after some time of computing.

    Args:
        seconds: processor time of this thread.

    Raises:
        EndlessError: the time is over.
    """
    thread, lock, over, sent = threading.get_ident(), threading.Lock(), threading.Event(), threading.Event()
    end = time.thread_time() + seconds
    clock = time.pthread_getcpuclockid(thread) if hasattr(time, "pthread_getcpuclockid") else None

    def watch() -> None:
        while not over.wait(_LOOK_EVERY):
            spent = time.clock_gettime(clock) if clock is not None else time.process_time()
            with lock:
                if spent > end and not over.is_set() and _is_in_own_code(thread):
                    sent.set()
                    _send(thread)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        _stop(lock, over)
        if sent.is_set():
            _take(thread)
        watcher.join()


def _send(thread: int) -> None:
    _set_error(ctypes.c_ulong(thread), ctypes.py_object(EndlessError))


def _stop(lock: threading.Lock, over: threading.Event) -> None:
    """Stop the sending of errors, also if one arrives at this moment."""
    while not over.is_set():
        try:
            with lock:
                over.set()
        except EndlessError:
            continue


def _take(thread: int) -> None:
    """Catch an error that was sent and not yet raised.

    An error can only be called back by setting none, after which Python up to 3.12 looks for it at every step forever: all code
    is slower then, and nothing ends under `sys.setprofile`. So another error takes its place, and this function waits for it.
    """
    try:
        _send(thread)
        while True:
            time.sleep(0)
    except EndlessError:
        return


def _is_in_own_code(thread: int) -> bool:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way to look at another thread
    return frame is not None and not frame.f_code.co_filename.startswith(_OTHERS)
