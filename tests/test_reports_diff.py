"""The report of a diff in every format, whole; and the printed columns added up again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import HERE, Golden
from mutations import net, profile, renamed, spelled_out, widened, with_record, without
from profiles import autoencoder, normal, odd, uncounted
from test_reports import SUFFIXES, adds_up, column, tables

from fxprof.compare.delta import Delta
from fxprof.compare.diff import Diff
from fxprof.compare.profiles import compare_profiles as diff
from fxprof.reports import FORMATS
from fxprof.reports.cells import Growth, display
from fxprof.reports.diff import build_diff as report
from fxprof.reports.formats.text import WIDTH
from fxprof.reports.words import shorten
from fxprof.result import Geometry, Profile, Total
from fxprof.result.saved.read import load
from fxprof.units import format_delta, format_growth, format_macs


def refactored() -> tuple[Profile, Profile]:
    """A transformer whose list got another name, with a wider layer, attention spelled out, and one block less."""
    new = widened(without(net(calls=4, blocks=4), "transformer_blocks.3"), "transformer_blocks.0.ff.in")
    new = spelled_out(renamed(new, "proj_out", "head.proj"), "transformer_blocks.2.attn")
    old = profile(net(calls=2, blocks=4), replace(autoencoder(), name="movq"), steps=2, height=64)
    geometry = Geometry(denoiser="transformer", denoiser_calls=4)
    found = replace(profile(renamed(new, "transformer_blocks", "blocks"), autoencoder(), steps=4), target="net-2")
    return old, replace(found, geometry=geometry, versions={**found.versions, "torch": "2.14.0"})


def fused() -> tuple[Profile, Profile]:
    """Operators that are not counted, on both sides, and more often on the second."""
    old = uncounted()
    unet = old.components["unet"]
    more = replace(unet, calls=tuple(replace(call, count=call.count + 10) for call in unet.calls))
    return old, replace(old, target="my-newer-model", components={"unet": more})


def strange() -> tuple[Profile, Profile]:
    """Names that formats could take for their own signs."""
    (component,) = odd().components.values()
    more = replace(component, calls=tuple(replace(call, ops=call.ops[:-1]) for call in component.calls))
    return odd(), replace(odd(), components={component.name: more})


PAIRS: Mapping[str, Callable[[], tuple[Profile, Profile]]] = {
    "refactored": refactored,
    "fused": fused,
    "strange": strange,
    "nothing": lambda: (normal(), normal()),
    "shapeless": lambda: (load(HERE / "data" / "format-1.json"), uncounted()),
}


@pytest.fixture(params=PAIRS)
def found(request: pytest.FixtureRequest) -> Diff:
    return diff(*PAIRS[request.param]())


def render(found: Diff, form: str = "text", limit: int | None = 10, *, ops: bool = False) -> str:
    return FORMATS[form].render(report(found, limit, ops=ops))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", PAIRS)
def test_output(name: str, form: str, golden: Golden) -> None:
    golden(f"golden/{form}/{name}-diff.{SUFFIXES[form]}", render(diff(*PAIRS[name]()), form))


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_output_with_operators(form: str, golden: Golden) -> None:
    golden(f"golden/{form}/refactored-diff-ops.{SUFFIXES[form]}", render(diff(*refactored()), form, ops=True))


# --- for programs


def test_rows_for_programs_add_up_and_are_never_left_out(found: Diff) -> None:
    parsed = json.loads(render(found, "json", 1))
    assert parsed == json.loads(render(found, "json", None, ops=True))
    assert sum(row["delta"] for row in parsed["rows"]) == parsed["delta"] == found.delta.macs
    for side in ("old", "new"):
        for name in ("macs", "uncounted", "bounded"):
            assert sum(row[f"{side}_{name}"] for row in parsed["rows"]) == parsed[side][name]
    for part in parsed["components"]:
        rows = [row for row in parsed["rows"] if row["component"] == part["name"]]
        assert sum(row["delta"] for row in rows) == part["delta"]
        if part["by_calls"] is not None:
            assert part["by_calls"] + part["by_cost"] == part["delta"]


def test_rows_of_csv_are_those_of_json(found: Diff) -> None:
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    parsed = json.loads(render(found, "json"))["rows"]
    for row in rows:
        del row["remarks"]
    assert [{key: "" if cell is None else str(cell) for key, cell in row.items()} for row in parsed] == rows


def test_a_program_finds_what_moved_and_what_was_exchanged() -> None:
    parsed = json.loads(render(diff(*refactored()), "json"))
    rows = {(row["old_path"], row["new_path"]): row for row in parsed["rows"] if row["component"] == "transformer"}
    assert rows["transformer_blocks", "blocks"]["change"] == "moved"
    assert rows["transformer_blocks", "blocks"]["evidence"].endswith("31 modules inside; after pos_embed")
    attention = rows["transformer_blocks.2.attn", "blocks.2.attn"]
    assert attention["lost"] == "aten.scaled_dot_product_attention.default x1"
    assert attention["gained"] == "aten.matmul.default x2, aten.softmax.int x1"
    wide = rows["transformer_blocks.0.ff.in", "blocks.0.ff.in"]
    assert (wide["sizes"], wide["differs"]) == ("32 -> 64", "params shapes macs")
    assert {item["name"]: (item["old"], item["new"]) for item in parsed["workload"]} == {"steps": (2, 4), "height": (64, None)}
    assert [(part["old_name"], part["new_name"], part["change"]) for part in parsed["components"]] == [
        ("transformer", "transformer", "changed"),
        ("movq", "vae", "renamed"),
    ]


# --- for people


@pytest.mark.parametrize("limit", [1, 2, None])
@pytest.mark.parametrize("ops", [False, True])
@pytest.mark.parametrize("name", ["refactored", "nothing", "shapeless"])
def test_printed_rows_add_up(name: str, limit: int | None, ops: bool) -> None:
    for table in tables(render(diff(*PAIRS[name]()), limit=limit, ops=ops)):
        for title in ("old", "MACs new"):
            *cells, whole = [cell for cell in column(without_notes(table), title) if cell.strip()]
            assert adds_up(cells, whole), title


def without_notes(table: list[str]) -> list[str]:
    """The table less its title and what stands below its rows."""
    return [line for line in table if "layers that changed" not in line and (line[:4] != "    " or line.strip() == "MACs")]


def test_text_fits(found: Diff) -> None:
    for ops in (False, True):
        lines = render(found, ops=ops).splitlines()
        assert max(map(len, lines)) <= WIDTH
        assert all(line == line.rstrip() for line in lines)
        assert all(line.isprintable() for line in lines)


def test_nothing_is_said_of_equal_profiles() -> None:
    text = render(diff(normal(), normal()))
    assert "nothing differs" in text.splitlines()
    assert "layers" not in text
    assert [line for line in text.splitlines() if "equal" in line] == [
        f"5 equal           {format_macs(normal().macs)}  {format_macs(normal().macs)}      0      0%"
    ]


def test_markdown_hides_layers_behind_their_component() -> None:
    text = render(diff(*refactored()), "markdown")
    assert text.count("<details><summary>") == text.count("</details>") == 1
    (summary,) = re.findall("<summary>(.*)</summary>", text)
    assert summary == "transformer: layers that changed"
    assert "\n\n|" in text.partition("</summary>")[2], "a table in HTML needs an empty line before it"


def test_markdown_takes_no_sign_from_a_name() -> None:
    text = render(diff(*strange()), "markdown")
    assert "</script>" not in text
    assert "&lt;/script&gt;" in text


def test_unit_changes_numbers_and_titles() -> None:
    text = FORMATS["text"].render(report(diff(*refactored()), unit="gflop"))
    assert "FLOPs" in text
    assert "MACs" not in text.replace("changed without MACs", "")


def test_what_is_uncounted_is_never_hidden() -> None:
    unet = changed = uncounted().components["unet"]
    for number in range(4):
        changed = with_record(changed, f"blocks.{number}", class_name=f"Fused{number}")
    text = render(diff(profile(unet), profile(changed)), limit=1)
    assert all(f"\nblocks.{number}  " in text for number in range(4))
    changed = widened(widened(net(), "proj_out"), "transformer_blocks.0.ff.in", 9)
    assert "\n1 other group  " in render(diff(profile(net()), profile(changed)), limit=1)


# --- cells


@pytest.mark.parametrize(
    ("macs", "sign", "expected"),
    [
        (0, "", "0"),
        (1, "", "+1"),
        (-1, "", "-1"),
        (1_204_000_000_000, "", "+1.204 T"),
        (-999_950, "", "-1.000 M"),
        (5, ">=", "≥+5"),
        (-5, "<=", "≤-5"),
        (5, "~", "~+5"),
        (0, "~", "unknown"),
        (0, ">=", "unknown"),
    ],
)
def test_differences_are_signed(macs: int, sign: str, expected: str) -> None:
    assert format_delta(macs, sign=sign) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0, 0, "0%"),
        (5, 5, "0%"),
        (0, 5, "new"),
        (5, 0, "gone"),
        (1000, 1053, "+5.3%"),
        (1000, 880, "-12.0%"),
        (10**6, 10**6 + 1, "+<0.1%"),
        (10**6, 10**6 - 1, "-<0.1%"),
        (10**6, 1, "->99.9%"),
        (10, 12_355, "+123,450.0%"),
    ],
)
def test_growth_is_in_percent(old: int, new: int, expected: str) -> None:
    assert format_growth(old, new) == expected


def test_growth_of_what_is_not_known_says_so() -> None:
    assert display(Growth(Delta(Total(10, uncounted=1), Total(11, uncounted=1)))) == "~+10.0%"
    assert display(Growth(Delta(Total(uncounted=1), Total(11)))) == "?"
    assert display(Delta(Total(10), Total(12, uncounted=1))) == "≥+2"


def test_long_paths_keep_their_end() -> None:
    assert shorten("blocks.0.attn.to_q", 10, tail=True) == "…attn.to_q"
    assert shorten("blocks.0.attn.to_q", 11, tail=True) == "…attn.to_q"
    assert shorten("attn.to_q", 9, tail=True) == "attn.to_q"


def test_saved_files_of_the_report_are_all_compared() -> None:
    names = {f"{name}-diff" for name in PAIRS} | {"refactored-diff-ops"}
    present = {path.stem for form in FORMATS for path in Path(HERE / "golden" / form).glob("*-diff*")}
    assert present == names
