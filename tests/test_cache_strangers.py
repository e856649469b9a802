"""The cache is the user's own, and what is in it is read as if a stranger had written it."""

from __future__ import annotations

import copy
import json
import os
import stat
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from hub_server import Hub
from test_hub import environment, files, hub
from test_pipelines import save_configurations
from torch import nn
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import BaseModelOutputWithPooling

from fxprof import limits
from fxprof.cache import Cache, default_cache
from fxprof.capture import call_cache
from fxprof.capture.cached_results import Form, NotLoadedError, read_leaves, read_spec, write_leaf, write_spec
from fxprof.capture.call_cache import CachedCalls
from fxprof.capture.export import ExportedCall, NotExportableError, export_call
from fxprof.capture.places import Place
from fxprof.capture.returned_values import Given, NotCached, Zeros
from fxprof.source.config import ComponentConfig
from fxprof.trace.codec import DamagedError, NotWritableError

__all__ = ["hub"]

KEY = "0" * 64
FOREIGN = "belongs to another user, or others can write to it; going on without it"
FOREIGN_FILE = "holds files that other users have written, or can write; going on without it"
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache with one result."""
    made = Cache(tmp_path / "kept")
    made.keep("profile", KEY, "this", "text")
    assert made.find("profile", KEY) == "text"
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# --- whose it is


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_it_is_made_for_its_user_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "some" / "kept")
    cache.keep("profile", KEY, "this", "text")
    assert mode(cache.directory) == 0o700
    assert [mode(path) for path in cache.directory.iterdir()] == [0o600]


def test_one_that_others_can_read_is_closed_to_them(cache: Cache) -> None:
    cache.directory.chmod(0o755)
    assert cache.find("profile", KEY) == "text"
    cache.keep("profile", KEY, "this", "text")
    assert mode(cache.directory) == 0o700


def unused(cache: Cache, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """A cache is neither read nor written, and that is said once."""
    before = sorted(cache.directory.iterdir())
    for _ in range(2):
        assert cache.find("profile", KEY) is None
        cache.keep("profile", KEY, "this", "new")
        assert cache.entries() == []
    assert sorted(cache.directory.iterdir()) == before
    assert lines(caplog) == [f"fxprof: the cache {cache.directory} {what}"]


@pytest.mark.parametrize("open_to", [0o777, 0o1777, 0o770, 0o702, 0o720])
def test_one_that_others_can_write_to_is_not_used(cache: Cache, caplog: pytest.LogCaptureFixture, open_to: int) -> None:
    cache.directory.chmod(open_to)
    unused(cache, caplog, FOREIGN)
    assert mode(cache.directory) == open_to


@is_root
def test_one_of_another_user_is_not_used(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    os.chown(cache.directory, 54321, 54321)
    unused(cache, caplog, FOREIGN)


def test_one_of_another_user_is_not_used_by_whatever_user(
    cache: Cache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    unused(cache, caplog, FOREIGN)


@pytest.mark.parametrize("open_to", [0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_to_is_not_used(cache: Cache, caplog: pytest.LogCaptureFixture, open_to: int) -> None:
    cache._path("profile", KEY).chmod(open_to)
    unused(cache, caplog, FOREIGN_FILE)


@is_root
def test_a_file_of_another_user_is_neither_used_nor_removed(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    os.chown(cache._path("profile", KEY), 54321, 54321)
    unused(cache, caplog, FOREIGN_FILE)
    assert cache.clear() == 0
    assert cache._path("profile", KEY).exists()


def test_a_time_that_is_none_is_shown_as_one(cache: Cache) -> None:
    for absurd in (2**60, -(2**60)):
        try:
            os.utime(
                cache._path("profile", KEY),
                ns=(0, absurd * 10**9 if abs(absurd) < 2**33 else (2**63 - 1) * (1 if absurd > 0 else -1)),
            )
        except (OverflowError, OSError):
            continue
        assert 0 <= cache.entries()[0].used <= 253_402_300_799


@pytest.mark.parametrize("command", [("cache",), pytest.param(("diff", "model", "model"), marks=pytest.mark.slow)])
def test_the_command_says_once_what_it_does_not_use(tmp_path: Path, command: tuple[str, ...]) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "model")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    options = () if command == ("cache",) else ("--height", "32", "--width", "32", "--steps", "1")
    env = {**os.environ, "FXPROF_CACHE_DIR": str(tmp_path / "open")}
    arguments = [sys.executable, "-m", "fxprof", *command, *options]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=env, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (0, f"fxprof: the cache {tmp_path / 'open'} {FOREIGN}\n")
    assert list((tmp_path / "open").iterdir()) == []


# --- no home


NOBODY = """
import os, pwd, sys
def unknown(*_): raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = unknown
from fxprof.cli import program
program()
"""
"""A program of a user of whom the system knows nothing."""


def without_home(directory: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = {"HOME", "XDG_CACHE_HOME", "FXPROF_CACHE_DIR", "HF_HOME", "HF_HUB_CACHE", "LOGNAME", "USER", "USERNAME", "LNAME"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", NOBODY, *map(str, arguments)]
    env = {**inherited, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=directory, timeout=300)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    directory = tmp_path / "empty"
    directory.mkdir()
    return directory


def test_without_a_home_all_is_counted_but_nothing_kept(tmp_path: Path, empty: Path) -> None:
    model = tmp_path / "model"
    save_configurations(tiny.make("stable_diffusion"), model)
    small = ("--height", "32", "--width", "32")
    profiled = without_home(empty, "profile", model, *small, "--format", "json")
    assert (profiled.returncode, profiled.stderr) == (0, "")
    assert json.loads(profiled.stdout)["macs"] > 0
    assert list(empty.iterdir()) == []


@pytest.mark.slow
def test_without_a_home_a_run_is_captured(tmp_path: Path, empty: Path) -> None:
    model = tmp_path / "model"
    save_configurations(tiny.make("stable_diffusion"), model)
    captured = without_home(empty, "capture", model, "--height", "32", "--width", "32", "-o", "out")
    assert (captured.returncode, captured.stdout, captured.stderr) == (0, "out: 4 distinct calls of 3 components\n", "")
    assert [path.name for path in empty.iterdir()] == ["out"]


@pytest.mark.parametrize("options", [(), ("--clear",)])
def test_without_a_home_there_is_no_cache_to_show(empty: Path, options: tuple[str, ...]) -> None:
    shown = without_home(empty, "cache", *options)
    assert (shown.returncode, shown.stdout) == (3, "")
    assert shown.stderr.splitlines() == [
        "fxprof: there is no cache: this user has no home directory",
        "  try: name a directory in FXPROF_CACHE_DIR",
    ]
    named = without_home(empty, "cache", *options, FXPROF_CACHE_DIR=str(empty / "named"))
    assert (named.returncode, named.stderr) == (0, "")


@pytest.mark.slow  # the next test has no home, either
def test_without_a_home_the_hub_is_of_use(hub: Hub, tmp_path: Path, empty: Path) -> None:
    variables = {name: value for name, value in environment(hub, tmp_path).items() if name != "HF_HOME"}
    profiled = without_home(empty, "profile", "org/tiny", "--steps", "1", "--format", "json", TMPDIR=str(tmp_path), **variables)
    assert (profiled.returncode, profiled.stderr) == (0, "")
    assert json.loads(profiled.stdout)["target"] == "org/tiny"
    assert list(empty.iterdir()) == []
    assert not list(tmp_path.glob("fxprof-*"))


@pytest.mark.slow
def test_a_cache_of_the_client_that_cannot_be_written_to_is_done_without(hub: Hub, tmp_path: Path, empty: Path) -> None:
    (tmp_path / "file").write_text("")
    variables = {**environment(hub, tmp_path), "HF_HUB_CACHE": str(tmp_path / "file" / "hub")}
    profiled = without_home(empty, "profile", "org/tiny", "--steps", "1", "--format", "json", **variables)
    assert (profiled.stderr, profiled.returncode) == ("", 0)
    assert files().keys() > hub.requested() > {"model_index.json"}


def test_a_home_that_is_no_path_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXPROF_CACHE_DIR", raising=False)
    for error in (RuntimeError, KeyError):

        def refuse(*_: Any, error: type[Exception] = error, **__: Any) -> Path:
            raise error("no home")

        monkeypatch.setattr("fxprof.cache.files.user_cache_path", refuse)
        assert default_cache() is None
    monkeypatch.setattr("fxprof.cache.files.user_cache_path", lambda *_, **__: Path("~/.cache/fxprof"))
    assert default_cache() is None


# --- what a captured call returned

FORM = Form(leaves=2, positional=1, names=frozenset({"mask"}))


@pytest.mark.parametrize(
    "leaf",
    [
        Given(0),
        Given(1),
        Zeros((), torch.float32),
        Zeros((1, 0, 3), torch.int64),
        Zeros((2,), torch.bfloat16),
        None,
        True,
        7,
        0.5,
        "x",
    ],
)
def test_a_result_is_read_as_it_was_written(leaf: Any) -> None:
    assert read_leaves(json.loads(json.dumps([write_leaf(leaf)])), FORM) == (leaf,)


@pytest.mark.parametrize(
    "value",
    [
        {"given": -1},
        {"given": 2},
        {"given": True},
        {"given": "0"},
        {"given": 0, "shape": []},
        {"shape": [-1], "dtype": "float32"},
        {"shape": [2**63], "dtype": "float32"},
        {"shape": [0, 2**70], "dtype": "float32"},
        {"shape": [2**40, 2**40], "dtype": "float32"},
        {"shape": [2**30, 2**30, 0, -1], "dtype": "float32"},
        {"shape": [1.0], "dtype": "float32"},
        {"shape": ["1"], "dtype": "float32"},
        {"shape": [True], "dtype": "float32"},
        {"shape": [1] * 51, "dtype": "float32"},
        {"shape": [1], "dtype": "nn"},
        {"shape": [1], "dtype": "device"},
        {"shape": [1], "dtype": "torch.float32"},
        {"shape": [1], "dtype": "__builtins__"},
        {"shape": [1], "dtype": "load"},
        {"shape": 1, "dtype": "float32"},
        {"shape": [1]},
        [],
        {},
    ],
)
def test_a_result_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(DamagedError):
        read_leaves([value], FORM)


def test_too_many_results_are_refused() -> None:
    for values in ([None] * (limits.CACHED_RESULTS + 1), {"0": None}, "x", None):
        with pytest.raises(DamagedError):
            read_leaves(values, FORM)


def tree(result: Any, args: Any = (), kwargs: Any = None) -> pytree.TreeSpec:
    """The nesting of a result, with the arguments after it."""
    return pytree.tree_structure((result, (args, {} if kwargs is None else kwargs)))


@pytest.mark.parametrize(
    "result",
    [
        0,
        (0,),
        [0, (0, [])],
        {"a": 0, 1: [0]},
        OrderedDict(b=0, a=(0,)),
        {},
        Transformer2DModelOutput(sample=0),
        BaseModelOutputWithPooling(last_hidden_state=0, pooler_output=0, hidden_states=(0, 0)),
    ],
)
def test_a_nesting_is_read_as_it_was_written(result: Any) -> None:
    spec = tree(result)
    value = json.loads(json.dumps(write_spec(spec)))
    assert read_spec(value, spec.num_leaves, FORM, returns_arguments=False) == spec
    after = tree(result, (0,), {"mask": [0]})
    value = json.loads(json.dumps(write_spec(after)))
    found = read_spec(value, after.num_leaves, FORM, returns_arguments=True)
    assert found == after
    leaves = list(range(after.num_leaves))
    assert pytree.tree_unflatten(leaves, found) == pytree.tree_unflatten(leaves, after)


class Record(tuple[Any, ...]):
    """A container of somebody else's."""

    __slots__ = ()


