"""Attribution, sub-graphs, state and descent on toys whose costs are written out by hand."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from toys import TOYS, ReadsValues, Shared, Subgraphs, Toy

import fxprof
from fxprof.capture.zero_weights import fresh_zeros
from fxprof.cost.registry import BUILT_IN
from fxprof.errors import CaptureError, UsageError
from fxprof.result.profile import Profile
from fxprof.result.records import Total
from fxprof.result.tree import Node


def own_macs(profile: Profile) -> dict[str, int]:
    return {node.path: node.self_macs for node in profile.components["model"].tree.walk()}


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.__name__)
def test_every_module_gets_what_it_costs(toy: type[Toy]) -> None:
    profile = fxprof.profile_module(toy(), toy.example)
    assert own_macs(profile) == toy.expected
    assert profile.macs == sum(toy.expected.values())
    assert profile.total.uncounted == 0


@pytest.mark.parametrize("toy", [toy for toy in TOYS if toy is not ReadsValues], ids=lambda toy: toy.__name__)
def test_a_program_costs_what_its_module_costs(toy: type[Toy]) -> None:
    program = torch.export.export(toy().eval(), toy.example, strict=False)
    profile = fxprof.profile_program(program)
    assert profile.macs == sum(toy.expected.values())


def test_decomposing_changes_the_formulas_but_not_the_total() -> None:
    for toy in TOYS:
        if toy not in {ReadsValues, Subgraphs}:
            program = torch.export.export(toy().eval(), toy.example, strict=False)
            whole, pieces = fxprof.profile_program(program), fxprof.profile_program(program.run_decompositions())
            assert whole.macs == pieces.macs, toy.__name__


def test_shared_parameters_count_once_and_shared_modules_are_one_path() -> None:
    component = fxprof.profile_module(Shared(), Shared.example).components["model"]
    assert component.params == Shared.params
    nodes = {node.path: node for node in component.tree.walk()}
    assert nodes["first"].calls == 2
    assert nodes["tied"].calls == 1


def test_a_conditional_is_an_upper_bound() -> None:
    profile = fxprof.profile_module(Subgraphs(), Subgraphs.example)
    assert profile.total.bounded > 0
    assert profile.total.sign == "<="


def test_the_reason_for_running_for_real_is_said() -> None:
    profile = fxprof.profile_module(ReadsValues(), ReadsValues.example)
    assert [call.entry for call in profile.components["model"].calls] == ["embed", "head", ""]
    assert any("ReadsValues ran for real" in remark for remark in profile.remarks)


def sums_hold(node: Node) -> bool:
    return node.total_macs == node.self_macs + sum(child.total_macs for child in node.children) and all(
        sums_hold(child) for child in node.children
    )


def test_totals_add_up_at_every_node() -> None:
    for toy in TOYS:
        assert sums_hold(fxprof.profile_module(toy(), toy.example).components["model"].tree)


class Caching(nn.Module):
    """Like causal video autoencoders: the caller passes a list, and the second call finds what the first one left."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        length = int(frames[0, 0, 0])  # only real Python can read this, so the decoder is called for each frame
        cache: list[Any] = [None]
        position = [0]
        return torch.cat([self.decoder(frames[at : at + 1], cache=cache, position=position) for at in range(3 + length)])


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, frame: torch.Tensor, cache: list[Any], position: list[int]) -> torch.Tensor:
        rows = frame if cache[0] is None else torch.cat([cache[0], frame], dim=1)
        cache[0] = frame if cache[0] is None else torch.cat([cache[0], frame], dim=1)[:, -4:]
        position[0] += 1
        result: torch.Tensor = self.linear(rows)
        return result[:, -2:]


def test_state_that_a_call_leaves_in_its_arguments_tells_calls_apart() -> None:
    profile = fxprof.profile_module(Caching(), (torch.zeros(3, 2, 4),))
    calls = profile.components["model"].calls
    # Two rows without a cache, four with two rows of it, six with four.
    assert [(call.entry, call.count, call.macs) for call in calls] == [
        ("decoder", 1, 2 * 4 * 4),
        ("decoder", 1, 4 * 4 * 4),
        ("decoder", 1, 6 * 4 * 4),
    ]


