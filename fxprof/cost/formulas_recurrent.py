"""Formulas of recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fxprof.cost.registry import Shape, formula

_MATRIX = 2


@formula(
    "aten.lstm.input",
    "aten.gru.input",
    "aten.rnn_tanh.input",
    "aten.rnn_relu.input",
    "aten._lstm_mps",
    kind="recurrent",
)
def recurrent(input: Shape, params: Sequence[Shape]) -> int:
    """Recurrent layers, one or two directions, with or without a projection of the state.

    Shapes: input [T, B, I], or [B, T, I] when batch_first; params, per layer and direction: weights [G x H, I],
            [G x H, S] and, projected, [S, H], with G gates of size H and a state of size S; biases.
    MACs:   T x B x the elements of all weights: each matrix is applied once per element of every sequence.
    Notes:  biases and gates add none.
    """
    return prod(input[:-1]) * _elements(params)


@formula("aten.lstm.data", "aten.gru.data", "aten.rnn_tanh.data", "aten.rnn_relu.data", kind="recurrent")
def packed_recurrent(data: Shape, params: Sequence[Shape]) -> int:
    """Recurrent layers over packed sequences of different length.

    Shapes: data [elements of all sequences, I]; params as of the layer without packing.
    MACs:   elements x the elements of all weights.
    Notes:  biases and gates add none.
    """
    return prod(data[:-1]) * _elements(params)


@formula("aten._cudnn_rnn", "aten.miopen_rnn", kind="recurrent")
def backend_recurrent(input: Shape, weight: Sequence[Shape]) -> int:
    """Recurrent layers of one backend.

    Shapes: input [T, B, I], [B, T, I], or packed [elements, I]; weight: all weights and biases.
    MACs:   elements x the elements of all weights.
    Notes:  biases and gates add none.
    """
    return prod(input[:-1]) * _elements(weight)


@formula("aten.mkldnn_rnn_layer", kind="recurrent")
def mkldnn_rnn_layer(input: Shape, weight0: Shape, weight1: Shape) -> int:
    """One recurrent layer of the oneDNN library, in one direction.

    Shapes: input [T, B, I], weight0 [G x H, I], weight1 [G x H, H].
    MACs:   T x B x G x H x (I + H).
    Notes:  biases and gates add none.
    """
    return prod(input[:-1]) * (prod(weight0) + prod(weight1))


@formula("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell", kind="recurrent")
def cell(input: Shape, w_ih: Shape, w_hh: Shape) -> int:
    """One step of a recurrent layer.

    Shapes: input [B, I], w_ih [G x H, I], w_hh [G x H, H], with G gates of size H.
    MACs:   B x G x H x (I + H).
    Notes:  biases and gates add none.
    """
    return prod(input[:-1]) * (prod(w_ih) + prod(w_hh))


def _elements(params: Sequence[Shape]) -> int:
    return sum(prod(shape) for shape in params if len(shape) == _MATRIX)
