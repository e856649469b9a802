"""One profile computed beside another, in a process of its own, where there is a processor for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from fxprof.result.profile import Profile
from fxprof.result.store import dumps, loads


def pays() -> bool:
    """Whether a second process would be faster: it forks off before torch is there, so that both import it at the same time."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity is not None else 1
    return processors > 1 and "torch" not in sys.modules and "fork" in multiprocessing.get_all_start_methods()


def both(here: Callable[[], Profile], beside: Callable[[], Profile]) -> tuple[Profile, Profile]:
    """What two functions return, the second one computed by a process of its own.

    Where that fails, for whatever reason, the second one is called here, so that its error is told as always.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(beside, sending), daemon=True)
    process.start()
    sending.close()
    try:
        first = here()
        try:
            second = loads(receiving.recv_bytes().decode("utf-8", "surrogatepass"))
        except EOFError:
            second = beside()
    finally:
        process.terminate()
        process.join()
    return first, second


def _send(compute: Callable[[], Profile], sending: Connection) -> None:
    with contextlib.suppress(BaseException):  # which is met again where it can be told
        sending.send_bytes(dumps(compute()).encode("utf-8", "surrogatepass"))
    os._exit(0)  # nothing of what the parent has set up is this process's to end
