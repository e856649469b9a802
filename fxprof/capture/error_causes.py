"""The cause of an exception, in one line for people, with the command that installs a missing package."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from fxprof.errors import CaptureError, FxprofError

_PACKAGE = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+|, \d{12,}(?=\))")
_EXPLAINED = (ValueError, RuntimeError, NotImplementedError, ImportError, OSError)
"""Errors that authors raise with a message for people."""

_OPTIONAL = {
    "beautiful soup": "beautifulsoup4",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "ftfy": "ftfy",
    "google.protobuf": "protobuf",
    "opencv": "opencv-python-headless",
    "protobuf": "protobuf",
    "sentencepiece": "sentencepiece",
    "tiktoken": "tiktoken",
}
"""The packages of the extra `all`, by their names in libraries and errors."""
_IN_TEXT = (
    r"requires the (.+?) library",
    r"No module named '([\w.]+)'",
    r"`(\w+)` is required",
    r"need to install (?:the )?`?([\w-]+)",
    r"need to have (\w+)",
    r"pip install (?:-U )?([\w-]+)",
)
"""Phrases that report a missing package."""


def failure(what: str, error: BaseException) -> CaptureError:
    """An error that names the attempt, the library's message, and the command that installs a missing package."""
    if isinstance(error, CaptureError):
        return CaptureError(f"{what}: {error.message}", error.hint)
    package = missing_package(error)
    return CaptureError(f"{what}: {describe(error)}", _installation(package) if package else "")


def reason_of(error: BaseException) -> str:
    """An error's message, with the command that installs a missing package."""
    package = missing_package(error)
    return f"{describe(error)} ({_installation(package)})" if package else describe(error)


def missing_package(error: BaseException) -> str | None:
    """The package that an error or one of its causes reports as missing; None when no cause is about a package."""
    for cause in causes(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return _package(cause.name)
        if isinstance(cause, NameError) and cause.name in _OPTIONAL:
            return _OPTIONAL[cause.name]  # diffusers imports some packages only if they are there, and then uses them
        if isinstance(cause, (ImportError, ValueError, RuntimeError)) and (package := _package_in(cause)):
            return package
    return None


def _package_in(error: BaseException) -> str | None:
    matches = (re.search(pattern, " ".join(_said(error).split())) for pattern in _IN_TEXT)
    names = [match[1] for match in matches if match]
    known = next((name for name in names if name.lower() in _OPTIONAL), None)
    if known is None and not isinstance(error, ImportError):
        return None
    return _package(known or names[0]) if names else None


def _package(name: str) -> str:
    whole = name.lower()
    return _OPTIONAL.get(whole) or _OPTIONAL.get(whole.partition(".")[0]) or name.partition(".")[0]


def _installation(package: str) -> str:
    if package in _OPTIONAL.values():
        return f"pip install {package}, or pip install 'fxprof[all]' for all such packages"
    return f"pip install {package.lower()}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors that it was raised from or while handling, the latest first."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_from_elsewhere(error: BaseException) -> bool:
    """Whether an error may come from code that fxprof called; a panic in Rust may too, although it is no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def lacks(name: str, error: BaseException) -> bool:
    """Whether an error came from a line that needs an argument of this name, and the argument was None."""
    for cause in causes(error):
        frames = list(traceback.walk_tb(cause.__traceback__))
        if frames and isinstance(cause, (TypeError, AttributeError)):
            frame, number = frames[-1]
            if frame.f_locals.get(name, cause) is None and name in linecache.getline(frame.f_code.co_filename, number):
                return True
    return False


def is_our_bug(error: BaseException) -> bool:
    """Whether fxprof itself raised an error, rather than a model's or a library's code that fxprof ran."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and not isinstance(error, FxprofError) and Path(frames[-1].filename).is_relative_to(_PACKAGE)


_ALL_BACKENDS = " This could be because the operator doesn't exist for this backend"
"""The text before torch's list of all its backends."""


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error whose text cannot be read says nothing
        return ""


def describe(error: BaseException) -> str:
    """The first line of an error's own message; with its type and position where the message alone would say too little."""
    lines = [line.strip() for line in _ADDRESS.sub("", _said(error)).splitlines() if line.strip()]
    text = lines[0].partition(_ALL_BACKENDS)[0] if lines else ""
    if text and isinstance(error, _EXPLAINED):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    position = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {text}{position}" if text else f"{type(error).__name__}{position}"
