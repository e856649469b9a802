"""Every report in every format for every profile, whole; and the printed columns added up again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from conftest import Golden
from profiles import BUILDERS, ODD, Maker, normal, tensor, uncounted

from fxprof.errors import UsageError
from fxprof.reports import FORMATS, Document, pick_format
from fxprof.reports.formats.text import WIDTH
from fxprof.reports.hotspots import build_hotspots as hotspots
from fxprof.reports.layers import build_layers as layers
from fxprof.reports.models import build_models as models
from fxprof.reports.summary import build_summary as summary
from fxprof.reports.words import clean, shorten
from fxprof.result import Call, Input, Profile
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps

REPORTS: dict[str, Callable[[Profile], Document]] = {"profile": summary, "layers": layers, "hotspots": hotspots}
SUFFIXES = {"text": "txt", "json": "json", "csv": "csv", "markdown": "md"}


def render(report: str, profile: Profile, form: str = "text") -> str:
    return FORMATS[form].render(REPORTS[report](profile))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("name", BUILDERS)
def test_output(name: str, report: str, form: str, golden: Golden) -> None:
    text = render(report, BUILDERS[name](), form)
    if (report, form) == ("profile", "json"):
        assert text == dumps(BUILDERS[name]())  # which is compared with tests/data
    else:
        golden(f"golden/{form}/{name}-{report}.{SUFFIXES[form]}", text)


@dataclass(frozen=True)
class Model:
    name: str
    title: str
    class_name: str
    hub_id: str
    params: int
    confidence: str


MODELS = (
    Model("sd-1.5", "Stable Diffusion 1.5", "StableDiffusionPipeline", "org/sd", 1_370_000_000, "verbatim"),
    Model("odd|name", "A <b>bold</b> model", "Pipeline", "", 0, "reconstructed"),
)


@pytest.mark.parametrize("form", FORMATS)
def test_models_output(form: str, golden: Golden) -> None:
    golden(f"golden/{form}/models.{SUFFIXES[form]}", FORMATS[form].render(models(MODELS)))


# --- text


_SCALES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15}
_NUMBER = re.compile(r"[≥≤~]?([\d,]+(?:\.\d+)?)(?: ([kMGBTP]))?$")


def column(table: list[str], title: str) -> list[str]:
    """The cells below a title; columns end where the line of dashes says."""
    (ruler, *_) = [line for line in table if set(line) == {"-", " "}]
    spans = [match.span() for match in re.finditer("-+", ruler)]
    heads = [" ".join(line[slice(*span)].strip() for line in table[: table.index(ruler)]).strip() for span in spans]
    start, end = spans[heads.index(title)]
    return [line[start:end] for line in table[table.index(ruler) + 1 :] if line != ruler]


def value(text: str) -> tuple[float, float]:
    """The number that a cell shows, and half a unit of its last digit."""
    if text.strip() in {"uncounted", ""}:
        return 0, 0
    match = _NUMBER.match(text.strip())
    assert match, text
    digits, scale = match[1].replace(",", ""), _SCALES[match[2] or ""]
    places = len(digits.partition(".")[2])
    return float(digits) * scale, 0.5 * scale / 10**places


def adds_up(parts: list[str], whole: str) -> bool:
    numbers = [value(part) for part in parts]
    total, slack = value(whole)
    return abs(sum(number for number, _ in numbers) - total) <= slack + sum(half for _, half in numbers)


def tables(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n") if "----" in block]


@pytest.mark.parametrize("title", ["MACs per image", "params"])
def test_components_add_up_to_the_printed_total(title: str) -> None:
    table = tables(render("profile", normal()))[0]
    names, cells = column(table, "component"), column(table, title)
    rows = [cell for name, cell in zip(names, cells, strict=True) if not name.startswith(" ")]
    assert len(rows) == 6
    assert adds_up(rows[:-1], rows[-1])


def test_calls_add_up_to_their_component() -> None:
    table = tables(render("profile", normal()))[0]
    names, cells = column(table, "component"), column(table, "MACs per image")
    vae = next(index for index, name in enumerate(names) if name.startswith("vae"))
    assert [name.strip() for name in names[vae + 1 : vae + 3]] == ["post_quant_conv", "decoder"]
    assert adds_up(cells[vae + 1 : vae + 3], cells[vae])


def test_kinds_add_up_to_the_components() -> None:
    main, kinds = tables(render("profile", normal()))
    columns = [column(kinds[1:], kind) for kind in ("linear", "convolution", "attention", "matmul")]
    wholes = [
        cell
        for name, cell in zip(column(main, "component"), column(main, "MACs per image"), strict=True)
        if not name.startswith(" ")
    ]
    for row, whole in zip(zip(*columns, strict=True), wholes, strict=True):
        assert adds_up(list(row), whole)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, None])
@pytest.mark.parametrize("min_share", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("name", ["normal", "uncounted", "bounded"])
def test_layers_without_rows_below_add_up_to_the_component(name: str, depth: int | None, min_share: float) -> None:
    for table in tables(FORMATS["text"].render(layers(BUILDERS[name](), depth, min_share))):
        names, cells = column(table, "module"), column(table, "MACs")
        levels = [(len(text) - len(text.lstrip())) // 2 for text in names]
        leaves = [
            cell
            for level, following, cell in zip(levels, [*levels[1:], 0], cells, strict=True)
            if following <= level or len(cells) == 1
        ]
        assert adds_up(leaves, cells[0])


@pytest.mark.parametrize("by", ["layer", "class", "kind", "op", "source"])
@pytest.mark.parametrize("name", ["normal", "uncounted", "bounded"])
def test_hotspots_add_up_to_the_printed_total(name: str, by: str) -> None:
    (table,) = tables(FORMATS["text"].render(hotspots(BUILDERS[name](), by, 3)))
    *rows, total = column(table, "MACs")
    assert adds_up(rows, total)
    assert column(table, by)[-1].strip() == "total"


@pytest.mark.parametrize("report", REPORTS)
def test_text_fits(report: str, any_profile: Profile) -> None:
    lines = render(report, any_profile).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("report", REPORTS)
def test_usual_text_fits_eighty_columns(report: str) -> None:
    assert max(map(len, render(report, normal()).splitlines())) <= WIDTH


def test_images_of_one_run_are_told_apart_from_one_image() -> None:
    lines = render("profile", uncounted()).splitlines()
    assert "per run of 4 images: ≥468.1 G MACs, which is ≥936.2 G FLOPs (two per MAC)" in lines
    assert "per image: ≥117.0 G MACs, which is ≥234.0 G FLOPs (two per MAC)" in lines
    odd_number = replace(uncounted(), workload={"images": 7})
    assert not any(line.startswith("per image:") for line in render("profile", odd_number).splitlines())
    no_images = replace(uncounted(), workload={})
    assert any(line.startswith("per run: ≥468.1 G MACs") for line in render("profile", no_images).splitlines())


def test_many_calls_are_summed_up_below_the_dearest() -> None:
    calls = []
    for number in range(20):
        maker = Maker("unet", "UNet")
        maker.op("", "aten.mm", "linear", "", (number * 7) % 20 + 1)
        calls.append(maker.call(2, tensor("x", number)))
    table = tables(render("profile", Profile("t", "P", {}, {}, {"unet": maker.component(*calls)})))[0]
    names, cells = column(table, "component"), column(table, "MACs per run")
    assert len(names) == 1 + 6 + 1
    assert names[-2].rstrip() == "  15 more"
    assert int(cells[-2]) == 2 * sum(range(1, 16))
    assert adds_up(cells[1:-1], cells[0])


def test_notes_of_calls_are_told() -> None:
    profile = uncounted()
    unet = profile.components["unet"]
    noted = replace(unet, calls=tuple(replace(call, note="by its children", entry="mid") for call in unet.calls))
    lines = render("profile", replace(profile, components={"unet": noted})).splitlines()
    assert lines[-2:] == [
        "not captured by an export of the whole module that the pipeline calls:",
        "  unet.mid: by its children",
    ]


def test_unit_changes_titles_and_numbers() -> None:
    text = FORMATS["text"].render(summary(normal(), "tflop"))
    (table, _) = tables(text)
    assert column(table, "FLOPs per image")[-1].strip() == "511.1 T"
    assert column(table, "FLOPs per call")[0].strip() == "0.004433 T"


def test_calls_of_one_entry_are_told_apart_by_what_differs() -> None:
    maker = Maker("unet", "UNet")
    maker.linear("fc", 1, 2, 3)
    same = tensor("sample", 2, 4)
    calls = [
        maker.call(1, same, tensor("text", 2, 77), Input("flag", None, "", "True")),
        maker.call(1, same, tensor("text", 2, 77), Input("flag", None, "", "False")),
        Call("", 1, (), (), {}),
    ]
    profile = Profile("t", "P", {}, {}, {"unet": maker.component(*calls)})
    inputs = column(tables(render("profile", profile))[0], "class / input")
    assert [text.strip() for text in inputs[1:4]] == ["2x4", "2x4", ""]
    profile = Profile("t", "P", {}, {}, {"unet": maker.component(*calls[:2])})
    inputs = column(tables(render("profile", profile))[0], "class / input")
    assert [text.strip() for text in inputs[1:3]] == ["flag True", "flag False"]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc…fg"),
        ("abcdefgh", 5, "ab…gh"),
        ("abc", 1, "…"),
        ("abc", 2, "a…"),
        ("abcd", 3, "a…d"),
    ],
)
def test_names_are_shortened_in_the_middle(text: str, width: int, expected: str) -> None:
    assert shorten(text, width) == expected


def test_characters_that_steer_a_terminal_are_taken_out() -> None:
    assert clean("a\nb\tc\x1b[31m\u202ed é") == "a b c�[31m�d é"


# --- the other formats


def test_json_of_a_profile_is_a_saved_profile(any_profile: Profile) -> None:
    assert loads(render("profile", any_profile, "json")) == any_profile


@pytest.mark.parametrize("report", ["layers", "hotspots"])
def test_rows_of_json_and_csv_are_the_same_integers_and_add_up(report: str, any_profile: Profile) -> None:
    parsed = json.loads(render(report, any_profile, "json"))
    rows = list(csv.DictReader(io.StringIO(render(report, any_profile, "csv"))))
    told = [row.pop("remarks") for row in rows]
    assert told == ["; ".join([*parsed["remarks"], *parsed["approximations"]]), *[""] * (len(rows) - 1)]
    assert [{key: "" if cell is None else str(cell) for key, cell in row.items()} for row in parsed["rows"]] == rows
    own = "self_macs" if report == "layers" else "macs"
    assert sum(row[own] for row in parsed["rows"]) == parsed["macs"] == any_profile.macs
    assert parsed["uncounted"] == any_profile.total.uncounted


def test_csv_of_a_profile_adds_up(any_profile: Profile) -> None:
    rows = list(csv.DictReader(io.StringIO(render("profile", any_profile, "csv"))))
    assert [row["component"] for row in rows] == list(any_profile.components)
    assert sum(int(row["macs"]) for row in rows) == any_profile.macs
    assert sum(int(row["uncounted"]) for row in rows) == any_profile.total.uncounted


@pytest.mark.parametrize("report", REPORTS)
def test_markdown_rows_have_as_many_cells_as_titles(report: str, any_profile: Profile) -> None:
    for block in render(report, any_profile, "markdown").split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1


def test_markdown_takes_no_sign_from_a_name() -> None:
    text = render("profile", BUILDERS["odd"](), "markdown")
    assert "</script>" not in text
    assert r"naïve\|pipe\</script\>\<b\>\`tick\`\_under\_\*star\*\[link\](x)\&amp;" in text
    assert ODD not in text


def test_empty_profile_is_reported_in_every_format() -> None:
    empty = Profile("t", "P", {}, {}, {})
    assert render("profile", empty, "csv") == ""
    assert json.loads(render("layers", empty, "json"))["rows"] == []
    assert render("layers", empty) == "t  P\n"
    assert render("layers", empty, "markdown") == "## t  P\n"
    assert column(tables(render("profile", empty))[0], "component") == ["total    "]


# --- choosing a format


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (None, None, "text"),
        (None, "a.txt", "text"),
        (None, "a.JSON", "json"),
        (None, "a.b.csv", "csv"),
        (None, "a.md", "markdown"),
        (None, "a.markdown", "markdown"),
        ("csv", "a.json", "csv"),
        ("json", None, "json"),
    ],
)
def test_format_by_name_or_suffix(name: str | None, output: str | None, expected: str) -> None:
    assert pick_format(name, output).name == expected


@pytest.mark.parametrize("output", ["report", "report.docx", ".json"])
def test_unknown_suffix_is_refused(output: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick_format(None, output)
    assert caught.value.message == f"the suffix of the output file {output} names no format"
    assert ".csv" in caught.value.hint


def test_suffixes_belong_to_one_format_each() -> None:
    suffixes = [suffix for form in FORMATS.values() for suffix in form.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert set(SUFFIXES) == set(FORMATS)
