"""Arguments of a pipeline's `__call__`, also those that subclasses pass on, and the values in force in a run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

_STEPS = frozenset({"timesteps", "sigmas", "custom_timesteps"})
"""Arguments that set the steps themselves, whatever number is requested."""
_OWN = "diffusers"
"""The package whose classes use the arguments of a call unchanged."""


def parameters_of(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's `__call__` by name, `self` left out.

    Where a class takes `**kwargs`, the parameters of its base class follow, since it passes unknown arguments on.
    """
    parameters: dict[str, inspect.Parameter] = {}
    for cls in type(pipeline).__mro__:
        if "__call__" not in vars(cls):
            continue
        own = list(inspect.signature(vars(cls)["__call__"]).parameters.values())[1:]
        for item in own:
            if item.kind not in {item.VAR_POSITIONAL, item.VAR_KEYWORD}:
                parameters.setdefault(item.name, item)
        if not any(item.kind is item.VAR_KEYWORD for item in own):
            break
    return parameters


def default_of(parameters: Mapping[str, inspect.Parameter], name: str) -> Any:
    """The default of a parameter; None where there is none."""
    item = parameters.get(name)
    return None if item is None or item.default is inspect.Parameter.empty else item.default


class Watched:
    """A pipeline to call; the values that it really used are read before its state is put back."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._before = getattr(getattr(pipeline, "scheduler", None), "timesteps", None)
        self.in_force: dict[str, Any] = {}
        """`steps` and `guidance_scale`, where the class or an argument may have set other values than requested."""

    def __call__(self, **arguments: Any) -> Any:
        """Call the pipeline.

        Raises:
            Exception: any exception of the pipeline.
        """
        result = self._pipeline(**arguments)
        cls = next(cls for cls in type(self._pipeline).__mro__ if "__call__" in vars(cls))
        own = cls.__module__.partition(".")[0] == _OWN
        if not own or any(arguments.get(name) is not None for name in _STEPS):
            steps = self._steps()
            self.in_force |= {"steps": steps} if steps else {}
        scale = getattr(self._pipeline, "guidance_scale", None)
        if not own and isinstance(scale, (int, float)):
            self.in_force["guidance_scale"] = scale
        return result

    def _steps(self) -> int | None:
        """The steps that this run set in the scheduler; a scheduler that evaluates twice in a step has more timesteps."""
        scheduler = getattr(self._pipeline, "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is None or timesteps is self._before:
            return None
        steps = getattr(scheduler, "num_inference_steps", None)
        return steps if isinstance(steps, int) else len(timesteps)


def frames_in_force(result: Any, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> int | None:
    """Frames of one video: in the result or, for latents, as requested; None for a pipeline that makes images."""
    asked = next((name for name in _FRAMES if name in parameters), "")
    return _frames_of(result) or arguments.get(asked) or default_of(parameters, asked)


_FRAMES = ("num_frames", "video_length")


def _frames_of(result: Any) -> int | None:
    """Frames of the first video of a result, as lists of images or as an array."""
    videos = result.get("frames") if isinstance(result, Mapping) else None
    if videos is None or isinstance(videos, torch.Tensor) or not len(videos):
        return None
    first = videos[0]
    many = isinstance(first, (list, tuple)) or len(getattr(first, "shape", ())) > 3  # noqa: PLR2004 - height, width, channels
    return len(first) if many else len(videos)
