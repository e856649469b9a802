"""The point where a run of a pipeline failed: the component, its inputs and the reason."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fxprof.capture.error_causes import causes, is_our_bug, reason_of
from fxprof.capture.places import Place
from fxprof.trace import Frame, Op, Trace, Value
from fxprof.trace.captured import NOT_CAPTURED


@dataclass(frozen=True, slots=True)
class Failure:
    """A call of a component that could be neither exported nor run."""

    component: str
    entry: str
    """Path of the module that the pipeline had called, below the component."""
    inputs: tuple[tuple[str, Value], ...]
    """The inputs of that call; empty when the pipeline called a method of the module's own."""
    stack: tuple[Frame, ...]
    """The modules down to the innermost one in whose Python the error was raised."""
    reason: str

    @property
    def trace(self) -> Trace:
        """A trace in place of the call's: one operator that nothing counts."""
        reason = f"{self.reason}; the dry run ended here, and the totals leave out everything that the pipeline computes later"
        return Trace((Op(NOT_CAPTURED, (("reason", reason),), (), self.stack),), self.inputs)

    @property
    def place(self) -> tuple[str, str]:
        """Component and path of the innermost module."""
        return self.component, self.stack[-1].path


@dataclass(frozen=True, slots=True)
class Passed:
    """A module that an error came through on its way out of the pipeline."""

    error: BaseException
    place: Place
    stack: tuple[Frame, ...]
    inputs: tuple[tuple[str, Value], ...] = ()


def failure_of(error: BaseException, passed: Iterable[Passed], places: Mapping[int, Place]) -> Failure | None:
    """The failed call of a component, if an error that came out of a pipeline is about one.

    Args:
        error: the error that came out.
        passed: modules that errors came through, the innermost first.
        places: modules of components by identity.
    """
    through = [item for item in passed if any(item.error is cause for cause in causes(error))]
    through = through or _passed_in_methods(error, places)
    if not through or is_our_bug(through[0].error):
        return None
    innermost, name = through[0], through[0].place.component
    called = next(item for item in reversed(through) if item.place.component == name)
    return Failure(name, called.place.path, called.inputs, innermost.stack, reason_of(innermost.error))


def _passed_in_methods(error: BaseException, places: Mapping[int, Place]) -> list[Passed]:
    """Modules that an error came through when the pipeline used a method such as `decode`, innermost first."""
    frames = [(cause, frame) for cause in causes(error) for frame, _ in traceback.walk_tb(cause.__traceback__)]
    owners = [(cause, frame.f_locals.get("self")) for cause, frame in frames]
    return [
        Passed(cause, place, (Frame(place.path, type(owner).__name__),))
        for cause, owner in reversed(owners)
        if (place := places.get(id(owner)))
    ]
