"""Sums of squares of what samples add to each count: squared errors, of independent samples.

A squared kernel is a narrower kernel, and a squared wave one of twice the frequency,

    N(x; c, C)^2 = N(x; c, C / 2) / sqrt(det(4 pi C)),    2 cos^2 a, 2 sin^2 a = 1 +- cos 2 a,

so that these sums are counts of samples with squared weights.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def as_squares(doubled: Mapping[str, jax.Array], cov: jax.Array) -> dict[str, jax.Array]:
    """Sums of squares (m, ...) of ``weight``, ``kde``, ``cos`` and ``sin``.

    Args:
        doubled: sums over samples with squared weights, by the same names: of the weights, of
            kernels of half the covariance, and of waves of twice the frequency.
        cov: (m, d, d) covariances of the kernels of the counts.
    """
    weight = doubled["weight"][..., None]
    peak = jnp.sqrt(jnp.linalg.det(4.0 * jnp.pi * cov))[..., None]
    return {
        "weight": doubled["weight"],
        "kde": doubled["kde"] / peak,
        # Not below 0 by rounding.
        "cos": jnp.maximum(0.5 * (weight + doubled["cos"]), 0.0),
        "sin": jnp.maximum(0.5 * (weight - doubled["cos"]), 0.0),
    }
