"""Runs the command line in this process, with or without a stand-in for what imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from click.testing import CliRunner, Result
from profiles import normal

from fxprof.cli import fxprof as command
from fxprof.result import Profile
from fxprof.result.saved.read import load_bytes
from fxprof.source.targets import PROFILE, Target


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), prog_name="fxprof")


class FakeApi(ModuleType):
    """Stands in for `fxprof.api`, which imports torch when it captures."""

    def __init__(self) -> None:
        super().__init__("fxprof.api")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.outcome: Callable[[], Profile] = normal

    def profile(self, target: Target, **workload: Any) -> Profile:
        if target.sort is PROFILE:
            return loaded(target)
        self.calls.append((str(target), workload))
        if workload["progress"]:
            workload["progress"]("transformer: exporting")
        return self.outcome()

    def default_formulas(self) -> list[str]:
        return ["built in"]


def loaded(target: Target) -> Profile:
    """A saved profile, which no stand-in is needed for."""
    assert target.path is not None
    return load_bytes(target.content.pop(), target.path)


def fail_with(error: BaseException) -> Callable[[], Profile]:
    def outcome() -> Profile:
        raise error

    return outcome
