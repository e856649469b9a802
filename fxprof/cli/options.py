"""The options that commands share, in the order in which every help text lists them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from fxprof import limits
from fxprof.cli.group import debug_option
from fxprof.compare.limits import Limit, read_limit
from fxprof.errors import UsageError
from fxprof.reports import FORMATS
from fxprof.result.causal import CHOICES as CAUSAL
from fxprof.result.measures import MEASURES
from fxprof.result.quantise import SCHEMES, read_weights
from fxprof.source.stand_ins import stand_in
from fxprof.source.targets import COMPONENT, PIPELINE
from fxprof.source.workload import OPTIONS, Option, flag_of
from fxprof.strict_json import JsonError, nests_deeper, read_json
from fxprof.units import UNITS, read_memory

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Output:
    """The file and the format of a report."""

    format: str | None = None
    """None for the format of the file's suffix, or text."""
    file: Path | None = None
    """None for stdout."""
    force: bool = False
    plain_cells: bool = False
    """Whether CSV writes cells unchanged that a spreadsheet would take for formulas."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The options for counting a target, and for the extent of the report."""

    component: tuple[str, ...]
    """The components to report; empty for all."""
    formulas: tuple[Path, ...]
    """Files that declare more formulas."""
    unit: str
    strict: bool
    whole: bool
    """Whether to export equal modules each time."""
    no_cache: bool
    """Whether to bypass the cache."""
    causal: str = "full"
    """How causal attention is counted, one of `fxprof.result.causal.CHOICES`."""


@dataclass(frozen=True, slots=True)
class Request:
    """The request to a command on a profile, without the command's own options."""

    target: str
    workload: Mapping[str, Any]
    """Arguments of `fxprof.profile`; None for one that is not given."""
    counting: Counting
    output: Output


def count_or_all(least: int) -> Callable[[str], int | None]:
    """Read a number from `least` on, or `all`, which is None."""

    def convert(text: str) -> int | None:
        if text == "all":
            return None
        if not text.isdecimal() or len(text) > _DIGITS or int(text) < least:
            raise click.BadParameter(f"{text!r} is neither 'all' nor a number from {least} on.")
        return int(text)

    return convert


_DIGITS = 9
"""Digits of a number of rows or levels; longer is a typo."""


def memory_size(text: str) -> tuple[str, int]:
    """Read `24GiB` or `24GB`; the text itself, and its bytes."""
    size = read_memory(text)
    if not size:
        raise click.BadParameter(f"{text!r} is no size of memory such as 24GiB or 24GB.")
    return text.strip(), size


def percentage(text: str) -> float:
    """Read `1%`, or `1`, as the fraction 0.01."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:  # noqa: PLR2004  # percent; false for nan, too
        raise click.BadParameter(f"{text!r} is not a percentage from 0% to 100%.")
    return number / 100


def limit(text: str) -> Limit:
    """Read `+5%` or `+10G`."""
    try:
        return read_limit(text)
    except UsageError as error:
        raise click.BadParameter(f"{error.message}.") from error


def finite(text: str) -> float:
    """Read a number, but neither infinity nor nan."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise click.BadParameter(f"{text!r} is not a number.")
    return number


def measured(text: str) -> tuple[str, float]:
    """Read `4.2`, seconds of a run, or `NAME=4.2`, those of a component."""
    name, _, number = text.rpartition("=")
    seconds = finite(number.removesuffix("s"))
    if seconds <= 0:
        raise click.BadParameter(f"{text!r} is not a time above 0 seconds.")
    return name, seconds


def scheme(text: str) -> str:
    """Read `[COMPONENT=]SCHEME`, a way to store weights; the text itself, which is known to name a scheme."""
    try:
        read_weights(text)
    except UsageError as error:
        raise click.BadParameter(f"{error.message} ({error.hint}).") from error
    return text


weights_option = click.option(
    "--weights",
    metavar="[COMPONENT=]SCHEME",
    type=scheme,
    multiple=True,
    help=f"Quantise the weights of linear layers: {', '.join(SCHEMES)}. Repeatable.",
)
"""For commands to which the bytes of weights matter; `Profile.with_weights` takes its values."""


