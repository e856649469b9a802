"""One profile computed beside another, in a process of its own, where there is a processor for it."""

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
    """Whether a second process would be faster: it forks off before torch is there, so that both import it at the same time."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity is not None else 1
    return processors > 1 and "torch" not in sys.modules and hasattr(os, "fork")


def both(here: Callable[[], Profile], beside: Callable[[], Profile]) -> tuple[Profile, Profile]:
    """What two functions return, the second one computed by a process of its own, which ends with this one at the latest.

    Where that fails, for whatever reason, the second one is called here, so that its error is told as always.
    """
    import multiprocessing  # not with the module: every start would pay for it

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
        except (EOFError, OSError):  # OSError: it ended in the middle of its answer
            second = beside()
    finally:
        process.terminate()
        process.join()
        held.close()
        receiving.close()
    return first, second


class _Parent(NamedTuple):
    """The process that a second one was forked from."""

    process: int
    watched: Connection
    """It reads as ended when the parent has ended, however that came about."""
    ends: tuple[Connection, ...]
    """The parent's ends of pipes. While the second process has them too, no pipe ever ends."""


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold the signals that end the command back, so that a process that was just forked does not answer them as its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(compute: Callable[[], Profile], sending: Connection, parent: _Parent) -> None:
    with contextlib.suppress(BaseException):  # which is met again where it can be told
        _end_with(parent)
        logging.getLogger("fxprof").setLevel(logging.CRITICAL + 1)  # what is noted is told by the parent, once
        text = dumps(compute())
        sending.send_bytes(json.dumps([text, dict(noted())]).encode())
    os._exit(0)  # nothing of what the parent has set up is this process's to end


def _end_with(parent: _Parent) -> None:
    """End when the parent ends, even if it is killed; a signal for both, as of Ctrl-C, is the parent's to tell of."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())
    for end in parent.ends:
        end.close()
    threading.Thread(target=_watch, args=(parent.watched,), daemon=True).start()
    if sys.platform == "linux":  # where it needs no turn of the interpreter
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.process:  # it ended before
        os._exit(1)


_PR_SET_PDEATHSIG = 1


def _watch(watched: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
