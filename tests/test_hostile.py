"""Files from strangers: whatever is in them, one line, exit code 3, nothing written, nothing run."""

from __future__ import annotations

import ast
import builtins
import json
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import archives
import pytest
from checkpoints import write_gguf
from click.testing import Result
from commands import run
from hostile import CASES, COSTLY, COUNTED, SLOW
from profiles import uncounted

from fxprof.result.saved.write import dumps
from fxprof.source import targets
from fxprof.trace import archive
from fxprof.trace.weights import KINDS, QUANTISERS

LONGEST = 400
"""Characters of a message, apart from the path of the file."""


@pytest.fixture(scope="session", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import all that a profile needs, which compiles and executes code, before that is forbidden."""
    folder = tmp_path_factory.mktemp("warm")
    assert run("profile", archives.write(folder / "x.pt2"), "-o", folder / "a.json").exit_code == 0
    assert run("profile", archives.write_capture(folder / "run"), "-o", folder / "b.json").exit_code == 0
    assert run("profile", folder / "a.json").exit_code == 0
    assert run("profile", folder / "nothing").exit_code == 3
    for encoding in ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"):
        assert b"a".ljust(4, b"a").decode(encoding, "replace")


@contextmanager
def nothing_is_run() -> Iterator[None]:
    """Forbid what turns data into code, while a file is read."""

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("data was about to be run")

    original = compile

    def parse_only(source: Any, filename: Any, mode: str, flags: int = 0, **options: Any) -> Any:
        """As `ast.parse` calls it: to a tree, never to code."""
        assert flags & ast.PyCF_ONLY_AST, "data was about to be compiled"
        return original(source, filename, mode, flags, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "loads", "Unpickler", "_Unpickler"):
            patch.setattr(pickle, name, refuse)
        for name in ("eval", "exec"):
            patch.setattr(builtins, name, refuse)
        patch.setattr(builtins, "compile", parse_only)
        yield


def profiled(path: Path, output: Path) -> Result:
    with nothing_is_run():
        return run("profile", path, "-o", output)


def check_refusal(code: int, stdout: str, stderr: str, path: Path) -> str:
    """Hold what a command answered to what every refusal is; the message."""
    assert code == 3, stderr
    assert stdout == ""
    lines = stderr.removesuffix("\n").split("\n")
    assert lines[0].startswith("fxprof: ")
    assert [line[:7] for line in lines[1:]] in ([], ["  try: "])
    assert all(line.isprintable() for line in lines)
    assert path.name in lines[0]
    assert all(len(line.replace(str(path), "")) <= LONGEST for line in lines)
    return lines[0]


def listed(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    make, expected = CASES[name]
    path = make(tmp_path)
    before = listed(tmp_path)
    result = profiled(path, tmp_path / "out.json")
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert expected in check_refusal(result.exit_code, result.stdout, result.stderr, path)
    assert listed(tmp_path) == before


# --- within a bounded time and memory

LIMITED = """
import contextlib, io, resource, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "diffusers", "transformers", "numpy", "sympy", "huggingface_hub"}:
            raise AssertionError(f"{name} was imported")

RUN = {"exec", "marshal.loads", "pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn"}
RUN |= {"subprocess.Popen", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen"}

def watch(event, arguments):
    if event in RUN:
        raise AssertionError(f"{event} was about to be run")

sys.meta_path.insert(0, Refuse())
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from fxprof.cli import fxprof, main

sound, *arguments = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    fxprof(["profile", sound], standalone_mode=False)
    fxprof(["profile", sound + "/nothing"], standalone_mode=False)
sys.addaudithook(watch)
sys.argv[1:] = arguments
main()
"""
"""A process of a gigabyte that may run nothing but what a sound file has made it import."""

_HANGS = 30
"""Seconds after which a command is taken to hang."""


def limited(sound: Path, *arguments: str | Path, script: str = LIMITED) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, str(sound), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", timeout=_HANGS)


LONG = {
    *SLOW,
    "many products of 200 matrices",
    "zip bomb of half a gigabyte",
    "300,000 entries",
    "profile of wide characters",
    "profile of 300 MiB",
}
"""What takes seconds, and is much like another case."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in (*COSTLY, *SLOW)]
)
def test_what_would_take_all_memory_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    make, expected = {**COSTLY, **SLOW}[name]
    path = make(tmp_path)
    result = limited(archives.write(tmp_path / "sound.pt2"), "profile", path, "-o", tmp_path / "out.json")
    assert expected in check_refusal(result.returncode, result.stdout, result.stderr, path)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
