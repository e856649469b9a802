"""The one door for targets: one look at the user's target decides its sort, and so the options that it takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Self

from fxprof import limits
from fxprof.errors import TargetError, UsageError
from fxprof.source.checkpoint import CheckpointFile, looks_like_checkpoint, read_checkpoint
from fxprof.source.config import PipelineConfig, SingleComponent
from fxprof.source.directory import CONFIG, INDEX, MODULAR, holds, read, read_component, refuse_modular
from fxprof.source.environment import refuse_environment
from fxprof.source.hub import is_hub_id, read_hub, repository
from fxprof.source.live import check_pipeline
from fxprof.source.unresolved import unresolved
from fxprof.source.workload import Workload, flag_of, options_given
from fxprof.source.zoo import load_zoo, models, names
from fxprof.strict_json import JsonError, read_json
from fxprof.texts import read_most


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of target."""

    words: str
    plural: str
    takes: frozenset[str]
    """The options that change something, as `fxprof.profile` names them."""
    hint: str = ""
    """The hint about an option that it does not take; "" stands for the hint to name another target."""


PIPELINE = Sort(
    "a pipeline",
    "pipelines",
    frozenset({*(item.name for item in fields(Workload)), "formulas", "whole"}),
    "a pipeline takes --height, --width and --arg, a component --input",
)
COMPONENT = Sort(
    "one component",
    "single components",
    frozenset({"dtype", "inputs", "formulas", "whole"}),
    "--input NAME=SHAPE sets its inputs",
)
GRAPH = Sort("an exported graph", "exported graphs", frozenset({"dims", "formulas"}))
RUN = Sort("a captured run", "captured runs", frozenset({"formulas"}))
PROFILE = Sort("a saved profile", "saved profiles", frozenset())

