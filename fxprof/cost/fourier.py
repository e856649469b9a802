"""Fourier transforms: counted in FLOPs by a separate convention, apart from the MACs of contractions.

A fast transform of N points does not pair its multiplies and adds, so it has no MACs. The usual convention, that of FFTW, is
5 N log2 N FLOPs for complex numbers, and half of it if the input or the result is real. N is the product of the transformed
sizes, and is treated like a power of two. Multiplying with a window adds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2, prod

from fxprof.cost.registry import Formulas, Shape
from fxprof.trace import Tensor

KIND = "fourier"
FOURIER = Formulas()
"""Operator to its FLOPs."""

_Dims = int | Sequence[int] | None


@FOURIER.formula("aten.fft_fft", "aten.fft_ifft", kind=KIND)
def one_axis(self: Tensor, out: Shape, dim: int = -1) -> int:
    """Transform along one axis.

    Shapes: self [*, N] -> out [*, N].
    FLOPs:  prod(*) x 5 N log2 N; half of it for a real input.
    """
    return _flops(prod(out), out[dim], real=not _is_complex(self))


@FOURIER.formula("aten.fft_fft2", "aten.fft_ifft2", kind=KIND)
def two_axes(out: Shape, dim: Sequence[int] = (-2, -1)) -> int:
    """Transform over two axes.

    Shapes: self [*, N1, N2] -> out [*, N1, N2].
    FLOPs:  prod(*) x 5 N log2 N with N = N1 x N2; torch makes a real input complex before.
    """
    return _flops(prod(out), _points(out, dim), real=False)


@FOURIER.formula("aten.fft_fftn", "aten.fft_ifftn", kind=KIND)
def several_axes(out: Shape, s: Sequence[int] | None = None, dim: _Dims = None) -> int:
    """Transform over several axes.

    Shapes: self [*, *N] -> out [*, *N]; all axes, or the last ones, where dim does not say.
    FLOPs:  prod(*) x 5 N log2 N with N = prod(*N); torch makes a real input complex before.
    """
    return _flops(prod(out), _points(out, _axes(out, s, dim)), real=False)


@FOURIER.formula("aten.fft_rfft", "aten.fft_ihfft", kind=KIND)
def real_input(self: Shape, out: Shape, n: int | None = None, dim: int = -1) -> int:
    """Transform of real numbers along one axis, with one half of the spectrum as result.

    Shapes: self [*, N] -> out [*, N/2 + 1].
    FLOPs:  prod(*) x 2.5 N log2 N.
    """
    points = n if n is not None else self[dim]
    return _flops(prod(out) // max(out[dim], 1) * points, points, real=True)


@FOURIER.formula("aten.fft_rfft2", "aten.fft_ihfft2", kind=KIND)
def real_input_of_two_axes(self: Shape, out: Shape, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1)) -> int:
    """Transform of real numbers over two axes, with one half of the last axis as result.

    Shapes: self [*, N1, N2] -> out [*, N1, N2/2 + 1].
    FLOPs:  prod(*) x 2.5 N log2 N with N = N1 x N2.
    """
    return real_input_of_several_axes(self, out, s, dim)


@FOURIER.formula("aten.fft_rfftn", "aten.fft_ihfftn", kind=KIND)
def real_input_of_several_axes(self: Shape, out: Shape, s: Sequence[int] | None = None, dim: _Dims = None) -> int:
    """Transform of real numbers over several axes, with one half of the last axis as result.

    Shapes: self [*, *N] -> out [*, *N but N/2 + 1 in the last].
    FLOPs:  prod(*) x 2.5 N log2 N with N = prod(*N).
    """
    axes = _axes(out, s, dim)
    points = prod(s[place] if s is not None and s[place] != -1 else self[axis] for place, axis in enumerate(axes))
    return _flops(prod(out) // max(_points(out, axes), 1) * points, points, real=True)


@FOURIER.formula("aten.fft_irfft", "aten.fft_hfft", kind=KIND)
def real_result(out: Shape, dim: int = -1) -> int:
    """Transform of one half of a spectrum to real numbers.

    Shapes: self [*, N/2 + 1] -> out [*, N].
    FLOPs:  prod(*) x 2.5 N log2 N.
    """
    return _flops(prod(out), out[dim], real=True)


@FOURIER.formula("aten.fft_irfft2", "aten.fft_hfft2", kind=KIND)
def real_result_of_two_axes(out: Shape, dim: Sequence[int] = (-2, -1)) -> int:
    """Transform of one half of a spectrum to real numbers over two axes.

    Shapes: self [*, N1, N2/2 + 1] -> out [*, N1, N2].
    FLOPs:  prod(*) x 2.5 N log2 N with N = N1 x N2.
    """
    return _flops(prod(out), _points(out, dim), real=True)


@FOURIER.formula("aten.fft_irfftn", "aten.fft_hfftn", kind=KIND)
def real_result_of_several_axes(out: Shape, s: Sequence[int] | None = None, dim: _Dims = None) -> int:
    """Transform of one half of a spectrum to real numbers over several axes.

    Shapes: self [*, *N but N/2 + 1 in the last] -> out [*, *N].
    FLOPs:  prod(*) x 2.5 N log2 N with N = prod(*N).
    """
    return _flops(prod(out), _points(out, _axes(out, s, dim)), real=True)


@FOURIER.formula("aten._fft_c2c", kind=KIND)
def complex_to_complex(out: Shape, dim: Sequence[int]) -> int:
    """Transform over some axes, as torch decomposes it.

    Shapes: self [*, *N] -> out [*, *N].
    FLOPs:  prod(*) x 5 N log2 N with N = prod(*N).
    """
    return _flops(prod(out), _points(out, dim), real=False)


@FOURIER.formula("aten._fft_r2c", kind=KIND)
def real_to_complex(self: Shape, dim: Sequence[int]) -> int:
    """Transform of real numbers over some axes, as torch decomposes it.

    Shapes: self [*, *N] -> out [*, *N], or N/2 + 1 in the last.
    FLOPs:  prod(*) x 2.5 N log2 N with N = prod(*N).
    """
    return _flops(prod(self), _points(self, dim), real=True)


@FOURIER.formula("aten._fft_c2r", kind=KIND)
def complex_to_real(out: Shape, dim: Sequence[int]) -> int:
    """Transform to real numbers over some axes, as torch decomposes it.

    Shapes: self [*, *N but N/2 + 1 in the last] -> out [*, *N].
    FLOPs:  prod(*) x 2.5 N log2 N with N = prod(*N).
    """
    return _flops(prod(out), _points(out, dim), real=True)


@FOURIER.formula("aten.stft", kind=KIND)
def short_time(self: Tensor, n_fft: int, outs: Sequence[Shape], return_complex: bool | None = None) -> int:
    """Transforms of overlapping pieces of a signal.

    Shapes: self [*, T] -> out [*, bins, F] for F pieces of N = n_fft; with [2] at the end if the result is not complex.
    FLOPs:  prod(*) x F x 5 N log2 N; half of it for a real signal.
    """
    out = outs[0]
    pieces = out[-1] if return_complex or len(out) == len(self.shape) + 1 else out[-2]
    batch = prod(size for size in self.shape[:-1] if isinstance(size, int))
    return _flops(batch * pieces * n_fft, n_fft, real=not _is_complex(self))


@FOURIER.formula("aten.istft", kind=KIND)
def inverse_short_time(self: Tensor, n_fft: int, return_complex: bool | None = None) -> int:
    """Transforms of pieces of a spectrum, added up to a signal.

    Shapes: self [*, bins, F] for F pieces of N = n_fft -> out [*, T].
    FLOPs:  prod(*) x F x 2.5 N log2 N; twice that for a complex signal.
    """
    shape = [size for size in self.shape if isinstance(size, int)]
    return _flops(prod(shape) // max(shape[-2], 1) * n_fft, n_fft, real=not return_complex)


def _flops(elements: int, points: int, *, real: bool) -> int:
    """FLOPs of all transforms of `points` points each in `elements` elements."""
    return round((2.5 if real else 5) * elements * log2(points)) if points > 1 else 0


def _points(shape: Shape, axes: _Dims) -> int:
    return prod(shape[axis] for axis in ((axes,) if isinstance(axes, int) else axes or ()))


def _axes(shape: Shape, s: Sequence[int] | None, dim: _Dims) -> Sequence[int]:
    if dim is not None:
        return (dim,) if isinstance(dim, int) else dim
    return range(-len(s), 0) if s is not None else range(len(shape))


def _is_complex(tensor: Tensor) -> bool:
    return tensor.dtype.startswith("complex")
