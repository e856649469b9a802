"""What is being written: whole or not at all, and nothing of it is left, whoever kills the writer and whenever."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fxprof import parts
from fxprof.errors import OutputError
from fxprof.result.files import whole_directory, write_whole

OWNED = "manifest.json"


def replace(goal: Path, text: str) -> None:
    """Write a directory of one file over one that was written before."""
    with whole_directory(goal, force=True, owned=OWNED) as part:
        (part / OWNED).write_text(text)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Python code in a process of its own, which has begun when it prints a line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun(started: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    return started


def killed(code: str, *arguments: object) -> None:
    """Kill a process when it says that it has begun."""
    writer = begun(process(code, *arguments))
    writer.kill()
    writer.communicate()


FILE = """
import sys, time
from pathlib import Path
from fxprof.parts import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(600)
"""
DIRECTORY = """
import sys, time
from pathlib import Path
from fxprof.result.files import whole_directory
with whole_directory(Path(sys.argv[1]), force=True, owned="manifest.json") as part:
    (part / "manifest.json").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("code", [FILE, DIRECTORY])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path, code: str) -> None:
    killed(code, tmp_path / "one")
    assert len(names(tmp_path)) == 1
    write_whole(tmp_path / "other.json", "whole")
    assert names(tmp_path) == ["other.json"]


@pytest.mark.parametrize("code", [FILE, DIRECTORY])
def test_what_a_living_writer_writes_stays(tmp_path: Path, code: str) -> None:
    writer = begun(process(code, tmp_path / "one"))
    try:
        (part,) = names(tmp_path)
        write_whole(tmp_path / "one.json", "whole")
        replace(tmp_path / "two", "whole")
        assert names(tmp_path) == [part, "one.json", "two"]
    finally:
        writer.kill()
        writer.communicate()


def test_two_writers_with_the_same_process_number_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers: their writers are the first process of each."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    goal = tmp_path / "out"
    with whole_directory(goal, force=True, owned=OWNED) as first, whole_directory(goal, force=True, owned=OWNED) as second:
        assert first != second
        write_whole(tmp_path / "other.json", "whole")
        (first / OWNED).write_text("first")
        (second / OWNED).write_text("second")
    assert (goal / OWNED).read_text() == "first"
    assert names(tmp_path) == ["other.json", "out"]


def test_a_part_that_another_process_takes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = parts._lock
    seen: list[Path] = []

    def late(descriptor: int, path: Path) -> bool | None:
        if not seen:
            seen.append(path)
            path.unlink()
        return lock(descriptor, path)

    monkeypatch.setattr(parts, "_lock", late)
    write_whole(tmp_path / "out.json", "whole")
    assert seen
    assert names(tmp_path) == ["out.json"]
    assert (tmp_path / "out.json").read_text() == "whole"


def test_what_only_has_the_form_of_a_part_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    link = tmp_path / f".x.fxprof-{'0' * 8}-{'0' * 16}.part"
    link.symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / f".x.fxprof-{'0' * 8}-{'1' * 16}.part")
    others = [".x.part", ".x.1234.part", f"x.fxprof-{'0' * 8}-{'0' * 16}.part", f".x.fxprof-{'0' * 8}-{'0' * 15}.part"]
    for name in others:
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    write_whole(tmp_path / "out.json", "whole")
    assert names(tmp_path) == sorted([*before, "out.json"])
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "\N{GRINNING FACE}" * 60])
def test_names_as_long_as_the_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, "whole")
    replace(tmp_path / "directory", "whole")
    (tmp_path / "directory").rename(tmp_path / name[::-1][:50])
    assert (tmp_path / name).read_text() == "whole"


# --- a directory that replaces another


@pytest.fixture(params=["exchange", "two steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the system renames: at once, or in two steps."""
    if request.param == "two steps":
        monkeypatch.setattr(parts, "_renameat2", lambda: None)
    elif parts._renameat2() is None:
        pytest.skip("this system cannot exchange two names")
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_directory_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    replace(tmp_path / "out", "old")
    replace(tmp_path / "out", "new")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / OWNED).read_text() == "new"


@pytest.mark.usefixtures("way")
def test_behind_a_link_the_directory_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    replace(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    replace(tmp_path / "link", "new")
    assert names(tmp_path) == ["link", "real"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / OWNED).read_text() == "new"


@pytest.mark.usefixtures("way")
def test_a_directory_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def write() -> None:
        with whole_directory(tmp_path / "out", force=True, owned=OWNED) as part:
            (part / OWNED).write_text("new")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "precious").write_text("mine")

    with pytest.raises(OutputError, match="it is a directory that fxprof did not write"):
        write()
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_a_disk_that_refuses_the_second_of_two_steps_leaves_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(tmp_path / "out", "old")
    real = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(parts, "_renameat2", lambda: None)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="no space left on device"):
        replace(tmp_path / "out", "new")
    assert (tmp_path / "out" / OWNED).read_text() == "old"
    assert names(tmp_path) == ["out"]


