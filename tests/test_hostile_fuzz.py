"""Real files, changed at random: either a profile that adds up, or a refusal in one line; never anything else.

The short form takes the same examples every time. The long one takes others every time, and shows how to have them again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import archives
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from fxprof import api
from fxprof.errors import FxprofError, TargetError, UsageError
from fxprof.reports import FORMATS
from fxprof.reports.summary import build_summary as summary
from fxprof.result import Profile, Total
from fxprof.result.files import write_whole
from fxprof.result.saved.read import load, loads
from fxprof.result.saved.write import dumps
from fxprof.source import PipelineConfig, resolve
from fxprof.trace import Dim, Expr, Sizes, Tensor, Trace, UnboundSymbolError
from fxprof.trace.dims import Dims, bind_dims, read_names
from fxprof.trace.expressions import ExpressionError, parse_expression
from fxprof.trace.stacks import StackReader, parse_stack, source_of
from fxprof.trace.symbols import solve

SHORT = settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
KEPT = os.environ.get("FXPROF_FUZZ_KEPT", "")
"""A directory for examples and files that fail, as `make fuzz` names one; empty for none."""
LONG = settings(
    SHORT,
    max_examples=20 * 150,
    derandomize=False,
    print_blob=True,
    database=DirectoryBasedExampleDatabase(Path(KEPT) / "examples") if KEPT else None,
)

LONGEST = 400
"""Characters of a message, apart from the path of the file."""


@dataclass(frozen=True)
class Real:
    """What torch and fxprof write, and where changed copies of it may lie."""

    parts: dict[str, bytes] = field(repr=False)
    """Entries of an archive, without the outer folder."""
    archive: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    folder: Path


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """A module with a convolution, attention, a body and sizes that vary, exported and saved by torch."""
    import fuzzed

    folder = tmp_path_factory.mktemp("real")
    fuzzed.save(folder / "net.pt2")
    data = (folder / "net.pt2").read_bytes()
    archives.write_capture(folder / "run")
    (folder / "run" / "unet.pt2").write_bytes(data)
    assert api.profile(folder / "net.pt2").macs == fuzzed.MACS
    return Real(archives.unpacked(data), data, archives.written(archives.manifest()), folder)


def test_the_builder_makes_what_torch_makes(real: Real) -> None:
    """The tests on hostile files change what `archives` builds, so that has to look like the real thing."""
    assert set(real.parts) - set(archives.entries()) <= {f"data/weights/weight_{place}" for place in range(20)}
    assert set(archives.entries()) <= set(real.parts)
    found, built = json.loads(real.parts["models/model.json"]), archives.model()
    for path in [(), ("graph_module",), ("graph_module", "graph"), ("graph_module", "graph", "nodes", 0), ("schema_version",)]:
        assert _at(found, path).keys() == _at(built, path).keys()
    tensors = [_at(whole, ("graph_module", "graph", "tensor_values", "x")) for whole in (found, built)]
    assert tensors[0].keys() == tensors[1].keys()
    kinds = [{next(iter(spec)) for spec in whole["graph_module"]["signature"]["input_specs"]} for whole in (found, built)]
    assert kinds[0] == kinds[1]


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


# --- what may come of a changed file


def check(path: Path) -> None:
    """Hold a target to what may come of it: a sound profile, or a refusal."""
    try:
        profile = api.profile(path)
    except FxprofError as error:
        check_refusal(error, path)
    else:
        check_profile(profile, path.parent)


def check_refusal(error: FxprofError, path: Path) -> None:
    assert error.exit_code == 3, error
    assert path.name in error.message
    for text in (error.message, error.hint):
        assert text.isprintable()
        assert len(text.replace(str(path.parent), "")) <= LONGEST


def check_profile(profile: Profile, folder: Path) -> None:
    assert loads(dumps(profile)) == profile
    assert profile.total == Total.sum(component.total for component in profile.components.values())
    for form in FORMATS.values():
        write_whole(folder / "report", form.render(summary(profile)), force=True)


# --- JSON, changed by its structure

_FUNCTIONS = ("Add", "Mul", "FloorDiv", "Mod", "Pow", "Max", "Min", "Rational", "ModularIndexing", "CeilToInt", "Evil")
_LEAVES = st.one_of(
    st.integers().map(lambda number: f"Integer({number})"),
    st.sampled_from(("Symbol('s77', positive=True, integer=True)", "s1", "oo", "Float('1.5', precision=53)", "Float('1e999')")),
)
EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.tuples(st.sampled_from(_FUNCTIONS), st.lists(inner, min_size=1, max_size=4)).map(
        lambda made: f"{made[0]}({', '.join(made[1])})"
    ),
    max_leaves=12,
)
_NAMES = ("x", "conv2d", "s77", "as_int", "as_tensor", "as_expr", "aten.mm.default", "a..b", ".", "a.", "", "\ud800", "\x1b[2J")
_NUMBERS = (-1, 0, 1, 2, 7, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**40, -(10**30), 0.5, 1e300, -0.0)
_SCALARS = st.one_of(
    st.sampled_from((None, True, False, *_NUMBERS, *_NAMES)), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)
)
_UNIONS = st.one_of(
    st.fixed_dictionaries({"as_int": st.sampled_from(_NUMBERS)}),
    st.fixed_dictionaries({"as_tensor": st.fixed_dictionaries({"name": st.sampled_from(_NAMES)})}),
    EXPRESSIONS.map(lambda text: archives.symbolic(text, None)),
)
JSON = st.recursive(
    st.one_of(_SCALARS, _UNIONS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)),
    max_leaves=8,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value in a tree."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(draw: Callable[[Any], Any], text: bytes) -> bytes:
    """The JSON with some of its values replaced, taken out, doubled or exchanged."""
    holder = {"whole": json.loads(text)}
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(holder))[1:]
        *before, key = draw(st.sampled_from(known))
        around = _at(holder, tuple(before))
        match draw(st.sampled_from(("replace", "alike", "delete", "double", "exchange", "rename"))):
            case "replace":
                around[key] = draw(JSON)
            case "alike":
                around[key] = alike(draw, around[key], holder)
            case "delete" if before:
                del around[key]
            case "double" if isinstance(around, list):
                around.insert(draw(st.integers(0, len(around))), around[key])
            case "exchange":
                other = _at(holder, draw(st.sampled_from(known)))
                around[key] = json.loads(json.dumps(other))
            case _ if isinstance(around, dict) and before:
                around[draw(st.sampled_from(_NAMES))] = around.pop(key)
    return json.dumps(holder["whole"]).encode()


def alike(draw: Callable[[Any], Any], value: Any, whole: Any) -> Any:
    """A value of the same kind, as the grammar of the file wants it: what a check of kinds alone lets through."""
    match value:
        case bool():
            return not value
        case int() | float():
            return draw(st.sampled_from((*_NUMBERS, value + 1, -value, value * 1000)))
        case str():
            texts = [text for path in places(whole) if isinstance(text := _at(whole, path), str)]
            other = draw(st.sampled_from([*texts, *_WORDS_OF_FILES]))
            return draw(st.sampled_from((other, f"{value}.{other}", f"{value} {other}", value[::-1], value.upper())))
        case list():
            return draw(st.sampled_from((value * 3, value[::-1], value[1:], [value], [*value, None])))
        case dict():
            return {**value, draw(st.sampled_from(_KEYS)): draw(_SCALARS)}
        case _:
            return draw(_SCALARS)


_KEYS = (
    *("count", "macs", "shape", "value", "runs", "stored_bytes", "visits", "entered", "nnz", "aliases", "note", "bounded"),
    *("auto_map", "num_hidden_layers", "hidden_size", "model_max_length", "_class_name", "architectures", "backbone"),
    *("weights", "weight_bytes", "held_weights", "more_weight_bytes", "parts", "linear", "skipped_by", "kind"),
    *("tokenizer_class", "normalizer", "padding", "rfilename", "size", "sha", "siblings"),
)
_WORDS_OF_FILES = (
    *(
        "diffusers",
        "transformers",
        "AutoTokenizer",
        "AutoModel",
        "CLIPTokenizer",
        "UNet2DModel",
        "os",
        "builtins",
        "stable_diffusion",
    ),
    *(
        "../x.json",
        "/etc/passwd",
        "unet/config.json",
        "unet/../../x.json",
        "a/additional_chat_templates/x.jinja",
        "x.py",
        "1" * 40,
    ),
    *("image:8x8", "scalar", "1x2 -> 3", "aten.mm.default", "Replace", "Sequence", "\ud83d\ude00", "a" * 5000),
)


def configuration_property(real: Real, data: st.DataObject) -> None:
    path = real.folder / "pipeline"
    name = data.draw(st.sampled_from(sorted(PIPELINE)))
    for file, values in PIPELINE.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(changed(data.draw, values) if file == name else values)
    try:
        found = resolve(path)
    except FxprofError as error:
        check_refusal(error, path)
        return
    assert isinstance(found, PipelineConfig)
    for name, part in found.components.items():
        assert name.isidentifier()
        assert part is None or (part.library and part.class_name and part.directory in (None, path / name))


PIPELINE: dict[str, bytes] = {
    file: json.dumps(values).encode()
    for file, values in {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "text_encoder": ["transformers", "AutoModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
        },
        "unet/config.json": {"_class_name": "UNet2DConditionModel", "block_out_channels": [32, 64], "sample_size": 8},
        "text_encoder/config.json": {"architectures": ["CLIPTextModel"], "num_hidden_layers": 2, "hidden_size": 32},
        "tokenizer/tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77},
    }.items()
}
"""The configurations of a pipeline."""


def tokenizer_property(real: Real, data: st.DataObject) -> None:
    from fxprof.capture.vocabularies import trusted_copy

    folder = real.folder / "tokenizer"
    folder.mkdir(exist_ok=True)
    for file, values in TOKENIZER.items():
        (folder / file).write_bytes(changed(data.draw, values))
    try:
        with trusted_copy(folder) as copy:
            assert {path.name for path in copy.iterdir()} == set(TOKENIZER)
            read = json.loads((copy / "tokenizer_config.json").read_text())
    except FxprofError as error:
        check_refusal(error, folder)
        return
    assert not {key for _, item in _fields(read) for key in item} & {"auto_map", "trust_remote_code", "_name_or_path"}


def _fields(value: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    found = ((path, _at(value, path)) for path in places(value))
    return ((path, item) for path, item in found if isinstance(item, dict))


TOKENIZER: dict[str, bytes] = {
    "tokenizer.json": json.dumps(
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}, {"type": "NFC"}],
            },
            "padding": {"strategy": {"Fixed": 77}, "pad_id": 0},
            "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
        }
    ).encode(),
    "tokenizer_config.json": json.dumps(
        {"auto_map": {"AutoTokenizer": ["x.X", None]}, "init": {"_name_or_path": "org/name"}, "model_max_length": 77}
    ).encode(),
}


def hub_property(real: Real, data: st.DataObject) -> None:
    from fxprof.source.fetch import RefusedError
    from fxprof.source.hub import _listing, needed

    body = changed(data.draw, LISTING)
    try:
        commit, listed = _listing(body, "main")
    except RefusedError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right, but nothing else
        assert len(str(error)) <= LONGEST  # noqa: PT017
        return
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert all(file.size is None or file.size >= 0 for file in listed.values())
    index = real.folder / "model_index.json"
    index.write_bytes(changed(data.draw, PIPELINE["model_index.json"]))
    for name in needed(listed, index):
        assert (real.folder / name).resolve().is_relative_to(real.folder.resolve())
        assert not name.endswith((".py", ".safetensors", ".bin"))


LISTING = json.dumps(
    {
        "sha": "1" * 40,
        "siblings": [
            {"rfilename": name, "size": 10}
            for name in (*PIPELINE, "tokenizer/vocab.json", "tokenizer/chat_template.jinja", "unet/x.safetensors", "x.py")
        ],
    }
).encode()
"""What the Hub says of a repository."""


def graph_property(real: Real, data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(["models/model.json"] * 4 + ["data/weights/model_weights_config.json"]))
    path = real.folder / "graph.pt2"
    path.write_bytes(archives.packed({**real.parts, entry: changed(data.draw, real.parts[entry])}))
    check(path)


def manifest_property(real: Real, data: st.DataObject) -> None:
    path = real.folder / "run"
    (path / "capture.json").write_bytes(changed(data.draw, real.manifest))
    check(path)


def profile_property(real: Real, data: st.DataObject) -> None:
    path = real.folder / "saved.json"
    path.write_bytes(changed(data.draw, SAVED))
    try:
        profile = load(path)
    except FxprofError as error:
        check_refusal(error, path)
    else:
        check_profile(profile, real.folder)


def _saved() -> bytes:
    from profiles import uncounted

    return dumps(uncounted()).encode()


SAVED = _saved()

# --- bytes


def disturbed(draw: Callable[[Any], Any], data: bytes) -> bytes:
    """The bytes with some flipped, cut off, put in, or taken from elsewhere."""
    changing = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place, other = (draw(st.integers(0, len(changing))) for _ in range(2))
        match draw(st.sampled_from(("flip", "set", "truncate", "insert", "delete", "splice"))):
            case "flip" if place < len(changing):
                changing[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                few = draw(st.sampled_from((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"PK\x01\x02", b'"', b"[")))
                changing[place : place + len(few)] = few
            case "truncate":
                del changing[place:]
            case "insert":
                changing[place:place] = draw(st.binary(max_size=12))
            case "delete":
                del changing[place : place + draw(st.integers(1, 40))]
            case _:
                changing[place:place] = changing[other : other + draw(st.integers(1, 200))]
    return bytes(changing)


def archive_bytes_property(real: Real, data: st.DataObject) -> None:
    path = real.folder / "bytes.pt2"
    ends = data.draw(st.sampled_from((0, 2000)))  # half of the time, in the directory at the end of the archive
    head, tail = (b"", real.archive) if not ends else (real.archive[:-ends], real.archive[-ends:])
    path.write_bytes(head + disturbed(data.draw, tail))
    check(path)


def manifest_bytes_property(real: Real, data: st.DataObject) -> None:
    path = real.folder / "run"
    (path / "capture.json").write_bytes(disturbed(data.draw, real.manifest))
    check(path)


# --- the small languages within

_SIGNS = st.text(alphabet="ASbolm'\"\\(),=-.0123456789 s\n\x1b", max_size=60)


def _emptied(expression: str) -> str:
    return re.sub(r"\([^()]*\)", "()", expression, count=1)


def expression_property(_real: Real, data: st.DataObject) -> None:
    cut = EXPRESSIONS.map(lambda whole: whole[:-1])
    text = data.draw(st.one_of(EXPRESSIONS, cut, EXPRESSIONS.map(_emptied), _SIGNS, st.text(max_size=30)))
    try:
        dim = parse_expression(text)
    except ExpressionError as error:
        assert len(str(error)) <= 200  # noqa: PT017 - either outcome is right, but nothing else
        return
    assert isinstance(dim, int | Expr)
    assert str(dim)
    sizes = Sizes({"s77": data.draw(st.integers(-9, 2**62)), "s1": 3})
    try:
        assert abs(sizes.value(dim)) <= 2**63
    except UnboundSymbolError as error:
        assert len(error.args[0]) <= 200  # noqa: PT017
    found = solve(dim, 12)
    assert found is None or Sizes(dict([found])).value(dim) == 12


_STACKS = st.text(alphabet="L_self.,;@'01ab \ud800\x1b", max_size=80)
_ENTRIES = st.lists(
    st.sampled_from(("L__self__,,net.Net", "L__self___a,a,net.A", "L__self__a@1,a,b.C", "a;b,a;b,c.D", "1,,", "x", "_,a.")),
    max_size=6,
).map(";".join)


def stack_property(_real: Real, data: st.DataObject) -> None:
    text = data.draw(st.one_of(_STACKS, _ENTRIES))
    entries = parse_stack(text)
    assert all(len(entry) == 3 and all(isinstance(part, str) for part in entry) for entry in entries)
    assert sum(len("".join(entry)) for entry in entries) <= len(text)
    frames = StackReader(data.draw(st.sampled_from(("", "unet.mid"))), aliases={"a": "b"}).frames(entries)
    assert len(frames) <= len(entries)
    assert all("." not in frame.class_name and frame.visit >= 0 for frame in frames)


def source_property(_real: Real, data: st.DataObject) -> None:
    line = st.sampled_from(('File "/a/b/site-packages/c/d.py", line 12', 'File "', '", line 3', "torch/nn.py", "\\", "/", "\n"))
    text = "".join(data.draw(st.lists(st.one_of(line, st.text(max_size=8)), max_size=12)))
    found = source_of(text)
    assert found is None or found.rpartition(":")[2].isdecimal()


def names_property(_real: Real, data: st.DataObject) -> None:
    text = data.draw(st.one_of(JSON.map(json.dumps), st.text(max_size=40)))
    names = read_names(text)
    assert all(isinstance(part, str) for pair in names.items() for part in pair)


def _dim(text: str) -> Dim:
    try:
        return parse_expression(text)
    except ExpressionError:  # a number beyond 64 bits, which a graph cannot have either
        return 0


_DIMS = st.one_of(st.integers(-3, 9), EXPRESSIONS.map(_dim).filter(lambda dim: isinstance(dim, Expr)))
_TENSORS = st.lists(_DIMS, max_size=3).map(lambda sizes: Tensor(tuple(sizes), "float32"))
_WORDS = st.sampled_from(("s77", "s1", "x.0", "x.1", "y.0", "batch", "x", ""))


def dims_property(_real: Real, data: st.DataObject) -> None:
    symbols = data.draw(st.dictionaries(_WORDS, st.integers(-(2**63), 2**63), max_size=2))
    trace = Trace((), (("x", data.draw(_TENSORS)), ("y", data.draw(_TENSORS))), tuple(symbols.items()))
    bound = st.one_of(st.none(), st.integers(-9, 9))
    program = Dims("model", trace, data.draw(st.dictionaries(_WORDS, st.tuples(bound, bound), max_size=2)))
    names = data.draw(st.dictionaries(_WORDS, _WORDS, max_size=2))
    given_sizes = data.draw(st.dictionaries(_WORDS, st.integers(0, 10**9), max_size=3))
    try:
        (sizes,) = bind_dims("x.pt2", [program], names, given_sizes)
    except (UsageError, TargetError) as error:
        assert given_sizes or isinstance(error, TargetError)  # noqa: PT017
        return
    shapes = [tensor.shape for _, tensor in trace.inputs if isinstance(tensor, Tensor)]
    assert all(0 <= Sizes(sizes).size(size) <= 2**63 for shape in shapes for size in shape)


PROPERTIES: dict[str, Callable[[Real, st.DataObject], None]] = {
    "graph": graph_property,
    "manifest": manifest_property,
    "profile": profile_property,
    "configuration": configuration_property,
    "tokenizer": tokenizer_property,
    "hub": hub_property,
    "bytes of an archive": archive_bytes_property,
    "bytes of a manifest": manifest_bytes_property,
    "expression": expression_property,
    "stack": stack_property,
    "source": source_property,
    "names": names_property,
    "dims": dims_property,
}


@pytest.mark.parametrize("name", PROPERTIES)
@SHORT
@given(data=st.data())
def test_whatever_is_changed(name: str, real: Real, data: st.DataObject) -> None:
    PROPERTIES[name](real, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
@LONG
@given(data=st.data())
def test_whatever_is_changed_at_length(name: str, real: Real, data: st.DataObject) -> None:
    try:
        PROPERTIES[name](real, data)
    except Exception:
        if KEPT:  # the last one that fails is the smallest
            shutil.copytree(real.folder, Path(KEPT) / name.replace(" ", "-"), dirs_exist_ok=True)
        raise
