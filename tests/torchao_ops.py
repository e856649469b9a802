"""The operators that torchao registers and export graphs hold, by torchao's own schemas, for where it is not installed.

As registered by torchao 0.18, with the functions that give the shapes of their results.
"""

from __future__ import annotations

import re
from typing import Any

import torch

SCHEMAS = """
quantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? zero_point, ScalarType output_dtype, Scalar?
    quant_min=None, Scalar? quant_max=None) -> Tensor
dequantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? zero_point, ScalarType input_dtype, Scalar?
    quant_min=None, Scalar? quant_max=None, ScalarType output_dtype=6) -> Tensor
choose_qparams_affine(Tensor? input, str mapping_type, SymInt[] block_size, ScalarType target_dtype, Scalar?
    quant_min=None, Scalar? quant_max=None, float? eps=None, ScalarType? scale_dtype=None, ScalarType?
    zero_point_dtype=None, bool keepdim=False) -> (Tensor, Tensor)
choose_scale_float8(Tensor tensor, SymInt[] block_size, ScalarType float8_dtype=24, ScalarType scale_dtype=6, float?
    hp_value_lb=None, float? hp_value_ub=None) -> Tensor
quantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType float8_dtype=24) -> Tensor
dequantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType output_dtype=6) -> Tensor
da8w4_linear_prepack_cpu(Tensor weight, Tensor scales, Tensor qzeros) -> (Tensor, Tensor, Tensor, Tensor)
float8_linear_prepack_cpu(Tensor weight, Tensor scales) -> (Tensor, Tensor)
"""


def _blocks(tensor: torch.Tensor, block_size: list[int]) -> list[int]:
    return [size // block for size, block in zip(tensor.shape, block_size, strict=True)]


def _quantize(tensor: torch.Tensor, _: Any, __: Any, ___: Any, dtype: torch.dtype, *____: Any) -> torch.Tensor:
    return torch.empty_like(tensor, dtype=dtype)


def _dequantize(
    tensor: torch.Tensor, _: Any, __: Any, ___: Any, ____: Any, *_____: Any, output_dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return torch.empty_like(tensor, dtype=output_dtype)


def _choose(tensor: torch.Tensor, _: Any, block_size: list[int], *__: Any, **___: Any) -> tuple[torch.Tensor, torch.Tensor]:
    shape = _blocks(tensor, block_size)
    return tensor.new_empty(shape), tensor.new_empty(shape)


def _quantize_float8(tensor: torch.Tensor, _: Any, float8_dtype: torch.dtype = torch.float8_e4m3fn) -> torch.Tensor:
    return torch.empty_like(tensor, dtype=float8_dtype)


def _dequantize_float8(tensor: torch.Tensor, _: Any, output_dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty_like(tensor, dtype=output_dtype)


_RESULTS = {
    "quantize_affine": _quantize,
    "dequantize_affine": _dequantize,
    "choose_qparams_affine": _choose,
    "quantize_affine_float8_non_decomposed": _quantize_float8,
    "dequantize_affine_float8_non_decomposed": _dequantize_float8,
}


def _register() -> Any:
    """Define what is not defined yet."""
    library = torch.library.Library("torchao", "FRAGMENT")
    for schema in re.split(r"\n(?! )", SCHEMAS.strip()):
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchao, name):
            library.define(" ".join(schema.split()))
            if name in _RESULTS:
                library.impl(name, _RESULTS[name], "CompositeExplicitAutograd")
    return library


LIBRARY = _register()
