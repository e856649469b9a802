"""The door for targets: what each sort is told by, which options it takes, and that a file is opened once."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import archives
import checkpoints
import pytest
from commands import run
from profiles import normal, uncounted

import fxprof
from fxprof import api
from fxprof.cli import fxprof as command
from fxprof.errors import UsageError
from fxprof.result.saved.write import dumps
from fxprof.source.config import ComponentConfig, SingleComponent
from fxprof.source.targets import CAPTURED, COMPONENT, GRAPH, PIPELINE, PROFILE, RUN, SORTS, Sort, find_target
from fxprof.source.workload import CALL_ARGUMENTS, DTYPES, OPTIONS, Workload, flag_of
from fxprof.trace.bundle import MANIFEST


@pytest.fixture
def named(tmp_path: Path) -> dict[str, str]:
    """A target of each sort."""
    normal().save(tmp_path / "saved.json")
    archives.write(tmp_path / "graph.pt2")
    archives.write_capture(tmp_path / "run")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    targets = {PROFILE: "saved.json", GRAPH: "graph.pt2", RUN: "run", COMPONENT: "unet"}
    return {PIPELINE.words: "sd-1.5", **{sort.words: str(tmp_path / name) for sort, name in targets.items()}}


# --- which options a target takes

GIVEN: dict[str, tuple[Any, tuple[str, ...]]] = {
    **{option.name: (2, ("2",)) for option in OPTIONS if option.type in (int, float)},
    "prompt": ("", ("",)),
    "dtype": (DTYPES[0], (DTYPES[0],)),
    "without": ("vae", ("vae",)),
    "enable": (["vae.tiling"], ("vae.tiling",)),
    "arguments": ({"a": 1}, ("a=1",)),
    "inputs": ({"a": "1x2"}, ("a=1x2",)),
    "dims": ({"s": 2}, ("s=2",)),
    "formulas": (fxprof.Formulas(), (__file__,)),  # a file that declares none: it is not looked into
    "whole": (True, ()),
}
"""A value of each option, in Python and on the command line."""
REFUSED = [(sort, name) for sort in SORTS for name in GIVEN if name not in sort.takes]


def refusal(target: Any, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        fxprof.profile(target, **options)
    return caught.value


@pytest.mark.parametrize(("sort", "name"), REFUSED, ids=[f"{sort.words}, {name}" for sort, name in REFUSED])
def test_an_option_is_refused_in_the_same_words_everywhere(sort: Sort, name: str, named: dict[str, str]) -> None:
    target = named[sort.words]
    value, words = GIVEN[name]
    refused = refusal(target, **{name: value})
    assert refused.message.startswith(f"{flag_of(name)} needs ")
    assert refused.message.endswith(f", but {target} is {sort.words}")
    told = f"fxprof: {refused.message}\n  try: {refused.hint}\n"
    for report in ("profile", "layers", "hotspots"):
        result = run(report, target, flag_of(name), *words)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


@pytest.mark.parametrize(("sort", "name"), REFUSED, ids=[f"{sort.words}, {name}" for sort, name in REFUSED])
def test_a_diff_refuses_what_neither_side_takes(sort: Sort, name: str, named: dict[str, str]) -> None:
    target = named[sort.words]
    value, words = GIVEN[name]
    alone = refusal(target, **{name: value})
    result = run("diff", target, target, flag_of(name), *words)
    need = alone.message.partition(", but ")[0]
    told = f"fxprof: {need}, but {target} and {target} are {sort.plural}\n  try: {alone.hint}\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


@pytest.mark.parametrize("name", [name for name in GIVEN if name in PIPELINE.takes | COMPONENT.takes and name != "whole"])
@pytest.mark.parametrize("sort", [PIPELINE, COMPONENT], ids=lambda sort: sort.words)
def test_a_capture_refuses_what_a_profile_does(sort: Sort, name: str, named: dict[str, str], tmp_path: Path) -> None:
    if name in sort.takes:
        return
    target = named[sort.words]
    value, words = GIVEN[name]
    refused = refusal(target, **{name: value})
    with pytest.raises(UsageError) as caught:
        fxprof.save_graphs(target, tmp_path / "graphs", **{name: value})
    assert str(caught.value) == str(refused)
    result = run("capture", target, "-o", tmp_path / "graphs", flag_of(name), *words)
    assert (result.exit_code, result.stderr) == (2, f"fxprof: {refused.message}\n  try: {refused.hint}\n")
    assert not (tmp_path / "graphs").exists()


@pytest.mark.parametrize("sort", CAPTURED, ids=lambda sort: sort.words)
def test_what_is_captured_already_is_not_captured(sort: Sort, named: dict[str, str], tmp_path: Path) -> None:
    target = named[sort.words]
    result = run("capture", target, "-o", tmp_path / "graphs")
    hint = "  try: name a pipeline; `fxprof profile` takes this target as it is"
    assert result.stderr == f"fxprof: {target} holds no pipeline that could be captured\n{hint}\n"


def test_several_options_are_refused_in_one_sentence(named: dict[str, str]) -> None:
    target = named[PROFILE.words]
    refused = refusal(target, height=8, steps=0 or None, arguments={"a": 1}, dims={"x.0": 2})
    assert str(refused) == (
        f"--height, --arg, --dim need a pipeline or an exported graph, but {target} is a saved profile"
        " (name the pipeline instead, or leave the options out)"
    )


def test_each_side_of_a_diff_gets_what_it_takes(named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[str]] = {}

    def stand_in(target: Any, **options: Any) -> fxprof.Profile:
        asked[str(target)] = [name for name, value in options.items() if name in GIVEN and value]
        return normal()

    monkeypatch.setattr(api, "profile", stand_in)
    monkeypatch.setattr("fxprof.cli.compare.pays", lambda: False)
    pipeline, component = named[PIPELINE.words], named[COMPONENT.words]
    options = ("--height", "8", "--dtype", "float16", "--input", "sample=1x4x8x8")
    assert run("diff", pipeline, component, *options).exit_code == 0
    assert asked == {pipeline: ["height", "dtype"], component: ["dtype", "inputs"]}


def test_objects_are_targets_too() -> None:
    config = fxprof.PipelineConfig("mine", "StableDiffusionPipeline", {})
    assert refusal(config, dims={"x.0": 2}).message == "--dim needs an exported graph, but mine is a pipeline"
    component = SingleComponent("alone", ComponentConfig("diffusers", "UNet2DModel"))
    assert refusal(component, steps=2).message == "--steps needs a pipeline, but alone is one component"
    assert find_target(find_target("sd-1.5")).text == "sd-1.5"


# --- what a target is told by


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.words)
def test_a_target_is_of_one_sort(sort: Sort, named: dict[str, str]) -> None:
    with find_target(named[sort.words]) as target:
        assert (target.sort, str(target)) == (sort, named[sort.words])


def test_a_saved_profile_is_told_by_content(tmp_path: Path) -> None:
    text = dumps(uncounted())
    contents: dict[str, tuple[bytes, Sort | None]] = {
        "whole": (text.encode(), PROFILE),
        "byte order mark": (text.encode("utf-8-sig"), PROFILE),
        "sixteen bits": (text.encode("utf-16"), PROFILE),
        "truncated": (text.encode()[:200], PROFILE),
        "other order": (json.dumps(json.loads(text), sort_keys=True).encode(), PROFILE),
        "newer": (b'{"format": 99}', PROFILE),
        "profile.pt2": (text.encode(), PROFILE),
        "other json": (b'{"_class_name": "StableDiffusionPipeline"}', None),
        "broken json": (b'{"_class_name": ', None),
        "list": (b"[1, 2]", None),
        "empty": (b"", None),
        "zip": (b"PK\x03\x04\xff\xfe\xfa", GRAPH),
        "empty.pt2": (b"", GRAPH),
    }
    for name, (content, sort) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        if sort is None:
            with pytest.raises(fxprof.FxprofError, match="it is a file, not a pipeline"):
                find_target(path)
        else:
            with find_target(path) as target:
                assert (name, target.sort) == (name, sort)
                assert sort is not PROFILE or target.content == [content]


def test_a_captured_run_goes_before_a_configuration(named: dict[str, str]) -> None:
    (Path(named[RUN.words]) / "config.json").write_text("{}")
    assert find_target(named[RUN.words]).sort is RUN


# --- how often a file is opened

_opened: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        _opened[-1].append(os.fspath(arguments[0]))


sys.addaudithook(_watch)


@contextmanager
def opened(folder: Path) -> Iterator[list[str]]:
    """The names of the files of a folder that are opened, once for each time."""
    names: list[str] = []
    paths: list[str] = []
    _opened.append(paths)
    try:
        yield names
    finally:
        _opened.remove(paths)
        names += sorted(Path(path).name for path in paths if Path(path).is_relative_to(folder) and Path(path).is_file())


@pytest.mark.parametrize("name", ["saved.json", "sorted.json", "saved.pt2", "graph.pt2", "graph"])
def test_a_file_is_opened_once(name: str, tmp_path: Path) -> None:
    if "graph" in name:
        archives.write(tmp_path / name)
    else:
        text = dumps(normal())
        (tmp_path / name).write_text(json.dumps(json.loads(text), sort_keys=True) if name == "sorted.json" else text)
    with opened(tmp_path) as names:
        assert run("profile", tmp_path / name).exit_code == 0
        fxprof.profile(tmp_path / name)
    assert names == [name, name]
    with opened(tmp_path) as names:
        assert run("diff", tmp_path / name, tmp_path / name).exit_code == 0
    assert names == [name, name]


def test_each_file_of_a_captured_run_is_opened_once(tmp_path: Path) -> None:
    run_of = archives.write_capture(tmp_path / "run")
    with opened(tmp_path) as names:
        assert run("profile", run_of).exit_code == 0
    assert MANIFEST in names
    assert len(set(names)) == len(names) > 1


@pytest.mark.parametrize("name", ["net.safetensors", "net.gguf", "net"])
def test_a_file_of_weights_is_opened_once(name: str, tmp_path: Path) -> None:
    write = checkpoints.write_safetensors if name == "net.safetensors" else checkpoints.write_gguf
    write(tmp_path / name, {"a.weight": (2, 3)})
    with opened(tmp_path) as names:
        target = find_target(tmp_path / name)
    assert (names, target.sort, target.content.tensors) == ([name], PIPELINE, {"a.weight": (2, 3)})


@pytest.mark.filterwarnings("error")
def test_a_file_is_closed_where_its_target_is_refused(named: dict[str, str]) -> None:
    with find_target(named[GRAPH.words]) as target:
        refusal(target, height=8)
    assert target.content.closed


# --- the table of options


def test_the_workload_is_that_of_the_table() -> None:
    names = [option.name for option in OPTIONS]
    assert {item.name for item in fields(Workload)} == set(names) - {"inputs", "dims"}
    assert set(CALL_ARGUMENTS) <= {item.name for item in fields(Workload)}


def test_the_signature_of_profile_has_every_option() -> None:
    parameters = list(inspect.signature(fxprof.profile).parameters)
    names = [option.name for option in OPTIONS]
    assert set(parameters) == {"target", *names, "formulas", "whole", "cache", "progress", "causal", "lifetimes"}
    documented = inspect.getdoc(fxprof.profile) or ""
    assert all(f"\n    {name}: " in documented for name in names)


def test_every_option_is_taken_by_some_target() -> None:
    assert {name for sort in SORTS for name in sort.takes} == set(GIVEN)


@pytest.mark.parametrize("name", ["profile", "layers", "hotspots", "diff", "capture"])
def test_commands_have_the_options_of_the_table(name: str) -> None:
    declared = {parameter.name: parameter.opts for parameter in command.commands[name].params}
    expected = [option for option in OPTIONS if name != "capture" or option.name != "dims"]
    assert [at for at in declared if at in GIVEN and at not in {"formulas", "whole"}] == [option.name for option in expected]
    assert all(declared[option.name] == [flag_of(option.name)] for option in expected)
