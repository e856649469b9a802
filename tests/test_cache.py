"""What is kept of results: found again by content, never wrong, never in the way."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import normal
from test_pipelines import save_configurations
from test_startup import GUARD
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

import fxprof
from fxprof import api
from fxprof.cache import Cache, default_cache, note, noted, tell
from fxprof.cache.keys import _stamps, environment, key_of, leads_elsewhere
from fxprof.capture import known_calls, pipeline
from fxprof.capture.call_cache import CachedCalls
from fxprof.capture.export import export_call
from fxprof.capture.places import Place
from fxprof.capture.rehearse import Rehearsal
from fxprof.capture.returned_values import NotCached, NotCachedError
from fxprof.result import Profile
from fxprof.source import load_zoo, resolve
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent
from fxprof.source.stand_ins import StandIn
from fxprof.source.workload import Workload
from fxprof.trace import Block, Frame, Occurrence, Op, Origin, Subgraph, Tensor, Trace
from fxprof.trace.codec import DamagedError, read_trace, write_trace

KEY = "0" * 64
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [32],
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "norm_num_groups": 8,
}
INPUT = ("--input", "sample=1x3x32x32")


def own_cache() -> Cache:
    """The cache that commands use."""
    found = default_cache()
    assert found is not None
    return found


def key(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "kept")


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    """A small component's directory."""
    directory = tmp_path / "vae"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(VAE))
    return directory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small pipeline's directory."""
    directory = tmp_path / "model"
    save_configurations(tiny.make("stable_diffusion"), directory)
    return directory


SMALL = ("--height", "32", "--width", "32", "--format", "json")


def profiled(model: Path, *options: str, code: str = "") -> subprocess.Popen[str]:
    """`fxprof profile` of a small pipeline in a process of its own, after some code."""
    program = f"{code}\nfrom fxprof.cli import main; main()"
    command = [sys.executable, "-c", program, "profile", str(model), *SMALL, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process printed to stdout, where it counted something, and to stderr."""
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["macs"] > 0
    return stdout, stderr


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is really captured."""
    found: list[str] = []
    capture = api._captured

    def noting(target: Any, *args: Any, **options: Any) -> Any:
        found.append(target.name)
        return capture(target, *args, **options)

    monkeypatch.setattr(api, "_captured", noting)
    return found


def test_a_text_is_found_as_it_was_kept(cache: Cache) -> None:
    assert cache.find("profile", KEY) is None
    text = "one\ntwo\r\n\ud800 \u00e4"
    cache.keep("profile", KEY, "this", text)
    assert cache.find("profile", KEY) == text
    assert cache.find("call", KEY) is None
    assert [(entry.kind, entry.about) for entry in cache.entries()] == [("profile", "this")]


def test_the_least_recently_used_go_first(cache: Cache) -> None:
    cache.most_bytes = 4800
    for number in range(4):
        cache.keep("profile", key(number), str(number), "x" * 1000)
        os.utime(cache._path("profile", key(number)), (number, number))
    assert cache.find("profile", key(0)) is not None  # and is the last used now
    cache.keep("profile", key(4), "4", "x" * 1500)
    assert sorted(entry.about for entry in cache.entries()) == ["0", "3", "4"]


def test_what_is_larger_than_the_bound_is_not_kept(cache: Cache) -> None:
    cache.most_bytes = 100
    cache.keep("profile", KEY, "this", "x" * 1000)
    assert cache.entries() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: raw.replace(b"text", b"texT"),
        lambda raw: b"null\n" + raw.partition(b"\n")[2],
        lambda raw: b"[" * 100_000 + b"\n",
        lambda raw: b"\xff\xfe" + raw,
        lambda raw: raw.replace(b'"fxprof cache": 1', b'"fxprof cache": 2'),
    ],
)
def test_a_damaged_file_is_not_used_and_that_is_said_once(cache: Cache, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        cache.keep("profile", key(number), "this", "some text")
        path = cache._path("profile", key(number))
        path.write_bytes(damage(path.read_bytes()))
        assert cache.find("profile", key(number)) is None
        assert not path.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"fxprof: the cache {cache.directory} held a damaged file; going on without it"
    ]


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    cache.keep("profile", key(1), "this", "text")
    cache.keep("profile", key(2), "this", "text")
    assert cache.find("profile", key(1)) is None
    assert cache.entries() == []
    assert cache.clear() == 0
    assert len(caplog.records) == 1


