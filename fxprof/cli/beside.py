"""One profile computed beside another, in a process of its own, where there is a processor for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from fxprof.cache import note, noted
from fxprof.result.profile import Profile
from fxprof.result.store import dumps, loads

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def pays() -> bool:
    """Whether a second process would be faster: it forks off before torch is there, so that both import it at the same time."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity is not None else 1
    return processors > 1 and "torch" not in sys.modules and hasattr(os, "fork")


def both(here: Callable[[], Profile], beside: Callable[[], Profile]) -> tuple[Profile, Profile]:
    """What two functions return, the second one computed by a process of its own.

    Where that fails, for whatever reason, the second one is called here, so that its error is told as always.
    """
    import multiprocessing  # not with the module: every start would pay for it

    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(beside, sending), daemon=True)
    process.start()
    sending.close()
    try:
        first = here()
        try:
            text, notes = json.loads(receiving.recv_bytes())
            second = loads(text)
            for directory, line in notes.items():
                note(directory, line)
        except EOFError:
            second = beside()
    finally:
        process.terminate()
        process.join()
    return first, second


def _send(compute: Callable[[], Profile], sending: Connection) -> None:
    logging.getLogger("fxprof").setLevel(logging.CRITICAL + 1)  # what is noted is told by the parent, once
    with contextlib.suppress(BaseException):  # which is met again where it can be told
        text = dumps(compute())
        sending.send_bytes(json.dumps([text, dict(noted())]).encode())
    os._exit(0)  # nothing of what the parent has set up is this process's to end