def test_what_is_large_and_sound_is_counted_within_the_same_limits(name: str, tmp_path: Path) -> None:
    path = COUNTED[name](tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = limited(archives.write(tmp_path / "sound.pt2"), "profile", path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (result.returncode, result.stderr) == (0, "")
    assert "per image" in result.stdout or "per run" in result.stdout
    assert len(result.stdout) < 20_000
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MOST_SECONDS


MOST_SECONDS = 10
"""Of a processor, for any file of less than a hundred megabytes."""


def test_a_sound_file_is_profiled_within_the_same_limits(tmp_path: Path) -> None:
    sound = archives.write(tmp_path / "sound.pt2")
    result = limited(sound, "profile", sound, "-o", tmp_path / "out.json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["macs"] == archives.MACS


@pytest.mark.parametrize("code", ["eval('1')", "exec('1')", "import pickle; pickle.loads(b'cos\\nsystem\\n.')", "import torch"])
def test_the_limits_are_in_force(code: str, tmp_path: Path) -> None:
    result = limited(archives.write(tmp_path / "sound.pt2"), script=LIMITED.replace("\nmain()", f"\n{code}"))
    assert result.returncode == 1
    assert re.search("AssertionError: .* was (about to be run|imported)", result.stderr)


@pytest.mark.parametrize(
    ("name", "mebibytes", "code", "told"),
    [
        ("x.pt2", 192, 0, ""),
        ("x.json", 128, 3, "fxprof: .*x.json is not a profile, or is damaged: it nests too deeply\n"),
        ("x.gguf", 256, 3, "fxprof: torch cannot be loaded: .*\n  try: .*\n"),
    ],
)
def test_where_memory_is_short_there_is_a_result_or_one_line(
    name: str, mebibytes: int, code: int, told: str, tmp_path: Path
) -> None:
    archives.write(tmp_path / "x.pt2")
    (tmp_path / "x.json").write_text('{"format": 2, "workload": {}, "components": ' + "[" * 5_000)
    write_gguf(tmp_path / "x.gguf", {"a.weight": (4, 320, 3, 3)})
    most = mebibytes * 2**20
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({most}, {most})); from fxprof.cli import main; main()"
    command = [sys.executable, "-c", script, "profile", str(tmp_path / name), "--no-cache"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_HANGS)
    assert result.returncode == code
    assert re.fullmatch(told, result.stderr)
    assert bool(result.stdout) == (code == 0)


# --- what is never opened


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_pickles_are_never_opened_and_code_is_never_run(tmp_path: Path) -> None:
    victim = tmp_path / "owned"
    bomb, code = pickle.dumps(Bomb(victim)), f"open({str(victim)!r}, 'w')"
    program, places = archives.model(), archives.weights()
    program["guards_code"] = program["verifiers"] = [code]
    program["graph_module"]["module_call_graph"][0]["signature"] = {
        "inputs": [],
        "outputs": [],
        "in_spec": code,
        "out_spec": code,
    }
    for place in places["config"].values():
        place["use_pickle"] = True
    parts = archives.entries(program, places)
    harmful = [name for name in parts if name.endswith((".pt", *"0123"))]
    parts |= dict.fromkeys([*harmful, "data/constants/custom_obj_0", "data.pkl", "extra/a.pkl"], bomb)
    path = tmp_path / "x.pt2"
    path.write_bytes(archives.packed(parts))
    result = profiled(path, tmp_path / "out.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["macs"] == archives.MACS
    assert not victim.exists()
    pickle.loads(bomb)
    assert victim.exists()


def test_a_link_to_a_sound_file_is_that_file(tmp_path: Path) -> None:
    archives.write(tmp_path / "sound.pt2")
    (tmp_path / "x.pt2").symlink_to("sound.pt2")
    found = [json.loads(run("profile", tmp_path / name, "--format", "json").stdout) for name in ("sound.pt2", "x.pt2")]
    assert [(one["macs"], one["components"]) for one in found] == [(archives.MACS, found[0]["components"])] * 2


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied")  # the tests may run as root, who may read everything

    for reader in (targets, archive):
        monkeypatch.setattr(reader, "FileIO", refuse)
    path = archives.write(tmp_path / "x.pt2")
    result = run("profile", path)
    assert check_refusal(result.exit_code, result.stdout, result.stderr, path).endswith("x.pt2: permission denied")


def _spoiled(value: Any, kept: set[str]) -> Any:
    """The value with half a character, and what would colour a terminal, in every text but those."""
    match value:
        case dict():
            return {key: _spoiled(item, kept) for key, item in value.items()}
        case list():
            return [_spoiled(item, kept) for item in value]
        case str() if value not in kept:
            return f"{value}\x1b[31m\ud800"
        case _:
            return value


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
def test_texts_that_steer_or_are_no_characters_are_written_out(form: str, tmp_path: Path) -> None:
    whole = json.loads(dumps(uncounted()))
    rows = [row for component in whole["components"] for call in component["calls"] for row in call["ops"]]
    nodes = [node for component in uncounted().components.values() for node in component.tree.walk()]
    kept = {row["kind"] for row in rows} | {node.path for node in nodes} | {*KINDS, *QUANTISERS}
    (tmp_path / "x.json").write_text(json.dumps(_spoiled(whole, kept)))
    for place, command in enumerate((["profile"], ["layers"], ["hotspots", "--by", "op"], ["hotspots", "--by", "source"])):
        output = tmp_path / str(place)
        shown = run(*command, tmp_path / "x.json", "--format", form)
        saved = run(*command, tmp_path / "x.json", "--format", form, "-o", output)
        assert (shown.exit_code, saved.exit_code, saved.stderr) == (0, 0, "")
        for text in (shown.stdout, output.read_text(encoding="utf-8")):
            assert "unet" in text or "mylib" in text or "/" in text
            assert form == "csv" or "\x1b" not in text  # programs get the names as they are
