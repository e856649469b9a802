"""The work of every command on a profile: check the output, get the profile, write the report."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fxprof.cli.options import Counting, Output, Request
from fxprof.errors import FxprofError, OutputError, TargetError, UsageError, printable
from fxprof.reports import Document, Format, pick_format
from fxprof.result.files import check_writable, reason, write_whole
from fxprof.result.measures import MACS, Measure, find_measure
from fxprof.result.profile import Profile
from fxprof.result.views import not_captured
from fxprof.source.targets import Target, find_target, refuse_untaken

if TYPE_CHECKING:
    from fxprof.cache import Cache, Entry
    from fxprof.cost.registry import Formulas


class StrictError(FxprofError):
    """Something is uncounted, and `--strict` was given."""

    exit_code = 1


def report_profile(request: Request, build: Callable[[Profile], Document], measure: str = "macs") -> None:
    """Profile the target and write the document that `build` makes of it in a measure.

    Raises:
        FxprofError: anything that fxprof refuses; an output that cannot be written, before any work is done.
    """
    form, counted = prepare(request.output), find_measure(measure)
    check_shown(request.counting, measure)
    with find_target(request.target) as target:
        profile = profile_of(request, target)
    if request.counting.component:
        profile = profile.only(request.counting.component)
    write(rendered(form, build(profile), request.output), request.output)
    if request.counting.strict:
        shown = counted.of(profile)
        if shown.total.uncounted:
            raise strict_error(shown, counted)


def check_shown(counting: Counting, measure: str) -> None:
    """Check before any work that the options suit the measure.

    Raises:
        UsageError: they are about MACs, and the measure is another one.
    """
    find_measure(measure).unit_of(counting.unit)
    if counting.causal != "full" and measure != MACS.name:
        raise UsageError(f"--causal {counting.causal} changes MACs, and the measure is {measure}", "leave out --causal")


def prepare(output: Output) -> Format:
    """The format of the report, after a check that the file can be written."""
    form = pick_format(output.format, output.file)
    if output.file is not None:
        check_writable(output.file, force=output.force)
    return form


def rendered(form: Format, document: Document, output: Output) -> str:
    """The text of the document in the requested form."""
    return form.render(replace(document, rows=replace(document.rows, plain_cells=output.plain_cells)))


def write(text: str, output: Output) -> None:
    """Write the report to its file or to stdout.

    Raises:
        OutputError: it cannot be written.
    """
    if output.file is not None:
        write_whole(output.file, text, force=output.force)
    elif sys.stdout is None:
        raise OutputError("cannot write the report: stdout is closed")
    else:
        try:
            shown = visible(text) if sys.stdout.isatty() else text
            click.echo(encodable(shown, sys.stdout.encoding or "utf-8"), nl=False)
        except BrokenPipeError:
            raise  # the reader closed the pipe
        except OSError as error:
            raise OutputError(f"cannot write the report: {reason(error)}") from error


def visible(text: str) -> str:
    """The text with escapes for characters that would steer a terminal; its lines stay."""
    if text.isascii() and not _STEERS.search(text):
        return text
    return "\n".join(line if line.isprintable() else _written_out(line) for line in text.split("\n"))


_STEERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def _written_out(line: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)


_ASCII = str.maketrans({"≥": ">=", "≤": "<=", "…": "...", "→": "->", "\N{MULTIPLICATION SIGN}": "x"})


def encodable(text: str, encoding: str) -> str:
    """The text or, if the terminal cannot show it, the text with signs that it can show."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def profile_of(request: Request, target: Target, *, lifetimes: bool | None = None) -> Profile:
    """Load the saved profile, count the graphs, or capture the pipeline.

    Args:
        request: the user's request.
        target: its target, opened.
        lifetimes: as for `fxprof.profile`; None for a report that needs them only if it is saved.

    Raises:
        UsageError: an option that the target does not take.
    """
    refuse_untaken((target,), options_of(request))  # before files of formulas run
    from fxprof import api
    from fxprof.cache import default_cache

    progress = _progress() if _on_terminal() else None
    counting = request.counting
    found = api.profile(
        target,
        **request.workload,
        formulas=_formulas(counting),
        whole=counting.whole,
        cache=None if counting.no_cache else default_cache(),
        progress=progress,
        lifetimes=pick_format(request.output.format, request.output.file).name == "json" if lifetimes is None else lifetimes,
    )
    return found.count_causal(counting.causal)


def options_of(request: Request) -> dict[str, Any]:
    """The options that change the analysis: names, as in `fxprof.profile`, to given values."""
    return {**request.workload, "formulas": request.counting.formulas, "whole": request.counting.whole}


def _formulas(counting: Counting) -> Formulas | None:
    """The table of formulas with those of the files; None for the default table."""
    if not counting.formulas:
        return None
    from fxprof.api import default_formulas
    from fxprof.cost.plugins import load_file

    table = default_formulas()
    for path in counting.formulas:
        table = load_file(path, table)
    return table


def write_graphs(target: str, directory: Path, workload: Mapping[str, Any], *, force: bool) -> str:
    """Capture the target into a directory; returns the line to print about it."""
    from fxprof import api
    from fxprof.reports.words import format_count

    progress = _progress() if _on_terminal() else None
    profile = api.save_graphs(target, directory, force=force, progress=progress, **workload)
    called = [component for component in profile.components.values() if component.calls]
    calls = sum(len(component.calls) for component in called)
    return f"{directory}: {format_count(calls, 'distinct call')} of {format_count(len(called), 'component')}\n"


def kept_in(cache: Cache) -> list[Entry]:
    """The cached results.

    Raises:
        TargetError: the directory cannot be read.
    """
    try:
        return cache.entries()
    except OSError as error:
        raise TargetError(f"cannot read {cache.directory}: {reason(error)}") from error


def clear_cache(cache: Cache) -> int:
    """Remove all cached results; returns their number.

    Raises:
        OutputError: the directory cannot be read, or a file cannot be removed.
    """
    try:
        return cache.clear()
    except OSError as error:
        raise OutputError(f"cannot clear {cache.directory}: {reason(error)}") from error


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _progress() -> Callable[[str], None]:
    started = time.perf_counter()
    return lambda line: click.echo(f"fxprof: {time.perf_counter() - started:5.1f} s  {printable(line)}", err=True)


def strict_error(profile: Profile, measure: Measure = MACS) -> StrictError:
    """The error about a profile with uncounted work, in a measure."""
    failed = not_captured(profile)
    if failed:
        what = "; ".join(f"{name} was not captured to its end: {reason}" for name, reason in failed)
        return StrictError(what, "profile it alone with fxprof.profile_module, or leave out --strict to get the captured part")
    rows = [row for component in profile.components.values() for call in component.calls for row in call.ops]
    ops = sorted({row.op for row in rows if row.macs is None})
    times = f"{profile.total.uncounted:,} execution{'s' if profile.total.uncounted > 1 else ''}"
    message = f"{times} of operators without {measure.lacking}: {', '.join(ops)}"
    if measure is not MACS:
        return StrictError(message)
    return StrictError(message, "declare their formulas in a file and name it with --formulas")