def named_value(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE`; the value is a stand-in (`image:768x512`), JSON or, failing both, the text itself."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.")
    try:
        made = stand_in(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error
    if made is not None:
        return name, made
    try:
        read = read_json(value, values=limits.CONFIG_VALUES, repeats=True)
    except JsonError:  # NaN and Infinity are no JSON, so they are texts too
        return name, value
    if nests_deeper(read, limits.ARGUMENT_NESTING):
        raise click.BadParameter(f"{name} nests more than {limits.ARGUMENT_NESTING} deep.")
    return name, read


def _arguments(_ctx: click.Context, _parameter: click.Parameter, pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    arguments = dict(pairs)
    if len(arguments) < len(pairs):
        raise click.BadParameter("one argument is given twice.")
    return arguments


def named_size(text: str) -> tuple[str, int]:
    """Read `NAME=N`: a size by the name of a symbol or of an input's axis."""
    name, _, number = text.rpartition("=")
    if not name or not number.isascii() or not number.isdecimal() or len(number) > _DIGITS:
        raise click.BadParameter(f"{text!r} is not NAME=N.")
    return name, int(number)


_SIZE = click.IntRange(min=1)


_READERS: dict[Any, Any] = {int: _SIZE, float: finite, dict[str, Any]: named_value, dict[str, int]: named_size}
"""Type of an option to the reader of its text; an option that is a text needs none."""


def _analysis_option(option: Option) -> Command:
    """The click option for an option of the table."""
    repeatable = option.type not in (int, float, str)
    return click.option(
        flag_of(option.name),
        option.name,
        metavar=option.metavar or None,
        type=click.Choice(option.choices) if option.choices else _READERS.get(option.type),
        multiple=repeatable,
        callback=_arguments if option.type in (dict[str, Any], dict[str, int]) else None,
        help=f"{option.help} Repeatable." if repeatable else option.help,
    )


_WORKLOAD = tuple(map(_analysis_option, OPTIONS))
_TO_CAPTURE = tuple(map(_analysis_option, (item for item in OPTIONS if item.name in PIPELINE.takes | COMPONENT.takes)))

_COUNTING = (
    click.option("--component", multiple=True, metavar="NAME", help="Report this component. Repeatable."),
    click.option(
        "--formulas",
        multiple=True,
        metavar="FILE.py",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Python file that declares formulas. Repeatable.",
    ),
    click.option("--unit", type=click.Choice(UNITS), default="auto", help="Unit of the numbers in text and Markdown."),
    click.option("--strict", is_flag=True, help="Exit with 1 when anything is uncounted."),
    click.option("--whole", is_flag=True, help="Export repeated blocks each time; slower, with the same result."),
    click.option("--no-cache", is_flag=True, help="Bypass the cache of earlier results."),
    click.option(
        "--causal",
        type=click.Choice(CAUSAL),
        default="full",
        show_default=True,
        help="Count attention that says it is causal in full, or half.",
    ),
)

_OUTPUT = (
    click.option("--format", type=click.Choice(tuple(FORMATS)), help="Default: the format of FILE's suffix, or text."),
    click.option(
        "-o", "--output", "file", metavar="FILE", type=click.Path(path_type=Path), help="Write to a file; - is stdout."
    ),
    click.option("--force", is_flag=True, help="Overwrite the file."),
    click.option(
        "--plain-cells", is_flag=True, help="In CSV, write names unchanged, even if a spreadsheet takes them for formulas."
    ),
)


measure_option = click.option(
    "--measure",
    type=click.Choice(tuple(MEASURES)),
    default="macs",
    show_default=True,
    help="Count MACs, bytes moved, bytes of weights, or operations on elements.",
)
"""For commands that can show something else than MACs."""


def on_profile(command: Command) -> Command:
    """Give a command TARGET and the options of all commands on profiles, as the argument `request`."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        counting = Counting(*(given.pop(item.name) for item in fields(Counting)))
        workload = _popped(given)
        return command(request=Request(given.pop("target"), workload, counting, _output(given)), **given)

    options = [click.argument("target"), *_WORKLOAD, *_COUNTING, *_OUTPUT, debug_option]
    return _decorated(call, options)


def on_pair(command: Command) -> Command:
    """Give a command OLD and NEW and the options of all commands on profiles, as the arguments `old` and `new`."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        counting = Counting(*(given.pop(item.name) for item in fields(Counting)))
        workload = _popped(given)
        output = _output(given)
        old, new = (Request(given.pop(name), workload, counting, output) for name in ("old", "new"))
        return command(old=old, new=new, **given)

    options = [click.argument("old"), click.argument("new"), *_WORKLOAD, *_COUNTING, *_OUTPUT, debug_option]
    return _decorated(call, options)


def on_capture(command: Command) -> Command:
    """Give a command TARGET and the options of the workload, as the arguments `target` and `workload`."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        return command(workload=_popped(given), **given)

    return _decorated(call, [click.argument("target"), *_TO_CAPTURE, debug_option])


def on_output(command: Command) -> Command:
    """Give a command only the options for the report's format and file, as the argument `output`."""

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        return command(output=_output(given), **given)

    return _decorated(call, [*_OUTPUT, debug_option])


def _popped(given: dict[str, Any]) -> dict[str, Any]:
    """The options of an analysis, removed from the given ones."""
    return {option.name: given.pop(option.name) for option in OPTIONS if option.name in given}


def _output(given: dict[str, Any]) -> Output:
    file = given.pop("file")
    where = None if str(file) == "-" else file
    return Output(given.pop("format"), where, given.pop("force"), given.pop("plain_cells"))


def _decorated(command: Command, options: Sequence[Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
