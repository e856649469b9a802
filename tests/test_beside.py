"""Two profiles at once: the same as one after the other, errors and all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import pytest
from profiles import normal, uncounted

from fxprof.cache import note
from fxprof.cli.beside import both
from fxprof.errors import CaptureError
from fxprof.result import Profile


def test_both_are_what_the_functions_return() -> None:
    assert both(normal, uncounted) == (normal(), uncounted())


def test_the_second_is_computed_by_another_process() -> None:
    def beside() -> Profile:
        assert os.getpid() != here
        return normal()

    here = os.getpid()
    assert both(normal, beside)[1] == normal()


def test_what_goes_wrong_with_a_cache_in_either_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def here() -> Profile:
        note("first directory", "the first is full")
        return normal()

    def beside() -> Profile:
        note("first directory", "the first is full")
        note("second directory", "the second is full")
        return normal()

    both(here, beside)
    assert [record.getMessage() for record in caplog.records] == ["the first is full", "the second is full"]


def test_an_error_of_the_second_is_told_here() -> None:
    def beside() -> Profile:
        raise CaptureError("no such thing", "try another")

    with pytest.raises(CaptureError, match="no such thing"):
        both(normal, beside)


def test_an_error_of_the_first_does_not_wait_for_the_second() -> None:
    def fail() -> Profile:
        raise CaptureError("no such thing")

    def beside() -> Profile:
        time.sleep(600)
        return normal()

    with pytest.raises(CaptureError):
        both(fail, beside)


def test_a_second_process_that_is_killed_is_done_without() -> None:
    here = os.getpid()

    def beside() -> Profile:
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        return normal()

    assert both(normal, beside) == (normal(), normal())


@pytest.mark.slow
def test_a_diff_of_two_pipelines_is_the_same_either_way() -> None:
    command = ["diff", "lcm-dreamshaper-v7", "sd-1.5", "--height", "64", "--width", "64", "--steps", "1", "--no-cache"]
    alone = "import os; os.sched_getaffinity = lambda _: {0}; from fxprof.cli import main; main()"
    runs = [
        subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        for code in ("from fxprof.cli import main; main()", alone)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "lcm-dreamshaper-v7" in runs[0].stdout


# --- the second process ends with the first

DIFF = """
import os, sys
os.sched_getaffinity = lambda _: {0, 1}
from fxprof.cli import program
program()
"""


def second_of(first: subprocess.Popen[str]) -> psutil.Process:
    """The process beside a first one, once it is there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        children: list[psutil.Process] = psutil.Process(first.pid).children()
        if children:
            return children[0]
        time.sleep(0.01)
    raise AssertionError("there is no second process")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("delay", [0.0, 1.5])
def test_a_second_process_does_not_outlive_the_first(number: signal.Signals, delay: float) -> None:
    command = [sys.executable, "-c", DIFF, "diff", "lcm-dreamshaper-v7", "sd-1.5", "--no-cache"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    second = second_of(first)
    time.sleep(delay)
    first.send_signal(number)
    second.wait(timeout=5)
    stdout, stderr = first.communicate(timeout=5)
    told = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted", signal.SIGHUP: "hung up"}
    lines = [f"fxprof: {told[number]}; nothing was written"] if number in told else []
    assert (stdout, stderr.splitlines()) == ("", lines)
    assert first.returncode == (128 + number if number in told else -number)


WATCH = """
import os, sys, time
from profiles import normal
from fxprof.cli import beside
sys.platform = "other"  # without what Linux does by itself

def wait():
    print(os.getpid(), flush=True)
    time.sleep(600)

beside.both(wait, wait)
"""


def test_a_second_process_ends_with_the_first_on_other_systems_too() -> None:
    first = subprocess.Popen([sys.executable, "-c", WATCH], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    assert first.stdout is not None
    processes = [psutil.Process(int(first.stdout.readline())) for _ in range(2)]
    first.kill()
    for each in processes:
        each.wait(timeout=5)
    first.communicate()


def test_ctrl_c_for_both_is_told_once() -> None:
    command = [sys.executable, "-c", DIFF, "diff", "lcm-dreamshaper-v7", "sd-1.5", "--no-cache"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    second = second_of(first)
    os.killpg(first.pid, signal.SIGINT)
    stdout, stderr = first.communicate(timeout=5)
    assert (first.returncode, stdout, stderr) == (130, "", "fxprof: interrupted; nothing was written\n")
    second.wait(timeout=5)