class Remembering(nn.Module):
    """Keeps a tensor from call to call in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.step = Step()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        int(rows[0, 0])
        self.step.kept = None
        return self.step(self.step(rows))  # type: ignore[no-any-return]


class Step(nn.Module):
    kept: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.kept = None
        self.linear = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        joined = rows if self.kept is None else torch.cat([self.kept, rows])
        self.kept = rows
        result: torch.Tensor = self.linear(joined)
        return result[: len(rows)]


def test_state_that_a_module_keeps_is_kept() -> None:
    profile = fxprof.profile_module(Remembering(), (torch.zeros(3, 4),))
    assert profile.macs == 3 * 4 * 4 + 6 * 4 * 4


class Switching(nn.Module):
    """Switches a part of a module off before its second call, as some pipelines do after their first steps."""

    def __init__(self) -> None:
        super().__init__()
        self.fuser = Fuser()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.fuser.enabled = int(rows[0, 0]) == 0
        once = self.fuser(rows)
        self.fuser.enabled = False
        return self.fuser(self.fuser(once))  # type: ignore[no-any-return]


class Fuser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.linear = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(self.linear(rows) if self.enabled else rows)
        return result


def test_what_a_caller_switches_in_a_module_tells_calls_apart() -> None:
    profile = fxprof.profile_module(Switching(), (torch.zeros(3, 4),))
    calls = profile.components["model"].calls
    assert [(call.count, call.macs) for call in calls] == [(1, 2 * 3 * 4 * 4), (2, 3 * 4 * 4)]


class Loud(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(7)
        warnings.warn("loud", stacklevel=1)
        logging.getLogger("diffusers").error("loud")
        raise ValueError("`rows` must be even\nand more that nobody needs to read")


def test_everything_global_is_as_before_also_when_the_module_raises(capfd: pytest.CaptureFixture[str]) -> None:
    call, apply = nn.Module.__call__, nn.Module._apply
    filters = list(warnings.filters)
    grad, state, disabled = torch.is_grad_enabled(), torch.random.get_rng_state(), logging.root.manager.disable
    with warnings.catch_warnings(record=True) as caught, pytest.raises(CaptureError, match=r"Loud: `rows` must be even$"):
        fxprof.profile_module(Loud(), (torch.zeros(3, 4),))
    assert caught == []
    assert nn.Module.__call__ is call
    assert nn.Module._apply is apply
    assert torch.is_grad_enabled() is grad
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.root.manager.disable == disabled
    assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")


class Interrupted(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt


def test_an_interrupt_ends_the_capture_and_leaves_nothing_patched() -> None:
    call, apply = nn.Module.__call__, nn.Module._apply
    with pytest.raises(KeyboardInterrupt):
        fxprof.profile_module(Interrupted(), (torch.zeros(3, 4),))
    assert nn.Module.__call__ is call
    assert nn.Module._apply is apply
    assert torch.is_grad_enabled()


@torch.library.custom_op("fxprof_tests::mix", mutates_args=())
def mix(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


@mix.register_fake
def _(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = mix(self.linear(rows), rows.T)
        return mixed


def test_an_operator_of_ones_own_is_uncounted_until_it_has_a_formula() -> None:
    before = fxprof.profile_module(Mixing(), (torch.zeros(3, 4),))
    assert before.total.of_macs == Total(macs=3 * 4 * 4, uncounted=1)
    assert own_macs(before) == {"": 0, "linear": 3 * 4 * 4}
    row = next(row for row in before.components["model"].calls[0].ops if row.macs is None)
    assert (row.op, row.kind) == ("fxprof_tests.mix.default", "unknown")

    formulas = fxprof.Formulas(BUILT_IN.table)

    @formulas.formula("fxprof_tests.mix", kind="matmul")
    def counted(left: tuple[int, ...], right: tuple[int, ...]) -> int:
        return left[0] * left[1] * right[1]

    after = fxprof.profile_module(Mixing(), (torch.zeros(3, 4),), formulas=formulas)
    assert after.total.of_macs == Total(macs=3 * 4 * 4 + 3 * 4 * 3)


class Unexportable(nn.Module):
    """Multiplies outside of every module that can be captured, by an operator without a formula."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        int(rows[0, 0])
        mixed: torch.Tensor = mix(self.linear(rows), rows.T)
        return mixed


def test_what_runs_for_real_without_a_formula_is_named_too() -> None:
    profile = fxprof.profile_module(Unexportable(), (torch.zeros(3, 4),))
    assert profile.total.of_macs == Total(macs=3 * 4 * 4, uncounted=1)


def test_the_module_given_is_left_as_it_was() -> None:
    module = Shared().train()
    before = {name: (id(value), value.clone()) for name, value in module.state_dict(keep_vars=True).items()}
    fxprof.profile_module(module, Shared.example)
    assert module.training
    after = module.state_dict(keep_vars=True)
    assert all(id(after[name]) == identity and torch.equal(after[name], value) for name, (identity, value) in before.items())


def test_dynamic_programs_evaluate_at_any_size() -> None:
    size = torch.export.Dim("rows", min=2, max=100)
    program = torch.export.export(nn.Linear(4, 5).eval(), (torch.zeros(3, 4),), dynamic_shapes=({0: size},), strict=False)
    symbol = next(iter(fxprof.profile_program(program).workload))
    assert fxprof.profile_program(program).macs == 3 * 4 * 5
    assert fxprof.profile_program(program, dims={symbol: 50}).macs == 50 * 4 * 5
    with pytest.raises(
        UsageError, match=r"s\d+=101 is out of the range of the program .it has s\d+ .input\.0.: up to 100, 3 in the example"
    ):
        fxprof.profile_program(program, dims={symbol: 101})
    with pytest.raises(UsageError, match="no dynamic size batch"):
        fxprof.profile_program(program, dims={"batch": 4})


def test_source_lines_name_the_file_but_no_folder_of_this_machine() -> None:
    profile = fxprof.profile_module(ReadsValues(), ReadsValues.example)
    sources = {row.source for call in profile.components["model"].calls for row in call.ops if row.macs}
    assert any(source.startswith("tests/toys.py:") for source in sources)
    assert all(not source.startswith("/") for source in sources)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (1, 4, 1024, 1024)])
def test_fresh_zeros_are_zeros_with_memory_of_their_own(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    one, other = fresh_zeros(shape, dtype), fresh_zeros(shape, dtype)
    assert torch.equal(one, torch.zeros(shape, dtype=dtype))
    assert (one.shape, one.dtype, one.is_contiguous()) == (torch.Size(shape), dtype, True)
    one.fill_(1)
    assert torch.equal(one, torch.ones(shape, dtype=dtype))
    assert torch.equal(other, torch.zeros(shape, dtype=dtype))