def test_a_full_disk_leaves_nothing_behind(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.keep("profile", KEY, "this", "text")
    assert list(cache.directory.iterdir()) == []
    assert "No space left on device" in caplog.text


def test_a_directory_that_can_only_be_read_is_of_use(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep("profile", KEY, "this", "text")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.find("profile", KEY) == "text"


def test_clearing_removes_what_is_ours_alone(cache: Cache, tmp_path: Path) -> None:
    cache.keep("profile", KEY, "this", "text")
    other, outside = cache.directory / "notes.txt", tmp_path / "precious"
    other.write_text("mine")
    outside.write_text("mine")
    (cache.directory / f"profile-{key(7)}.json").symlink_to(outside)
    (cache.directory / f".profile-{key(8)}.abcd.part").write_text("half")
    assert cache.clear() == 1
    assert other.read_text() == outside.read_text() == "mine"
    assert not list(cache.directory.glob("*.part"))


def test_a_result_under_the_name_of_another_is_not_used(cache: Cache) -> None:
    cache.keep("profile", key(1), "this", "text")
    cache._path("profile", key(1)).rename(cache._path("profile", key(2)))
    assert cache.find("profile", key(2)) is None


@pytest.mark.parametrize("kind", ["pipe", "link", "dead link", "directory"])
def test_what_is_no_file_is_neither_read_nor_replaced(
    kind: str, cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep("profile", key(1), "this", "text")
    path, outside = cache._path("profile", key(2)), tmp_path / "precious"
    shutil.copy(cache._path("profile", key(1)), outside)
    os.utime(outside, (1, 1))
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(outside)
        case _:
            path.symlink_to(tmp_path / "nowhere")
    before = path.lstat()
    assert cache.find("profile", key(2)) is None
    cache.keep("profile", key(2), "this", "other text")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert outside.stat().st_mtime == 1
    assert not (tmp_path / "nowhere").exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"fxprof: the cache {cache.directory} holds something other than a file under the name of a result; going on without it"
    ]


def test_what_is_larger_than_all_that_may_be_kept_is_not_read(cache: Cache) -> None:
    cache.keep("profile", KEY, "this", "x" * 1000)
    cache.most_bytes = 100
    assert cache.find("profile", KEY) is None


def test_whatever_goes_wrong_with_a_directory_is_one_line(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep("profile", KEY, "this", "text")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    for again in (cache, Cache(cache.directory)):
        assert again.find("profile", KEY) is None
        again.keep("profile", KEY, "this", "text")
    assert [record.getMessage() for record in caplog.records] == [
        f"fxprof: the cache {cache.directory} cannot be read: Permission denied; going on without it"
    ]


def test_what_goes_wrong_while_a_pipeline_runs_is_said_afterwards(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.CRITICAL)
    try:
        note(str(tmp_path), "it went wrong")
        assert not caplog.records
    finally:
        logging.disable(logging.NOTSET)
    tell()
    tell()
    assert [record.getMessage() for record in caplog.records] == ["it went wrong"]


def test_a_process_that_is_killed_leaves_whole_files(cache: Cache) -> None:
    script = (
        "import sys; from pathlib import Path; from fxprof.cache import Cache\n"
        "cache, number = Cache(Path(sys.argv[1])), 0\n"
        "while True: number += 1; cache.keep('profile', f'{number % 9:064x}', 'x', 'x' * 2_000_000)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(cache.directory)])
        waited = time.monotonic() + 60
        while not cache.entries() and time.monotonic() < waited:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = [text for number in range(9) if (text := cache.find("profile", key(number)))]
    assert found
    assert set(found) == {"x" * 2_000_000}
    assert str(cache.directory) not in noted()


def test_processes_at_once_see_whole_texts_or_none(cache: Cache) -> None:
    script = (
        "import sys; from pathlib import Path; from fxprof.cache import Cache, noted\n"
        "cache = Cache(Path(sys.argv[1]), 500_000)\n"
        "for number in range(300):\n"
        "    cache.keep('profile', f'{number % 5:064x}', 'x', str(number % 5) * 100_000)\n"
        "    text = cache.find('profile', f'{(number + 2) % 5:064x}')\n"
        "    assert text is None or text == str((number + 2) % 5) * 100_000\n"
        "assert not noted(), noted()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(cache.directory)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]


def test_a_key_tells_apart_whatever_could_matter(vae: Path) -> None:
    single, zoo = resolve(vae), load_zoo("sd-1.5")
    part = zoo.components["unet"]
    assert part is not None
    changed = replace(zoo, components={**zoo.components, "unet": replace(part, values={**part.values, "in_channels": 9})})
    keys = [
        key_of("profile", single, Workload(), {}, False),
        key_of("call", single, Workload(), {}, False),
        key_of("profile", single, Workload(), {}, True),
        key_of("profile", zoo, Workload(), {}, False),
        key_of("profile", replace(zoo, name="other"), Workload(), {}, False),
        key_of("profile", changed, Workload(), {}, False),
        key_of("profile", zoo, Workload(steps=1), {}, False),
        key_of("profile", zoo, Workload(dtype="float16"), {}, False),
        key_of("profile", zoo, Workload(guidance_scale=1), {}, False),
        key_of("profile", zoo, Workload(guidance_scale=1.0), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": True}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": 1}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": "1"}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": [1]}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": (1,)}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": StandIn("image", (1, 2))}), {}, False),
        key_of("profile", zoo, Workload(arguments={"x": "image:1x2"}), {}, False),
    ]
    assert len(set(keys)) == len(keys)
    assert None not in keys


def test_what_is_no_data_has_no_key() -> None:
    assert key_of("profile", load_zoo("sd-1.5"), Workload(arguments={"x": object()})) is None
    assert key_of("profile", [lambda: 1]) is None


def test_a_key_is_the_same_in_another_process() -> None:
    script = (
        "from fxprof.cache.keys import key_of; from fxprof.source import load_zoo\n"
        "print(key_of('profile', load_zoo('sdxl-base-1.0')))"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == key_of("profile", load_zoo("sdxl-base-1.0"))


def test_files_of_a_component_count_by_content_and_weights_do_not(tmp_path: Path) -> None:
    part = SingleComponent("x", ComponentConfig("transformers", "CLIPTokenizer", {}, tmp_path))
    (tmp_path / "vocab.json").write_text("{}")
    before = key_of("profile", part)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    os.utime(tmp_path / "vocab.json", (1, 1))
    assert key_of("profile", part) == before
    (tmp_path / "vocab.json").write_text("{ }")
    assert key_of("profile", part) != before


def test_a_path_is_no_content() -> None:
    assert key_of("profile", Path("photo.png")) is None
    assert key_of("profile", Workload(arguments={"image": Path("photo.png")})) is None


def test_a_result_that_may_depend_on_a_file_of_the_users_is_not_kept(tmp_path: Path, cache: Cache) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")

    def is_kept(value: Any) -> bool:
        workload = Workload(arguments={"image": value})
        return api._Kept(cache, load_zoo("sd-1.5"), workload, {}, None, whole=False)._key is not None

    assert is_kept("a photo of a cat")
    assert is_kept([1, "x\0y", {"a": "b" * 10_000}])
    assert not is_kept(str(photo))
    assert not is_kept([{"first": str(photo)}])
    assert not is_kept("https://example.com/photo.png")
    assert leads_elsewhere({"x": str(photo)})


@contextmanager
def other_environment() -> Iterator[None]:
    """Whatever is changed in the block has to make another environment."""
    environment.cache_clear()
    before = environment()
    try:
        yield
        environment.cache_clear()
        assert environment() != before
    finally:
        environment.cache_clear()


def test_switches_of_packages_are_part_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with other_environment():
        monkeypatch.setenv("DIFFUSERS_ATTN_BACKEND", "_native_math")


def test_packages_beside_an_installed_fxprof_count(tmp_path: Path) -> None:
    home = tmp_path / "lib" / "site-packages"
    shutil.copytree(Path(fxprof.__file__).parent, home / "fxprof", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import fxprof; from fxprof.cache.keys import environment; print(fxprof.__file__, environment())"

    def found(directory: Path) -> str:
        command = [sys.executable, "-c", script]
        env = {**os.environ, "PYTHONPATH": str(home)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=directory)
        assert str(home) in done.stdout
        return done.stdout

    for directory in (tmp_path, home):
        before = found(directory)
        assert found(directory) == before
        (home / f"torch-{len(directory.parts)}.dist-info").mkdir()
        assert found(directory) != before


def test_the_environment_is_found_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real.py").write_text("")
    (tmp_path / ".#real.py").symlink_to("nobody@nowhere.1")  # as Emacs locks a file that is being edited
    assert [name for _, name, _, _ in _stamps(tmp_path)] == ["real.py"]
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "real.py"), str(tmp_path / "gone")])
    environment.cache_clear()
    assert environment()
    environment.cache_clear()


