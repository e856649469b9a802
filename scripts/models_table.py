"""The table of all bundled models, each with the defaults of its pipeline.

python scripts/models_table.py                  # print it; half an hour, with progress row by row
python scripts/models_table.py --write          # put it into docs/RESULTS.md
python scripts/models_table.py --one sd-1.5     # one row, as JSON
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from results_page import giga, is_autoencoder, markdown, put, tera

import fxprof
from fxprof.result.profile import Component
from fxprof.source import load_zoo, names

INTRO = """\
Each model runs with its pipeline's default size, steps and guidance, even if it was distilled to a few steps. Only Stable
Cascade and Wuerstchen run at 1024x1024, for which they were trained; their combined pipelines default to a quarter of that.
Pixels are the computed ones: some pipelines have sizes of their own.
MACs are those of one image, for the prompt "a photo of a cat". A call is one evaluation of the denoiser: it holds two samples
if guidance doubles the batch, and a step has two calls if guidance is a separate pass. If calls differ, the
figure is their mean. "Other" is image encoders and safety checkers. A tilde: the length of the text is approximate, as it is
not padded and no vocabulary is bundled.
[zoo.md](zoo.md) says where the models' values come from. `python scripts/models_table.py` makes the table.
"""

ARGUMENTS: Mapping[str, str] = {"sdxl-refiner-1.0": "image:1024x1024"}
"""Model to a stand-in for the image that its pipeline starts from."""


TRAINED_FOR: Mapping[str, int] = {"stable-cascade": 1024, "wuerstchen": 1024}
"""Model to height and width, if its pipeline's own default is another size."""


def is_denoiser(name: str) -> bool:
    """Whether the pipeline calls a component of this name for every step."""
    return not is_autoencoder(name) and not any(part in name for part in ("text_encoder", "image_encoder", "safety_checker"))


@dataclass(frozen=True, slots=True)
class Row:
    """A bundled model, run with the defaults of its pipeline."""

    name: str
    pixels: str
    """The computed size, if a pipeline has sizes of its own and scales the image at last."""
    steps: str
    denoisers: tuple[tuple[str, int, int], ...]
    """Name, calls and MACs of each component that is called for every step."""
    text: int
    autoencoder: int
    total: int
    sign: str
    """`~` if approximate, `≥` if something is uncounted, `≤` if something is bounded."""

    def cells(self) -> list[str]:
        """The cells of the table."""
        several = len(self.denoisers) > 1
        each = [giga(macs // calls) + f" ({name})" * several for name, calls, macs in self.denoisers]
        calls = "; ".join(str(calls) for _, calls, _ in self.denoisers)
        denoiser = sum(macs for _, _, macs in self.denoisers)
        other = self.total - denoiser - self.text - self.autoencoder
        parts = [tera(macs) if macs else "-" for macs in (denoiser, self.text, self.autoencoder, other)]
        sums = [self.sign + tera(self.total), self.sign + tera(2 * self.total)]
        return [self.name, self.pixels, self.steps, "; ".join(each), calls, *parts, *sums]


def one_model(name: str) -> Row:
    """The row of a bundled model."""
    from fxprof.source.stand_ins import stand_in

    arguments = {"image": stand_in(ARGUMENTS[name])} if name in ARGUMENTS else None
    size = TRAINED_FOR.get(name)
    profile = fxprof.profile(name, height=size, width=size, arguments=arguments)
    parts = {key: part for key, part in profile.components.items() if part.calls and key in load_zoo(name).components}
    denoisers = [(key, _evaluations(part), part.macs) for key, part in parts.items() if is_denoiser(key)]
    sign = {"": "", ">=": "≥", "<=": "≤"}[profile.total.sign]
    return Row(
        name=name,
        pixels="x".join(map(str, profile.geometry.pixels_computed or profile.geometry.pixels_asked or ("?",))),
        steps=str(profile.workload.get("steps", "?")),
        denoisers=tuple(denoisers),
        text=sum(part.macs for key, part in parts.items() if "text_encoder" in key),
        autoencoder=sum(part.macs for key, part in parts.items() if is_autoencoder(key)),
        total=profile.macs,
        sign="~" * bool(profile.approximations) + sign,
    )


def _evaluations(denoiser: Component) -> int:
    """Calls of a denoiser; for one captured by its children, the calls of the first child."""
    return sum(call.count for call in denoiser.calls if call.entry == denoiser.calls[0].entry)


def _apart(name: str) -> list[str]:
    """The cells of a bundled model, counted in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, text=True, check=True)
    row: list[str] = json.loads(done.stdout.splitlines()[-1])
    print(*row, sep=" | ", file=sys.stderr)  # the whole table takes minutes
    return row


HEADERS = [
    *("model", "pixels", "steps", "denoiser, GMACs per call", "calls"),
    *(f"{part}, TMACs" for part in ("denoiser", "text encoders", "autoencoder", "other", "total")),
    "total, TFLOPs",
]


def models_section(rows: Iterable[Iterable[str]]) -> str:
    """The text between the markers of the table of all bundled models."""
    return f"{INTRO.strip()}\n\n{markdown(rows, HEADERS)}"


def all_models(jobs: int) -> list[list[str]]:
    """The rows of all bundled models, some at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(_apart, names()))


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/RESULTS.md")
    parser.add_argument("--one", metavar="NAME", help="the row of one bundled model, as JSON")
    parser.add_argument("--jobs", type=int, default=2, help="models to count at a time")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one_model(asked.one).cells()))
    else:
        put("models", models_section(all_models(asked.jobs)), write=asked.write)


if __name__ == "__main__":
    main()
