"""Interception of a process's calls of modules, for one thread and for the time of a rehearsal."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.fx._symbolic_trace import _Patcher

from fxprof.capture.recorder import Recorder
from fxprof.capture.unknown import watched_readers
from fxprof.capture.waiting_threads import wait_for
from fxprof.capture.zero_weights import convert

CALL = nn.Module.__call__
_SUBMIT = ThreadPoolExecutor.submit
_APPLY = nn.Module._apply  # noqa: SLF001 - the one place through which .to(), .half() and .float() go


class Listener(Protocol):
    """Answers calls of modules."""

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for `module(*args, **kwargs)`."""


class Listening:
    """The functions of torch that are replaced while a rehearsal runs.

    Args:
        listener: answers calls.
        recorder: sees operators.
        ours: identities of the modules that hold no data.
    """

    def __init__(self, listener: Listener, recorder: Recorder, ours: Container[int]) -> None:
        self._listener, self._recorder, self._ours = listener, recorder, ours
        self._thread = 0
        self._patches: tuple[Any, Any] = (CALL, _APPLY)
        self.silent = False
        """Whether calls and operators are both ignored."""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Intercept calls and show operators to the recorder; calls of lent modules in other threads wait.

        `fxprof.capture.waiting_threads` says how they wait.
        """
        self._thread = threading.get_ident()
        self._patches = (self._call(), self._apply())
        _patch(*self._patches)
        ThreadPoolExecutor.submit = self._submit()  # type: ignore[method-assign]
        try:
            with watched_readers(self._recorder.whole), eager(), self._recorder:
                yield
        finally:
            ThreadPoolExecutor.submit = _SUBMIT  # type: ignore[method-assign]
            _patch(CALL, _APPLY)

    def _call(self) -> Callable[..., Any]:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._thread:
                return self._listener.call(module, args, kwargs)
            wait_for(module)
            return CALL(module, *args, **kwargs)

        return call

    def _submit(self) -> Callable[..., Future[Any]]:
        """Run the rehearsal's jobs for a pool of threads at once, where their calls are seen."""

        def submit(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            if threading.get_ident() != self._thread:
                return _SUBMIT(pool, function, *args, **kwargs)
            future: Future[Any] = Future()
            try:
                future.set_result(function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - the result raises it
                future.set_exception(error)
            return future

        return submit

    def _apply(self) -> Callable[..., nn.Module]:
        def apply(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
            if id(module) in self._ours and threading.get_ident() == self._thread:
                return convert(module, change)
            wait_for(module)
            return cast("nn.Module", _APPLY(module, change, recurse))

        return apply

    @contextmanager
    def off(self) -> Iterator[None]:
        """Neither intercept nor record: for the rehearsal's own calls of modules."""
        before, self.silent = self.silent, True
        _patch(self._waiting(CALL), _APPLY)
        try:
            with self.unseen(), compiling(), self._others_waiting():
                yield
        finally:
            _patch(*self._patches)
            self.silent = before

    def _waiting(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """A function that answers calls of modules in the rehearsal's thread; other threads wait for their turn."""
        thread = self._thread

        @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # for the compiler's front end reads this, too
        def is_own_thread() -> bool:
            return threading.get_ident() == thread

        @functools.wraps(answer)
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if is_own_thread():
                return answer(module, *args, **kwargs)
            wait_for(module)
            return CALL(module, *args, **kwargs)

        return call

    @contextmanager
    def _others_waiting(self) -> Iterator[None]:
        """Make other threads wait while torch traces: it then answers calls in any thread, and its weights have no values."""
        patcher: Any = _Patcher
        original = patcher.patch_method

        def patch_method(made: Any, cls: type, name: str, answer: Any, *args: Any, **kwargs: Any) -> None:
            is_call = cls is nn.Module and name == "__call__"
            original(made, cls, name, self._waiting(answer) if is_call else answer, *args, **kwargs)

        patcher.patch_method = patch_method
        try:
            yield
        finally:
            patcher.patch_method = original

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Record nothing, which is far cheaper: for the rehearsal's own operators."""
        self._recorder.__exit__(None, None, None)
        try:
            yield
        finally:
            self._recorder.__enter__()


def _patch(call: Any, apply: Any) -> None:
    nn.Module.__call__ = call  # type: ignore[method-assign]
    nn.Module._apply = apply  # type: ignore[method-assign]  # noqa: SLF001 - see _APPLY


def eager() -> Any:
    """A context in which compiled functions run as they were written, so that the recorder sees their operators."""
    return torch.compiler.set_stance("force_eager")


def compiling() -> Any:
    """A context in which `torch.export` may use the compiler's front end."""
    return torch.compiler.set_stance("default")
