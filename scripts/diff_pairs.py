"""Compare the pairs of bundled models that docs/diff.md shows, and write the page's tables anew.

    python scripts/diff_pairs.py [--profiles DIR] [--check]

The script profiles each model once, in half a minute or so, and saves the profile in DIR for the next time. With --check it
only compares the page. It leaves out the table by kind of work and the notes below the tables of each report.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fxprof import Profile, diff, load, profile
from fxprof.reports import FORMATS
from fxprof.reports.diff import build_diff as report
from fxprof.source.stand_ins import stand_in

PAGE = Path(__file__).parents[1] / "docs" / "diff.md"
_BLOCK = re.compile(r"(<!-- pair: (?P<old>\S+) (?P<new>\S+) -->\n```\n)(?P<shown>.*?)(?P<end>```)", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """A model, and the options that are not its defaults."""

    model: str
    steps: int | None = None
    image: str = ""

    def profile(self) -> Profile:
        """The profile of the model, without network."""
        arguments = {"image": stand_in(self.image)} if self.image else {}
        return profile(self.model, steps=self.steps, arguments=arguments)


RUNS = {
    **{name: Run(name) for name in ("sd-1.5", "sd-2.1-base", "sd3-medium", "sd3.5-medium", "sdxl-base-1.0", "flux.1-dev")},
    **{name: Run(name) for name in ("pixart-alpha-1024", "pixart-sigma-1024")},
    "sdxl-refiner.json": Run("sdxl-refiner-1.0", image="image:1024x1024"),
    "flux-schnell.json": Run("flux.1-schnell", steps=4),
}
"""The page's name of a target to its profile; a saved profile has options that the other side does not take."""


def page_with(profiles: Path, text: str) -> str:
    """The page with new tables."""

    def shown(match: re.Match[str]) -> str:
        old, new = (_profile(profiles, match[side]) for side in ("old", "new"))
        whole = FORMATS["text"].render(report(diff(old, new), limit=6))
        return match[1] + abridged(whole) + match["end"]

    return _BLOCK.sub(shown, text)


def abridged(text: str) -> str:
    """The report without the table by kind of work, and without the notes below the tables."""
    blocks = text.rstrip("\n").split("\n\n")
    kept = [block for block in blocks if "-----" not in block or "kind of work" not in block.split("---", maxsplit=1)[0]]
    tables = [index for index, block in enumerate(kept) if "-----" in block or block.startswith("per ")]
    return "\n\n".join(kept[: tables[-1] + 1]) + "\n"


def _profile(directory: Path, name: str) -> Profile:
    path = directory / f"{name.removesuffix('.json')}.json"
    if not path.exists():
        RUNS[name].profile().save(path)
    return load(path)


def main() -> int:
    """Write the page, or check that it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=Path, help="directory of the saved profiles")
    parser.add_argument("--check", action="store_true", help="only compare")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        profiles = arguments.profiles or Path(temporary)
        profiles.mkdir(parents=True, exist_ok=True)
        before = PAGE.read_text(encoding="utf-8")
        after = page_with(profiles, before)
    if not arguments.check:
        PAGE.write_text(after, encoding="utf-8")
    same = before == after
    print("docs/diff.md is up to date" if same else f"docs/diff.md {'differs' if arguments.check else 'is written anew'}")
    return int(arguments.check and not same)


if __name__ == "__main__":
    sys.exit(main())
