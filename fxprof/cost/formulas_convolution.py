"""Formulas of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fxprof.cost.registry import Shape, formula


@formula(
    "aten.conv1d",
    "aten.conv2d",
    "aten.conv3d",
    "aten.cudnn_convolution",
    "aten.cudnn_convolution_relu",
    "aten.cudnn_convolution_add_relu",
    "aten.miopen_convolution",
    "aten.miopen_convolution_relu",
    "aten.miopen_convolution_add_relu",
    "aten.miopen_depthwise_convolution",
    "aten.mkldnn_convolution",
    "aten._mps_convolution",
    "aten._nnpack_spatial_convolution",
    "aten._conv_depthwise2d",
    "aten.conv_depthwise3d",
    "aten._slow_conv2d_forward",
    "aten.thnn_conv2d",
    "aten.slow_conv3d",
    "aten.slow_conv3d_forward",
    "aten.slow_conv_dilated2d",
    "aten.slow_conv_dilated3d",
    kind="convolution",
)
def direct_convolution(weight: Shape, out: Shape) -> int:
    """Direct convolution, grouped or not.

    Shapes: input [N, C, *S], weight [M, C/groups, *K] -> out [N, M, *T]; N may be missing.
    MACs:   N x M x prod(T) x (C/groups) x prod(K).
    Notes:  bias and activation add none; taps on zero padding are counted.
    """
    return prod(out) * prod(weight[1:])


@formula("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d", kind="convolution")
def transposed_convolution(input: Shape, weight: Shape) -> int:
    """Transposed convolution, grouped or not.

    Shapes: input [N, C, *S], weight [C, M/groups, *K] -> out [N, M, *T]; N may be missing.
    MACs:   N x C x prod(S) x (M/groups) x prod(K): by positions of the input.
    Notes:  the bias adds none; products that fall outside the output are counted.
    """
    return prod(input) * prod(weight[1:])


@formula(
    "aten.cudnn_convolution_transpose",
    "aten.miopen_convolution_transpose",
    "aten._mps_convolution_transpose",
    "aten.slow_conv_transpose2d",
    "aten.slow_conv_transpose3d",
    kind="convolution",
)
def transposed_convolution_of_a_backend(self: Shape, weight: Shape) -> int:
    """Transposed convolution of one backend.

    Shapes: self [N, C, *S], weight [C, M/groups, *K] -> out [N, M, *T].
    MACs:   N x C x prod(S) x (M/groups) x prod(K): by positions of the input.
    Notes:  the bias adds none; products that fall outside the output are counted.
    """
    return transposed_convolution(self, weight)


@formula("aten.convolution", "aten._convolution", "aten.convolution_overrideable", kind="convolution")
def convolution(input: Shape, weight: Shape, transposed: bool, out: Shape) -> int:
    """Direct or transposed convolution, as the argument `transposed` says.

    Shapes: input [N, C, *S], weight [M, C/groups, *K], transposed [C, M/groups, *K] -> out [N, M, *T].
    MACs:   N x M x prod(T) x (C/groups) x prod(K); transposed, N x C x prod(S) x (M/groups) x prod(K).
    Notes:  the bias adds none; taps on zero padding are counted.
    """
    return transposed_convolution(input, weight) if transposed else direct_convolution(weight, out)


@formula("aten.convolution_backward", kind="convolution")
def convolution_backward(grad_output: Shape, input: Shape, weight: Shape, transposed: bool, output_mask: Sequence[bool]) -> int:
    """Gradients of a convolution.

    Shapes: as of the convolution; grad_output as its out.
    MACs:   the convolution's, once for the gradient of the input and once for that of the weight, if asked for.
    Notes:  the gradient of the bias is a sum and adds none.
    """
    forward = convolution(input, weight, transposed, grad_output)
    return forward * sum(bool(wanted) for wanted in output_mask[:2])


@formula("aten.conv_tbc", kind="convolution")
def conv_tbc(weight: Shape, out: Shape) -> int:
    """Convolution over time, with the channels last.

    Shapes: self [T, B, C], weight [K, C, M] -> out [T', B, M].
    MACs:   T' x B x M x K x C.
    Notes:  the bias adds none; taps on zero padding are counted.
    """
    return prod(out) * weight[0] * weight[1]


@formula("mkldnn._convolution_pointwise", kind="convolution")
def convolution_pointwise(W: Shape, out: Shape) -> int:  # noqa: N803 - the schema's name
    """Direct convolution of the oneDNN library, followed by an elementwise operation.

    Shapes: X [N, C, *S], W [M, C/groups, *K] -> out [N, M, *T].
    MACs:   N x M x prod(T) x (C/groups) x prod(K).
    Notes:  the bias and the elementwise operation add none; taps on zero padding are counted.
    """
    return direct_convolution(W, out)


@formula("mkldnn._convolution_transpose_pointwise", kind="convolution")
def convolution_transpose_pointwise(X: Shape, W: Shape) -> int:  # noqa: N803 - the schema's names
    """Transposed convolution of the oneDNN library, followed by an elementwise operation.

    Shapes: X [N, C, *S], W of C x (M/groups) x prod(K) elements in any order -> out [N, M, *T].
    MACs:   N x C x prod(S) x (M/groups) x prod(K): by positions of the input.
    Notes:  the bias and the elementwise operation add none; products that fall outside the output are counted.
    """
    return X[0] * prod(X[2:]) * prod(W)


@formula(
    "onednn.qconv_pointwise",
    "onednn.qconv1d_pointwise",
    "onednn.qconv2d_pointwise",
    "onednn.qconv3d_pointwise",
    kind="convolution",
)
def quantised_convolution(qw: Shape, out: Shape) -> int:
    """Quantised direct convolution of the oneDNN library.

    Shapes: qx [N, C, *S], qw [M, C/groups, *K] -> out [N, M, *T].
    MACs:   N x M x prod(T) x (C/groups) x prod(K).
    Notes:  bias, activation and scales add none; taps on zero padding are counted.
    """
    return direct_convolution(qw, out)


@formula("torchvision.deform_conv2d", kind="convolution")
def deformable_convolution(weight: Shape, out: Shape) -> int:
    """Deformable convolution: direct, at positions that another tensor gives, grouped or not.

    Shapes: input [N, C, *S], weight [M, C/groups, *K], offset [N, 2 x offset groups x prod(K), *T] -> out [N, M, *T].
    MACs:   N x M x prod(T) x (C/groups) x prod(K).
    Notes:  the samples between pixels, mask and bias add none; taps outside of the input are counted.
    """
    return direct_convolution(weight, out)
