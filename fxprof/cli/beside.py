"""Two profiles at a time, the second one in a process of its own, if there is a processor for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from fxprof.cache import note, noted
from fxprof.cli.ending import ending_signals
from fxprof.result.profile import Profile
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def pays() -> bool:
    """Whether a second process would be faster. It forks before torch is imported, so both import it at the same time."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity is not None else 1
    return processors > 1 and "torch" not in sys.modules and hasattr(os, "fork")


def both(here: Callable[[], Profile], beside: Callable[[], Profile]) -> tuple[Profile, Profile]:
    """The results of two functions, the second from a process of its own, which ends with this one at the latest.

    If that process fails, for whatever reason, this one calls the second function itself, so its error is reported as usual.
    """
    import multiprocessing  # a top-level import would slow every start

    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    watched, held = context.Pipe(duplex=False)
    parent = _Parent(os.getpid(), watched, (receiving, held))
    process = context.Process(target=_send, args=(beside, sending, parent), daemon=True)
    with _signals_wait():
        process.start()
    sending.close()
    watched.close()
    try:
        first = here()
        try:
            text, notes = json.loads(receiving.recv_bytes())
            second = loads(text)
            for directory, line in notes.items():
                note(directory, line)
        except (EOFError, OSError):  # OSError: the process ended in the middle of its answer
            second = beside()
    finally:
        process.terminate()
        process.join()
        held.close()
        receiving.close()
    return first, second


class _Parent(NamedTuple):
    """The process that forked the second one."""

    process: int
    watched: Connection
    """A pipe that reads as ended when the parent has ended, for whatever reason."""
    ends: tuple[Connection, ...]
    """The parent's ends of pipes. No pipe ends while the second process holds them too."""


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold back the signals that end the command, so a new process does not answer them as its parent would."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(compute: Callable[[], Profile], sending: Connection, parent: _Parent) -> None:
    with contextlib.suppress(BaseException):  # the parent meets the error again, and reports it
        _end_with(parent)
        logging.getLogger("fxprof").setLevel(logging.CRITICAL + 1)  # the parent prints the reports, once
        text = dumps(compute())
        sending.send_bytes(json.dumps([text, dict(noted())]).encode())
    os._exit(0)  # the parent ends what it has set up


def _end_with(parent: _Parent) -> None:
    """End when the parent ends, even if it is killed; the parent reports a signal for both, such as Ctrl-C."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())
    for end in parent.ends:
        end.close()
    threading.Thread(target=_watch, args=(parent.watched,), daemon=True).start()
    if sys.platform == "linux":  # here the system does it, without a turn of the interpreter
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.process:  # the parent ended before
        os._exit(1)


_PR_SET_PDEATHSIG = 1


def _watch(watched: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
