"""Graphs of many operators: they count to what their sizes make, and the work grows as they do. Counts, never seconds."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import pytest
from synthetic import BATCH, BLOCK, KINDS, STAGE, TOKENS, WIDTHS, network

from fxprof import limits
from fxprof.compare.profiles import compare_profiles
from fxprof.cost.count import count
from fxprof.reports import FORMATS
from fxprof.reports.diff import build_diff as diff_report
from fxprof.reports.hotspots import build_hotspots as hotspots
from fxprof.reports.layers import build_layers as layers
from fxprof.result import Call, Component, ModuleRecord, OpRow, Profile
from fxprof.result.assemble import assemble
from fxprof.result.saved.read import loads
from fxprof.result.saved.write import dumps
from fxprof.result.tree import has_plausible_size
from fxprof.trace.collector import uncollected

each_kind = pytest.mark.parametrize("kind", KINDS)


def profile(kind: str, ops: int, *, changed: bool = False) -> Profile:
    return assemble(replace(network(kind, ops, changed=changed).capture(), target=kind, versions={"fxprof": "0"}))


# --- numbers


@pytest.mark.parametrize("ops", [5_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("changed", [False, True])
@each_kind
def test_every_operator_is_counted_once_and_all_add_up(kind: str, changed: bool, ops: int) -> None:
    net = network(kind, ops, changed=changed)
    capture = net.capture()
    counted = count(capture.components[0].calls[0].trace)
    found = assemble(replace(capture, target=kind))
    assert len(counted) == ops
    assert sum(op.macs or 0 for op in counted) == net.macs == found.macs == found.components["transformer"].tree.total_macs
    assert sum(row.count for call in found.components["transformer"].calls for row in call.ops) == ops


def test_a_large_transformer_counts_to_the_product_by_hand() -> None:
    blocks, rest = divmod(40_000, BLOCK)
    full = [WIDTHS[number // STAGE % len(WIDTHS)] for number in range(blocks - (rest == 0))]
    by_hand = sum(
        6 * BATCH * width**2  # modulation
        + 4 * BATCH * TOKENS * width**2  # query, key, value, output
        + 2 * BATCH * TOKENS**2 * width  # attention
        + 2 * 4 * BATCH * TOKENS * width**2  # feed-forward
        for width in full
    )
    assert profile("model", 40_000).macs == by_hand


@each_kind
def test_a_large_profile_is_read_as_it_was_saved(kind: str) -> None:
    found = profile(kind, 4_000)
    assert loads(dumps(found)) == found


# --- diffs


@each_kind
def test_a_large_diff_adds_up_and_has_a_way_back(kind: str) -> None:
    old, new = profile(kind, 4_000), profile(kind, 4_000, changed=True)
    found = compare_profiles(old, new)
    assert found.delta.macs == new.macs - old.macs
    assert compare_profiles(new, old) == -found
    assert found.changed
    assert not compare_profiles(old, old).changed


def test_a_long_list_of_new_names_is_told_from_its_only_anchor() -> None:
    found = compare_profiles(profile("renamed", 1_000), profile("renamed", 1_000, changed=True)).components[0]
    assert Counter(row.change for row in found.modules) == {"moved": 998, "removed": 1, "changed": 1}
    assert [row.old.path for row in found.modules if row.old and row.change != "moved"] == ["", "old999"]


# --- work


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called meanwhile."""
    calls = 0

    def see(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def steps(kind: str, ops: int) -> dict[str, int]:
    old, new = profile(kind, ops), profile(kind, ops, changed=True)
    capture = network(kind, ops).capture()
    trace = capture.components[0].calls[0].trace
    saved, found = dumps(old), compare_profiles(old, new)
    work: dict[str, Callable[[], object]] = {
        "count": lambda: count(trace),
        "assemble": lambda: assemble(capture),
        "dumps": lambda: dumps(old),
        "loads": lambda: loads(saved),
        "compare": lambda: compare_profiles(old, new),
    }
    for name, form in FORMATS.items():
        work[f"layers {name}"] = lambda form=form: form.render(layers(old, None))  # type: ignore[misc]  # bound as it is now
        work[f"hotspots {name}"] = lambda form=form: form.render(hotspots(old, limit=None))  # type: ignore[misc]
        work[f"diff {name}"] = lambda form=form: form.render(diff_report(found, None, ops=True))  # type: ignore[misc]
    return {name: calls_of(step) for name, step in work.items()}


@each_kind
def test_four_times_the_operators_take_no_more_than_some_four_times_the_work(kind: str) -> None:
    small, large = steps(kind, 500), steps(kind, 2_000)
    # A sort takes a little more than in proportion; what looks at each module for each other one takes sixteen times as much.
    assert {name: round(large[name] / small[name], 1) for name in small if large[name] > 6 * small[name]} == {}


def listed(outer: str, inner: str, number: int) -> Profile:
    """Modules in a row that look alike but for the name of what is in each, and share no name with those of another one."""
    paths = [path for place in range(number) for path in (f"{outer}{place}", f"{outer}{place}.{inner}{place}")]
    modules = (ModuleRecord("", "Net", 0), ModuleRecord("a", "Linear", 1), *(ModuleRecord(path, "B", 1) for path in paths))
    visits = dict.fromkeys(["", "a", *paths], 1)
    row = OpRow("a", "aten.linear", "linear", "a.py:1", 1, 100, False, "", "1x10, 10x10 -> 1x10", "float32")
    return Profile("t", "P", {}, {}, {"m": Component("m", "Net", modules, (Call("", 1, (), (row,), visits),))})


def test_a_row_that_is_found_one_after_the_other_is_found_at_once() -> None:
    pairs = [(listed("o", "c", size), listed("w", "d", size + 1)) for size in (100, 400)]
    small, large = (calls_of(lambda pair=pair: compare_profiles(*pair)) for pair in pairs)  # type: ignore[misc]  # bound as it is now
    assert large < 6 * small


# --- limits


def test_modules_count_once_however_deep_they_are() -> None:
    found = profile("deep", 40_000)
    assert sum(module.path.count(".") + 1 for module in found.components["transformer"].modules) > 400_000


def test_more_modules_than_any_model_has_are_refused() -> None:
    def siblings(number: int) -> Component:
        return Component("c", "C", tuple(ModuleRecord(f"{place}", "", 0) for place in range(number)), ())

    most, more = siblings(limits.PROFILE_MODULES - 1), siblings(limits.PROFILE_MODULES)
    assert has_plausible_size(most.modules, most.calls)
    assert not has_plausible_size(more.modules, more.calls)


# --- the search for cycles


def test_the_search_for_cycles_rests_meanwhile_and_goes_on_afterwards() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_search_for_cycles_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_search_for_cycles_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="why"), uncollected():
        raise ValueError("why")
    assert gc.isenabled()


def test_what_the_caller_keeps_from_the_search_stays_kept() -> None:
    gc.freeze()
    try:
        kept = gc.get_freeze_count()
        with uncollected():
            pass
        assert gc.get_freeze_count() == pytest.approx(kept, rel=0.01)
    finally:
        gc.unfreeze()
