"""Modules that are alike are traced once, and the trace is that of the full export all the same."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import fxprof
from fxprof.capture import known_calls
from fxprof.capture.export import ExportedCall, export_call
from fxprof.source import load_zoo, names
from fxprof.source.stand_ins import StandIn
from fxprof.trace import Occurrence, Trace


def exported(module: nn.Module, *args: Any, whole: bool = False, **kwargs: Any) -> ExportedCall:
    with torch.no_grad():
        return export_call(module, args, kwargs, prefix="", aliases={}, whole=whole)


def occurrences(trace: Trace) -> list[str]:
    """Paths of the modules that refer to a block, in order."""
    return [part.stack[-1].path for part in trace.parts if isinstance(part, Occurrence)]


def assert_exact(module: nn.Module, *args: Any, **kwargs: Any) -> Trace:
    """The trace with references, which holds the same operators as the full one."""
    whole, shared = exported(module, *args, whole=True, **kwargs), exported(module, *args, **kwargs)
    assert not any(isinstance(part, Occurrence) for part in whole.trace.parts)
    assert shared.trace == whole.trace
    assert shared.trace.expanded().parts == whole.trace.parts
    leaves = torch.utils._pytree.tree_leaves
    answers = [leaves(call.answer(args, kwargs)) for call in (shared, whole)]
    assert [getattr(leaf, "shape", None) for leaf in answers[0]] == [getattr(leaf, "shape", None) for leaf in answers[1]]
    return shared.trace


class Block(nn.Module):
    def __init__(self, size: int = 8, **attributes: Any) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.second(torch.relu(self.first(x)))


class Stack(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor, *more: Any) -> Any:
        for block in self.blocks:
            x = block(x, *more)
        return x


X = torch.zeros(2, 3, 8)


def test_equal_blocks_are_held_once() -> None:
    trace = assert_exact(Stack(*(Block() for _ in range(4))), X)
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    held = {id(part.block) for part in trace.parts if isinstance(part, Occurrence)}
    assert len(held) == 1


def test_later_blocks_do_not_run() -> None:
    ran = []

    class Noting(Block):
        def forward(self, x: torch.Tensor) -> Any:
            ran.append(self)
            return super().forward(x)

    exported(Stack(*(Noting() for _ in range(5))), X)
    assert len(ran) == 1


def test_blocks_of_different_sizes_are_different() -> None:
    class Narrowing(Block):
        def __init__(self, inner: int) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, inner), nn.Linear(inner, 8)

    assert occurrences(assert_exact(Stack(Narrowing(4), Narrowing(5), Narrowing(4)), X)) == ["blocks.0", "blocks.2"]


def test_a_changed_attribute_makes_a_block_different() -> None:
    class Scaled(Block):
        scale: float

        def forward(self, x: torch.Tensor) -> Any:
            y = super().forward(x)
            return y * self.scale if self.scale != 1 else y

    blocks = [Scaled(scale=scale) for scale in (1, 1.0, True, 2, 1)]
    assert occurrences(assert_exact(Stack(*blocks), X)) == ["blocks.0", "blocks.4"]


def test_an_attribute_that_is_not_read_makes_no_difference() -> None:
    trace = assert_exact(Stack(*(Block(layer_idx=number) for number in range(3))), X)
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.2"]


def test_an_attribute_that_is_read_in_some_calls_only() -> None:
    class Cached(Block):
        layer_idx: int

        def forward(self, x: torch.Tensor, cached: bool = False) -> Any:
            return super().forward(x) if not cached else super().forward(x[:, self.layer_idx :])

    blocks = [Cached(layer_idx=min(number, 1)) for number in range(3)]
    assert occurrences(assert_exact(Stack(*blocks), X, False)) == ["blocks.0", "blocks.1", "blocks.2"]
    assert not occurrences(assert_exact(Stack(*blocks), X, True))  # the second starts with fewer elements


def test_what_a_nested_block_reads_counts_for_the_one_around_it() -> None:
    class Inner(Block):
        number: int

        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x)[:, : self.number]

    class Outer(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.one, self.two = Inner(number=3), Inner(number=number)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.one(x)
            return x + torch.cat([self.two(x), y], 1)[:, :3]

    trace = assert_exact(Stack(Outer(3), Outer(2), Outer(3)), X)
    assert "blocks.1" not in occurrences(trace)
    assert {"blocks.0", "blocks.2"} <= set(occurrences(trace))


def test_objects_that_a_block_works_with_are_compared() -> None:
    class Processor:
        def __init__(self, times: int) -> None:
            self.times = times

        def __call__(self, block: "Working", x: torch.Tensor) -> torch.Tensor:
            for _ in range(self.times):
                x = block.first(x)[..., :8] + 0
            return x

    class Working(Block):
        processor: Processor

        def forward(self, x: torch.Tensor) -> Any:
            return self.processor(self, x)

    blocks = [Working(processor=Processor(times)) for times in (1, 2, 1, 2)]
    trace = assert_exact(Stack(*blocks), X)
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    assert len({id(part.block) for part in trace.parts if isinstance(part, Occurrence)}) == 2


def test_functions_are_equal_to_themselves_alone() -> None:
    def made(times: int) -> Any:
        return lambda x: x * times

    class Acting(Block):
        act: Any

        def forward(self, x: torch.Tensor) -> Any:
            return self.act(super().forward(x))

    same = made(2)
    assert occurrences(assert_exact(Stack(Acting(act=made(2)), Acting(act=made(3))), X)) == []
    assert occurrences(assert_exact(Stack(Acting(act=same), Acting(act=same)), X)) == ["blocks.0", "blocks.1"]


def test_other_shapes_and_strides_and_types_of_inputs_are_other_calls() -> None:
    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(5))

        def forward(self, x: torch.Tensor) -> Any:
            one, two, three, four, five = self.blocks
            turned = two(one(x).transpose(0, 1))
            short = three(turned.transpose(0, 1))[:, :2]
            return four(short.contiguous()) + five(short.contiguous())

    trace = assert_exact(Turning(), torch.zeros(4, 4, 8))
    assert {"blocks.3", "blocks.4"} <= set(occurrences(trace))


def test_a_block_that_passes_its_input_through() -> None:
    class Passing(Block):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, int]:  # type: ignore[override]
            return super().forward(x), y, None, 3

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Passing() for _ in range(3))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            for block in self.blocks:
                x, same, _, times = block(x, y)
                assert same is y
                x = x * times
            return x, y

    assert len(occurrences(assert_exact(Both(), X, torch.zeros(2)))) == 3


def test_the_same_tensor_twice_is_another_call_than_two_tensors() -> None:
    class Asking(Block):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:  # type: ignore[override]
            return super().forward(x) if x is y else super().forward(x + y)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Asking() for _ in range(4))

        def forward(self, x: torch.Tensor) -> Any:
            one, two, three, four = self.blocks
            return four(three(two(one(x, x), x), x), x) + 0

    assert occurrences(assert_exact(Mixed(), X)) == ["blocks.1", "blocks.2", "blocks.3"]


@pytest.mark.parametrize("what", ["input", "buffer", "list", "dictionary"])
def test_a_block_that_changes_something_is_traced_each_time(what: str) -> None:
    class Changing(Block):
        table: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(8))

        def forward(self, x: torch.Tensor, kept: Any) -> Any:  # type: ignore[override]
            y = super().forward(x)
            if what == "input":
                x.add_(y)
            elif what == "buffer":
                self.table.add_(1)
            elif what == "list":
                kept.append(y)
            else:
                kept["y"] = y
            return y

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Changing() for _ in range(3))

        def forward(self, x: torch.Tensor) -> Any:
            kept: Any = [] if what == "list" else {}
            y = x * 1
            outs = [block(y, kept) for block in self.blocks]
            return outs, list(kept) if what == "list" else kept

    assert not [path for path in occurrences(assert_exact(Watching(), X)) if path.count(".") == 1]


class Cache:
    """Keeps for each layer what it was given, as a key-value cache does."""

    def __init__(self, layers: int) -> None:
        self.kept: list[Any] = [None] * layers
        self.offset = torch.tensor(1)

    def update(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        self.kept[layer] = x if self.kept[layer] is None else torch.cat([self.kept[layer], x], 1)
        return self.kept[layer]  # type: ignore[no-any-return]


class Remembering(Block):
    layer_idx: int

    def forward(self, x: torch.Tensor, cache: Cache) -> Any:  # type: ignore[override]
        return super().forward(cache.update(x * cache.offset, self.layer_idx))


class WithCache(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> Any:
        cache = Cache(len(self.blocks))
        for block in self.blocks:
            x = block(x, cache)
        return x, cache


def test_blocks_that_fill_a_cache_are_run_to_show_that_they_are_alike() -> None:
    module = WithCache(*(Remembering(layer_idx=number) for number in range(4)))
    assert occurrences(assert_exact(module, X)) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    objects = exported(module, X).objects
    assert [kept.shape for cache in objects.values() for kept in cache.kept] == [X.shape] * 4


@pytest.mark.parametrize("difference", ["function", "shape", "line", "module"])
def test_a_block_that_turns_out_to_do_something_else_is_traced(difference: str) -> None:
    class Turning(Remembering):
        def forward(self, x: torch.Tensor, cache: Cache) -> Any:  # type: ignore[override]
            y = super().forward(x, cache)
            if self.layer_idx < 2:
                return y + 1
            if difference == "function":
                return y * 1
            if difference == "shape":
                return (y[:, :1] + y)[:, :]
            return y + 1 if difference == "line" else self.second(self.first(y)) + 1

    module = WithCache(*(Turning(layer_idx=number) for number in range(4)))
    assert [path for path in occurrences(assert_exact(module, X)) if path.count(".") == 1] == []


def test_a_part_with_a_hook_is_traced_each_time() -> None:
    stack, seen = Stack(*(Block() for _ in range(3))), []
    for block in stack.blocks:
        block.first.register_forward_hook(lambda *_: seen.append(1))  # type: ignore[union-attr]
    assert not occurrences(assert_exact(stack, X))
    assert len(seen) == 6


def test_a_hook_on_the_block_itself_sees_every_call() -> None:
    stack, seen = Stack(*(Block() for _ in range(3))), []
    for block in stack.blocks:
        block.register_forward_hook(lambda _module, _args, out: seen.append(out.shape))
    assert len(occurrences(assert_exact(stack, X))) == 3
    assert seen == [X.shape] * 6


def test_one_block_called_again_and_again() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = Block(), Block()

        def forward(self, x: torch.Tensor) -> Any:
            return self.one(self.other(self.one(self.one(x))))

    trace = assert_exact(Again(), X)
    assert occurrences(trace) == ["one", "one", "other", "one"]
    visits = {frame.visit for op in trace.ops for frame in op.stack if frame.path == "one.first"}
    assert visits == {0, 1, 2}


def test_blocks_inside_blocks_and_modules_called_twice_inside() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = Block(), nn.LayerNorm(8)

        def forward(self, x: torch.Tensor) -> Any:
            return self.norm(self.inner(self.norm(self.inner(x))))

    trace = assert_exact(Stack(Twice(), Twice(), Twice()), X)
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.2"]


def test_modules_of_torch_are_told_by_the_line_that_calls_them() -> None:
    class Lines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2))

        def forward(self, x: torch.Tensor) -> Any:
            x = self.one(x)
            return self.two(x)

    sources = {op.source for op in assert_exact(Stack(Lines(), Lines()), X).ops}
    assert len(sources) == 2


def test_shared_modules_and_shared_parameters() -> None:
    shared = Block()
    tied = [Block() for _ in range(3)]
    for block in tied[1:]:
        block.first.weight = tied[0].first.weight
    assert_exact(Stack(shared, Block(), shared), X)
    assert_exact(Stack(*tied), X)


def test_tying_inside_a_block_is_part_of_what_it_is() -> None:
    class Square(Block):
        def __init__(self, *, tied: bool) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
            if tied:
                self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> Any:
            same = self.first.weight is self.second.weight
            return self.first(x) if same else super().forward(x)

    assert_exact(Stack(Square(tied=False), Square(tied=True), Square(tied=False)), X)


def test_contexts_around_a_block_count() -> None:
    class Contexts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(4))

        def forward(self, x: torch.Tensor) -> Any:
            one, two, three, four = self.blocks
            x = two(one(x))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                x = three(x)
            return four(x.float())

    trace = assert_exact(Contexts(), X)
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.3"]


def test_blocks_inside_of_regions_of_their_own() -> None:
    class Region(Block):
        def forward(self, x: torch.Tensor) -> Any:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x)

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Region() for _ in range(3))
            self.inner = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: torch.Tensor) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                for inner in self.inner:
                    x = inner(x)
            for block in self.blocks:
                x = block(x)
            return x

    trace = assert_exact(Around(), X)
    # What a region around modules takes in are the weights of all of them.
    assert occurrences(trace) == ["blocks.0", "blocks.1", "blocks.2"]


def test_sizes_that_are_symbols_are_known_of_stand_ins() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: torch.Tensor) -> Any:
            for block in self.blocks:
                x = block(x)
            return torch.cat([x, x[:, 1:]], 1)

    from fxprof.capture.sharing import repeated_once
    from fxprof.capture.translate import translate

    module, dims = Doubling(), ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
    with torch.no_grad():
        whole = torch.export.export(module, (X,), dynamic_shapes=dims, strict=False)
        with repeated_once(module, may_run=True) as sharing:
            shared = torch.export.export(module, (X,), dynamic_shapes=dims, strict=False)
    assert sharing.stand_ins == 2
    assert translate(shared) == translate(whole)


def test_classes_are_as_before_also_after_an_error() -> None:
    class Failing(Block):
        def forward(self, x: torch.Tensor) -> Any:
            raise ValueError("no")

    before = {class_: dict(vars(class_)) for class_ in (Block, Failing, Stack)}
    exported(Stack(*(Block(layer_idx=number) for number in range(3))), X)
    with pytest.raises(Exception, match="no"):
        exported(Stack(Failing(), Failing()), X)
    assert {class_: dict(vars(class_)) for class_ in (Block, Failing, Stack)} == before


def test_what_a_stand_in_does_not_do_for_is_exported_in_full() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))
            self.left = 0

        def forward(self, x: torch.Tensor) -> Any:
            for block in self.blocks:
                x = block(x)
            if len(ran) < 3:
                raise RuntimeError("a block did not run")
            return x

    ran: list[int] = []

    class Noting(Block):
        def forward(self, x: torch.Tensor) -> Any:
            ran.append(1)
            return super().forward(x)

    module = Reading()
    module.blocks = nn.ModuleList(Noting() for _ in range(3))
    call = exported(module, X)
    assert not occurrences(call.trace)
    assert len(call.trace.ops) == 3 * 4


def test_profiles_are_the_same_and_whole_is_an_option() -> None:
    stack = Stack(*(Block(layer_idx=number) for number in range(4)))
    shared, whole = fxprof.profile_module(stack, (X,)), fxprof.profile_module(stack, (X,), whole=True)
    assert shared == whole
    assert shared.macs == 4 * 2 * (2 * 3 * 8 * 16)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Every call is exported both ways and must be the same; (nodes, operators) of each."""
    found: list[tuple[int, int]] = []

    def both(module: nn.Module, args: Any, kwargs: Any, **options: Any) -> ExportedCall:
        shared = export_call(module, args, kwargs, **options)
        whole = export_call(module, args, kwargs, **{**options, "whole": True})
        assert shared.trace == whole.trace, type(module).__name__
        assert shared.objects.keys() == whole.objects.keys()
        assert shared.program is not None
        found.append((len(shared.program.graph.nodes), len(list(whole.trace.walk()))))
        return shared

    monkeypatch.setattr(known_calls, "export_call", both)
    yield found
    assert found