def test_a_container_of_somebody_elses_is_not_kept() -> None:
    pytree.register_pytree_node(
        Record, lambda it: (list(it), None), lambda items, _: Record(items), serialized_type_name="Record"
    )
    for result in (Record((0,)), {(1, 2): 0}, {None: 0}):
        with pytest.raises(NotWritableError):
            write_spec(tree(result))


OUTPUT = {"output": [None], "keys": ["sample"], "class": "diffusers.models.modeling_outputs.Transformer2DModelOutput"}
END: dict[str, Any] = {"tuple": [{"tuple": []}, {"dict": [], "keys": []}]}


def deep(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = {"tuple": [value]}
    return value


@pytest.mark.parametrize(
    ("result", "leaves"),
    [
        (None, 2),
        (7, 1),
        ("*", 1),
        ([None], 1),
        ({}, 0),
        ({"tuple": None}, 0),
        ({"tuple": [None, None]}, 1),
        ({"set": [None]}, 1),
        ({"builtins.tuple": [None]}, 1),
        ({"dict": [None]}, 1),
        ({"dict": [None], "keys": []}, 1),
        ({"dict": [None, None], "keys": ["a", "a"]}, 2),
        ({"dict": [None], "keys": [None]}, 1),
        ({"dict": [None], "keys": [[]]}, 1),
        ({**OUTPUT, "keys": ["other"]}, 1),
        ({**OUTPUT, "output": [], "keys": []}, 0),
        ({**OUTPUT, "class": 7}, 1),
        ({**OUTPUT, "class": None}, 1),
        (deep(60), 1),
        (deep(600), 1),
    ],
)
def test_a_nesting_that_is_none_is_refused(result: Any, leaves: int) -> None:
    with pytest.raises(DamagedError):
        read_spec({"tuple": [result, END]}, leaves, FORM, returns_arguments=False)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"tuple": [None]},
        {"tuple": [None, None]},
        {"list": [None, END]},
        {"tuple": [None, {"tuple": []}]},
        {"tuple": [None, {"tuple": [{"tuple": []}, {"tuple": []}]}]},
        {"tuple": [None, {"tuple": [{"tuple": [None]}, {"dict": [], "keys": []}]}]},
        {"tuple": [None, {"tuple": [{"tuple": []}, {"dict": [None], "keys": ["x"]}]}]},
    ],
)
def test_a_nesting_that_does_not_fit_the_call_is_refused(value: Any) -> None:
    for returns in (False, True):
        with pytest.raises(DamagedError):
            read_spec(value, json.dumps(value).count("null"), FORM, returns_arguments=returns)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "builtins.dict",
        "torch.nn.modules.module.Module",
        "collections.OrderedDict",
        "antigravity.X",
    ],
)
def test_a_class_is_not_looked_for(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(NotLoadedError):
        read_spec({"tuple": [{**OUTPUT, "class": name}, END]}, 1, FORM, returns_arguments=False)
    assert set(sys.modules) == before


# --- a whole call


class Two(nn.Module):
    """Returns two results, one of them what it was given."""

    def forward(self, first: torch.Tensor, mask: torch.Tensor) -> Any:
        return first @ first, mask


@pytest.fixture
def kept(tmp_path: Path) -> tuple[CachedCalls, str, Cache]:
    """A call that is kept, with its key."""
    cache, module = Cache(tmp_path / "calls"), Two().eval()
    calls = CachedCalls(cache, {"one": ComponentConfig("diffusers", "Two", {})})
    args, kwargs = (torch.zeros(4, 4),), {"mask": torch.zeros(2)}
    found = calls.key(Place("one", ""), module, args, kwargs)
    assert found is not None
    calls.keep(found, Place("one", ""), module, export_call(module, args, kwargs, prefix="", aliases={}))
    return calls, found, cache


def body(cache: Cache, key: str) -> dict[str, Any]:
    text = cache.find("call", key)
    assert text is not None
    value: dict[str, Any] = json.loads(text)
    return value


def test_a_call_is_found_as_it_was_kept(kept: tuple[CachedCalls, str, Cache]) -> None:
    calls, key, _ = kept
    found = calls.find(key)
    assert isinstance(found, ExportedCall)
    assert (found.results, found.objects) == ((Zeros((4, 4), torch.float32), Given(1)), {})
    first, second = torch.ones(4, 4), torch.ones(2)
    answer = pytree.tree_unflatten([0, 1], found.spec)
    assert answer == ((0, 1), ((), {}))
    assert [op.target for op in found.trace.distinct()] == ["aten.matmul.default"]
    assert (first.shape, second.shape) == ((4, 4), (2,))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(results=[{"given": 5}, {"given": 1}]),
        lambda value: value.update(results=[{"shape": [-4, 4], "dtype": "float32"}, {"given": 1}]),
        lambda value: value.update(results=[{"shape": [2**62, 4], "dtype": "float32"}, {"given": 1}]),
        lambda value: value.update(objects=[-1]),
        lambda value: value.update(objects=[2]),
        lambda value: value.update(objects=[False]),
        lambda value: value.update(objects={}),
        lambda value: value.update(returns_arguments=1),
        lambda value: value.update(returns_arguments=True),
        lambda value: value.update(spec=None),
        lambda value: value.update(spec='[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'),
        lambda value: value.update(trace=None),
        lambda value: value.update(trace={}),
        lambda value: value.pop("trace"),
        lambda value: value.pop("spec"),
        lambda value: (value.clear(), value.update(refused=7)),
        lambda value: value.update(refused="no"),
        lambda value: value["trace"]["parts"][0][1][0][1].update(shape=[-1]),
    ],
)
def test_a_call_that_is_none_is_removed_and_not_found(
    kept: tuple[CachedCalls, str, Cache], change: Callable[[dict[str, Any]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    calls, key, cache = kept
    value = copy.deepcopy(body(cache, key))
    change(value)
    cache.keep("call", key, "wrong", json.dumps(value))
    assert calls.find(key) is None
    assert not cache._path("call", key).exists()
    assert lines(caplog) == [f"fxprof: the cache {cache.directory} held a damaged file; going on without it"]


@pytest.mark.parametrize("text", ["null", "[]", "7", '"x"', "{}", "[" * 100_000, "9" * 5000, "{"])
def test_what_is_no_call_at_all_is_removed(kept: tuple[CachedCalls, str, Cache], text: str) -> None:
    calls, key, cache = kept
    cache.keep("call", key, "wrong", text)
    assert calls.find(key) is None
    assert not cache._path("call", key).exists()


def test_a_call_with_a_class_that_is_not_there_is_not_found_and_stays(kept: tuple[CachedCalls, str, Cache]) -> None:
    calls, key, cache = kept
    value = body(cache, key)
    value["spec"]["tuple"][0] = {"output": [None, None], "keys": ["a", "b"], "class": "diffusers.not_loaded.Output"}
    cache.keep("call", key, "other", json.dumps(value))
    assert calls.find(key) is None
    assert cache._path("call", key).exists()


def test_objects_and_refusals_are_found(kept: tuple[CachedCalls, str, Cache]) -> None:
    calls, key, cache = kept
    cache.keep("call", key, "objects", json.dumps({**body(cache, key), "objects": [1]}))
    found = calls.find(key)
    assert found is not None
    assert type(found.objects[1]) is NotCached
    cache.keep("call", key, "refused", json.dumps({"refused": "it reads a value"}))
    with pytest.raises(NotExportableError, match="it reads a value"):
        calls.find(key)


def test_nothing_in_the_reading_of_calls_can_import_by_name() -> None:
    source = Path(call_cache.__file__).read_text(encoding="utf-8") + Path(call_cache.__file__).with_name(
        "cached_results.py"
    ).read_text(encoding="utf-8")
    assert not [word for word in ("treespec_loads", "getattr(", "import_module", "eval(", "pickle") if word in source]