KILL_AT = """
import os, signal, sys
from pathlib import Path
from fxprof import parts
if sys.argv[2] == "two steps":
    parts._renameat2 = lambda: None
remaining = int(sys.argv[3])

def before(function):
    def call(*arguments, **options):
        global remaining
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        remaining -= 1
        return function(*arguments, **options)
    return call

for owner, name in (
    (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (parts, "_exchange"), (parts.shutil, "rmtree"),
    (os, "open"), (os, "close"), (os, "rename"), (os, "rmdir"), (os, "unlink"),
):
    setattr(owner, name, before(getattr(owner, name)))
from fxprof.result.files import whole_directory
with whole_directory(Path(sys.argv[1]), force=True, owned="manifest.json") as part:
    (part / "manifest.json").write_text("new")
print("done")
"""


def test_killed_at_any_step_the_old_or_the_new_directory_is_there_after_the_next_run(tmp_path: Path, way: str) -> None:
    goal, seen = tmp_path / "out", []
    for step in range(40):
        replace(goal, "old")
        writer = subprocess.run(
            [sys.executable, "-c", KILL_AT, goal, way, str(step)], capture_output=True, text=True, check=False
        )
        if way == "exchange":
            assert (goal / OWNED).read_text() in {"old", "new"}  # at once, and not only after the next run
        parts.recover(goal)
        seen.append((goal / OWNED).read_text())
        assert names(tmp_path) == ["out"]
        if writer.stdout:
            break
        assert writer.returncode == -signal.SIGKILL, writer.stderr
    assert seen == sorted(seen, reverse=True)  # old up to some step, new from then on
    assert {"old", "new"} == set(seen)
    assert writer.stdout == "done\n"


def test_what_was_moved_aside_is_put_back_by_the_next_run_and_not_from_a_living_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_renameat2", lambda: None)
    goal, real, tried = tmp_path / "out", Path.replace, []
    replace(goal, "old")

    def watched(self: Path, target: Path) -> Path:
        result = real(self, target)
        if target.name.endswith(".old"):
            parts.recover(goal)  # another process, at the worst time
            tried.append(goal.exists())
        return result

    monkeypatch.setattr(Path, "replace", watched)
    replace(goal, "new")
    assert tried == [False]
    assert (goal / OWNED).read_text() == "new"
    assert names(tmp_path) == ["out"]


# --- signals, with the real program


def capturing(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fxprof", "capture", "sd-1.5", "--height", "64", "--width", "64", "--steps", "1"]
    return subprocess.Popen(
        [*command, "-o", str(directory), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory.parent,
    )


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGTERM, "terminated"),
        pytest.param(signal.SIGINT, "interrupted", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "hung up", marks=pytest.mark.slow),
    ],
)
def test_a_capture_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: signal.Signals, told: str) -> None:
    writer = capturing(tmp_path / "out")
    wait_for(lambda: any(tmp_path.iterdir()))
    time.sleep(1)
    writer.send_signal(number)
    stdout, stderr = writer.communicate(timeout=60)
    assert (writer.returncode, stdout, stderr) == (128 + number, "", f"fxprof: {told}; nothing was written\n")
    assert names(tmp_path) == []


@pytest.mark.slow
def test_the_next_capture_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    writer = capturing(tmp_path / "out")
    wait_for(lambda: any(tmp_path.iterdir()))
    writer.kill()
    writer.communicate(timeout=60)
    assert names(tmp_path) != []
    again = capturing(tmp_path / "out")
    again.communicate(timeout=300)
    assert again.returncode == 0
    assert names(tmp_path) == ["out"]


PROGRAM = """
import sys
from fxprof.cli import program
print("begun", flush=True)
program()
"""


@pytest.mark.parametrize(
    "delay", [0.1, 0.8, *(pytest.param(late, marks=pytest.mark.slow) for late in (0.03, 0.06, 0.2, 0.4, 1.6, 3.2))]
)
def test_ctrl_c_during_imports_is_one_line(tmp_path: Path, delay: float) -> None:
    started = begun(process(PROGRAM, "profile", "sd-1.5", "--no-cache", "-o", tmp_path / "out.json"))
    time.sleep(delay)
    started.send_signal(signal.SIGINT)
    stdout, stderr = started.communicate(timeout=60)
    assert (started.returncode, stdout, stderr) == (130, "", "fxprof: interrupted; nothing was written\n")
    assert names(tmp_path) == []


def test_a_signal_that_is_switched_off_stays_off(tmp_path: Path) -> None:
    """As `nohup` does."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from fxprof.cli.ending import ending_at_once\n"
        "with ending_at_once(): os.kill(os.getpid(), signal.SIGHUP); print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "alive\n"


def test_a_temporary_directory_is_removed_whatever_ends_the_process() -> None:
    left, done = parts.temporary(), parts.temporary()
    (left / "vocab.json").write_text("{}")
    parts.remove_temporary(done)
    assert not done.exists()
    parts.abandon()
    assert not left.exists()