@pytest.mark.slow
@pytest.mark.parametrize("model", names())
def test_every_component_of_a_bundled_model(model: str, compared: list[tuple[int, int]]) -> None:
    arguments = {"image": StandIn("image", (512, 512))} if model == "sdxl-refiner-1.0" else {}
    fxprof.profile(load_zoo(model), steps=8 if arguments else 2, arguments=arguments)


class Routing(nn.Module):
    """Reads a value, so it runs for real, and its children are exported one by one."""

    def __init__(self, children: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(children)

    def forward(self, x: torch.Tensor) -> Any:
        for part in self.parts:
            x = part(x) if x.sum().item() == 0 else x
        return x


def test_children_of_modules_that_run_for_real_are_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fxprof.profile_module(Routing([Block() for _ in range(4)]), (X,), whole=True)
    made = []

    def counting(module: nn.Module, *args: Any, **options: Any) -> ExportedCall:
        made.append(type(module).__name__)
        return export_call(module, *args, **options)

    monkeypatch.setattr(known_calls, "export_call", counting)
    assert fxprof.profile_module(Routing([Block() for _ in range(4)]), (X,)) == whole
    assert made == ["Routing", "Block"]


def test_what_cannot_be_exported_is_tried_once_for_all_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def routing() -> nn.Module:
        return Routing([Routing([Block(), Block(size=8)]) for _ in range(3)])

    whole = fxprof.profile_module(routing(), (X,), whole=True)
    made = []

    def counting(module: nn.Module, *args: Any, **options: Any) -> ExportedCall:
        made.append(type(module).__name__)
        return export_call(module, *args, **options)

    monkeypatch.setattr(known_calls, "export_call", counting)
    shared = fxprof.profile_module(routing(), (X,))
    assert made == ["Routing", "Routing", "Block"]
    assert shared == whole


def test_children_that_differ_are_exported_each() -> None:
    class Scaled(Block):
        scale: int

        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x) if self.scale else x * 2

    parts: list[nn.Module] = [Scaled(scale=scale) for scale in (1, 0, 1, 2)]
    shared, whole = (fxprof.profile_module(Routing(parts), (X,), whole=whole) for whole in (False, True))
    assert shared == whole
    assert shared.macs == 3 * 2 * (2 * 3 * 8 * 16)