def test_other_packages_are_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment()
    (tmp_path / "torch-99.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    environment.cache_clear()
    assert environment() != before
    environment.cache_clear()


def test_a_package_that_is_worked_on_counts_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    environment.cache_clear()
    before = environment()
    (package / "__init__.py").write_text("changed = 1")
    environment.cache_clear()
    assert environment() != before
    environment.cache_clear()


def test_a_second_command_computes_nothing(vae: Path, captures: list[str]) -> None:
    first = run("profile", vae, *INPUT, "--format", "json")
    assert captures == ["vae"]
    for arguments in (["profile", "--format", "json"], ["layers"], ["hotspots", "--by", "op"]):
        again = run(arguments[0], vae, *INPUT, *arguments[1:])
        assert again.exit_code == 0
        assert arguments[0] != "profile" or again.output == first.output
    assert captures == ["vae"]


def test_another_input_another_configuration_and_whole_are_computed(vae: Path, captures: list[str]) -> None:
    run("profile", vae, *INPUT)
    run("profile", vae, "--input", "sample=1x3x64x64")
    run("profile", vae, *INPUT, "--whole")
    (vae / "config.json").write_text(json.dumps({**VAE, "norm_num_groups": 16}))
    run("profile", vae, *INPUT)
    assert len(captures) == 4


def test_no_cache_neither_reads_nor_writes(vae: Path, captures: list[str]) -> None:
    run("profile", vae, *INPUT, "--no-cache")
    assert own_cache().entries() == []
    run("profile", vae, *INPUT)
    run("profile", vae, *INPUT, "--no-cache")
    assert len(captures) == 3


def test_python_keeps_nothing_unless_it_is_asked_to(vae: Path, cache: Cache, captures: list[str]) -> None:
    inputs = {"sample": "1x3x32x32"}
    first = fxprof.profile(vae, inputs=inputs)
    assert own_cache().entries() == []
    assert fxprof.profile(vae, inputs=inputs, cache=cache) == first
    assert fxprof.profile(vae, inputs=inputs, cache=cache) == first
    assert len(captures) == 2


def test_other_formulas_are_not_looked_up(vae: Path, tmp_path: Path, captures: list[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import fxprof\n@fxprof.formula('aten.silu', override=True)\ndef silu(self): return 1\n")
    run("profile", vae, *INPUT)
    run("profile", vae, *INPUT, "--formulas", file)
    run("profile", vae, *INPUT, "--formulas", file)
    assert len(captures) == 3


def test_a_profile_that_is_damaged_behind_a_right_hash_is_computed_anew(vae: Path, captures: list[str]) -> None:
    run("profile", vae, *INPUT)
    cache = own_cache()
    (path,) = cache.directory.glob("profile-*.json")
    cache.keep("profile", path.stem.partition("-")[2], "wrong", '{"format": 3}')
    assert run("profile", vae, *INPUT).exit_code == 0
    assert len(captures) == 2


def test_a_second_command_imports_no_torch(vae: Path) -> None:
    command = ["profile", str(vae), *INPUT, "--format", "json"]
    first = subprocess.run([sys.executable, "-m", "fxprof", *command], capture_output=True, text=True, check=True)
    second = subprocess.run([sys.executable, "-c", GUARD, *command], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


@pytest.mark.slow  # test_cache_strangers.py has a quick test of the same command
def test_a_cache_that_cannot_be_used_is_said_once_on_stderr(vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FXPROF_CACHE_DIR", str(tmp_path / "file"))
    command = [sys.executable, "-m", "fxprof", "profile", str(vae), *INPUT, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["macs"] > 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fxprof: the cache ")


@pytest.mark.slow
def test_two_commands_at_once_print_the_same(model: Path) -> None:
    processes = [profiled(model), profiled(model)]
    first, second = (outcome(process) for process in processes)
    assert first == second == (first[0], "")
    again = profiled(model, code=GUARD.replace("main()", ""))
    assert outcome(again) == first
    assert not list(own_cache().directory.glob(".*.part"))


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_what_the_next_one_can_use(model: Path) -> None:
    directory = own_cache().directory
    killed = profiled(model)
    waited = time.monotonic() + 120
    while not (directory.is_dir() and any(directory.iterdir())) and time.monotonic() < waited:
        time.sleep(0.001)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    stdout, stderr = outcome(profiled(model))
    assert (stdout, stderr) == outcome(profiled(model, "--no-cache"))
    assert stderr == ""


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"
"""What a disk is for which no file may become larger."""


@pytest.mark.slow
def test_a_full_disk_is_said_in_one_line_and_changes_no_number(model: Path) -> None:
    stdout, stderr = outcome(profiled(model, code=FULL))
    assert stderr.count("\n") == 1
    assert stderr.startswith(f"fxprof: the cache {own_cache().directory} cannot be written to: ")
    assert not any(own_cache().directory.iterdir())
    assert outcome(profiled(model, "--no-cache")) == (stdout, "")


def test_a_profile_that_ended_early_is_not_kept(vae: Path, captures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxprof.result.views.not_captured", lambda _: (("vae", "no memory"),))
    run("profile", vae, *INPUT)
    run("profile", vae, *INPUT)
    assert len(captures) == 2
    assert own_cache().entries() == []


def test_a_cache_that_cannot_be_shown_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    directory = own_cache().directory
    monkeypatch.setattr(os, "scandir", refuse)
    for options, what in (((), "cannot read"), (("--clear",), "cannot clear")):
        result = run("cache", *options)
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == f"fxprof: {what} {directory}: permission denied\n"


def test_what_a_result_is_of_steers_no_terminal_and_is_not_endless() -> None:
    own_cache().keep("profile", KEY, "a \x1b[2J b\nc" + "d" * 200_000, "text")
    shown = run("cache").output
    assert "\x1b" not in shown
    assert "damaged" not in shown
    assert len(json.loads(run("cache", "--format", "json").output)["rows"][0]["about"]) < 1000


def test_the_command_shows_and_clears(vae: Path) -> None:
    assert "0 results" in run("cache").output
    run("profile", vae, *INPUT)
    shown = run("cache")
    assert "1 result" in shown.output
    assert "vae" in shown.output
    rows = json.loads(run("cache", "--format", "json").output)
    assert rows["rows"][0]["kind"] == "profile"
    assert "removed 1 result" in run("cache", "--clear").output
    assert "0 results" in run("cache").output


@pytest.mark.parametrize(("text", "most"), [("5", 5), ("", 256), ("many", 256), ("-1", 256), ("9" * 30, 256)])
def test_the_bound_comes_from_the_environment(text: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXPROF_CACHE_SIZE", text)
    assert own_cache().most_bytes == most * 10**6


def test_without_a_variable_it_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXPROF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert own_cache().directory.name == "fxprof"


def test_a_profile_is_kept_as_a_saved_profile(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    profile: Profile = normal()
    kept = api._Kept(cache, load_zoo("sd-1.5"), Workload(), {}, None, whole=False)
    kept.keep(profile)
    assert kept.find() == profile
    assert not caplog.records


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes of the modules that are really exported."""
    found: list[str] = []
    export = export_call

    def noting(module: Any, *args: Any, **options: Any) -> Any:
        found.append(type(module).__name__)
        return export(module, *args, **options)

    monkeypatch.setattr(known_calls, "export_call", noting)
    return found


@pytest.mark.slow
def test_another_workload_exports_only_what_it_calls_differently(cache: Cache, exports: list[str]) -> None:
    small: dict[str, Any] = {"height": 64, "width": 64}
    first = fxprof.profile("sd-1.5", steps=1, **small, cache=cache)
    assert {"CLIPTextModel", "UNet2DConditionModel", "Decoder"} <= set(exports)
    exported = len(exports)
    again = fxprof.profile("sd-1.5", steps=3, **small, cache=cache)
    assert exports[exported:] == []
    assert again == fxprof.profile("sd-1.5", steps=3, **small)
    assert again.components["unet"].macs > first.components["unet"].macs
    del exports[:]
    larger = fxprof.profile("sd-1.5", steps=1, height=64, width=128, cache=cache)
    assert "UNet2DConditionModel" in exports
    assert "CLIPTextModel" not in exports
    assert larger == fxprof.profile("sd-1.5", steps=1, height=64, width=128)


@pytest.mark.slow
def test_another_process_finds_calls_too(model: Path) -> None:
    outcome(profiled(model, "--steps", "1"))
    never = "from fxprof.capture import known_calls; known_calls.export_call = None"
    again = outcome(profiled(model, "--steps", "2", code=never))
    assert again == outcome(profiled(model, "--steps", "2", "--no-cache"))


class Layer(nn.Module):
    """Has data of several sorts, and what is no data, among its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.act = torch.nn.functional.silu
        self.sizes: Any = [1, 2]
        self.names: Any = {"a": (1.5, None)}
        self.kind: Any = torch.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "sizes", [1, 3]),
        lambda layer: setattr(layer, "sizes", None),
        lambda layer: layer.names.update(a=(1.5, False)),
        lambda layer: setattr(layer, "kind", torch.float16),
        lambda layer: setattr(layer, "linear", nn.Linear(4, 5)),
        lambda layer: setattr(layer.linear, "scale", 2.0),
        lambda layer: layer.half(),
        lambda layer: layer.train(),
    ],
)
def test_what_a_pipeline_made_of_a_component_is_part_of_a_calls_key(change: Any, cache: Cache) -> None:
    part = ComponentConfig("diffusers", "Layer", {"a": 1})
    cached = CachedCalls(cache, {"one": part, "two": replace(part, published_params=5)})
    given: Any = ((torch.zeros(1, 4),), {})
    layer, other = Layer().eval(), Layer().eval()
    found = cached.key(Place("one", ""), layer, *given)
    assert found is not None
    assert cached.key(Place("two", ""), other, *given) == found  # in another pipeline, under another name
    assert cached.key(Place("one", "inside"), layer, *given) != found
    assert cached.key(Place("one", ""), layer, (torch.zeros(2, 4),), {}) != found
    assert cached.key(Place("one", ""), layer, (torch.zeros(4, 1).T,), {}) != found
    assert cached.key(Place("one", ""), layer, (object(),), {}) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert cached.key(Place("one", ""), layer, *given) != found
    change(layer)
    assert cached.key(Place("one", ""), layer, *given) != found


@pytest.mark.slow
def test_a_kept_call_that_is_damaged_is_exported_anew(cache: Cache, model: Path, exports: list[str]) -> None:
    workload: dict[str, Any] = {"height": 32, "width": 32}
    first = fxprof.profile(model, steps=1, **workload, cache=cache)
    for path in cache.directory.glob("call-*.json"):
        cache.keep("call", path.stem.partition("-")[2], "wrong", '{"trace": {"stacks": [], "blocks": [], "parts": [[1]]}}')
    for path in cache.directory.glob("profile-*.json"):
        path.unlink()
    before = len(exports)
    assert fxprof.profile(model, steps=1, **workload, cache=cache) == first
    assert len(exports) == 2 * before > 0


class Reading(nn.Module):
    """Reads a value, which torch.export refuses."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self._error = error

    def forward(self, hidden_states: torch.Tensor) -> Any:
        if self._error is not None and isinstance(hidden_states, FakeTensor):
            raise self._error
        return self.inner(hidden_states) if hidden_states.sum().item() == 0 else None


@pytest.mark.parametrize(("error", "times"), [(None, 1), (ValueError, 1), (MemoryError, 2), (OSError, 2)])
def test_what_cannot_be_exported_is_tried_once(error: Any, times: int, cache: Cache, exports: list[str]) -> None:
    parts = {"one": ComponentConfig("diffusers", "Reading", {})}
    found = []
    for _ in range(2):
        model = Reading(error).eval()
        cached = CachedCalls(cache, parts)
        rehearsal = Rehearsal({"one": model}, notable=bool, outside=("pipeline", "Pipeline"), cached=cached)
        rehearsal.run(model, torch.zeros(2, 3))
        found.append((_traces(rehearsal.calls.of("one")), rehearsal.ran_for_real))
    assert found[0] == found[1]
    assert ("one", "") in found[0][1]
    assert exports.count("Reading") == times


class Remembering(nn.Module):
    """Returns an object beside its result."""

    def forward(self, hidden_states: torch.Tensor) -> Any:
        return hidden_states + 1, types.SimpleNamespace(length=hidden_states.shape[1])


def _traces(calls: Any) -> list[Any]:
    return [(call.entry, call.count, call.trace) for call in calls]


@pytest.mark.parametrize("looks", [False, True])
def test_an_object_among_the_results_is_computed_only_where_somebody_looks_at_it(
    looks: bool, cache: Cache, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, found = ComponentConfig("diffusers", "Remembering", {}), []

    def capture(*_: Any, cache: Cache, objects: bool, **__: Any) -> Any:
        cached = CachedCalls(cache, {"one": part}, objects=objects)
        model = Remembering().eval()
        rehearsal = Rehearsal({"one": model}, notable=lambda _: False, outside=("pipeline", "Pipeline"), cached=cached)

        def run() -> None:
            hidden, memory = model(torch.zeros(1, 5))
            found.append((tuple(hidden.shape), memory.length if looks else memory is None))

        rehearsal.run(run)
        return rehearsal.calls.of("one")

    monkeypatch.setattr(pipeline, "_capture", capture)
    nothing = PipelineConfig("nothing", "Nothing", {})
    first, again = (pipeline.capture_pipeline(nothing, Workload(), notable=bool, cache=cache) for _ in range(2))
    assert _traces(again) == _traces(first)
    assert found == 2 * [((1, 5), 5 if looks else False)]
    assert exports == ["Remembering"] * (1 + looks)


@pytest.mark.parametrize(
    "look",
    [
        lambda it: it.length,
        lambda it: setattr(it, "length", 1),
        lambda it: isinstance(it, nn.Module),
        lambda it: isinstance(it, torch.Tensor),
        bool,
        len,
        iter,
        repr,
        hash,
        lambda it: it[0],
        lambda it: it(),
        lambda it: it == it,  # noqa: PLR0124
        lambda it: 1 in it,
        copy.copy,
        lambda it: copy.copy({"it": it})["it"].length,
        lambda it: copy.deepcopy({"it": it})["it"].length,
        lambda it: hasattr(it, "length"),
    ],
)
def test_whoever_looks_at_what_was_not_kept_is_told(look: Any) -> None:
    with pytest.raises(NotCachedError):
        look(NotCached())


def test_a_live_pipeline_is_never_kept(cache: Cache) -> None:
    fxprof.profile(tiny.make("stable_diffusion"), steps=1, cache=cache)
    assert cache.entries() == []


FRAMES = st.lists(st.builds(Frame, st.text(max_size=3), st.text(max_size=3), st.integers(0, 3)), max_size=3).map(tuple)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(max_size=4)
    | st.builds(Tensor, st.lists(st.integers(0, 9), max_size=3).map(tuple), st.sampled_from(["float32", "int64"])),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
NAMED = st.lists(st.tuples(st.text(max_size=3), VALUES), max_size=3).map(tuple)
NUMBERS = st.lists(st.integers(0, 9), max_size=3).map(tuple)
PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3).map(tuple)
OPS = st.builds(
    Op, st.text(max_size=5), NAMED, st.lists(VALUES, max_size=2).map(tuple), FRAMES, st.none() | st.text(max_size=4),
    reads=NUMBERS, makes=NUMBERS,
)  # fmt: skip
BLOCKS = st.builds(Block, FRAMES.filter(len), st.lists(OPS, max_size=3).map(tuple))
OCCURRENCES = st.builds(
    lambda block, path, *pairs: Occurrence(
        block, (*block.stack[:-1], block.stack[-1]._replace(path=path)), (("a", 1),), *pairs
    ),
    BLOCKS,
    st.text(max_size=3),
    PAIRS,
    PAIRS,
)
BODIES = st.builds(
    lambda op, parts, takes, gives: replace(op, subgraphs=(Subgraph("body", tuple(parts), takes, gives),)),
    OPS,
    st.lists(OPS | OCCURRENCES, max_size=3),
    PAIRS,
    NUMBERS,
)


@given(st.lists(OPS | BODIES | OCCURRENCES, max_size=5), NAMED, NUMBERS)
@settings(max_examples=150, deadline=None)
def test_a_trace_is_read_as_it_was_written(parts: list[Any], inputs: Any, gives: tuple[int, ...]) -> None:
    origins = tuple((number, Origin("parameter", f"a.{number}")) for number in range(4))
    trace = Trace((*parts, *parts), inputs, origins=origins, gives=gives)
    read = read_trace(json.loads(json.dumps(write_trace(trace))))
    assert read == trace
    assert [type(part) for part in read.parts] == [type(part) for part in trace.parts]
    held = {id(part.block) for part in trace.parts if isinstance(part, Occurrence)}
    assert len({id(part.block) for part in read.parts if isinstance(part, Occurrence)}) == len(held)


@pytest.mark.parametrize("value", [math.nan, -math.inf, complex(math.nan, -math.inf), -0.0])
def test_numbers_that_json_cannot_write_are_read_as_they_were_written(value: complex) -> None:
    read = read_trace(json.loads(json.dumps(write_trace(Trace((), (("x", value),))), allow_nan=False)))
    assert repr(read.inputs) == repr((("x", value),))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"stacks": [], "blocks": [], "parts": [["a", [], [], 0, None, []]], "inputs": []},
        {"stacks": [[]], "blocks": [], "parts": [{"block": 0, "stack": 0, "visits": []}], "inputs": []},
        {
            "stacks": [[]],
            "blocks": [],
            "parts": [["a", [["x", {"shape": ["2"], "dtype": "f"}]], [], 0, None, []]],
            "inputs": [],
        },
        {"stacks": [[[1, "a", 0]]], "blocks": [], "parts": [], "inputs": []},
        {"stacks": [], "blocks": [], "parts": [], "inputs": [["x", {"float": "one"}]]},
    ],
)
def test_what_is_no_trace_is_refused(value: Any) -> None:
    with pytest.raises(DamagedError):
        read_trace(value)
