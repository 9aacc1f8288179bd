"""Checks of training samples before any computation."""

import logging
from typing import Any

import numpy as np
from jax.dtypes import canonicalize_dtype

from kdescent_dist.config.errors import InputError
from kdescent_dist.numerics.arrays import unmasked

log = logging.getLogger(__name__)

LARGEST_SMALL = 65_536  # up to this size, training samples are padded to a power of 2


def check_training_data(
    training_x: Any, training_weights: Any, drop_non_finite: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return training samples (n, d) and weights (n,) or None, as finite host arrays.

    Args:
        training_x: (n, d) samples, or (n,) for one dimension.
        training_weights: (n,) weights, or None.
        drop_non_finite: drop rows with NaN or infinite values, instead of refusing them.

    Raises:
        InputError: the shapes do not match, rows are not finite, or a weight is negative.
    """
    x = float_array(training_x, "training_x")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.shape[1]:
        raise InputError(f"training_x has shape {x.shape}: must be (samples, dimensions)")
    weights = None
    if training_weights is not None:
        weights = float_array(training_weights, "training_weights")
        if weights.shape != x.shape[:1]:
            raise InputError(
                f"training_weights has shape {weights.shape} for {len(x)} rows of training_x"
            )
    x, weights = _without_non_finite(x, weights, drop_non_finite)
    if weights is not None and np.any(weights < 0):
        bad = np.flatnonzero(weights < 0)
        raise InputError(
            f"training_weights: {len(bad)} of {len(weights)} weights are negative, the first in "
            f"row {bad[0]}: weights must be at least 0"
        )
    return x, weights


def check_variances(covariance: np.ndarray, dtype: np.dtype) -> None:
    """Check the variances in a covariance (d, d) of samples of a type.

    Raises:
        InputError: a variance is 0, or out of the range of the type.
    """
    for i, variance in enumerate(np.diagonal(covariance)):
        if not np.finfo(dtype).tiny < variance < np.finfo(dtype).max:
            raise InputError(
                f"training_x: column {i} has variance {variance:g}: leave out a constant column, "
                f"and bring the others to a scale nearer to 1"
            )


def cholesky_factor(cov: np.ndarray) -> np.ndarray:
    """Return the lower triangular L (d, d) with ``cov = L L^T``.

    Raises:
        InputError: the columns of the training sample are linearly dependent.
    """
    # JAX calls the same LAPACK routine, so the bits agree. The import is slow, and a restarted fit
    # does not need it.
    from scipy.linalg import cholesky

    try:
        return cholesky(cov, lower=True)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "training_x: its columns are linearly dependent, so that their covariance cannot be "
            "inverted: leave out a column"
        ) from error


def float_array(values: Any, name: str) -> np.ndarray:
    """Return an array of real numbers in the precision of JAX.

    Masked values become NaN, and values that overflow become infinite.

    Raises:
        InputError: the values are not real numbers.
    """
    array = np.asarray(unmasked(values))
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise InputError(f"{name} has values of type {array.dtype}: must be real numbers")
    # JAX has double precision only with jax_enable_x64.
    wide = array.dtype.kind in "iu" or array.dtype.itemsize > 4
    with np.errstate(over="ignore"):
        return array.astype(canonicalize_dtype(np.float64 if wide else np.float32), copy=False)


def filled_size(size: int) -> int:
    """Return a padded number of training samples; padding has weight 0.

    A compiled program depends on the number of samples. With hundreds of bins of different sizes,
    compiling would take longer than counting. Small sizes are padded to powers of 2. Large sizes,
    for which counting takes longer, are padded by an eighth at most.
    """
    power = 1 << (size - 1).bit_length()
    step = power if size <= LARGEST_SMALL else power // 16
    return -(-size // step) * step


def _without_non_finite(
    x: np.ndarray, weights: np.ndarray | None, drop: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    good = np.all(np.isfinite(x), axis=1)
    if weights is not None:
        good &= np.isfinite(weights)
    if np.all(good):
        return x, weights
    bad = np.flatnonzero(~good)
    found = (
        f"training_x: {len(bad)} of {len(x)} rows have a NaN or infinite value or weight, the "
        f"first is row {bad[0]}"
    )
    if not drop:
        raise InputError(f"{found}: remove them, or pass drop_non_finite=True to drop them")
    log.warning("%s: dropped", found)
    return x[good], None if weights is None else weights[good]
