"""The commands. Each maps its options to one document; other packages do the work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import fxprof as package
from fxprof.cli.group import Group, debug_option
from fxprof.cli.options import (
    Output,
    Request,
    count_or_all,
    measure_option,
    measured,
    memory_size,
    on_capture,
    on_output,
    on_pair,
    on_profile,
    percentage,
    weights_option,
)
from fxprof.cli.options import limit as limit_of
from fxprof.cli.work import clear_cache, kept_in, prepare, rendered, report_profile, write, write_graphs
from fxprof.compare.limits import Limit
from fxprof.cost.lifetimes import ATTENTION
from fxprof.errors import TargetError, UsageError
from fxprof.reports import Document
from fxprof.result import Profile
from fxprof.result.measures import find_measure
from fxprof.result.memory import OFFLOADS
from fxprof.result.roofline import GROUPINGS as BOUNDS
from fxprof.result.views import GROUPINGS, check_grouping

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


def _examples(*lines: str) -> str:
    """The end of a help text; its first character makes click keep the lines."""
    return "\n  ".join(["\b\nExamples:" if len(lines) > 1 else "\b\nExample:", *lines])


@click.group(cls=Group, context_settings=_HELP, epilog=_examples("fxprof profile sd3-medium --height 1024 --width 1024"))
@click.version_option(package.__version__, prog_name="fxprof", message="%(prog)s %(version)s")
@debug_option
def fxprof() -> None:
    """Count the computation of an image-generation pipeline.

    Numbers are multiply-accumulates (MACs) by component, layer and operator: exact, and without weights or GPU.

    TARGET is a bundled model (see `fxprof models`), a directory with a model_index.json or the config.json of one
    component, a repository of the Hub as org/name or org/name@revision (only its configuration files are fetched), a
    file of weights as .safetensors or .gguf (only its header is read), an exported graph as a .pt2 file (read without
    torch, never unpickled), a directory of such graphs that capture wrote, or a profile saved as JSON.

    Exit codes: 0 success; 1 uncounted work with --strict, or growth over --fail-over; 2 wrong usage; 3 the analysis
    failed.
    """


@fxprof.command(epilog=_examples("fxprof models --format json"))
@on_output
def models(output: Output) -> None:
    """List the bundled models."""
    from fxprof import source
    from fxprof.reports.models import build_models

    form = prepare(output)
    write(rendered(form, build_models(source.models()), output), output)


@fxprof.command(
    epilog=_examples("fxprof profile sd3-medium --height 512 --width 512 -o sd3.json", "fxprof profile sd3.json --unit tflop")
)
@on_profile
def profile(request: Request) -> None:
    """Count each component, and the whole image or video.

    The JSON report is the whole profile: profile, layers, hotspots and diff take it as TARGET. An option of the workload
    that you leave out has the pipeline's own default.
    """
    from fxprof.reports.summary import build_summary

    report_profile(request, lambda result: build_summary(result, request.counting.unit))


@fxprof.command(epilog=_examples("fxprof layers sd3.json --component transformer --depth all --min-share 1%"))
@click.option(
    "--depth", metavar="N|all", type=count_or_all(0), default="3", show_default=True, help="Levels below a component."
)
@click.option(
    "--min-share", metavar="PERCENT", type=percentage, default="0%", help="Merge branches below this percentage, such as 1%."
)
@measure_option
@on_profile
def layers(request: Request, depth: int | None, min_share: float, measure: str) -> None:
    """Show the module tree of each component.

    A module's numbers contain those of the modules below it. Equal blocks are folded: "0…22" is one row for 23 blocks,
    with their sum.
    """
    from fxprof.reports.layers import build_layers

    report_profile(request, lambda result: build_layers(result, depth, min_share, request.counting.unit, measure), measure)


@fxprof.command(epilog=_examples("fxprof hotspots sd3.json --by class -n 10"))
@click.option("--by", type=click.Choice(tuple(GROUPINGS)), default="layer", show_default=True, help="Grouping of the rows.")
@click.option("-n", "--limit", metavar="N|all", type=count_or_all(1), default="20", show_default=True, help="Rows to show.")
@measure_option
@on_profile
def hotspots(request: Request, by: str, limit: int | None, measure: str) -> None:
    """Show where the MACs are, or another measure, most expensive first.

    Uncounted rows are always shown, whatever the limit.
    """
    from fxprof.reports.hotspots import build_hotspots

    check_grouping(by, find_measure(measure))
    report_profile(request, lambda result: build_hotspots(result, by, limit, request.counting.unit, measure), measure)


@fxprof.command(
    epilog=_examples(
        "fxprof memory flux.1-dev --dtype bf16 --device rtx-4090", "fxprof memory sd3.json --offload model --fail-over 12GiB"
    )
)
@click.option(
    "--offload",
    metavar="|".join(OFFLOADS),
    type=click.Choice(tuple(OFFLOADS)),
    default="none",
    show_default=True,
    help="Weights that leave the device, as diffusers offloads them.",
)
@weights_option
@click.option(
    "--attention",
    type=click.Choice(ATTENTION),
    default="fused",
    show_default=True,
    help="In one kernel, or as products, which hold all scores.",
)
@click.option("--device", metavar="NAME|FILE.toml", help="Whether it fits: see `fxprof devices`; or a file of your own.")
@click.option("--budget", metavar="24GiB", type=memory_size, help="Whether it fits into this much memory.")
@click.option("--fail-over", "limit", metavar="24GiB", type=memory_size, help="Exit with 1 when the peak is larger.")
@on_profile
def memory(request: Request, limit: tuple[str, int] | None, **asked: Any) -> None:
    """Show the memory of a run on its device, and what makes its peak.

    For each component: weights that are on the device while it runs, tensors that Python holds, and tensors that the call
    makes, alive at once. These are exact. What kernels take for themselves is an estimate, and apart.
    """
    from fxprof.cli.memory import report_memory

    report_memory(request, limit, **asked)


@fxprof.command(
    epilog=_examples(
        "fxprof roofline sd3-medium --dtype bf16 --device h100-sxm", "fxprof roofline sd3.json --device l40s --seconds 4.2"
    )
)
@click.option("--device", metavar="NAME|FILE.toml", required=True, help="See `fxprof devices`; or a file of your own.")
@click.option("--by", type=click.Choice(BOUNDS), default="component", show_default=True, help="What a row stands for.")
@click.option(
    "--seconds",
    metavar="S|COMPONENT=S",
    type=measured,
    multiple=True,
    help="Measured time of one run, or of a component's calls in it. Repeatable.",
)
@click.option("-n", "--limit", metavar="N|all", type=count_or_all(1), default="20", show_default=True, help="Rows to show.")
@on_profile
def roofline(request: Request, device: str, by: str, seconds: tuple[tuple[str, float], ...], limit: int | None) -> None:
    """Show the least time that a device needs, and what limits it.

    Two bounds, never predictions: of every operator alone (eager), and of contractions alone, with all else fused into
    them. With measured seconds, also the part of the device's peak that was reached, and how far the bounds are.
    """
    from fxprof.devices import find_device
    from fxprof.reports.roofline import build_roofline

    found = find_device(device)
    names = [name for name, _ in seconds]
    twice = [name or "the run" for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"the seconds of {twice[0]} are given twice", "give one time")

    def build(profile: Profile) -> Document:
        bounds = profile.roofline(found, by=by, seconds=dict(seconds) or None)
        return build_roofline(profile, bounds, limit, request.counting.unit)

    report_profile(request, build)


@fxprof.command(epilog=_examples("fxprof devices --format json"))
@on_output
def devices(output: Output) -> None:
    """List the bundled devices with their peak rates."""
    from fxprof.devices import all_devices
    from fxprof.reports.devices import build_devices

    form = prepare(output)
    write(rendered(form, build_devices(all_devices()), output), output)


@fxprof.command(epilog=_examples("fxprof diff sd-1.5 sd-2.1-base", "fxprof diff baseline.json ./my-pipeline --fail-over +5%"))
@click.option(
    "--fail-over",
    "limits",
    metavar="+5%|+10G",
    type=limit_of,
    multiple=True,
    help="Exit with 1 when the total, or a --component, grows by more, in the measure. Repeatable.",
)
@click.option("--ops", is_flag=True, help="List the operators that each layer lost and gained.")
@click.option(
    "--by",
    type=click.Choice(("kind", "dtype")),
    default="kind",
    show_default=True,
    help="Group the work by kind or by element type.",
)
@click.option(
    "-n", "--limit", metavar="N|all", type=count_or_all(1), default="10", show_default=True, help="Rows for each component."
)
@measure_option
@on_pair
def diff(old: Request, new: Request, limits: tuple[Limit, ...], limit: int | None, measure: str, **shown: Any) -> None:
    """Show the changes from OLD to NEW: the run, components, layers.

    OLD and NEW are targets of any kind. Each gets the options that it takes: a pipeline the workload, a .pt2 file --dim.
    Layers that changed in the same way share a row, and the largest difference comes first. Moved and renamed layers are
    recognised by their content.
    """
    from fxprof.cli.compare import report_diff
    from fxprof.reports.diff import build_diff
    from fxprof.reports.diff import check_grouping as check_groups

    check_groups(shown["by"], measure)
    counting = old.counting
    report_diff(
        old,
        new,
        limits,
        lambda changes, checks: build_diff(changes, limit, unit=counting.unit, checks=checks, strict=counting.strict, **shown),
        measure,
    )


@fxprof.command(epilog=_examples("fxprof capture sd3-medium --steps 28 -o sd3-graphs", "fxprof profile sd3-graphs"))
@on_capture
@click.option(
    "-o", "--output", "directory", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Directory to write."
)
@click.option("--force", is_flag=True, help="Replace an earlier capture.")
def capture(target: str, workload: Mapping[str, Any], directory: Path, force: bool) -> None:
    """Write the graph of every distinct call as a .pt2 file.

    The files hold no weights. profile, layers, hotspots and diff take DIR as a target, and give the same numbers.
    torch.export.load and other tools for exported graphs open each file.
    """
    write(write_graphs(target, directory, workload, force=force), Output())


@fxprof.command(epilog=_examples("fxprof cache", "fxprof cache --clear"))
@click.option("--clear", is_flag=True, help="Remove all cached results.")
@on_output
def cache(output: Output, clear: bool) -> None:
    """Show the cached results, or remove them.

    fxprof caches profiles and captured calls in the user's cache directory, or in FXPROF_CACHE_DIR. Their keys are made of
    the content of the target, the workload and the installed packages. Above FXPROF_CACHE_SIZE megabytes (256), the least
    recently used results are removed.
    """
    from fxprof.cache import default_cache
    from fxprof.reports.cache import build_cache

    form = prepare(output)
    kept = default_cache()
    if kept is None:
        raise TargetError("there is no cache: this user has no home directory", "name a directory in FXPROF_CACHE_DIR")
    removed = clear_cache(kept) if clear else None
    write(rendered(form, build_cache(str(kept.directory), kept.most_bytes, kept_in(kept), removed), output), output)


@fxprof.command(epilog=_examples("fxprof explain aten.conv2d"))
@click.argument("op")
@debug_option
def explain(op: str) -> None:
    """Explain how an operator is counted, or why it costs nothing."""
    from fxprof.cost.explain import explain as report

    write(report(op).rstrip("\n") + "\n", Output())
