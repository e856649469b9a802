"""Formulas of linear systems and of the factorisations that solve them.

Leading terms, one MAC for each multiply-add of the usual elimination; comparisons and moves of pivoting add none. There is no
formula for decompositions whose number of steps depends on the values (singular values, eigenvalues).
"""

from __future__ import annotations

from math import prod

from fxprof.cost.registry import NoFormulaError, Shape, formula

_LU = 3
_CHOLESKY = 6


@formula("aten.linalg_solve", "aten.linalg_solve_ex", "aten._linalg_solve_ex", kind="matmul")
def solve(A: Shape, out: Shape) -> int:  # noqa: N803 - the name in the operator's schema
    """Linear system, by LU factorisation.

    Shapes: A [*, N, N], B [*, N, K] or [*, N] -> out as B.
    MACs:   N^3 / 3 + N^2 x K for each system.
    """
    return prod(A) * A[-1] // _LU + prod(out) * A[-1]


@formula("aten.linalg_inv", "aten.linalg_inv_ex", "aten.inverse", kind="matmul")
def inverse(out: Shape) -> int:
    """Inverse, as the solution for the columns of the identity.

    Shapes: [*, N, N] -> out [*, N, N].
    MACs:   N^3 / 3 + N^3 for each matrix.
    """
    return solve(out, out)


@formula("aten.linalg_lu_factor", "aten.linalg_lu_factor_ex", "aten._lu_with_info", "aten.linalg_lu", kind="matmul")
def lu_factor(outs: tuple[Shape, ...]) -> int:
    """LU factorisation.

    Shapes: [*, M, N] -> [*, M, N], or L and U of that; M at least N, or exchanged.
    MACs:   N^2 x (3 M - N) / 6 for each matrix, which is N^3 / 3 for a square one.
    """
    shapes = [shape for shape in outs if len(shape) > 1]
    short, long = sorted((shapes[0][-2], shapes[-1][-1] if len(shapes) > 1 else shapes[0][-1]))
    return prod(shapes[0][:-2]) * short * short * (3 * long - short) // 6


@formula("aten.linalg_lu_solve", "aten.lu_solve", kind="matmul")
def lu_solve(out: Shape, left: bool = True) -> int:
    """Linear system whose matrix is factorised already.

    Shapes: [*, N, N], B [*, N, K] -> out [*, N, K].
    MACs:   N^2 x K for each system.
    """
    return prod(out) * out[-2 if left else -1]


@formula("aten.linalg_solve_triangular", kind="matmul")
def solve_triangular(self: Shape, out: Shape) -> int:
    """Linear system with a triangular matrix.

    Shapes: self [*, N, N], B [*, N, K] -> out [*, N, K].
    MACs:   N^2 x K / 2 for each system.
    """
    return prod(out) * self[-1] // 2


@formula("aten.triangular_solve", kind="matmul")
def triangular_solve(A: Shape, out: Shape) -> int:  # noqa: N803 - as above
    """Linear system with a triangular matrix, in its older form.

    Shapes: self [*, N, K], A [*, N, N] -> out [*, N, K].
    MACs:   N^2 x K / 2 for each system.
    """
    return solve_triangular(A, out)


@formula("aten.linalg_cholesky", "aten.linalg_cholesky_ex", "aten.cholesky", kind="matmul")
def cholesky(out: Shape) -> int:
    """Cholesky factorisation.

    Shapes: [*, N, N] -> out [*, N, N].
    MACs:   N^3 / 6 for each matrix.
    """
    return prod(out) * out[-1] // _CHOLESKY


@formula("aten.cholesky_solve", "aten._cholesky_solve_helper", kind="matmul")
def cholesky_solve(out: Shape) -> int:
    """Linear system whose matrix is factorised by Cholesky already.

    Shapes: [*, N, K], factor [*, N, N] -> out [*, N, K].
    MACs:   N^2 x K for each system.
    """
    return prod(out) * out[-2]


@formula("aten.cholesky_inverse", kind="matmul")
def cholesky_inverse(out: Shape) -> int:
    """Inverse of a matrix that is factorised by Cholesky already.

    Shapes: [*, N, N] -> out [*, N, N].
    MACs:   N^3 / 3 for each matrix.
    """
    return prod(out) * out[-1] // 3


@formula("aten.linalg_det", "aten._linalg_det", "aten.det", "aten.logdet", kind="matmul")
def determinant(self: Shape = (), A: Shape = ()) -> int:  # noqa: N803 - as above
    """Determinant, by LU factorisation.

    Shapes: [*, N, N] -> [*].
    MACs:   N^3 / 3 for each matrix.
    """
    matrix = self or A
    return prod(matrix) * matrix[-1] // _LU


@formula("aten.linalg_slogdet", "aten._linalg_slogdet", "aten.slogdet", kind="matmul")
def sign_and_logarithm(self: Shape = (), A: Shape = ()) -> int:  # noqa: N803 - as above
    """Sign and logarithm of a determinant, by LU factorisation.

    Shapes: [*, N, N] -> [*], [*].
    MACs:   N^3 / 3 for each matrix.
    """
    return determinant(self, A)


@formula("aten.linalg_lstsq", kind="matmul")
def least_squares(self: Shape, b: Shape) -> int:
    """Least squares, by a QR factorisation of Householder's.

    Shapes: self [*, M, N], b [*, M, K] or [*, M] -> [*, N, K]; below, M is the larger of M and N.
    MACs:   N^2 x (M - N / 3) + (2 M x N - N^2 / 2) x K for each system.
    """
    short, long = sorted((self[-2], self[-1]))
    systems: int = prod(self[:-2])
    sides: int = prod(b)
    columns = sides // (systems * self[-2]) if systems * self[-2] else 0
    factorisation = short * short * (3 * long - short) // 3
    return systems * (factorisation + (4 * long * short - short * short) * columns // 2)


@formula("aten.linalg_matrix_power", "aten.matrix_power", kind="matmul")
def matrix_power(self: Shape, n: int) -> int:
    """Power of a matrix, by squaring.

    Shapes: self [*, N, N] -> out [*, N, N].
    MACs:   N^3 for each square and each product of squares; that of the inverse before a negative power.
    """
    products = max(abs(n).bit_length() + abs(n).bit_count() - 2, 0)
    return prod(self) * self[-1] * products + (inverse(self) if n < 0 else 0)


@formula("aten.linalg_norm", "aten.linalg_matrix_norm", kind="reduction")
def norm(ord: object = None) -> int:
    """Norm of vectors, or of matrices by rows, by columns or over all elements.

    Shapes: any.
    MACs:   0.
    Notes:  a norm by singular values (2, -2, nuc) is not counted.
    """
    if ord in _BY_SINGULAR_VALUES:
        raise NoFormulaError("the number of steps of a norm by singular values depends on the values")
    return 0


_BY_SINGULAR_VALUES = ("nuc", 2, -2)
