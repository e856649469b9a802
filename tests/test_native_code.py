"""Native code that panics, or works for seconds: what is told of it, and how signals end the command meanwhile."""

from __future__ import annotations

import base64
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_pipelines import save_configurations

from fxprof.capture.foreign import panics_untold, reading

PANIC = b"\nthread '<unnamed>' (17) panicked at src/lib.rs:119:30:\nindex out of bounds\nnote: run with `RUST_BACKTRACE=1`\n"


# --- panics


def precompiled(table: bytes) -> dict[str, Any]:
    return {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}}


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        pytest.param(
            precompiled(b"\0\0\0"),
            "could not build tokenizer (PreTrainedTokenizerFast) of panics: PanicException: ",
            marks=pytest.mark.slow,  # test_strangers.py has a quick test of the same in this process
        ),
        pytest.param(
            {"model": {"type": "BPE", "vocab": {"a": 0, "b": 7}, "merges": ["a b"]}},
            "could not build tokenizer (PreTrainedTokenizerFast) of panics: PanicException: ",
            marks=pytest.mark.slow,
        ),
        (
            precompiled(struct.pack("<Ii", 4, 0x7FFFFFFF)),
            "the dry run of panics failed: StableDiffusionPipeline says: PanicException: ",
        ),
    ],
    ids=["read", "read, of merges", "encode"],
)
def test_a_panic_is_one_line_of_the_command(tmp_path: Path, changed: dict[str, Any], start: str) -> None:
    folder = tmp_path / "panics"
    save_configurations(tiny.make("stable_diffusion"), folder)
    words = {word: number for number, word in enumerate(["<unk>", "<pad>", "a", "cat"])}
    values = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
        **changed,
    }
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(values))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 77}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(named))
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index))
    command = [sys.executable, "-m", "fxprof", "profile", str(folder), "--height", "32", "--width", "32", "--steps", "1"]
    done = subprocess.run(
        [*command, "--no-cache"], capture_output=True, text=True, check=False, env={**os.environ, "RUST_BACKTRACE": "1"}
    )
    assert (done.returncode, done.stdout) == (3, "")
    first, *hint = done.stderr.splitlines()
    assert first.startswith(f"fxprof: {start}")
    assert all(line.startswith("  try: ") for line in hint)
    assert len(hint) <= 1