SORTS = (PIPELINE, COMPONENT, GRAPH, RUN, PROFILE)
CAPTURED = (GRAPH, RUN, PROFILE)
"""The sorts that already hold graphs or results, of one workload."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target of known sort. As a context manager, it closes its file at the end."""

    text: str
    """The user's name for it."""
    sort: Sort
    content: Any = field(repr=False)
    """The content that was read.

    Of a pipeline the `PipelineConfig`, the `CheckpointFile` or the live object; of a component the `SingleComponent`; of a
    saved profile a list with the bytes, which their reader takes out, so that they do not fill memory any longer; of an
    exported graph its file, open at the beginning, or None if it cannot be opened.
    """
    path: Path | None = None
    """The path of a file or a directory; None for any other target."""

    def __str__(self) -> str:
        """The user's name for it."""
        return self.text

    def __enter__(self) -> Self:
        """Keep the file open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self.sort is GRAPH and self.content is not None:
            self.content.close()


def find_target(given: Any) -> Target:
    """Decide the sort of a target: a file, a directory, a bundled model or a repository, tried in this order, or an object.

    Raises:
        TargetError: it is none of these, or diffusers and transformers write no such files; or an environment variable
            would make the import of these packages fail.
        UsageError: it is an object that is no pipeline.
    """
    if isinstance(given, Target):
        return given
    if isinstance(given, (PipelineConfig, SingleComponent)):
        return _source(given.name, given)
    if not isinstance(given, (str, os.PathLike)):
        check_pipeline(given)
        return Target(type(given).__name__, PIPELINE, given)
    text = os.fspath(given)
    path = Path(text)
    if text and holds(path.is_dir):
        target = _of_directory(text, path)
    elif text and holds(path.is_file):
        target = _of_file(text, path)
    else:
        target = None
    return target or _of_name(text, path)


def resolve(target: str | os.PathLike[str]) -> PipelineConfig | SingleComponent | CheckpointFile:
    """The configuration of a pipeline or a component, or its file of weights.

    Raises:
        TargetError: as `find_target`; or the target holds graphs or results already.
    """
    with find_target(target) as resolved:
        if resolved.sort in CAPTURED:
            raise unresolved(resolved.text, Path(resolved.text))
        return resolved.content  # type: ignore[no-any-return]


def refuse_untaken(targets: Sequence[Target], options: Mapping[str, Any]) -> None:
    """Refuse options that none of the targets takes.

    Args:
        targets: all targets of the command.
        options: names, as in `fxprof.profile`, to values; an option without a value is not given.

    Raises:
        UsageError: there are such options.
        TargetError: there are, and a file with the name of a graph holds none, such as pickled weights.
    """
    untaken = [name for name in options_given(options) if not any(name in target.sort.takes for target in targets)]
    if not untaken:
        return
    for target in targets:
        _refuse_other_archives(target)
    sorts = {target.sort for target in targets}
    needed = list(dict.fromkeys(next(sort.words for sort in SORTS if name in sort.takes) for name in untaken))
    need = "needs" if len(untaken) == 1 else "need"
    what = f"{', '.join(map(flag_of, untaken))} {need} {' or '.join(needed)}, but {_told(targets)}"
    if len(sorts) > 1:
        raise UsageError(what, "leave the options out")
    other = needed[0].partition(" ")[2]
    raise UsageError(what, sorts.pop().hint or f"name the {other} instead, or leave the options out")


def _refuse_other_archives(target: Target) -> None:
    """Refuse a file with the name of a graph that holds none: this error comes before errors about options."""
    if target.sort is GRAPH and target.path is not None:
        from fxprof.trace.archive import read_archive

        read_archive(target.path)


def _told(targets: Sequence[Target]) -> str:
    """`a.json and b.json are saved profiles`."""
    if len(targets) > 1 and len({target.sort for target in targets}) == 1:
        return f"{' and '.join(map(str, targets))} are {targets[0].sort.plural}"
    return " and ".join(f"{target} is {target.sort.words}" for target in targets)


def _source(text: str, content: PipelineConfig | SingleComponent | CheckpointFile, path: Path | None = None) -> Target:
    return Target(text, COMPONENT if isinstance(content, SingleComponent) else PIPELINE, content, path)


def _of_directory(text: str, path: Path) -> Target | None:
    from fxprof.trace.bundle import looks_like_bundle

    if looks_like_bundle(path):
        return Target(text, RUN, None, path)
    refuse_environment()
    if holds((path / INDEX).is_file) or holds((path / CONFIG).is_file):
        return _source(text, read(path), path)
    return None


_HEAD = 400
"""Bytes at the beginning of a file, enough to recognise most sorts."""


def _of_file(text: str, path: Path) -> Target | None:
    """The target in a file, by the content first and the name second; None for any other file. Opens the file once."""
    file = _opened(path)
    target = None
    try:
        target = _of_opened(text, path, file)
    finally:
        if file is not None and (target is None or target.content is not file):
            file.close()
    return target


def _opened(path: Path) -> FileIO | None:
    """The open file; None if it cannot be opened, an error that its reader reports."""
    with suppress(OSError):
        return FileIO(path)
    return None


def _of_opened(text: str, path: Path, file: FileIO | None) -> Target | None:
    from fxprof.trace.archive import looks_like_archive

    head = b""
    with suppress(OSError):
        if file is not None:
            head = read_most(file, _HEAD - 1)
            profile = _profile(head, file)
            if profile is not None:
                return Target(text, PROFILE, [profile], path)
            file.seek(0)
    if looks_like_archive(path, head):
        return Target(text, GRAPH, file, path)
    refuse_environment()
    if path.name == MODULAR:
        raise refuse_modular(path.parent)
    if path.name in {INDEX, CONFIG}:
        return _source(text, read(path.parent), path)
    if not looks_like_checkpoint(path, head):
        return None
    checkpoint = read_checkpoint(path, file)
    # diffusers and transformers save the configuration beside the weights.
    beside = holds((path.parent / CONFIG).is_file)
    return _source(text, read_component(path.parent) if beside else checkpoint, path)


_BEGINNING = re.compile(r'\s*\{\s*"format"\s*:\s*-?\d')


def _profile(head: bytes, file: BinaryIO | FileIO) -> bytes | None:
    """The bytes of a saved profile, damaged or not; one byte too many of one that is too large; None for other files."""
    beginning = head.decode(json.detect_encoding(head), errors="replace")
    if not beginning.lstrip().startswith("{"):
        return None
    raw = b"".join((head, read_most(file, limits.PROFILE_BYTES - len(head))))
    return raw if _BEGINNING.match(beginning) or _has_fields(raw) else None


def _has_fields(raw: bytes) -> bool:
    """Whether the bytes are a JSON object with the fields of a profile, in any order: another program may have written it."""
    encoding, values = json.detect_encoding(raw), limits.profile_values(len(raw))
    try:  # the reader of profiles reports every other fault
        value = read_json(raw, values=values, repeats=True, infinite=True, encoding=encoding)
    except JsonError:
        return False
    return isinstance(value, dict) and {"format", "workload", "components"} <= value.keys()


def _of_name(text: str, path: Path) -> Target:
    refuse_environment()
    if text in names():
        return _source(text, load_zoo(text))
    if is_hub_id(text) and not holds(path.exists):
        return _source(text, _from_hub(text))
    raise unresolved(text, path)


def _from_hub(text: str) -> PipelineConfig | SingleComponent:
    try:
        return read_hub(text)
    except TargetError as error:
        bundled = [entry.name for entry in models() if entry.hub_id.lower() == repository(text).lower()]
        if not bundled:
            raise
        raise TargetError(error.message, f"{error.hint}; or profile the bundled model {bundled[0]!r}") from error
