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


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), prog_name="fxprof")


class FakeApi(ModuleType):
    """Stands in for `fxprof.api`, which imports torch when it captures."""

    def __init__(self) -> None:
        super().__init__("fxprof.api")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.outcome: Callable[[], Profile] = normal

    def profile(self, target: str, **workload: Any) -> Profile:
        self.calls.append((target, workload))
        if workload["progress"]:
            workload["progress"]("transformer: exporting")
        return self.outcome()

    def default_formulas(self) -> list[str]:
        return ["built in"]


def fail_with(error: BaseException) -> Callable[[], Profile]:
    def outcome() -> Profile:
        raise error

    return outcome
