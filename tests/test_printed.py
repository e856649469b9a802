"""What is printed holds names of strangers: nothing in them steers a terminal, a spreadsheet or a page, or goes on for ever."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from commands import FakeApi, run
from profiles import Maker, normal, tensor, uncounted

from fxprof.cache import note
from fxprof.cli.work import visible
from fxprof.compare.profiles import compare_profiles
from fxprof.errors import FxprofError, printable
from fxprof.reports import FORMATS, Document
from fxprof.reports.cache import build_cache as cache
from fxprof.reports.diff import build_diff as diff_report
from fxprof.reports.hotspots import build_hotspots as hotspots
from fxprof.reports.layers import build_layers as layers
from fxprof.reports.summary import build_summary as summary
from fxprof.result import Profile
from fxprof.result.remarks import fold_remarks
from fxprof.result.saved.write import dumps

HOSTILE = "a\x1b[2Jb\u202ec\r\nd\x07\x9b1me\u2028f"
"""Colours, bidirectional override, forged lines, a bell, a control sequence of one byte, a separator of lines."""


def named(name: str) -> Profile:
    """A profile with that text in the place of every name."""
    maker = Maker(name, name)
    maker.module(f"m{name}", name, 10)
    maker.op(f"m{name}", f"lib.{name}", name, f"{name}.py:1", 12, shapes=name)
    maker.op("", f"lib.{name}2", "linear", name, None, note=name)
    call = replace(maker.call(2, tensor(name, 2, 3)), entry="", note=name)
    workload: dict[str, int | float | str | bool | None] = {"prompt": name, name: name, "images": 1}
    return Profile(name, name, workload, {name: name}, {name: maker.component(call)}, approximations=(name,), remarks=(name,))


def changed(name: str) -> Document:
    old = named(name)
    (component,) = old.components.values()
    more = replace(component, calls=tuple(replace(call, ops=call.ops[:-1]) for call in component.calls))
    return diff_report(compare_profiles(old, replace(old, components={name: more})), ops=True)


def as_they_are(document: Document) -> Document:
    """With the cells that a spreadsheet may take for formulas."""
    return replace(document, rows=replace(document.rows, plain_cells=True))


def as_rows(document: Document) -> Document:
    """Without the saved profile, so that JSON has the values and the rows."""
    return replace(document, overview=replace(document.overview, saved=None))


REPORTS: Mapping[str, Callable[[str], Document]] = {
    "profile": lambda name: summary(named(name)),
    "layers": lambda name: layers(named(name)),
    "hotspots": lambda name: hotspots(named(name)),
    "by kind": lambda name: hotspots(named(name), "kind"),
    "diff": changed,
    "cache": lambda name: cache(name, 1, [], 0),
}


@pytest.mark.parametrize("form", ["text", "markdown"])
@pytest.mark.parametrize("report", REPORTS)
def test_no_name_steers_a_terminal_or_forges_a_line(report: str, form: str) -> None:
    lines = FORMATS[form].render(REPORTS[report](HOSTILE)).split("\n")
    assert all(line.isprintable() for line in lines)
    harmless = FORMATS[form].render(REPORTS[report]("a?[2Jb?c  d??1me f")).split("\n")
    assert len(lines) == len(harmless)


@pytest.mark.parametrize("report", ["profile", "layers", "hotspots"])
def test_csv_for_a_terminal_is_written_out_and_for_a_program_is_not(report: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FORMATS["csv"].render(REPORTS[report](HOSTILE))
    assert "\x1b" in text
    shown = visible(text)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "\\x1b[2J" in shown
    assert "\\u202e" in shown
    assert visible("é → 1\n") == "é → 1\n"


def test_many_kinds_and_long_ones_do_not_widen_a_report() -> None:
    maker = Maker("unet", "UNet")
    for number in range(300):
        maker.op(f"m{number}", "lib.op", f"kind{number:03}" + "k" * 300, "", number + 1)
    text = FORMATS["text"].render(summary(Profile("t", "P", {}, {}, {"unet": maker.component(maker.call(1))})))
    assert max(map(len, text.splitlines())) <= 160
    assert "297 others" in text
    assert f"{sum(range(4, 301)) / 1000:.2f} k" in text


# --- spreadsheets


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\uff20x", '=HYPERLINK("http://x","y")']


@pytest.mark.parametrize("name", FORMULAS)
def test_a_spreadsheet_runs_no_name(name: str) -> None:
    for row in csv.reader(io.StringIO(FORMATS["csv"].render(layers(named(name))), newline="")):
        assert not any(re.match(r"\s*[=+\-@]", unicodedata.normalize("NFKC", cell)) for cell in row)
    (head, first, *_) = csv.reader(io.StringIO(FORMATS["csv"].render(layers(named(name))), newline=""))
    inside = name[1:].replace("=", "'=") if name[0] in "\t\r" else name[1:]
    assert first[head.index("component")] == f"'{name[0]}{inside}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a;=1+1;b", "a;'=1+1;b"),
        ("a\t=1", "a\t'=1"),
        ("a\n@x", "a\n'@x"),
        ("a; -1;b", "a;' -1;b"),
        ('a;"=1"', 'a;\'"=1"'),
        (";;=1", ";;'=1"),
        ("\xad=1", "'\xad=1"),
        ("\x01=1", "'\x01=1"),
        ("\u3164\u200b\u034f=1", "'\u3164\u200b\u034f=1"),
        ("\ufe66" + "1", "'\ufe66" + "1"),
        ("\u22121", "'\u22121"),
        ("a-b; c=d", "a-b; c=d"),
        ("blocks.0+1", "blocks.0+1"),
    ],
)
def test_a_spreadsheet_of_another_country_runs_no_part_of_a_name(name: str, shown: str) -> None:
    document = hotspots(named(name), "class")
    for plain_cells, expected in ((False, shown), (True, name)):
        text = FORMATS["csv"].render(as_they_are(document) if plain_cells else document)
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert row["class"] == expected


@pytest.mark.parametrize("name", FORMULAS)
def test_names_are_as_they_are_on_request(name: str) -> None:
    document = as_they_are(layers(named(name)))
    (head, first, *_) = csv.reader(io.StringIO(FORMATS["csv"].render(document), newline=""))
    assert first[head.index("component")] == name


def test_the_switch_is_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(dumps(named("=1")))
    safe, plain = (run("layers", tmp_path / "x.json", "--format", "csv", *more).stdout for more in ((), ("--plain-cells",)))
    assert safe.splitlines()[1].startswith("'=1,")
    assert plain.splitlines()[1].startswith("=1,")


@pytest.mark.parametrize("name", ["a\rb", "a\r\nb", "a\nb", 'a"b', "a,b", " a", "\ra"])
def test_csv_is_read_back_as_it_was_written(name: str) -> None:
    text = FORMATS["csv"].render(as_they_are(hotspots(named(name), "class")))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["class"] for row in rows] == [name]
    for line in re.sub(r'"(?:[^"]|"")*"', "", text).split("\n"):
        assert "\r" not in line  # outside of quotes


def test_negative_numbers_stay_numbers() -> None:
    text = FORMATS["csv"].render(diff_report(compare_profiles(normal(), replace(normal(), components={}))))
    assert sum(int(row["delta"]) for row in csv.DictReader(io.StringIO(text))) == -normal().macs


# --- Markdown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("@team", "@&#8203;team"),
        ("mail me@host.org", "mail me@&#8203;host.org"),
        ("see https://x.y", "see https:&#8203;//x.y"),
        ("www.x.y", "www&#8203;.x.y"),
        ("#12", r"\#&#8203;12"),
        ("$x$", "<span>&#36;</span>x<span>&#36;</span>"),
        ("`a`", r"\`a\`"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("---", r"\---"),
        ("===", r"\==="),
        ("- - -", r"\- - -"),
        (":shit:", ":&#8203;shit:"),
        (":+1:", ":&#8203;+1:"),
        ("    a", "&nbsp;&nbsp;&nbsp;&nbsp;a"),
        ("1.204 T", "1.204 T"),
        ("+10.06 T", "+10.06 T"),
    ],
)
def test_markdown_names_links_and_computes_nothing(name: str, shown: str) -> None:
    maker = Maker("unet", name)
    text = FORMATS["markdown"].render(layers(Profile("t", "P", {}, {}, {"unet": maker.component(maker.call(1))})))
    assert f"| unet | {shown} | " in text


@pytest.mark.parametrize("report", REPORTS)
def test_no_report_in_markdown_mentions_links_or_computes(report: str) -> None:
    text = FORMATS["markdown"].render(REPORTS[report]("@org/team https://x.y www.x.y $x$ a@b.c"))
    assert not re.search(r"@\w|://\w|www\.|\$", text.replace("&#8203;", "\u200b"))


@pytest.mark.parametrize("remark", ["---", "===", "    a = b", "\t- a", ":tada: :+1:"])
def test_a_remark_in_markdown_is_a_sentence_in_a_list(remark: str) -> None:
    lines = FORMATS["markdown"].render(summary(replace(normal(), remarks=(remark,)))).splitlines()
    (line,) = [line for line in lines if line.startswith("- ") and remark.strip()[-1] in line and "nothing" not in line][-1:]
    assert not re.fullmatch(r"- *[-=]+|- {2,}.*|.*:[\w+-]+:.*", line)


# --- messages


@pytest.mark.parametrize("length", [10, 399, 400, 401, 10_000, 20_000_000])
def test_no_message_is_longer_than_a_few_lines(length: int) -> None:
    error = FxprofError("cannot read " + "x" * length + ": it is damaged", "try " + "y" * length)
    assert len(f"fxprof: {error.message}") <= 400
    assert len(f"  try: {error.hint}") <= 400
    assert len(str(error)) <= 400
    assert error.message.startswith("cannot read x")
    assert error.message.endswith("x: it is damaged")


@pytest.mark.parametrize(
    "arguments",
    [
        ("profile", "sd" + HOSTILE),
        ("profile", "sd3-medium", "--dtype", HOSTILE),
        ("profile", "x" * 100_000),
        ("layers", "x.json", "--depth", HOSTILE),
        ("no" + HOSTILE,),
        ("profile", "sd3-medium", f"--{HOSTILE}"),
        (f"--{HOSTILE}",),
        ("profile", "sd3-medium", "--arg", "x" * 10_000),
        ("explain", HOSTILE),
        ("diff", "a", "b", "--fail-over", HOSTILE),
        ("profile", "sd3-medium", "--formulas", HOSTILE),
        ("profile", "sd3-medium", "-o", f"/nowhere/{'x' * 300}/{HOSTILE}.json"),
    ],
)
def test_what_is_typed_steers_no_terminal_and_is_told_in_short(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code in {2, 3}
    lines = result.stderr.split("\n")
    assert len(lines) <= 6
    assert all(line.isprintable() and len(line) <= 500 for line in lines)


@pytest.mark.parametrize("command", [("cache",), ("cache", "--clear")])
def test_a_directory_of_the_environment_steers_no_terminal(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FXPROF_CACHE_DIR", str(tmp_path / HOSTILE))
    result = run(*command)
    assert result.exit_code == 0
    assert all(line.isprintable() for line in [*result.stdout.split("\n"), *result.stderr.split("\n")])


def test_a_note_about_such_a_directory_steers_no_terminal(api: FakeApi) -> None:
    def outcome() -> Profile:
        note(f"of {HOSTILE}", f"fxprof: the cache /x/{HOSTILE} cannot be read")
        return normal()

    api.outcome = outcome
    result = run("profile", "sd3-medium", "--no-cache")
    assert result.stderr == "fxprof: the cache /x/a\\x1b[2Jb\\u202ec d\\x07\\x9b1me f cannot be read\n"


def test_printable_keeps_both_ends() -> None:
    assert printable("a" * 500 + "b" * 500, 11) == "aaaaa…bbbbb"
    assert printable("a\x1b\n b") == "a\\x1b b"


# --- remarks


RAN = "ran for real and its children were captured one by one"


def test_remarks_that_differ_in_the_module_alone_are_one() -> None:
    remarks = [f"transformer.blocks.{number}.ff {RAN}: no .numpy()" for number in range(300)]
    folded = (
        f"each of 300 modules (transformer.blocks.0.ff, transformer.blocks.1.ff, transformer.blocks.2.ff …) {RAN}: no .numpy()"
    )
    assert fold_remarks(remarks) == (folded,)
    assert fold_remarks([folded]) == (folded,)


def test_remarks_that_name_their_module_or_a_size_of_torch_are_one_too() -> None:
    remarks = [f"unet.down.{number} {RAN}: u{number} in unet.down.{number}" for number in range(2)]
    assert fold_remarks(remarks) == (f"each of 2 modules (unet.down.0, unet.down.1) {RAN}: u0 in unet.down.0",)


@pytest.mark.parametrize("build", [summary, layers, hotspots])
def test_no_sentence_below_the_tables_goes_on_for_ever(build: Callable[[Profile], Document]) -> None:
    told = (f"unet {RAN}: {'x' * 5000}",)
    about = json.loads(FORMATS["json"].render(as_rows(build(replace(normal(), remarks=told)))))
    assert [len(remark) for remark in about["remarks"]] == [400]
    assert len(FORMATS["text"].render(build(replace(normal(), remarks=told)))) < 400 * 2 + len(
        FORMATS["text"].render(build(normal()))
    )


def test_remarks_that_say_something_else_stay() -> None:
    remarks = (f"vae.a {RAN}: one", f"vae.b {RAN}: two", "The vae is left out", "A vae is left out", f"unet {RAN}: one")
    assert fold_remarks(remarks) == remarks


@pytest.mark.parametrize("build", [summary, layers, hotspots])
def test_every_report_of_many_captured_parts_is_short(build: Callable[[Profile], Document]) -> None:
    """Three hundred modules that ran for real, each with calls of its own."""
    maker = Maker("transformer", "Net")
    calls = []
    for number in range(300):
        path = f"blocks.{number}.attn"
        maker.module(path, "Attention", 10)
        maker.op(path, "aten.mm.default", "linear", "", 1000)
        calls.append(maker.call(3, tensor("x", 2, 3), entry=path))
        calls.append(maker.call(3, tensor("x", 2, 4 + number), entry=path))
    remarks = tuple(f"transformer.blocks.{number} {RAN}: no .numpy()" for number in range(300))
    profile = Profile("t", "P", {"images": 1}, {}, {"transformer": maker.component(*calls)}, remarks=remarks)
    text = FORMATS["text"].render(build(profile))
    assert len(text.splitlines()) < 40
    assert "each of 300 modules" in text
    about = json.loads(FORMATS["json"].render(as_rows(build(profile))))
    assert len(about["remarks"]) == 1


def test_equal_calls_of_equal_modules_are_one_row() -> None:
    maker = Maker("transformer", "Net")
    calls = []
    for number in range(48):
        maker.module(f"blocks.{number}.attn", "Attention", 10)
        maker.op(f"blocks.{number}.attn", "aten.mm.default", "linear", "", 1000)
        calls.append(maker.call(3, tensor("x", 2, 3), entry=f"blocks.{number}.attn"))
    text = FORMATS["text"].render(summary(Profile("t", "P", {"images": 1}, {}, {"transformer": maker.component(*calls)})))
    (row,) = [line for line in text.splitlines() if line.startswith("  blocks")]
    assert row.split() == ["blocks.0…47.attn", "\N{MULTIPLICATION SIGN}48", "2x3", "144", "1.000", "k", "144.0", "k", "100%"]


# --- what limits say


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
@pytest.mark.parametrize(("limit", "outcome"), [("+10%", "fail"), ("+100%", "pass")])
def test_the_verdict_is_part_of_the_report(form: str, limit: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(dumps(normal()))
    more = {**normal().components, "other": replace(normal().components["transformer"], name="other")}
    (tmp_path / "new.json").write_text(dumps(replace(normal(), components=more, workload={**normal().workload, "steps": 30})))
    result = run("diff", tmp_path / "old.json", tmp_path / "new.json", "--fail-over", limit, "--format", form)
    assert result.exit_code == (1 if outcome == "fail" else 0)
    grown = f"+253.6 T MACs (+99.2%), limit {limit}; the workload differs: steps 28 → 30"
    if form == "json":
        (told,) = json.loads(result.stdout)["limits"]
        assert told == {
            "name": "total",
            "limit": limit,
            "old": normal().macs,
            "new": normal().macs + normal().components["transformer"].macs,
            "delta": normal().components["transformer"].macs,
            "growth": "+99.2%",
            "outcome": outcome,
            "workload": ["steps"],
        }
    else:
        assert f"{outcome}: total {grown}" in " ".join(result.stdout.split())


def test_a_limit_that_nobody_can_decide_says_so_and_fails_when_strict(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(dumps(uncounted()))
    unet = uncounted().components["unet"]
    more = replace(unet, calls=tuple(replace(call, count=call.count + 1) for call in unet.calls))
    (tmp_path / "new.json").write_text(dumps(replace(uncounted(), components={"unet": more})))
    for strict, word in (((), "undecided"), (("--strict",), "fail")):
        result = run("diff", tmp_path / "old.json", tmp_path / "new.json", "--fail-over", "+50%", *strict)
        text = " ".join(result.stdout.split())
        assert f"{word}: total " in text
        assert "limit +50%; uncounted or bounded work may decide it" in text


def test_headings_of_a_diff_in_markdown_stand_by_themselves() -> None:
    text = FORMATS["markdown"].render(diff_report(compare_profiles(normal(), replace(normal(), components={}))))
    assert "| component | calls | old MACs | new MACs | delta MACs | growth |" in text
    assert "| kind of work | old MACs | new MACs | delta MACs | growth |" in text
    flops = FORMATS["markdown"].render(diff_report(compare_profiles(normal(), replace(normal(), components={})), unit="tflop"))
    assert "| component | calls | old FLOPs | new FLOPs | delta FLOPs | growth |" in flops
