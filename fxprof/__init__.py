"""The cost of an image-generation pipeline by component, layer and operator, and the changes between two versions.

>>> import fxprof
>>> profile = fxprof.profile("sd3-medium", height=512, width=512, steps=30)  # doctest: +SKIP
>>> profile.components["transformer"].calls[0].macs  # doctest: +SKIP

Public names are imported at their first use: `import fxprof` alone loads neither torch nor networkx.
"""

import sys


def interrupted_early(number: int, _frame: object) -> None:
    """Answer Ctrl-C for the command while it starts."""
    import os  # Python has loaded it long before

    os.write(2, b"fxprof: interrupted; nothing was written\n")
    os._exit(128 + number)


# This comes before all other imports: Ctrl-C in the first tenth of a second prints one line too, if this is the command and not
# a program that uses the package. The word is the script's name, or the argument of `-m`.
if sys.argv and sys.orig_argv[-len(sys.argv) :][0].replace("\\", "/").rpartition("/")[2] in {
    "fxprof",
    "fxprof.exe",
    "-mfxprof",
}:
    import _signal  # type: ignore[import-not-found]  # built in, unlike `signal`

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, interrupted_early)

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from fxprof.api import diff, profile, profile_module, profile_program, save_graphs
    from fxprof.compare.diff import Diff
    from fxprof.cost.registry import Formulas, formula
    from fxprof.errors import FxprofError
    from fxprof.result.profile import Profile
    from fxprof.result.saved.read import load
    from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent

__version__ = "0.1.0"

__all__ = [
    "ComponentConfig",
    "Diff",
    "Formulas",
    "FxprofError",
    "PipelineConfig",
    "Profile",
    "SingleComponent",
    "diff",
    "formula",
    "load",
    "profile",
    "profile_module",
    "profile_program",
    "save_graphs",
]

_HOMES = {
    "ComponentConfig": "fxprof.source.config",
    "Diff": "fxprof.compare.diff",
    "Formulas": "fxprof.cost.registry",
    "FxprofError": "fxprof.errors",
    "PipelineConfig": "fxprof.source.config",
    "Profile": "fxprof.result.profile",
    "SingleComponent": "fxprof.source.config",
    "diff": "fxprof.api",
    "formula": "fxprof.cost.registry",
    "load": "fxprof.result.saved.read",
    "profile": "fxprof.api",
    "profile_module": "fxprof.api",
    "profile_program": "fxprof.api",
    "save_graphs": "fxprof.api",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
