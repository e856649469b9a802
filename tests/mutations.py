"""Ways to change a component: what a diff has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from profiles import VERSIONS, Maker, tensor, transformer

from fxprof.result import Call, Component, ModuleRecord, OpRow, Profile


def net(*, calls: int = 2, blocks: int = 3) -> Component:
    """A small transformer, each part of which has another cost."""
    return transformer(blocks, 8, 6, calls=calls, batch=1)


def profile(*components: Component, **workload: int) -> Profile:
    return Profile("net", "Pipeline", workload, VERSIONS, {component.name: component for component in components})


def with_paths(component: Component, rename: Callable[[str], str | None]) -> Component:
    """The component with other paths; modules for which there is None are gone."""

    def visits(call: Call) -> dict[str, int]:
        return {now: count for path, count in call.visits.items() if (now := rename(path)) is not None}

    def rows(call: Call) -> tuple[OpRow, ...]:
        return tuple(row._replace(path=now) for row in call.ops if (now := rename(row.path)) is not None)

    modules = [replace(record, path=now) for record in component.modules if (now := rename(record.path)) is not None]
    calls = tuple(replace(call, ops=rows(call), visits=visits(call)) for call in component.calls)
    return replace(component, modules=tuple(modules), calls=calls)


def renamed(component: Component, old: str, new: str) -> Component:
    """The module at one path, with all inside it, at another."""

    def rename(path: str) -> str:
        return new + path[len(old) :] if f"{path}.".startswith(f"{old}.") else path

    return with_paths(component, rename)


def without(component: Component, gone: str) -> Component:
    """The component less the module at a path."""
    return with_paths(component, lambda path: None if f"{path}.".startswith(f"{gone}.") else path)


def with_rows(component: Component, change: Callable[[OpRow], list[OpRow]]) -> Component:
    """The component with other operators in the place of each."""
    calls = (replace(call, ops=tuple(now for row in call.ops for now in change(row))) for call in component.calls)
    return replace(component, calls=tuple(calls))


def with_record(component: Component, path: str, **fields: object) -> Component:
    """The component with another record of one module."""
    modules = (replace(item, **fields) if item.path == path else item for item in component.modules)  # type: ignore[arg-type]
    return replace(component, modules=tuple(modules))


def widened(component: Component, path: str, factor: int = 2) -> Component:
    """The linear layer at a path with more outputs."""

    def change(row: OpRow) -> list[OpRow]:
        if row.path != path or row.macs is None:
            return [row]
        operand, weight, rest = row.shapes.split(", ")
        outside = int(weight.split("x")[0])
        rows = rest.split(" -> ")[1].split("x")[0]
        wide = outside * factor
        shapes = f"{operand}, {wide}x{weight.split('x')[1]}, {wide} -> {rows}x{wide}"
        return [row._replace(macs=row.macs * factor, shapes=shapes)]

    record = next(record for record in component.modules if record.path == path)
    return with_record(with_rows(component, change), path, params=record.params * factor)


def spelled_out(component: Component, path: str) -> Component:
    """The attention at a path as two products and a softmax, at the same cost."""

    def change(row: OpRow) -> list[OpRow]:
        if row.path != path or row.kind != "attention" or row.macs is None:
            return [row]
        product = row._replace(op="aten.matmul.default", kind="matmul", macs=row.macs // 2)
        softmax = OpRow(path, "aten.softmax.int", "normalisation", "", 1, 0)
        return [
            product._replace(shapes="6x8, 8x6 -> 6x6"),
            softmax,
            product._replace(shapes="6x6, 6x8 -> 6x8"),
        ]

    return with_rows(component, change)


def listed(*layers: tuple[str, int]) -> Component:
    """A list of layers: (class, outputs of a linear layer or 0)."""
    maker = Maker("model", "Sequential")
    for number, (class_name, outside) in enumerate(layers):
        if outside:
            maker.linear(str(number), 1, 4, outside)
            maker.modules[-1] = ModuleRecord(str(number), class_name, 5 * outside)
        else:
            maker.module(str(number), class_name)
            maker.op(str(number), "aten.relu.default", "elementwise", "", 0)
    return maker.component(maker.call(1, tensor("x", 1, 4)))
