"""Hints for a pipeline that refuses its arguments, in the words of the command line."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fxprof.capture.error_causes import causes
from fxprof.capture.signature import parameters_of
from fxprof.errors import CaptureError

_PICTURES = re.compile(r"(?:\w+_)?(?:images?|video|mask)(?:_\w+)?|video_frames")
"""The names of arguments that take pictures."""
_NO_PICTURES = re.compile(
    r"^ip_adapter|^negative|^padding|attention|embed|latent|scale|length|strength|size|noise|ids?$|per_prompt|guidance|type"
    r"|steps|skip|kwargs|seconds|crf|interleave"
)
"""Names of other arguments that contain such a word."""
_SIZE = 1024
_FRAMES = 16


def with_remedy(
    error: CaptureError, cause: BaseException, pipeline: Any, given: Mapping[str, Any], without: tuple[str, ...] = ()
) -> CaptureError:
    """The error of a pipeline that refuses its arguments, with a hint where the remedy is plain; other errors unchanged.

    Args:
        error: names the attempt, and repeats the pipeline's message.
        cause: the exception that the pipeline raised.
        pipeline: the pipeline that was called.
        given: the arguments of the call.
        without: the components that the user asked to leave out.
    """
    if error.hint:
        return error
    hint = (
        _written_wrongly(given)
        or _functions_as_texts(parameters_of(pipeline), given)
        or _missing_pictures(f"{cause}", parameters_of(pipeline), given)
    )
    hint = hint or _missing_parts(cause, pipeline, without)
    return CaptureError(error.message, hint) if hint else error


_SHAPE = re.compile(r"\d+(?:x\d+)+(?::\w+)?|\d+:\w+")


def _written_wrongly(given: Mapping[str, Any]) -> str:
    """A hint where a text was given for a tensor."""
    shapes = [f"--arg {name}=tensor:{value}" for name, value in given.items() if _is_shape(value)]
    return f"a tensor for a pipeline is written {' '.join(shapes)}" if shapes else ""


def _functions_as_texts(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> str:
    """A hint where a text was given for a function."""
    names = [
        name
        for name, value in given.items()
        if isinstance(value, str) and name in parameters and "Callable" in str(parameters[name].annotation)
    ]
    where = "in Python: fxprof.profile(target, arguments={...})"
    return f"{', '.join(names)} takes a function, which can only be given {where}" if names else ""


def _is_shape(value: Any) -> bool:
    return isinstance(value, str) and bool(_SHAPE.fullmatch(value))


def _missing_pictures(said: str, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> str:
    """A hint where a pipeline wants a picture and got none, or only the name of one."""
    pictures = [name for name, item in parameters.items() if _takes_picture(name, item)]
    wanted = [name for name in pictures if isinstance(given.get(name), str)]
    free = [name for name in pictures if given.get(name) is None]
    wanted = wanted or [name for name in free if re.search(rf"\b{name}\b", said)]
    if not wanted and re.search(r"\b(?:PIL|images?|video|mask)\b", said, re.IGNORECASE):
        wanted = free[:1]
    if not wanted:
        return ""
    wanted += [name for name in free if ("mask" in name or "control" in name) and name not in wanted]
    options = " ".join(f"--arg {name}={_stand_in(name, given)}" for name in wanted)
    return f"give it placeholders, of which only the sizes matter: {options}"


def _missing_parts(cause: BaseException, pipeline: Any, without: tuple[str, ...]) -> str:
    """A hint where a pipeline uses a component that it does not have."""
    optional = getattr(pipeline, "_optional_components", ())
    missing = [name for name, part in pipeline.components.items() if part is None and name not in optional]
    if not missing or not any(_comes_of_none(error, pipeline) for error in causes(cause)):
        return ""
    left_out = [name for name in missing if name in without]
    what = "leave --without out" if left_out else "give it one, as its model_index.json should say"
    return f"it has no {', '.join(missing)}, which {type(pipeline).__name__} cannot do without: {what}"


def _comes_of_none(error: BaseException, pipeline: Any) -> bool:
    """Whether an error names a None, or a property that failed, which hides the error inside of it."""
    said = _NO_ATTRIBUTE.search(f"{error}")
    return "NoneType" in f"{error}" or (said is not None and isinstance(getattr(type(pipeline), said[1], None), property))


_NO_ATTRIBUTE = re.compile(r"has no attribute '(\w+)'")


def _takes_picture(name: str, item: inspect.Parameter) -> bool:
    plain = item.default is None or item.default is inspect.Parameter.empty
    return plain and bool(_PICTURES.fullmatch(name)) and not _NO_PICTURES.search(name)


def _stand_in(name: str, given: Mapping[str, Any]) -> str:
    size = f"{given.get('width') or _SIZE}x{given.get('height') or _SIZE}"
    if "video" in name:
        return f"video:{_FRAMES}x{size}"
    made = f"{'mask' if 'mask' in name else 'image'}:{size}"
    return f"[{made}]" if name.endswith("images") else made


def missing_arguments(
    class_name: str, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> tuple[str, str] | None:
    """The error and a hint where arguments without a default are missing; None where none are."""
    missing = [name for name, item in parameters.items() if item.default is inspect.Parameter.empty and name not in given]
    if not missing:
        return None
    options = (
        f"--arg {name}={_stand_in(name, given) if _takes_picture(name, parameters[name]) else 'VALUE'}" for name in missing
    )
    verb = "needs the argument" if len(missing) == 1 else "needs the arguments"
    hint = f"give it placeholders, of which only the sizes matter: {' '.join(options)}"
    return f"{class_name} {verb} {', '.join(missing)}", hint


def unknown_argument(class_name: str, name: str, option: str, known: Iterable[str]) -> tuple[str, str]:
    """The error and a hint for an argument that a pipeline does not have."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    what = f"{class_name} has no argument {name}" + (f", which {option} sets" if option else "")
    return what, f"did you mean {near[0]}? It has {', '.join(names)}" if near else f"it has {', '.join(names)}"
