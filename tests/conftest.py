"""Fixtures that several test files share. Nothing here imports torch."""

from __future__ import annotations

import difflib
import logging
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import FakeApi
from profiles import BUILDERS

from fxprof.result import Profile

pytest.register_assert_rewrite("families.proof")  # so that a proof that fails says what differs

# Tests already run beside each other, and models are tiny: threads of torch that wait for work would take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden and tests/data anew instead of comparing")


def _unheard() -> None:
    # pytest listens to every logger, and torch writes out each step of an export for whoever listens to this one.
    logging.getLogger("torch.__trace").handlers.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Keep exports as fast as they are without pytest."""
    _unheard()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """As for the setup: the handlers are put there anew."""
    _unheard()


@pytest.fixture(autouse=True)
def no_kept_results(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what commands keep of their results away from the user's cache, and from other tests."""
    monkeypatch.setenv("FXPROF_CACHE_DIR", str(tmp_path_factory.getbasetemp() / f"cache-{secrets.token_hex(8)}"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with a file below tests/, whole; or write the file, when asked to."""

    def compare(name: str, text: str) -> None:
        path = HERE / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != expected:
            lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), name, "now", lineterm="", n=1)
            pytest.fail("\n".join(["see tests/golden/README.md", *list(lines)[:60]]))

    return compare


@pytest.fixture(params=BUILDERS, scope="session")
def any_profile(request: pytest.FixtureRequest) -> Profile:
    """Each profile of `profiles.BUILDERS`."""
    return BUILDERS[request.param]()


@pytest.fixture(scope="session")
def saved() -> Path:
    """The directory of saved profiles."""
    return HERE / "data"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A stand-in for `fxprof.api`."""
    import fxprof

    fake = FakeApi()
    monkeypatch.setitem(sys.modules, "fxprof.api", fake)
    monkeypatch.setattr(fxprof, "api", fake, raising=False)
    monkeypatch.setattr("fxprof.cli.compare.pays", lambda: False)  # what another process calls is not seen here
    return fake
