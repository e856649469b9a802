"""Archives of exported graphs and directories of captured runs, built in plain Python the way torch writes them. No torch.

Each function gives a fresh value, so that a test can change one thing in it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FLOAT32 = 7
PATCHES, CHANNELS, KERNEL, HIDDEN = 8 * 8, 4, 3 * 3 * 3, 5

CONV_MACS = 2 * PATCHES * CHANNELS * KERNEL
LINEAR_MACS = 2 * CHANNELS * HIDDEN
"""Of either branch of the sub-graph."""
MACS = CONV_MACS + LINEAR_MACS
PARAMS = CHANNELS * KERNEL + CHANNELS + HIDDEN * CHANNELS + HIDDEN


def tensor(*sizes: int) -> Json:
    """What a graph says of a tensor."""
    strides = [1] * len(sizes)
    for axis in range(len(sizes) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * sizes[axis]
    return {
        "dtype": FLOAT32,
        "sizes": [{"as_int": size} for size in sizes],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": stride} for stride in strides],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }


def symbolic(expression: str, hint: int | None = 2) -> Json:
    """A size that is an expression, as sympy writes it."""
    return {"as_expr": {"expr_str": expression, "hint": None if hint is None else {"as_int": hint}}}


def name(of: str) -> Json:
    """A tensor, by its name."""
    return {"as_tensor": {"name": of}}


def node(target: str, output: str, stack: str, inputs: Mapping[str, Json]) -> Json:
    """An operator with one result."""
    trace = f'File "/home/me/net.py", line 8, in forward\n    {output} = self(x)'
    return {
        "target": f"torch.ops.{target}",
        "inputs": [{"name": key, "arg": value, "kind": 1} for key, value in inputs.items()],
        "outputs": [name(output)],
        "metadata": {"stack_trace": trace, "nn_module_stack": stack, "torch_fn": f"{output}_1;function.{output}"},
        "is_hop_single_tensor_return": None,
        "name": output,
    }


def graph(inputs: list[str], output: str, nodes: list[Json], tensors: Mapping[str, Json]) -> Json:
    """A graph, or the body of a higher-order operator."""
    return {
        "inputs": [name(item) for item in inputs],
        "outputs": [name(output)],
        "nodes": nodes,
        "tensor_values": dict(tensors),
        "sym_int_values": {},
        "sym_bool_values": {},
        "is_single_tensor_return": False,
        "custom_obj_values": {},
        "sym_float_values": {},
    }


ROOT = "L__self__,,net.Net"
CONV = f"{ROOT};L__self__conv,conv,torch.nn.modules.conv.Conv2d"
LINEAR = f"{ROOT};L__self__fc,fc,torch.nn.modules.linear.Linear"
WEIGHTS = {
    "conv.weight": (CHANNELS, 3, 3, 3),
    "conv.bias": (CHANNELS,),
    "fc.weight": (HIDDEN, CHANNELS),
    "fc.bias": (HIDDEN,),
}


def _argument(weight: str) -> str:
    return f"p_{weight.replace('.', '_')}"


def branch(*, activated: bool) -> Json:
    """A linear layer as the body of a `cond`, with an activation behind it or without one."""
    linear = {"input": name("mean"), "weight": name("p_fc_weight"), "bias": name("p_fc_bias")}
    nodes = [node("aten.linear.default", "linear", LINEAR, linear)]
    tensors = {"p_fc_bias": tensor(HIDDEN), "p_fc_weight": tensor(HIDDEN, CHANNELS)}
    tensors |= {"mean": tensor(2, CHANNELS), "linear": tensor(2, HIDDEN)}
    if activated:
        nodes.append(node("aten.relu.default", "relu", ROOT, {"self": name("linear")}))
        tensors["relu"] = tensor(2, HIDDEN)
    return graph(["p_fc_bias", "p_fc_weight", "mean"], "relu" if activated else "linear", nodes, tensors)


def _cond() -> Json:
    branches = {"true_graph_0": branch(activated=True), "false_graph_0": branch(activated=False)}
    bodies = [{"as_graph": {"name": name_of, "graph": body}} for name_of, body in branches.items()]
    operands = {"as_tensors": [{"name": item} for item in ("p_fc_bias", "p_fc_weight", "mean")]}
    cond = node("higher_order.cond", "cond", ROOT, {})
    cond["inputs"] = [{"name": "", "arg": value, "kind": 1} for value in (name("gt"), *bodies, operands)]
    cond["outputs"] = [{"as_tensors": [{"name": "cond"}]}]
    return cond


def model() -> Json:
    """A convolution, a mean, and a linear layer in both branches of a `cond`."""
    convolution = {"input": name("x"), "weight": name("p_conv_weight"), "bias": name("p_conv_bias")}
    convolution |= {"stride": {"as_ints": [1, 1]}, "padding": {"as_ints": [1, 1]}}
    nodes = [
        node("aten.conv2d.default", "conv2d", CONV, convolution),
        node("aten.mean.dim", "mean", ROOT, {"self": name("conv2d"), "dim": {"as_ints": [2, 3]}}),
        node("aten.sum.default", "sum_1", ROOT, {"self": name("mean")}),
        node("aten.gt.Scalar", "gt", ROOT, {"self": name("sum_1"), "other": {"as_int": 0}}),
        _cond(),
    ]
    tensors = {_argument(weight): tensor(*sizes) for weight, sizes in WEIGHTS.items()} | {"x": tensor(2, 3, 8, 8)}
    tensors |= {"conv2d": tensor(2, CHANNELS, 8, 8), "mean": tensor(2, CHANNELS), "sum_1": tensor(), "gt": tensor()}
    tensors |= {"cond": tensor(2, HIDDEN)}
    held = [{"parameter": {"arg": {"name": _argument(weight)}, "parameter_name": weight}} for weight in WEIGHTS]
    signature = {
        "input_specs": [*held, {"user_input": {"arg": name("x")}}],
        "output_specs": [{"user_output": {"arg": name("cond")}}],
    }
    return {
        "graph_module": {
            "graph": graph([*map(_argument, WEIGHTS), "x"], "cond", nodes, tensors),
            "signature": signature,
            "module_call_graph": [{"fqn": path, "signature": None} for path in ("", "conv", "fc")],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": 10},
        "range_constraints": {},
        "schema_version": {"major": 8, "minor": 20},
        "verifiers": ["TRAINING"],
        "torch_version": "2.13.0+cpu",
        "guards_code": [],
    }


def weights() -> Json:
    """Where the weights of `model` lie."""
    places = {
        weight: {"path_name": f"weight_{place}", "is_param": True, "use_pickle": False, "tensor_meta": tensor(*sizes)}
        for place, (weight, sizes) in enumerate(WEIGHTS.items())
    }
    return {"config": places}


Entries = dict[str, bytes]
"""Name without the outer folder, to contents."""


def entries(program: Any = None, places: Any = None) -> Entries:
    """What an archive holds; `program` and `places` take the place of `model()` and `weights()`."""
    return {
        **{f"data/weights/weight_{place}": b"\0" * 16 for place in range(len(WEIGHTS))},
        "data/weights/model_weights_config.json": written(weights() if places is None else places),
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "models/model.json": written(model() if program is None else program),
        "data/sample_inputs/model.pt": b"\x80\x02}q\x00.",
        "archive_format": b"pt2",
        "archive_version": b"0",
        ".data/version": b"3\n",
        "byteorder": b"little",
        ".data/serialization_id": b"0" * 40,
    }


def written(value: Any) -> bytes:
    """The value as JSON; bytes as they are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def packed(parts: Mapping[str, bytes], root: str = "net/", method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of these entries, in one folder as torch has it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for entry, content in parts.items():
            file.writestr(f"{root}{entry}", content)
    return buffer.getvalue()


def unpacked(data: bytes) -> Entries:
    """What an archive holds, without the outer folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {entry.partition("/")[2]: file.read(entry) for entry in file.namelist()}


def write(path: Path, program: Any = None, places: Any = None) -> Path:
    """Write an archive to a file."""
    path.write_bytes(packed(entries(program, places)))
    return path


def manifest() -> Json:
    """Of a captured run: one component, called four times as a graph and once without one."""
    reshape = {"target": "aten.view.default", "args": [], "outputs": [], "stack": [["", "Net", 0]], "source": None}
    inputs = [{"name": "x", "shape": [2, 3, 8, 8], "dtype": "float32"}]
    return {
        "capture_format": 1,
        "target": "my-model",
        "class_name": "MyPipeline",
        "versions": {"fxprof": "0.1.0", "torch": "2.13.0"},
        "workload": {"height": 8, "width": 8, "images": 1, "steps": 4, "guidance_scale": 1.5, "prompt": "a cat"},
        "image_size": [8, 8],
        "guided": None,
        "approximations": [],
        "remarks": [],
        "components": [
            {
                "name": "unet",
                "class_name": "Net",
                "tiling": False,
                "slicing": False,
                "calls": [
                    {"file": "unet.pt2", "entry": "", "count": 4, "note": "", "inputs": inputs},
                    {"ops": [reshape], "entry": "", "count": 1, "note": "ran for real", "inputs": inputs},
                ],
                "aliases": {},
                "modules": [" Net 0", "conv Conv2d 112", "fc Linear 25"],
            }
        ],
    }


def write_capture(directory: Path, whole: Any = None) -> Path:
    """Write the directory of a captured run; `whole` takes the place of `manifest()`."""
    directory.mkdir()
    write(directory / "unet.pt2")
    (directory / "capture.json").write_bytes(written(manifest() if whole is None else whole))
    return directory
