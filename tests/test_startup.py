"""What starts fast stays fast: nothing heavy is imported before it is needed. Each case is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from profiles import uncounted

from fxprof.reports import FORMATS
from fxprof.reports.summary import build_summary as summary

DATA = Path(__file__).parent / "data"

GUARD = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "torch", "diffusers", "transformers", "networkx", "numpy", "huggingface_hub", "multiprocessing"
        }:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
from fxprof.cli import main
main()
"""


GRAPH = {
    "models/model.json": json.dumps(
        {
            "graph_module": {
                "graph": {
                    "inputs": [{"as_tensor": {"name": name}} for name in ("weight", "x")],
                    "outputs": [{"as_tensor": {"name": "y"}}],
                    "nodes": [
                        {
                            "target": "torch.ops.aten.linear.default",
                            "inputs": [
                                {"name": "input", "arg": {"as_tensor": {"name": "x"}}},
                                {"name": "weight", "arg": {"as_tensor": {"name": "weight"}}},
                            ],
                            "outputs": [{"as_tensor": {"name": "y"}}],
                            "metadata": {},
                        }
                    ],
                    "tensor_values": {
                        name: {"dtype": 7, "sizes": [{"as_int": rows}, {"as_int": columns}]}
                        for name, rows, columns in (("weight", 5, 7), ("x", 3, 7), ("y", 3, 5))
                    },
                },
                "signature": {"input_specs": [], "output_specs": []},
                "module_call_graph": [],
            },
            "schema_version": {"major": 8, "minor": 20},
        }
    ),
}
"""The smallest archive that computes something: 3 x 5 x 7 MACs."""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "graph.pt2", "w") as file:
        for name, text in GRAPH.items():
            file.writestr(f"graph/{name}", text)
    return tmp_path / "graph.pt2"


def test_an_exported_graph_is_read_without_anything_heavy(graph: Path) -> None:
    for command in ("profile", "layers", "hotspots"):
        result = guarded(command, graph, "--format", "json")
        assert (result.returncode, result.stderr) == (0, "")
    assert '"macs": 105' in guarded("profile", graph, "--format", "json").stdout


def guarded(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", GUARD, *map(str, arguments)]
    env = {"PYTHONIOENCODING": "utf-8", "FXPROF_CACHE_DIR": os.environ["FXPROF_CACHE_DIR"]}
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", env=env)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["models"],
        ["cache"],
        ["profile", "--help"],
        ["profile", DATA / "uncounted.json"],
        ["profile", DATA / "uncounted.json", "--format", "json", "--component", "unet"],
        ["layers", DATA / "uncounted.json", "--format", "markdown"],
        ["hotspots", DATA / "uncounted.json", "--format", "csv"],
        ["diff", DATA / "uncounted.json", DATA / "normal.json", "--format", "markdown", "--ops"],
    ],
    ids=lambda arguments: " ".join(Path(word).name for word in arguments),
)
def test_nothing_heavy_is_imported(arguments: list[str | Path]) -> None:
    result = guarded(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_the_guard_refuses_what_it_should() -> None:
    program = GUARD.replace("main()", "import networkx")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "AssertionError: networkx was imported" in result.stderr


def test_report_of_a_saved_profile_is_whole_in_a_fresh_process() -> None:
    assert guarded("profile", DATA / "uncounted.json").stdout == FORMATS["text"].render(summary(uncounted()))


def test_module_and_console_script_are_the_same() -> None:
    result = subprocess.run([sys.executable, "-m", "fxprof", "--help"], capture_output=True, text=True, check=True)
    assert result.stdout == guarded("--help").stdout


def test_a_pipe_that_closes_early_is_quiet() -> None:
    script = f"{sys.executable} -m fxprof layers {DATA / 'normal.json'} --depth all --format json | head -c 10"
    result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ('{\n "target', "")


NOTING = """
import atexit
atexit.register(print, "at exit")
from fxprof.cli import program
program()
"""


@pytest.mark.parametrize(("arguments", "code"), [(["models"], 0), (["profile", "no-such-model"], 3), (["profile"], 2)])
def test_a_program_ends_with_its_code_and_does_what_is_to_be_done_then(arguments: list[str], code: int) -> None:
    result = subprocess.run([sys.executable, "-c", NOTING, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert result.stdout.endswith("at exit\n")
    assert (result.stderr == "") == (code == 0)


def test_objects_are_not_freed_one_by_one_at_the_end() -> None:
    code = "class Slow:\n    def __del__(self): print('freed')\nslow = Slow()\nfrom fxprof.cli import program; program()"
    result = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert "freed" not in result.stdout
    assert result.stdout.startswith("fxprof ")


@pytest.mark.parametrize(("where", "reason"), [("/dev/full", "no space left on device"), ("&-", "stdout is closed")])
def test_a_report_that_cannot_be_written_is_one_line(where: str, reason: str) -> None:
    for command in (["models"], ["profile", str(DATA / "normal.json")]):
        script = f"{sys.executable} -m fxprof {' '.join(command)} >{where}"
        result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (3, f"fxprof: cannot write the report: {reason}\n")


def test_a_bug_keeps_its_traceback() -> None:
    code = "from fxprof.cli import commands, program; commands.prepare = None; program()"
    result = subprocess.run([sys.executable, "-c", code, "models"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