def wrote(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err


def test_what_is_no_panic_is_written_when_the_block_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with panics_untold():
        os.write(2, b"one\n")
        thread = threading.Thread(target=os.write, args=(2, b"two\n"))
        thread.start()
        thread.join()
        with panics_untold():
            os.write(2, b"three\n")
        assert wrote(capfd) == ""
    assert wrote(capfd) == "one\ntwo\nthree\n"
    os.write(2, b"four\n")
    assert wrote(capfd) == "four\n"


@pytest.mark.parametrize("before", [b"", b"one\n"])
def test_a_panic_is_left_out(capfd: pytest.CaptureFixture[str], before: bytes) -> None:
    for _ in range(2):
        with suppress(ValueError), panics_untold():
            os.write(2, before + PANIC)
            raise ValueError
        assert wrote(capfd) == before.decode()
    with panics_untold():
        pass
    assert wrote(capfd) == ""


def test_a_closed_stderr_is_none_to_put_aside() -> None:
    code = (
        "import os\nfrom fxprof.capture.foreign import panics_untold\nos.close(2)\n"
        "for _ in range(2):\n    with panics_untold(): pass\n"
        "try: os.fstat(2)\nexcept OSError: print('closed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "closed\n"


def test_no_descriptors_are_lost_and_it_takes_no_time() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208 - names are enough

    with reading():
        pass
    before, started = count(), time.perf_counter()
    for _ in range(1000):
        with reading():
            pass
    assert time.perf_counter() - started < 0.5
    assert count() == before


# --- signals

NATIVE = """
import ctypes, os, signal, sys
from contextlib import nullcontext
from fxprof.capture.foreign import panics_untold, reading
from fxprof.cli.ending import ending_at_once
with ending_at_once(), {block}:
    os.write(1, b"begun\\n")
    {call}
    os.write(1, b"went on\\n")
    signal.raise_signal(signal.SIGCONT)
"""
LONG = 'ctypes.{library}(None).system(b"exec sleep 6 >/dev/null 2>&1")'


def native(block: str, call: str) -> subprocess.Popen[str]:
    code = NATIVE.format(block=block, call=call)
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    time.sleep(0.3)
    return started


@pytest.mark.parametrize("block", ["nullcontext()", "panics_untold()", "reading()"])
def test_beside_native_code_that_lets_threads_run_the_first_signal_ends(block: str) -> None:
    started, at = native(block, LONG.format(library="CDLL")), time.monotonic()
    started.send_signal(signal.SIGTERM)
    stdout, stderr = started.communicate(timeout=30)
    assert time.monotonic() - at < 3
    assert (started.returncode, stdout, stderr) == (143, "", "fxprof: terminated; nothing was written\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of others has no such function")
def test_beside_native_code_that_lets_none_run_the_second_signal_ends() -> None:
    started, at = native("reading()", LONG.format(library="PyDLL")), time.monotonic()
    started.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert started.poll() is None
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=30)
    assert time.monotonic() - at < 3
    assert started.returncode == -signal.SIGTERM


def test_one_signal_is_answered_when_native_code_returns() -> None:
    started = native("reading()", LONG.format(library="PyDLL").replace("6", "2"))
    started.send_signal(signal.SIGTERM)
    stdout, stderr = started.communicate(timeout=30)
    assert (started.returncode, stdout, stderr) == (143, "", "fxprof: terminated; nothing was written\n")


def test_afterwards_signals_are_answered_as_before() -> None:
    started = native("nullcontext()", "\n    for _ in range(3):\n        with reading(): pass\n    signal.pause()")
    started.send_signal(signal.SIGINT)
    stdout, stderr = started.communicate(timeout=30)
    assert (started.returncode, stdout, stderr) == (130, "", "fxprof: interrupted; nothing was written\n")


# --- the first tenth of a second

STRIKE = """
import os, signal, sys

class Strike:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Strike())
"""
SCRIPT = "from fxprof.cli import program\nprogram()\n"


def as_script(tmp_path: Path, strike: str) -> list[str]:
    (tmp_path / "fxprof").write_text(strike + SCRIPT)
    return [str(tmp_path / "fxprof")]


def as_module(tmp_path: Path, strike: str) -> list[str]:
    (tmp_path / "sitecustomize.py").write_text(strike)
    return ["-m", "fxprof"]


@pytest.mark.parametrize("name", ["fxprof.cli", "fxprof.cli.ending", "fxprof.cli.commands", "click"])
@pytest.mark.parametrize("way", [as_script, as_module])
def test_ctrl_c_is_one_line_from_the_first_import_on(tmp_path: Path, name: str, way: Callable[[Path, str], list[str]]) -> None:
    words = way(tmp_path, STRIKE.format(name=name))
    places = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, *words, "models"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": places},
        cwd=Path(__file__).parents[1],
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fxprof: interrupted; nothing was written\n")


@pytest.mark.parametrize("name", ["program", "my_fxprof", "fxprof.py"])
def test_a_program_that_uses_the_package_keeps_its_ctrl_c(tmp_path: Path, name: str) -> None:
    code = "import sys\nsys.path.pop(0)\nimport signal, fxprof\n"
    (tmp_path / name).write_text(f"{code}print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n")
    done = subprocess.run([sys.executable, tmp_path / name, "fxprof"], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_ctrl_c_that_is_switched_off_stays_off_from_the_beginning(tmp_path: Path) -> None:
    """As a shell does for what runs in the background."""
    (tmp_path / "fxprof").write_text("import signal, fxprof\nprint(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n")
    done = subprocess.run(
        [sys.executable, tmp_path / "fxprof"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.stdout == "True\n"
