"""Saved profiles that are damaged, each told in one line; and files, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import normal, uncounted

from fxprof.errors import OutputError, ProfileError, TargetError
from fxprof.result import Call, Component, OpRow, Profile, Total, files
from fxprof.result.saved.read import load, loads
from fxprof.result.saved.write import dumps

# --- damaged files


def document() -> Any:
    return json.loads(dumps(uncounted()))


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def _delete(*path: str | int) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


CALL = ("components", 0, "calls", 0)
OP = (*CALL, "ops", 0)
TREE = ("components", 0, "tree")
WEIGHT = ("components", 0, "weights", 0)
CONV = (*TREE, "children", 0, "children", 0, "children", 0)


def _without_weights(change: Callable[[Any], None]) -> Callable[[Any], None]:
    def changed(value: Any) -> None:
        for part in value["components"]:
            del part["weights"], part["weight_bytes"]
            waiting = [part["tree"]]
            while waiting:
                node = waiting.pop()
                node.pop("weights", None)
                waiting += node["children"]
        change(value)

    return changed


DAMAGE = {
    "newer": (_set("format", to=7), "format is 7, written by a newer fxprof; this one reads 6"),
    "older than the first": (_set("format", to=0), "format is 0; formats start at 1"),
    "format text": (_set("format", to="1"), 'format is "1", not a count'),
    "total": (_set("macs", to=1), "macs is 1 (uncounted 249, bounded 0), but the components add up to 468"),
    "uncounted": (_set("uncounted", to=0), "(uncounted 0, bounded 0), but the components add up to"),
    "component": (
        _set("components", 0, "macs", to=5),
        "components[0].macs is 5 (uncounted 248, bounded 0), but its calls add up to",
    ),
    "component params": (_set("components", 0, "params", to=5), "components[0].params is 5, but its modules hold 3687680"),
    "call": (
        _set(*CALL, "macs", to=5),
        "components[0].calls[0].macs is 5 (uncounted 8, bounded 0), but its operators add up to",
    ),
    "op": (_set(*OP, "macs", to=5), "components[0].calls[0].macs is"),
    "op unknown": (_set(*OP, "macs", to=None), "components[0].calls[0].macs is"),
    "count": (_set(*CALL, "count", to=29), "components[0].macs is"),
    "tree": (_set(*TREE, "total_macs", to=0), "components[0].tree.total_macs is 0, but its operators and modules make 468"),
    "tree calls": (_set(*TREE, "calls", to=0), "components[0].tree.calls is 0, but its operators and modules make 31"),
    "tree child": (
        _set(*TREE, "children", 0, "children", 1, "self_macs", to=2),
        ".children[0].children[1].self_macs is 2, but",
    ),
    "tree without a child": (_delete(*TREE, "children", 0, "children", 3), "components[0].params is"),
    "tree with a strange child": (
        _set(*TREE, "children", 0, "path", to="x.y"),
        '.children[0].path is "x.y", which does not belong',
    ),
    "negative": (_set(*OP, "count", to=-1), "components[0].calls[0].ops[0].count is -1, not a count"),
    "float": (_set(*OP, "macs", to=1.5), "ops[0].macs is 1.5, not a count"),
    "bool": (_set(*OP, "macs", to=True), "ops[0].macs is true, not a count"),
    "enormous": (_set(*OP, "macs", to=10**40), "ops[0].macs is 1000000000"),
    "text": (_set(*OP, "path", to=3), "ops[0].path is 3, not a text"),
    "shapes": (_set(*OP, "shapes", to=3), "ops[0].shapes is 3, and the call lists 2"),
    "shapes below zero": (_set(*OP, "shapes", to=-1), "ops[0].shapes is -1, not a count"),
    "shapes that are a text": (_set(*OP, "shapes", to="3x3"), 'ops[0].shapes is "3x3", not a count'),
    "listed shapes": (_set(*OP[:-2], "shapes", to=[1, 2]), "calls[0].shapes is not a list of texts"),
    "unused that nothing computes": (_set(*OP[:-2], "unused", to={"nowhere": 1}), 'unused says 1 of "nowhere"'),
    "unused of nothing": (_set(*OP[:-2], "unused", to={"": 0}), "unused says 0 of"),
    "bytes": (_set("bytes_read", to=1), "bytes_read is 1 and"),
    "bytes of a component": (_set("components", 0, "bytes_unknown", to=9), "unknown 9, bounded 0), but its calls add up to"),
    "bytes of a call": (_set(*CALL, "bytes_written", to=0), "calls[0].bytes_read is"),
    "bytes without their state": (_delete("bytes_unknown"), "bytes_unknown is missing"),
    "listed bytes": (_set(*CALL, "traffic", to=[[1, -1]]), "traffic holds a list, not bytes read and written"),
    "listed bytes of another state": (_set(*CALL, "traffic", to=[[1, 1, "exact"]]), "traffic holds a list"),
    "bytes by a number": (_set(*OP, "traffic", to=7), "ops[0].traffic is 7, and the call lists 1"),
    "bytes by a number below zero": (_set(*OP, "traffic", to=-1), "ops[0].traffic is -1, and the call lists 1"),
    "bytes by a text": (_set(*OP, "traffic", to="0"), 'ops[0].traffic is "0", and the call lists 1'),
    "bytes without a list": (_delete(*CALL, "traffic"), "ops[0].traffic is 0, and the call lists 0"),
    "flag": (_set(*OP, "bounded", to="no"), 'ops[0].bounded is "no", not true or false'),
    "list": (_set("remarks", to="none"), 'remarks is "none", not a list'),
    "list of texts": (_set("remarks", to=[1]), "remarks is not a list of texts"),
    "object": (_set("components", 0, to=[]), "components[0] is not an object"),
    "workload": (_set("workload", to={"a": [1]}), "workload is not an object of plain values"),
    "workload size": (_set("workload", to={"a": 10**40}), "workload is not an object of plain values"),
    "versions": (_set("versions", to={"torch": 2}), "versions is not an object of texts"),
    "shape": (_set(*CALL, "inputs", 0, "shape", to=[1, "2"]), "inputs[0].shape is a list, not a list of sizes"),
    "pixels": (_set("geometry", "pixels_asked", to=[1, 2, 3]), "geometry.pixels_asked has 3 sizes, not two"),
    "attention": (_set("geometry", "attention", to=[["a", [1]]]), "geometry.attention holds a list, not a name and sizes"),
    "visits": (_set(*CALL, "visits", to={"a": -1}), "calls[0].visits is not an object of counts"),
    "missing": (_delete(*OP, "kind"), "ops[0].kind is missing"),
    "missing geometry": (_delete("geometry"), "geometry is missing"),
    "extra": (_set(*OP, "extra", to=1), "ops[0].extra is not a field of this format"),
    "duplicate component": (
        _set("components", 1, "name", to="unet"),
        'components[1].name is "unet", as that of another component',
    ),
    "weights": (_set("components", 0, "weight_bytes", to=1), "weight_bytes is 1, but its weights add up to 7375360"),
    "weights without a sum": (_delete("components", 0, "weight_bytes"), "components[0].weight_bytes is missing"),
    "more weights": (_set(*WEIGHT, "count", to=5), "components[0].weight_bytes is"),
    "other weights": (_set(*CONV, "weights", to=[0, 0]), "components[0].weights count 4 as number 0, but the modules hold 5"),
    "weights that do not exist": (_set(*CONV, "weights", to=[2]), "weights is a list, not a list of positions among 2"),
    "weights by a flag": (_set(*CONV, "weights", to=[True]), "weights is a list, not a list of positions among 2 weights"),
    "kind of weight": (_set(*WEIGHT, "kind", to="gradient"), 'kind is "gradient", neither parameter nor buffer'),
    "parts of a weight": (_set(*WEIGHT, "parts", to=[["float16"]]), "parts holds a list, not an element type and its bytes"),
    "weight of many sizes": (_set(*WEIGHT, "shape", to=[1] * 65), "shape has 65 sizes, more than 64"),
    "skipped by a stranger": (_set(*WEIGHT, "skipped_by", to=["me"]), "skipped_by is not among bitsandbytes, torchao"),
    "weights of a call alone": (
        _without_weights(_set(*CALL, "weight_bytes", to=1)),
        "components[0].calls have weights, but the component has none",
    ),
    "deep path": (_set(*OP, "path", to=".".join("a" * 200)), "ops[0].path nests deeper than 100 modules"),
    "deep visit": (_set(*CALL, "visits", to={".".join("a" * 200): 1}), "visits nests deeper than 100 modules"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(name: str) -> None:
    change, expected = DAMAGE[name]
    value = document()
    change(value)
    with pytest.raises(ProfileError) as caught:
        loads(json.dumps(value), "x.json")
    assert expected in caught.value.message
    assert caught.value.message.startswith("x.json is not a valid profile: ")
    assert len(caught.value.message) < 250


def test_tree_must_hold_what_operators_mention_and_nothing_without_a_reason() -> None:
    for path, expected in [("ghost", "a module without class that no operator mentions")]:
        value = document()
        sums = dict.fromkeys(("total_params", "calls", "self_macs", "total_macs", "uncounted"), 0)
        value["components"][0]["tree"]["children"].append({"path": path, **sums, "children": []})
        with pytest.raises(ProfileError, match=expected):
            loads(json.dumps(value))
    value = document()
    value["components"][1]["calls"][0]["visits"]["lost"] = 1
    with pytest.raises(ProfileError, match=r'components\[1\].tree.children lack "lost", which an operator mentions'):
        loads(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a profile, or is damaged: it is not JSON: Expecting value"),
        ("{", "is not a profile, or is damaged"),
        ("[]", "it has no field 'format'"),
        ("{}", "it has no field 'format'"),
        ('{"format": NaN}', "NaN is no number of JSON"),
        ('{"format": 1, "format": 1}', "the field 'format' appears twice in one object"),
        ('{"format": 1' + "0" * 5000 + "}", "is not a profile, or is damaged"),
        ('{"format": 1e999}', "format is Infinity, not a count"),
        ('{"format": 1, "macs": 1, "uncounted": 0, "bounded": 0, "target": null}', "target is null, not a text"),
        ("[" * 100_000, "it nests too deeply"),
        ('{"format":' * 100_000, "it nests too deeply"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(ProfileError) as caught:
        loads(text, "x.json")
    assert expected in caught.value.message


def test_infinite_number_of_the_workload_is_refused() -> None:
    text = dumps(uncounted()).replace('"guidance_scale": 7.5', '"guidance_scale": 1e999')
    with pytest.raises(ProfileError, match="workload is not an object of plain values"):
        loads(text)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_or_altered_text_is_refused_or_still_consistent(data: st.DataObject) -> None:
    text = dumps(uncounted())
    cut = data.draw(st.integers(0, len(text) - 2))
    with pytest.raises(ProfileError):
        loads(text[:cut])
    altered = text[:cut] + data.draw(st.sampled_from('09"}],{[:-e.x')) + text[cut + 1 :]
    try:
        profile = loads(altered)
    except ProfileError as error:
        assert "\n" not in error.message  # noqa: PT017  # either outcome is right, but nothing else
    else:
        assert profile.total == Total.sum(component.total for component in profile.components.values())


def test_files_of_the_first_format_are_read_and_their_operators_have_no_shapes(saved: Path) -> None:
    old, now = load(saved / "format-1.json"), uncounted()
    assert {row.shapes for row in rows_of(old)} == {""}
    assert "" not in {row.shapes for row in rows_of(now) if row.op != "mylib.classify.default"}
    assert [row._replace(shapes="", traffic=None, masked=masks(row)) for row in rows_of(now)] == rows_of(old)
    assert (old.total.of_macs, old.workload, old.geometry) == (now.total.of_macs, now.workload, now.geometry)


def masks(row: OpRow) -> int | None:
    """The masked work as files before format 6 have it, which do not say which attention is causal."""
    return None if row.kind == "attention" and row.macs else 0


def without_bytes(profile: Profile) -> Profile:
    """The profile as files of early formats have it, in which all bytes are unknown."""

    def call(item: Call) -> Call:
        return replace(item, ops=tuple(row._replace(traffic=None, masked=masks(row)) for row in item.ops))

    parts = {name: replace(part, calls=tuple(map(call, part.calls))) for name, part in profile.components.items()}
    return replace(profile, components=parts)


def without_weights(profile: Profile) -> Profile:
    """The profile as from a file of a format before 6."""

    def unknown(part: Component) -> Component:
        modules = tuple(replace(module, weights=(), weight_bytes=0) for module in part.modules)
        return replace(part, weights=None, modules=modules, calls=tuple(map(call, part.calls)))

    def call(item: Call) -> Call:
        return replace(item, weight_bytes=0, ops=tuple(row._replace(masked=masks(row)) for row in item.ops))

    return replace(profile, components={name: unknown(part) for name, part in profile.components.items()})


def test_files_of_format_5_are_read_and_their_weights_are_unknown(saved: Path) -> None:
    old = load(saved / "format-5.json")
    assert old == without_weights(normal())
    assert loads(dumps(old)) == old
    with pytest.raises(TargetError, match="the weights of vae are unknown: the profile was saved by an early fxprof"):
        _ = old.components["vae"].weight_bytes


@pytest.mark.parametrize("version", [3, 4])
def test_files_of_early_formats_are_read_and_their_bytes_are_unknown(saved: Path, version: int) -> None:
    old = load(saved / f"format-{version}.json")
    assert old == without_bytes(without_weights(normal()))
    assert old.total.bytes_unknown == sum(
        row.count * call.count for part in old.components.values() for call in part.calls for row in call.ops
    )
    assert loads(dumps(old)) == old


def test_files_of_format_5_are_read_and_do_not_say_which_attention_is_causal(saved: Path) -> None:
    old = load(saved / "format-5.json")
    assert [row._replace(masked=masks(row)) for row in rows_of(normal())] == rows_of(old)
    assert old.total == normal().total
    assert loads(dumps(old)) == old


def test_unused_work_is_saved_and_read_again() -> None:
    profile = normal()
    component = profile.components["transformer"]
    call = component.calls[0]
    row = next(row for row in call.ops if row.macs)
    wasteful = replace(component, calls=(replace(call, unused={row.path: row.macs or 0}), *component.calls[1:]))
    changed = replace(profile, components={**profile.components, "transformer": wasteful})
    again = loads(dumps(changed))
    assert again == changed
    assert again.components["transformer"].unused_macs == (row.macs or 0) * call.count
    assert again.components["transformer"].tree.unused == again.components["transformer"].unused_macs
    assert again.macs == profile.macs


def rows_of(profile: Profile) -> list[OpRow]:
    return [row for component in profile.components.values() for call in component.calls for row in call.ops]


# --- files


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    normal().save(path)
    assert load(path) == normal()
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"p\.json exists"):
        normal().save(path)
    assert path.read_text() == "precious"
    normal().save(path, force=True)
    assert load(path) == normal()


def test_forced_write_goes_through_a_link(tmp_path: Path) -> None:
    goal, link = tmp_path / "goal", tmp_path / "link"
    goal.write_text("old")
    link.symlink_to(goal)
    files.write_whole(link, "new", force=True)
    assert link.is_symlink()
    assert goal.read_text() == "new"


def test_a_failing_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.json"
    path.write_text("old")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"p\.json: no space left on device"):
        normal().save(path, force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".", "it is a directory"),
        ("none/p.json", "there is no directory"),
        ("file/p.json", "there is no directory"),
        ("/dev/null", "it is not a regular file"),
        ("a\0b", "cannot write"),
        ("x" * 300, "cannot write"),
    ],
)
def test_impossible_files_are_told_in_one_line(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=expected) as caught:
        files.write_whole(tmp_path / name, "text")
    assert "\n" not in caught.value.message


def test_read_only_directory_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_args: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(OutputError, match="is read-only"):
        files.check_writable(tmp_path / "p.json")


def test_load_reports_what_the_system_says(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.json: no such file or directory"):
        load(tmp_path / "none.json")
    (tmp_path / "bytes").write_bytes(b"\x80\x81{}")
    with pytest.raises(ProfileError, match="it is not text"):
        load(tmp_path / "bytes")
    with pytest.raises(ProfileError, match="cannot load"):
        load("a\0b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_other_programs_leave_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(dumps(uncounted()).encode(encoding))
    assert load(path) == uncounted()
