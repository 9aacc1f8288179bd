"""Sums of squares of what samples add to each count, from sums over the samples themselves.

They are the squared errors of counts of independent samples. A squared kernel is a narrower kernel
and a squared wave one of twice the frequency,

    N(x; c, C)^2 = N(x; c, C / 2) / sqrt(det(4 pi C)),    2 cos^2 a, 2 sin^2 a = 1 +- cos 2 a,

so that the code of the counts, in any form, computes them from squared weights.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from kdescent_dist.sparse_sums import BinArrays


def narrowed(bins: BinArrays) -> BinArrays:
    """The bins whose kernels and waves are those of the squares."""
    return replace(bins, cov=0.5 * bins.cov, modes=2.0 * bins.modes)


def as_squares(sums: Mapping[str, jax.Array], bins: BinArrays) -> dict[str, jax.Array]:
    """Sums of squares (m, ...) of ``weight``, ``kde``, ``cos`` and ``sin``.

    Args:
        sums: those of squared weights in the narrowed bins, by the same names.
        bins: the bins of the counts, before they were narrowed.
    """
    weight = sums["weight"][..., None]
    peak = jnp.sqrt(jnp.linalg.det(4.0 * jnp.pi * bins.cov))[..., None]
    return {
        "weight": sums["weight"],
        "kde": sums["kde"] / peak,
        # Not below 0 by rounding.
        "cos": jnp.maximum(0.5 * (weight + sums["cos"]), 0.0),
        "sin": jnp.maximum(0.5 * (weight - sums["cos"]), 0.0),
    }
