"""A stand-in for torchvision: the functions that prepare images, right in shape and element type, without contents.

transformers and diffusers write their image processors with torchvision's functions. Only those functions are here, so the
sizes of results are decided by their own code. Resized images are black: the work of a pipeline depends on sizes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

_CHANNELS = 3
"""Channels of a colour image."""
_DIMENSIONS = 3
"""Dimensions of an image as a tensor: channels, height, width."""


class InterpolationMode(enum.Enum):
    """Ways to resize an image; the names are torchvision's."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def resize(image: Any, size: Any, interpolation: Any = None, max_size: int | None = None, antialias: Any = None) -> Any:  # noqa: ARG001 - torchvision's signature
    """An image of another size.

    Shapes: ... x H x W -> ... x h x w, with both of `size`, or one number for the shorter side.
    """
    height, width = _resized(_size_of(image), size, max_size)
    if isinstance(image, Image.Image):
        return image.resize((width, height))
    return image.new_zeros((*image.shape[:-2], height, width))


def _resized(old: tuple[int, int], size: Any, max_size: int | None) -> tuple[int, int]:
    wanted = [size] if isinstance(size, int) else list(size)
    if len(wanted) > 1:
        return int(wanted[0]), int(wanted[1])
    short, long = min(old), max(old)
    new_short, new_long = int(wanted[0]), int(wanted[0] * long / short)
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if old[0] <= old[1] else (new_long, new_short)


def _size_of(image: Any) -> tuple[int, int]:
    """Height and width of an image."""
    return (image.height, image.width) if isinstance(image, Image.Image) else (int(image.shape[-2]), int(image.shape[-1]))


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of an image; the area outside of the image is black."""
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    return image.new_zeros((*image.shape[:-2], height, width))


def center_crop(image: Any, output_size: Any) -> Any:
    """The middle of an image."""
    height, width = (output_size, output_size) if isinstance(output_size, int) else (*output_size, *output_size)[:2]
    old_height, old_width = _size_of(image)
    return crop(image, round((old_height - height) / 2), round((old_width - width) / 2), int(height), int(width))


def pad(image: torch.Tensor, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> torch.Tensor:  # noqa: ARG001 - as above
    """An image with a border: one number, left-right and top-bottom, or left, top, right, bottom."""
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = (sides * 4)[:4]
    return image.new_zeros((*image.shape[:-2], image.shape[-2] + top + bottom, image.shape[-1] + left + right))


def to_tensor(image: Any) -> torch.Tensor:
    """A PIL image or an array as channels x height x width, floating point from 0 to 1."""
    return pil_to_tensor(image).to(torch.float32) / 255 if _is_bytes(image) else pil_to_tensor(image)


def _is_bytes(image: Any) -> bool:
    return isinstance(image, Image.Image) or getattr(image, "dtype", None) == np.uint8


def pil_to_tensor(image: Any) -> torch.Tensor:
    """A PIL image or an array as channels x height x width."""
    if isinstance(image, torch.Tensor):
        return image
    array = np.array(image)
    return torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1).contiguous()


def to_pil_image(image: Any, mode: str | None = None) -> Image.Image:
    """A black image of the size of a tensor or an array."""
    shape = tuple(image.shape)
    height, width = shape[-2:] if isinstance(image, torch.Tensor) else shape[:2]
    return Image.new(mode or "RGB", (int(width), int(height)))


def to_dtype(image: torch.Tensor, dtype: torch.dtype = torch.float32, scale: bool = False) -> torch.Tensor:  # noqa: ARG001 - as above
    """The image in another element type."""
    return image.to(dtype)


def normalize(image: torch.Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> torch.Tensor:  # noqa: ARG001 - as above
    """The image, of the same shape, in floating point."""
    return image if image.is_floating_point() else image.to(torch.float32)


def rgb_to_grayscale(image: torch.Tensor, num_output_channels: int = 1) -> torch.Tensor:
    """The image with one channel, or with three equal ones."""
    return image[..., :1, :, :].expand(*image.shape[:-3], num_output_channels, *image.shape[-2:])


def grayscale_to_rgb(image: torch.Tensor) -> torch.Tensor:
    """The image with three channels."""
    if image.ndim < _DIMENSIONS or image.shape[-3] >= _CHANNELS:
        return image
    return image[..., :1, :, :].expand(*image.shape[:-3], _CHANNELS, *image.shape[-2:])


def gaussian_blur(image: torch.Tensor, kernel_size: Any, sigma: Any = None) -> torch.Tensor:  # noqa: ARG001 - as above
    """The image, of the same shape."""
    return image


class Compose:
    """Several transforms, one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        """Take the transforms in their order."""
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        """Apply all of the transforms."""
        for transform in self.transforms:
            image = transform(image)
        return image


def _transform(function: Callable[..., Any]) -> type:
    """A class whose objects hold a function's arguments other than the image."""

    class Transform:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.args, self.kwargs = args, kwargs

        def __call__(self, image: Any) -> Any:
            return function(image, *self.args, **self.kwargs)

    return Transform


def _apply(image: Any, function: Callable[[Any], Any]) -> Any:
    return function(image)


_NAMED = (
    *(resize, crop, center_crop, pad, to_tensor, pil_to_tensor, to_pil_image, to_dtype, normalize),
    *(rgb_to_grayscale, grayscale_to_rgb, gaussian_blur),
)
_FUNCTIONS = {function.__name__: function for function in _NAMED}
_TRANSFORMS = {
    "CenterCrop": _transform(center_crop),
    "Compose": Compose,
    "InterpolationMode": InterpolationMode,
    "Lambda": _transform(_apply),
    "Normalize": _transform(normalize),
    "PILToTensor": _transform(pil_to_tensor),
    "Resize": _transform(resize),
    "ToPILImage": _transform(to_pil_image),
    "ToTensor": _transform(to_tensor),
}


def modules(used: Callable[[], None]) -> dict[str, ModuleType]:
    """The modules of the stand-in, by name.

    Args:
        used: called whenever one of its functions is called.
    """
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    second = ("torchvision.transforms.v2", "torchvision.transforms.v2.functional", "torchvision.io")
    made = {name: ModuleType(name) for name in names + second}
    functions = {name: _noted(function, used) for name, function in _FUNCTIONS.items()}
    aliases = {"to_image": functions["pil_to_tensor"], "to_dtype_image": functions["to_dtype"]}
    for name, module in made.items():
        module.__path__ = []
        if name.endswith("functional"):
            vars(module).update(functions, **aliases, InterpolationMode=InterpolationMode)
        elif name.endswith(("transforms", "v2")):
            vars(module).update(_TRANSFORMS)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(made[parent], last, module)
    return made


def _noted(function: Callable[..., Any], used: Callable[[], None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        used()
        return function(*args, **kwargs)

    return call
