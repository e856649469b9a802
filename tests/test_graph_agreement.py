"""Graphs that contradict themselves are refused by name; what torch writes never is."""

from __future__ import annotations

import copy
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import archives
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from exported import export, save
from torch import nn

import fxprof
from fxprof.errors import FxprofError, TargetError

Json = dict[str, Any]


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 3, groups=4, padding=1)
        self.up, self.norm, self.batch = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.GroupNorm(2, 8), nn.BatchNorm2d(8)
        self.last = nn.Linear(4 * 16 * 16, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.batch(self.grouped(F.silu(self.norm(self.first(x)))))
        return self.last(self.up(F.max_pool2d(F.interpolate(x, scale_factor=2), 2)).flatten(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.qkv, self.out, self.norm = nn.Embedding(9, 16), nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)

    def forward(self, ids: torch.Tensor) -> Any:
        x = self.table(ids)
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        both = F.scaled_dot_product_attention(q, k, v) + (q @ k.transpose(-1, -2)).softmax(-1) @ v
        x = torch.cat([x, x + self.out(both.transpose(1, 2).reshape(batch, length, 16))], 1)[:, 1:]
        return x.mean(1) + torch.einsum("bld,ld->bd", x, x[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.layers(x)[0])


MODELS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "convolutions": lambda: (Convolutions(), torch.zeros(2, 4, 16, 16)),
    "attention": lambda: (Attention(), torch.zeros(2, 5, dtype=torch.long)),
    "recurrent": lambda: (Recurrent(), torch.zeros(2, 5, 8)),
}


Change = tuple[str, tuple[str | int, ...], Any]
"""What is changed, where it is in the graph, and what is put there."""


def contradictions(graph: Json) -> Iterator[Change]:
    """One size of one tensor, or one number among an operator's arguments, changed."""
    for name, tensor in graph["tensor_values"].items():
        for axis, size in enumerate(tensor["sizes"]):
            for other in (size["as_int"] + 1, size["as_int"] * 2):
                yield f"{name}.{axis}={other}", ("tensor_values", name, "sizes", axis), {"as_int": other}
    for place, node in enumerate(graph["nodes"]):
        for number, argument in enumerate(node["inputs"]):
            for item, value in enumerate(argument["arg"].get("as_ints", ())):
                where = ("nodes", place, "inputs", number, "arg", "as_ints", item)
                yield f"{node['target']}.{argument['name']}[{item}]", where, value + 1


def changed_at(whole: Json, where: tuple[str | int, ...], value: Any) -> Json:
    changed = copy.deepcopy(whole)
    place: Any = changed["graph_module"]["graph"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    return changed


TRIED = 60
"""Contradictions of each model, drawn from a fixed seed."""


def answer(path: Path) -> int | str:
    try:
        return fxprof.profile(path).macs
    except FxprofError as error:
        return error.message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "decomposed"),
    [
        # Decomposed, a recurrent layer is many operators for each of its steps.
        pytest.param(name, decomposed, marks=pytest.mark.slow if decomposed and name == "recurrent" else ())
        for decomposed in (False, True)
        for name in MODELS
    ],
)
def test_a_graph_that_contradicts_itself_has_no_other_number(name: str, tmp_path: Path, *, decomposed: bool) -> None:
    module, example = MODELS[name]()
    program = export(module, example)
    path = save(program.run_decompositions() if decomposed else program, tmp_path / "sound.pt2")
    macs = fxprof.profile(path).macs
    with zipfile.ZipFile(path) as file:
        parts = {entry: file.read(entry) for entry in file.namelist() if "sample_inputs" not in entry}
    (model,) = [entry for entry in parts if "/models/" in entry]
    whole = json.loads(parts[model])
    every = list(contradictions(whole["graph_module"]["graph"]))
    silent, refused = [], 0
    for what, where, value in random.Random(name).sample(every, min(len(every), TRIED)):
        changed = changed_at(whole, where, value)
        with zipfile.ZipFile(tmp_path / "x.pt2", "w") as file:
            for entry, data in {**parts, model: json.dumps(changed).encode()}.items():
                file.writestr(entry, data)
        found = answer(tmp_path / "x.pt2")
        refused += isinstance(found, str)
        silent += [what] if isinstance(found, int) and found != macs else []
    assert silent == []
    assert refused > 20


def changed(change: Callable[[Json], None], tmp_path: Path) -> Path:
    whole = archives.model()
    change(whole["graph_module"]["graph"])
    return archives.write(tmp_path / "x.pt2", whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda graph: graph["tensor_values"].update(x=archives.tensor(2, 5, 8, 8)),
            "aten.conv2d.default in conv (me/net.py:8): the input has 5 channels, but the weight takes 3",
        ),
        (
            lambda graph: graph["tensor_values"].update(conv2d=archives.tensor(3, 4, 8, 8)),
            "aten.conv2d.default in conv (me/net.py:8): its operands give 2x4x8x8, but the graph says 3x4x8x8",
        ),
        (
            lambda graph: graph["nodes"][0]["inputs"].append(
                {"name": "groups", "arg": {"as_int": 2}, "kind": 1},
            ),
            "the input has 3 channels, but the weight takes 6 (2 groups of 3)",
        ),
        (
            lambda graph: graph["nodes"][1]["inputs"].append(dict(graph["nodes"][1]["inputs"][0])),
            "graph.nodes[1].inputs gives 'self' a second time",
        ),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[Json], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        fxprof.profile(changed(change, tmp_path))
    assert message in caught.value.message


def test_a_body_is_held_to_itself(tmp_path: Path) -> None:
    def change(graph: Json) -> None:
        body = graph["nodes"][4]["inputs"][1]["arg"]["as_graph"]["graph"]
        body["tensor_values"]["p_fc_weight"] = archives.tensor(5, 9)

    with pytest.raises(
        TargetError, match=r"aten\.linear\.default in fc .* the last size of the input is 4, but that of the weight is 9"
    ):
        fxprof.profile(changed(change, tmp_path))


def test_the_record_of_a_weight_is_held_to_its_use(tmp_path: Path) -> None:
    places = archives.weights()
    places["config"]["fc.weight"]["tensor_meta"] = archives.tensor(5, 9)
    path = archives.write(tmp_path / "x.pt2", None, places)
    with pytest.raises(TargetError, match=r"weights\.config records 'fc\.weight' as 5x9, but the graph takes it as 5x4"):
        fxprof.profile(path)


def test_a_live_program_is_held_to_itself() -> None:
    program = export(nn.Linear(8, 4), torch.zeros(3, 8))
    (node,) = [node for node in program.graph.nodes if "linear" in str(node.target)]
    node.meta["val"] = torch.zeros(6, 4, device="meta")
    with pytest.raises(TargetError, match=r"aten\.linear\.default.*its operands give 3x4, but the graph says 6x4"):
        fxprof.profile_program(program)


def test_the_weights_of_a_live_program_are_held_to_their_use() -> None:
    program = export(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).eval(), torch.zeros(3, 8))
    weight, mean = program.state_dict["0.weight"], program.state_dict["1.running_mean"]
    assert fxprof.profile_program(program).macs == 3 * 8 * 4
    program.state_dict["0.weight"] = nn.Parameter(torch.zeros(9, 8))
    with pytest.raises(TargetError, match=r"it holds '0\.weight' in 9x8, and its graph takes it in 4x8"):
        fxprof.profile_program(program)
    program.state_dict.update({"0.weight": weight, "1.running_mean": torch.zeros(5)})
    with pytest.raises(TargetError, match=r"it holds '1\.running_mean' in 5, and its graph takes it in 4"):
        fxprof.profile_program(program)
    program.state_dict["1.running_mean"] = mean
    assert fxprof.profile_program(program).macs == 3 * 8 * 4


def test_the_record_of_a_buffer_is_held_to_its_use(tmp_path: Path) -> None:
    program = export(nn.BatchNorm1d(4), torch.zeros(3, 4))
    path = tmp_path / "x.pt2"
    torch.export.save(program, path)
    assert fxprof.profile(path).macs == 0
    other = tmp_path / "y.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith("weights_config.json"):
                value = json.loads(data)
                value["config"]["running_mean"]["tensor_meta"]["sizes"] = [{"as_int": 5}]
                data = json.dumps(value).encode()
            new.writestr(item.filename, data)
    with pytest.raises(TargetError, match=r"records 'running_mean' as 5, but the graph takes it as 4"):
        fxprof.profile(other)
