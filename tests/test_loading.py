"""Libraries that cannot be loaded: one line that names them, from the command line and from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fxprof.errors import CaptureError
from fxprof.source.environment import loading

PYTHON = "import fxprof\ntry:\n    fxprof.profile('sd-1.5')\nexcept fxprof.FxprofError as error:\n    print(error.message)"


def told(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def broken(directory: Path, name: str, code: str) -> str:
    """A package that raises, before all others; its path."""
    (directory / name).mkdir()
    (directory / name / "__init__.py").write_text(code)
    return f"{directory}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def test_a_variable_that_diffusers_cannot_read_is_one_line() -> None:
    result = told("-m", "fxprof", "profile", "sd-1.5", "--no-cache", DIFFUSERS_ATTN_BACKEND="nope")
    assert (result.returncode, result.stdout) == (3, "")
    first, second = result.stderr.splitlines()
    assert first.startswith("fxprof: diffusers cannot be loaded: ")
    assert "nope" in first
    assert second.startswith("  try: python -c 'import diffusers' shows the whole error")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('first\\nand last')", "RuntimeError: and last"),
        (
            "import ctypes; ctypes.CDLL('nothing.so')",
            "OSError: nothing.so: cannot open shared object file",
        ),
        ("raise ValueError", "ValueError"),
        ("import nothing_at_all", "ModuleNotFoundError: No module named 'nothing_at_all'"),
    ],
)
def test_a_library_that_is_broken_is_one_line(tmp_path: Path, code: str, message: str) -> None:
    result = told("-c", PYTHON, PYTHONPATH=broken(tmp_path, "torch", code))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"torch cannot be loaded: {message}")
    assert result.stdout.count("\n") == 1


def test_what_fails_in_fxprof_itself_is_not_a_library_s() -> None:
    with pytest.raises(ZeroDivisionError), loading():
        exec(compile("1 / 0", "x", "exec"), {"__name__": "fxprof.capture.x"})


def test_a_library_that_is_missing_is_named() -> None:
    with (
        pytest.raises(CaptureError, match=r"^nothing cannot be loaded: ModuleNotFoundError: No module named 'nothing'"),
        loading(),
    ):
        exec(compile("import nothing", "x", "exec"), {"__name__": "fxprof.capture.x"})
