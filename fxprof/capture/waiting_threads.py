"""Other threads of the process that use objects lent to a rehearsal: they wait until these are returned.

A call that began before is allowed to finish first. If one thread waits for another that waits for it, the younger request
is refused, so nothing hangs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from fxprof.errors import UsageError

LOOK_EVERY = 0.02
"""Seconds between two checks of other threads."""
_PATIENCE = 3.0
"""Seconds that a thread must stay in one wait before it counts as waiting for this one."""
_WAITS = ("threading.py", "queue.py", "concurrent/futures/_base.py", "multiprocessing/pool.py", "asyncio/base_events.py")
_ALONE = "fxprof/capture/process_state.py"
"""The file in which threads wait for their turn to profile."""
_ABSENT = object()
_REMEDY = "call it in the thread that is profiled, or through concurrent.futures.ThreadPoolExecutor"


class Gate:
    """Keeps other threads from calling some objects.

    Args:
        objects: a pipeline and its modules.
    """

    def __init__(self, objects: Iterable[Any]) -> None:
        self._objects = {id(item): item for item in objects}
        self._thread = threading.get_ident()
        self._inside: frozenset[int] = frozenset()
        """Threads that were already in a call of one of the objects."""
        self._open = threading.Event()
        self._refusal: UsageError | None = None
        """The refusal that another thread got, for which this one waited."""

    @contextmanager
    def closed(self, called: Iterable[Any]) -> Iterator[None]:
        """Make other threads wait at their calls of `called`, and at those that ask `wait`; calls in progress end first.

        Raises:
            UsageError: a call in progress waits for this thread.
        """
        global _gate  # noqa: PLW0603 - one thread at a time rehearses, and its changes in torch hold for the whole process, too
        before = _patched({type(item) for item in called})
        hook = threading.excepthook
        threading.excepthook = self._ended(hook)
        _gate = self
        try:
            self._let_finish()
            yield
        except Exception as error:
            if self._refusal is not None:
                raise self._refusal from error
            raise
        finally:
            _gate = None
            self._open.set()
            threading.excepthook = hook
            _unpatch(before)
        if self._refusal is not None:
            raise self._refusal

    def _ended(self, hook: Callable[[threading.ExceptHookArgs], Any]) -> Callable[[threading.ExceptHookArgs], Any]:
        """A hook for the end of threads that reports nothing if a thread ended at the refusal: the profile ends with it."""

        def ended(how: threading.ExceptHookArgs, /) -> Any:
            return None if how.exc_value is not None and how.exc_value is self._refusal else hook(how)

        return ended

    def wait(self, item: Any) -> None:
        """Return when the calling thread may work with an object.

        Raises:
            UsageError: the rehearsal itself waits for the calling thread.
        """
        thread = threading.get_ident()
        if thread == self._thread or thread in self._inside or id(item) not in self._objects:
            return
        patience = Patience(self._thread)
        while not self._open.wait(LOOK_EVERY):
            if patience.is_over():
                what = f"a thread called {type(item).__name__} while a profile of it, in another thread, waits for that thread"
                self._refusal = UsageError(what, _REMEDY)
                raise self._refusal

    def _let_finish(self) -> None:
        patience: dict[int, Patience] = {}
        while threads := self._threads_inside():
            self._inside = frozenset(threads)
            for thread in threads:
                if patience.setdefault(thread, Patience(thread)).is_over():
                    what = "another thread is in a call of the object to be profiled, and waits"
                    raise UsageError(what, "ask for the profile before or after that call")
            time.sleep(LOOK_EVERY)
        self._inside = frozenset()

    def _threads_inside(self) -> list[int]:
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to see what other threads do
        return [thread for thread, frame in frames.items() if thread != self._thread and self._is_inside(frame)]

    def _is_inside(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_filename == _WAITING.co_filename or frame.f_code.co_filename.endswith(_ALONE):
                return False  # it stands at this gate, or waits for its turn to profile
            if frame.f_code.co_varnames[:1] == ("self",) and id(frame.f_locals.get("self")) in self._objects:
                return True
            frame = frame.f_back
        return False


_gate: Gate | None = None


class Patience:
    """Whether a thread has stayed in the same wait for long."""

    def __init__(self, thread: int) -> None:
        """Take the thread's number."""
        self._thread = thread
        self._place: tuple[Any, ...] | None = None
        self._since = time.monotonic()

    def is_over(self) -> bool:
        """Whether the wait is too long by now; to be asked repeatedly."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - as above
        waits = frame is not None and frame.f_code.co_filename.endswith(_WAITS)
        place = (id(frame), frame.f_lasti) if waits and frame is not None else None
        if place is None or place != self._place:
            self._place, self._since = place, time.monotonic()
        return time.monotonic() - self._since > _PATIENCE


def wait_for(item: Any) -> None:
    """Return when the calling thread may work with an object.

    Raises:
        UsageError: the rehearsal itself waits for the calling thread.
    """
    if _gate is not None:
        _gate.wait(item)


_WAITING = Gate.wait.__code__


def _patched(classes: Iterable[type]) -> list[tuple[type, Any]]:
    """Put a wait before the `__call__` of classes, and return the classes' own methods."""
    before = []
    for class_ in classes:
        if issubclass(class_, torch.jit.ScriptModule) or class_.__module__.startswith("torch.nn."):
            continue  # their calls go through `nn.Module.__call__`, which asks `wait_for` while a rehearsal listens
        before.append((class_, vars(class_).get("__call__", _ABSENT)))
        type.__setattr__(class_, "__call__", _waiting(class_, vars(class_).get("__call__")))
    return before


def _waiting(class_: Any, own: Callable[..., Any] | None) -> Callable[..., Any]:
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        wait_for(self)
        return own(self, *args, **kwargs) if own is not None else super(class_, self).__call__(*args, **kwargs)

    # Its signature is that of the class's method; its module stays this one, because it is no code of the user's.
    call.__wrapped__ = own if own is not None else class_.__call__  # type: ignore[attr-defined]
    return call


def _unpatch(before: list[tuple[type, Any]]) -> None:
    for class_, own in before:
        if own is _ABSENT:
            type.__delattr__(class_, "__call__")
        else:
            type.__setattr__(class_, "__call__", own)