def test_an_attribute_of_the_class_is_still_found_where_a_module_has_none_of_its_own() -> None:
    class Defaulting(Block):
        number = 7

        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x) * self.number

    plain = Defaulting()
    trace = assert_exact(Stack(*(Defaulting(number=number) for number in (1, 2, 1)), plain), X)
    assert "blocks.3" not in occurrences(trace)


def test_modules_see_all_weights_when_they_list_them() -> None:
    class Listing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: torch.Tensor) -> Any:
            last = next(self.blocks[-1].parameters())
            assert tuple(last.shape) == (16, 8)
            assert sum(1 for _ in self.parameters()) == 12
            x = x.to(last.dtype)
            for block in self.blocks:
                x = block(x)
            return x

    assert len(occurrences(assert_exact(Listing(), X))) == 3


def test_weights_of_several_types() -> None:
    class Casting(Block):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x.to(self.first.weight.dtype)).float()

    assert len(occurrences(assert_exact(Stack(Casting(), Casting().half(), Casting(), Casting().half()), X))) >= 2


def test_no_line_of_fxprof_is_where_an_operator_comes_from() -> None:
    profile = fxprof.profile_module(nn.Linear(8, 8), (X,))
    (row,) = profile.components["model"].calls[0].ops
    assert row.macs
    assert "fxprof" not in row.source
    assert "capture" not in row.source
