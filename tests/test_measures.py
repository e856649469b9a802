"""Measures other than MACs: the table of elementwise work, sums in every report and comparison, and causal attention."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import run
from exported import export
from profiles import normal, tensor
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

import fxprof
from fxprof.compare.limits import read_limit
from fxprof.compare.profiles import compare_profiles
from fxprof.cost.causal import masked_macs, seen_pairs
from fxprof.cost.elementwise import operations_of, work_table
from fxprof.cost.kinds import KIND_OF
from fxprof.cost.traffic import NONE, Traffic
from fxprof.errors import TargetError, UsageError
from fxprof.reports import FORMATS
from fxprof.reports.diff import build_diff
from fxprof.reports.hotspots import build_hotspots
from fxprof.reports.layers import build_layers
from fxprof.result import Call, Component, Profile
from fxprof.result.measures import MEASURES, find_measure
from fxprof.result.records import ModuleRecord, OpRow
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps
from fxprof.result.views import hotspots
from fxprof.trace import Op, Tensor

OTHERS = [name for name in MEASURES if name != "macs"]


def row(  # noqa: PLR0917 - in the order of a row
    path: str, op: str, kind: str, shapes: str, macs: int | None = 0, moved: Traffic | None = NONE, count: int = 1
) -> OpRow:
    source = "net.py:1" if macs != 0 else ""
    return OpRow(path, op, kind, source, count, macs, shapes=shapes, types="float32", traffic=moved)


def block(path: str, width: int) -> list[OpRow]:
    """A norm, a linear layer, an activation and a view, on ten rows."""
    rows, out = f"10x{width}", 10 * width * 4
    return [
        row(path, "aten.layer_norm.default", "normalisation", f"{rows}, {width}, {width} -> {rows}", 0, Traffic(out, out)),
        row(path, "aten.linear.default", "linear", f"{rows}, 8x{width}, 8 -> 10x8", 80 * width, Traffic(44 * width, 320)),
        row(path, "aten.silu.default", "elementwise", "10x8 -> 10x8", 0, Traffic(320, 320)),
        row(path, "aten.view.default", "view", "10x8 -> 80"),
    ]


WORK = 10 * 4 * 7 + 10 * 8 + 10 * 8 * 5
"""Operations of a block of width 4: a norm with weight and bias, a bias, SiLU."""


def small(*extra: OpRow, width: int = 4, calls: int = 3, weights: int = 100) -> Profile:
    """Two equal blocks and one of another width, and what is added to the last one."""
    paths = ("blocks.0", "blocks.1", "last")
    ops = tuple(item for path in paths for item in block(path, width if path == "last" else 4)) + extra
    modules = (
        ModuleRecord("", "Net", 0),
        ModuleRecord("blocks", "ModuleList", 0),
        *(ModuleRecord(path, "Block", 40, weights) for path in paths[:2]),
        ModuleRecord("last", "Block", 10 * width, 25 * width),
        ModuleRecord("idle", "Linear", 7, 28),
    )
    call = Call("", calls, (tensor("x", 10, 4),), ops, dict.fromkeys(paths, 1))
    part = Component("net", "Net", modules, (call,))
    return Profile("small", "Pipeline", {"images": 1}, {"fxprof": "0.1.0"}, {"net": part})


# --- elementwise work


@pytest.mark.parametrize(
    ("op", "kind", "shapes", "operations"),
    [
        ("aten.add.Tensor", "elementwise", "2x3, 2x3 -> 2x3", 6),
        ("aten.add_.Tensor", "elementwise", "2x3, 3 -> 2x3", 6),
        ("aten.mul.Scalar", "elementwise", "scalar -> scalar", 1),
        ("aten.silu_.default", "elementwise", "2x3 -> 2x3", 30),
        ("aten.sigmoid.default", "elementwise", "7 -> 7", 28),
        ("aten.gelu.default", "elementwise", "7 -> 7", 35),
        ("aten.clamp.default", "elementwise", "7 -> 7", 14),
        ("aten.clamp_min.default", "elementwise", "7 -> 7", 7),
        ("aten.gelu_backward.default", "elementwise", "7, 7 -> 7", None),
        ("aten._foreach_add.List", "elementwise", "2, 3, 2, 3 -> 2, 3", 5),
        ("aten.layer_norm.default", "normalisation", "4x5, 5, 5 -> 4x5", 140),
        ("aten.layer_norm.default", "normalisation", "4x5 -> 4x5", 100),
        ("aten.native_group_norm.default", "normalisation", "1x4x5, 4, 4 -> 1x4x5, 1x2, 1x2", 140),
        ("aten.rms_norm.default", "normalisation", "4x5, 5 -> 4x5", 80),
        ("aten.batch_norm.default", "normalisation", "1x4x5, 4, 4, 4, 4 -> 1x4x5", 80),
        ("aten._softmax.default", "normalisation", "4x5 -> 4x5", 100),
        ("aten.renorm.default", "normalisation", "4x5 -> 4x5", None),
        ("aten.mean.dim", "reduction", "4x5 -> 4", 20),
        ("aten.var_mean.correction", "reduction", "4x5 -> 4, 4", 80),
        ("aten.upsample_nearest2d.vec", "resampling", "1x1x2x2 -> 1x1x4x4", 0),
        ("aten.upsample_bilinear2d.vec", "resampling", "1x1x2x2 -> 1x1x4x4", 112),
        ("aten.avg_pool2d.default", "resampling", "1x1x4x4 -> 1x1x2x2", 16),
        ("aten.grid_sampler_2d.default", "resampling", "1x1x4x4, 1x2x2x2 -> 1x1x2x2", None),
        ("aten.linear.default", "linear", "4x5, 6x5, 6 -> 4x6", 24),
        ("aten.linear.default", "linear", "4x5, 6x5 -> 4x6", 0),
        ("aten.addmm.default", "linear", "6, 4x5, 5x6 -> 4x6", 24),
        ("aten.bmm.default", "matmul", "2x3x4, 2x4x5 -> 2x3x5", 0),
        ("aten.conv2d.default", "convolution", "1x2x4x4, 3x2x1x1, 3 -> 1x3x4x4", 48),
        ("aten.scaled_dot_product_attention.default", "attention", "1x2x3x8, 1x2x5x8, 1x2x5x8 -> 1x2x3x8", 180),
        ("aten.scaled_dot_product_attention.default", "attention", "1x2x3x8, 1x2x5x8, 1x2x5x8, 3x5 -> 1x2x3x8", 210),
        ("higher_order.flex_attention", "attention", "1x2x3x8, 1x2x3x8, 1x2x3x8 -> 1x2x3x8", None),
        ("higher_order.cond", "control", "scalar -> 3", None),
        ("higher_order.scan", "control", "3 -> 3", 0),
        ("aten.lstm.input", "recurrent", "3x1x4 -> 3x1x4", None),
        ("aten.cat.default", "movement", "3, 3 -> 6", 0),
        ("aten.dropout.default", "random", "3 -> 3", 0),
        ("mylib.thing.default", "unknown", "3 -> 3", None),
        ("mylib.thing.default", "custom", "3 -> 3", None),
        ("aten.add.Tensor", "elementwise", "s7x3, 3 -> s7x3", None),
        ("aten.add.Tensor", "elementwise", "3, 3 -> 3...", None),
        ("aten.layer_norm.default", "normalisation", " -> ", None),
        ("aten.add.Tensor", "elementwise", "", None),
    ],
)
def test_elementwise_work_is_that_of_the_table(op: str, kind: str, shapes: str, operations: int | None) -> None:
    assert operations_of(op, kind, shapes) == operations


def test_every_elementwise_operator_has_work_or_is_unknown() -> None:
    for target, kind in KIND_OF.items():
        for shapes in ("2x2x4x4, 2, 2, 2, 2 -> 2x2x4x4", "scalar -> scalar", "x -> y"):
            operations = operations_of(f"{target}.default", kind, shapes)
            assert operations is None or operations >= 0


def test_page_has_the_table_of_the_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")
    begin, end = (f"<!-- elementwise: {word} -->\n" for word in ("begin", "end"))
    assert page.partition(begin)[2].partition(end)[0] == work_table() + "\n"


class Written(nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = (query @ key.transpose(-2, -1)) * 0.5
        return torch.softmax(scores, -1) @ value


class Fused(nn.Module):
    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)


QKV = (torch.zeros(2, 3, 5, 8), torch.zeros(2, 3, 7, 8), torch.zeros(2, 3, 7, 8))


def test_fused_attention_has_the_elementwise_work_of_the_same_products() -> None:
    one, other = (find_measure("elementwise").of(fxprof.profile_module(module, QKV)) for module in (Written(), Fused()))
    assert one.total.of_macs == other.total.of_macs
    assert one.total.amount == 2 * 3 * 5 * 7 * 6


# --- measures in reports


def amounts(profile: Profile) -> dict[str, tuple[int, int, int]]:
    """The total in each measure."""
    totals = {name: measure.of(profile).total for name, measure in MEASURES.items()}
    return {name: (total.amount, total.uncounted, total.bounded) for name, total in totals.items()}


def test_every_measure_has_its_own_total() -> None:
    unknown = row("last", "mylib.thing.default", "unknown", "3 -> 3", None, None)
    copied = row("last", "aten.contiguous.default", "movement", "3 -> 3", 0, Traffic(12, 12, bounded=True), count=2)
    total = small(unknown, copied).total
    assert amounts(small(unknown, copied)) == {
        "macs": (3 * 3 * 320, 3, 0),
        "traffic": (total.bytes_read + total.bytes_written, 3, 6),
        "weights": (100 + 100 + 100 + 28, 0, 0),
        "elementwise": (3 * 3 * WORK, 3, 0),
    }


def test_default_measure_is_the_profile_itself() -> None:
    profile = small()
    assert find_measure("macs").of(profile) is profile


def test_work_in_branches_and_parallel_scans_is_bounded() -> None:
    inside = row("", "aten.add.Tensor", "elementwise", "3, 3 -> 3", 0, Traffic(24, 12, bounded=True))
    branch = row("", "higher_order.cond", "control", "scalar -> 3")
    assert find_measure("elementwise").of(small(inside)).total.sign == "<="
    assert find_measure("elementwise").of(small(inside, branch)).total.sign == "~"


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("by", ["layer", "class", "op"])
def test_hotspots_add_up_in_every_measure(measure: str, by: str) -> None:
    if measure == "weights" and by == "op":
        with pytest.raises(UsageError, match="belong to modules"):
            hotspots(small(), by, measure=measure)
        return
    found = hotspots(small(), by, 2, measure)
    assert sum(item.total.amount for item in found.rows) + found.others.amount == amounts(small())[measure][0]
    assert list(found.rows) == sorted(found.rows, key=lambda item: -item.total.amount)


def test_hotspots_of_weights_are_modules_called_or_not() -> None:
    found = hotspots(small(), "layer", None, "weights").rows
    assert [(item.label, item.count, item.total.amount) for item in found] == [
        ("net.blocks.0…1", 2, 200),
        ("net.last", 1, 100),
        ("net.idle", 1, 28),
    ]


def shown(measure: str, profile: Profile, other: Profile) -> dict[str, str]:
    """Each report in each format."""
    documents = {
        "layers": build_layers(profile, None, measure=measure),
        "hotspots": build_hotspots(profile, "layer", 2, measure=measure),
        "diff": build_diff(compare_profiles(profile, other, measure)),
    }
    return {f"{name}.{form}": FORMATS[form].render(document) for name, document in documents.items() for form in FORMATS}


@pytest.mark.parametrize("measure", OTHERS)
def test_reports_name_what_they_count(measure: str) -> None:
    reports = shown(measure, small(), small(width=8))
    field = MEASURES[measure].field
    for name, text in reports.items():
        assert "MAC" not in text, name
        assert "macs" not in text.lower(), name
    layers, diff = json.loads(reports["layers.json"]), json.loads(reports["diff.json"])
    whole = amounts(small())[measure][0]
    assert (layers["measure"], layers[field], diff["old"][field]) == (measure, whole, whole)
    assert sum(item[f"self_{field}"] for item in layers["rows"]) == whole
    assert next(csv.DictReader(io.StringIO(reports["hotspots.csv"])))[f"running_{field}"]
    assert diff["delta"] == amounts(small(width=8))[measure][0] - whole
    assert sum(item["delta"] for item in diff["rows"]) == diff["delta"]
    assert f"measure   {measure}: " in reports["layers.text"]
    assert max(map(len, reports["layers.text"].splitlines())) <= 80
    unit = "operations" if measure == "elementwise" else "kB" if measure == "traffic" else " B"
    assert unit in reports["hotspots.text"]


def test_weights_have_no_calls_in_any_report() -> None:
    reports = shown("weights", small(), small(width=8))
    assert not [name for name, text in reports.items() if "call" in text.lower()]
    assert "in all: 328 B → 428 B weights, +100 B (+30.5%)" in reports["diff.text"]


@pytest.mark.parametrize("measure", MEASURES)
def test_diffs_keep_their_laws_in_every_measure(measure: str) -> None:
    one, other = small(), small(width=8, calls=2, weights=50)
    found = fxprof.diff(one, other, measure=measure)
    assert fxprof.diff(other, one, measure=measure) == -found
    assert found.delta.amount == amounts(other)[measure][0] - amounts(one)[measure][0]
    assert sum(part.delta.amount for part in found.components) == found.delta.amount
    assert not fxprof.diff(one, one, measure=measure).changed


def test_bytes_that_grow_without_macs_are_a_change_of_their_own() -> None:
    wide = small(row("last", "aten.add.Tensor", "elementwise", "3, 3 -> 3", 0, Traffic(24, 12)))
    by_macs, by_bytes = (compare_profiles(small(), wide, name).components[0].loud for name in ("macs", "traffic"))
    assert by_macs == ()
    assert [(change.new.path, change.delta.amount) for change in by_bytes if change.new] == [("last", 3 * 36)]


# --- the command line


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    small().save(old)
    small(width=8).save(new)
    return old, new


@pytest.mark.parametrize("command", ["layers", "hotspots"])
@pytest.mark.parametrize("measure", ["traffic", "elementwise"])
def test_commands_take_a_measure_for_a_saved_profile(pair: tuple[Path, Path], command: str, measure: str) -> None:
    result = run(command, pair[0], "--measure", measure, "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)[MEASURES[measure].field] == amounts(small())[measure][0]


def test_limits_hold_the_measure(pair: tuple[Path, Path]) -> None:
    growth = amounts(small(width=8))["traffic"][0] - amounts(small())["traffic"][0]
    assert run("diff", *pair, "--measure", "traffic", "--fail-over", f"+{growth / 1000}KB").exit_code == 0
    failed = run("diff", *pair, "--measure", "traffic", "--fail-over", "+1K", "--fail-over", "+1KiB")
    assert failed.exit_code == 1
    assert "traffic, +" in failed.stderr
    assert failed.stdout.count("fail: total") == 2


def test_limit_in_bytes_is_of_bytes() -> None:
    assert [(int(read_limit(text).amount), read_limit(text).in_bytes) for text in ("+1.5GB", "+2KiB", "1gB", "+3M")] == [
        (1_500_000_000, True),
        (2048, True),
        (10**9, True),
        (3_000_000, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("layers", "--measure", "traffic", "--unit", "gmac"), "gmac is a unit of MACs, and the measure is traffic"),
        (("hotspots", "--measure", "weights", "--by", "kind"), "weights belong to modules, which cannot be grouped by 'kind'"),
        (("layers", "--measure", "traffic", "--causal", "half"), "--causal half changes MACs, and the measure is traffic"),
        (("diff", "--fail-over", "+1GB"), "the limit +1GB is in bytes, and the measure macs is in MACs"),
        (("layers", "--measure", "time"), "'time' is not one of"),
        (("diff", "--measure", "weights", "--by", "dtype"), "weights belong to modules, which cannot be grouped by 'dtype'"),
    ],
)
def test_options_that_do_not_suit_are_refused_in_a_line(pair: tuple[Path, Path], arguments: tuple[str, ...], said: str) -> None:
    command, *rest = arguments
    weighed = pair if command == "diff" else pair[:1]
    result = run(command, *weighed, *rest)
    assert result.exit_code in {2, 3}
    assert said in result.stderr


def test_strict_holds_the_measure(tmp_path: Path) -> None:
    small(row("last", "aten.lstm.input", "recurrent", "3x1x4 -> 3x1x4", 48, Traffic(48, 48))).save(tmp_path / "lstm.json")
    assert run("layers", tmp_path / "lstm.json", "--strict").exit_code == 0
    result = run("layers", tmp_path / "lstm.json", "--strict", "--measure", "elementwise")
    assert result.exit_code == 1
    assert "3 executions of operators without a rule for their elementwise work: aten.lstm.input" in result.stderr


@pytest.mark.parametrize(("version", "measure"), [(4, "traffic"), (3, "elementwise"), (5, "weights")])
def test_early_files_that_lack_a_measure_say_so(saved: Path, version: int, measure: str) -> None:
    result = run("layers", saved / f"format-{version}.json", "--measure", measure)
    assert result.exit_code == 3
    assert "early fxprof" in result.stderr
    assert result.stdout == ""


# --- causal attention


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 5), (3, 7), (7, 3), (1, 9), (9, 1)])
def test_causal_pairs_are_those_of_torch(queries: int, keys: int) -> None:
    assert seen_pairs(queries, keys) == int(torch.ones(queries, keys, dtype=torch.bool).tril().sum())


def attend(target: str, query: tuple[int, ...], key: tuple[int, ...], **arguments: object) -> int:
    """Masked MACs of an operator whose MACs are 1000 for each pair of one query and one key."""
    tensors = [("query", Tensor(query, "float32")), ("key", Tensor(key, "float32"))]
    op = Op(target, (*tensors, *arguments.items()), (), (), None)  # type: ignore[arg-type]
    axis = -3 if "_forward" in target and "cudnn" not in target else -2
    return masked_macs(op, 1000 * query[axis] * key[axis], lambda found: tuple(map(int, found.shape)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "query", "key", "arguments", "pairs"),
    [
        ("aten.scaled_dot_product_attention.default", (1, 2, 5, 8), (1, 2, 5, 8), {"is_causal": True}, 10),
        ("aten.scaled_dot_product_attention.default", (1, 2, 3, 8), (1, 2, 7, 8), {"is_causal": True}, 15),
        ("aten.scaled_dot_product_attention.default", (1, 2, 5, 8), (1, 2, 5, 8), {"is_causal": False}, 0),
        ("aten.scaled_dot_product_attention.default", (1, 2, 5, 8), (1, 2, 5, 8), {}, 0),
        ("aten._scaled_dot_product_flash_attention.default", (1, 2, 5, 8), (1, 2, 5, 8), {"is_causal": True}, 10),
        ("aten._flash_attention_forward.default", (1, 5, 2, 8), (1, 5, 2, 8), {"is_causal": True}, 10),
        ("aten._flash_attention_forward.default", (1, 5, 2, 8), (1, 7, 2, 8), {"is_causal": True}, 0),
        ("aten._flash_attention_forward.default", (5, 2, 8), (5, 2, 8), {"is_causal": True, "cum_seq_q": 1}, 0),
        ("aten._efficient_attention_forward.default", (1, 5, 2, 8), (1, 5, 2, 8), {"custom_mask_type": 1}, 10),
        ("aten._cudnn_attention_forward.default", (1, 2, 5, 8), (1, 2, 5, 8), {"is_causal": True}, 10),
    ],
)
def test_only_attention_that_says_so_is_causal(
    target: str, query: tuple[int, ...], key: tuple[int, ...], arguments: dict[str, object], pairs: int
) -> None:
    assert attend(target, query, key, **arguments) == 1000 * pairs


def test_causal_attention_counts_half_when_asked(tmp_path: Path) -> None:
    full = fxprof.profile_module(Fused(causal=True), QKV)
    half = full.count_causal("half")
    assert full.macs == 2 * 3 * 5 * 7 * 16  # the default stays dense
    assert half.macs == 2 * 3 * (5 * 6 // 2) * 16
    assert half.count_causal("half") == half
    assert "counts half" in half.remarks[-1]
    assert full.count_causal("full") is full
    assert loads(dumps(full)) == full
    assert loads(dumps(full)).count_causal("half") == half
    full.save(tmp_path / "full.json")
    torch.export.save(export(Fused(causal=True), *QKV), tmp_path / "causal.pt2")
    for target in ("full.json", "causal.pt2"):
        shown = run("hotspots", tmp_path / target, "--causal", "half", "--format", "json")
        assert json.loads(shown.stdout)["macs"] == half.macs
    assert fxprof.profile(tmp_path / "causal.pt2", causal="half").macs == half.macs
    grown = run("diff", tmp_path / "full.json", tmp_path / "causal.pt2", "--causal", "half", "--format", "json")
    assert json.loads(grown.stdout)["delta"] == 0


def test_profile_that_does_not_say_what_is_causal_is_refused(saved: Path) -> None:
    result = run("profile", saved / "format-5.json", "--causal", "half")
    assert result.exit_code == 3
    assert "the profile does not say which is causal" in result.stderr
    old = fxprof.load(saved / "format-5.json")
    assert loads(dumps(old)) == old
    with pytest.raises(TargetError):
        old.count_causal("half")
    assert "no attention says" in normal().count_causal("half").remarks[-1]
    with pytest.raises(UsageError):
        normal().count_causal("third")


def test_unused_work_stays_within_the_half() -> None:
    hidden = row("last", "aten.scaled_dot_product_attention.default", "attention", "", 1000)._replace(masked=400)
    profile = small(hidden)
    part = profile.components["net"]
    call = replace(part.calls[0], unused={"last": 1320, "blocks.0": 5})
    wasteful = replace(profile, components={"net": replace(part, calls=(call,))})
    half = wasteful.count_causal("half")
    assert half.components["net"].calls[0].unused == {"last": 920, "blocks.0": 5}
    assert loads(dumps(half)) == replace(half, components={"net": _without_weights(half.components["net"])})


def _without_weights(component: Component) -> Component:
    return replace(component, modules=tuple(replace(record, weight_bytes=0) for record in component.modules))


@pytest.mark.parametrize("masked", ["0", "-1", "true", '"1"', "10000000"])
def test_masked_work_in_a_file_is_checked(masked: str) -> None:
    hidden = row("last", "aten.scaled_dot_product_attention.default", "attention", "", 1000)._replace(masked=400)
    text = dumps(small(hidden))
    with pytest.raises(fxprof.FxprofError, match="masked"):
        loads(text.replace('"masked": 400', f'"masked": {masked}'))
