"""The work of `fxprof memory`: profile, hold the peak to a budget, find what makes it fit, write the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fxprof.cli.group import say
from fxprof.cli.options import Request
from fxprof.cli.work import prepare, profile_of, rendered, strict_error, write
from fxprof.errors import CaptureError, FxprofError, UsageError
from fxprof.reports.memory import Fit, build_memory
from fxprof.result.memory import OFFLOADS, Memory
from fxprof.result.profile import Profile
from fxprof.source.targets import Target, find_target
from fxprof.units import format_memory


class TooLargeError(FxprofError):
    """The peak is larger than `--fail-over` allows."""

    exit_code = 1


def report_memory(
    request: Request,
    limit: tuple[str, int] | None,
    *,
    offload: str,
    weights: tuple[str, ...],
    attention: str,
    device: str | None,
    budget: tuple[str, int] | None,
) -> None:
    """Profile the target, write the report of its memory, then hold the peak to the limit.

    Raises:
        FxprofError: anything that fxprof refuses; after the report is written, a peak above the limit or uncounted work.
    """
    if device is not None and budget is not None:
        raise UsageError("--device and --budget both say how much memory there is", "give one of them")
    room = _room(device) if device is not None else budget
    form = prepare(request.output)
    with find_target(request.target) as target:
        profile = profile_of(request, target, lifetimes=True)
        memory = profile.memory(offload, attention=attention, weights=weights)
        if request.counting.component:  # the others' weights stay where they are
            profile = profile.only(request.counting.component)
            memory = memory.only(request.counting.component)
        fit = None if room is None else _fit(Fit(*room), memory, _changes(request, target, profile, memory, weights))
    write(rendered(form, build_memory(profile, memory, fit), request.output), request.output)
    if limit is not None:
        _hold(memory, *limit)
    if request.counting.strict and profile.total.uncounted:
        raise strict_error(profile)


def _room(device: str) -> tuple[str, int]:
    from fxprof.devices import find_device

    found = find_device(device)
    return found.name, found.find_memory()


def _hold(memory: Memory, text: str, most: int) -> None:
    if memory.peak_bytes > most:
        over = format_memory(memory.peak_bytes - most)
        raise TooLargeError(f"the peak is {format_memory(memory.peak_bytes)}, {over} over {text}")
    if memory.peak_bytes + memory.workspace_bytes[1] > most:
        more = format_memory(memory.workspace_bytes[1])
        say(f"fxprof: the peak is below {text}, but kernels and rounding may take up to {more} more")


def _fit(fit: Fit, memory: Memory, changes: Iterator[tuple[str, Memory]]) -> Fit:
    """Whether a run fits; if not, the first change that makes it fit."""
    if memory.peak_bytes <= fit.bytes:
        return fit
    tried: list[str] = []
    for option, found in changes:
        tried.append(option)
        if found.peak_bytes <= fit.bytes:
            return replace(fit, cure=option, cured_bytes=found.peak_bytes, tried=tuple(tried))
    return replace(fit, tried=tuple(tried))


def _changes(
    request: Request, target: Target, profile: Profile, memory: Memory, weights: tuple[str, ...]
) -> Iterator[tuple[str, Memory]]:
    """Changes that need less memory, each with what it leads to: those of the autoencoder first, then ways to offload."""
    attention = memory.attention
    profiles: list[tuple[str, Profile]] = [("", profile)]
    if "enable" in target.sort.takes and not request.counting.component:
        tiled = _with_tiles(request, target)
        if tiled is not None:
            profiles.append(tiled)
            option, other = tiled
            yield option, other.memory(memory.offload, attention=attention, weights=weights)
    further = list(OFFLOADS)[list(OFFLOADS).index(memory.offload) + 1 :]
    for way in further:
        for option, one in profiles:
            yield " ".join(filter(None, (f"--offload {way}", option))), one.memory(way, attention=attention, weights=weights)


def _with_tiles(request: Request, target: Target) -> tuple[str, Profile] | None:
    """The option that lets the autoencoder work tile by tile, with the profile then; None where there is no such thing."""
    given = tuple(request.workload.get("enable") or ())
    wanted = [switch for switch in ("vae.slicing", "vae.tiling") if switch not in given]
    if not wanted:
        return None
    other = replace(request, workload={**request.workload, "enable": (*given, *wanted)})
    try:
        return " ".join(f"--enable {switch}" for switch in wanted), profile_of(other, target, lifetimes=True)
    except (UsageError, CaptureError):
        return None
