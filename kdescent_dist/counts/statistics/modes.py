"""The empirical characteristic function as a statistic: ``sum_n w_n exp(i k . x_n)``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.fourier import gradient_rows, make_waves, plain_waves, rotate
from kdescent_dist.counts.local import fourier_counts
from kdescent_dist.counts.placement import TrainingDensity
from kdescent_dist.counts.points import Points
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.numerics import threefry
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.numerics.vector_math import phase_turns


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Waves:
    """Wave vectors (k, d), origin (d,) of the phases, and phases (k,) of the origin in turns."""

    modes: Any
    origin: Any
    turns: Any


@dataclass(frozen=True)
class FourierModes(Statistic):
    """Plane waves with wave vectors ``modes`` (k, d), in radians per unit of the compared columns.

    A squared wave follows from a wave of twice the frequency: ``2 cos^2 a = 1 + cos 2 a`` and
    ``2 sin^2 a = 1 - cos 2 a``. So sums of squares are counts of samples with squared weights.
    """

    name = "fourier"
    parts = ("real", "imag")

    def place(
        self, key: np.ndarray, density: TrainingDensity, number: int, options: Mapping[str, Any]
    ) -> Points:
        """Draw modes uniformly in a box of size ``fourier_range_factor`` over widths of columns.

        Args:
            key: (2,) words of a random key.
            density: the training sample.
            number: number of modes to draw.
            options: ``fourier_range_factor`` is the largest component k_max in units of one over
                the width of a column. Without ``fourier_half_space``, modes are in the positive
                orthant, and the width is unweighted. With ``fourier_half_space``, modes are drawn
                from ``[-k_max, k_max)``, with the weighted width. If the first nonzero component
                is negative, the mode is mirrored: the count of the mirrored mode is the complex
                conjugate. So all independent modes are covered.
        """
        half_space = options["fourier_half_space"]
        spread = np.sqrt(np.diagonal(density.covariance)) if half_space else density.spread()
        k_max = (options["fourier_range_factor"] / spread).astype(density.dtype)
        _, mode_key, _ = threefry.split(key, 3)
        unit = threefry.uniform(mode_key, (number, len(k_max)), k_max.dtype)
        if not half_space:
            return Points({"modes": unit * k_max}, {})
        modes = (2 * unit - 1) * k_max
        first = np.take_along_axis(modes, np.argmax(modes != 0, axis=1)[:, None], axis=1)
        return Points({"modes": np.where(first < 0, -modes, modes)}, {})

    def prepare(self, points: Points, origin: jax.Array) -> _Waves:
        modes = points.each["modes"]
        return _Waves(modes, origin, phase_turns(modes, origin))

    def values(self, columns: Columns, prepared: _Waves) -> tuple[jax.Array, ...]:
        return plain_waves(columns, prepared.modes, prepared.origin)

    def finish(self, sums: jax.Array, prepared: _Waves) -> jax.Array:
        return jnp.stack(rotate(sums[0], sums[1], prepared.turns), axis=1)

    def pull_back(self, cotangent: jax.Array, prepared: _Waves) -> jax.Array:
        cos, sin = cotangent[:, 0], cotangent[:, 1]
        return jnp.stack(rotate(cos, sin, -prepared.turns))

    def sums(self, columns: Columns, weights: jax.Array, prepared: _Waves) -> list[jax.Array]:
        return [matmul(wave, weights) for wave in _waves(columns, prepared)]

    def square_sums(
        self, columns: Columns, squares: jax.Array, prepared: _Waves
    ) -> list[jax.Array]:
        cos, sin = _waves(columns, prepared)
        return [matmul(wave, squares) for wave in (cos * cos - sin * sin, 2.0 * cos * sin)]

    def finish_squares(self, sums: jax.Array, total: jax.Array, prepared: _Waves) -> jax.Array:
        cos, _ = rotate(sums[0], sums[1], 2.0 * prepared.turns)
        return _squares(cos, total)

    def factors(self, cotangent: jax.Array, prepared: _Waves) -> tuple[jax.Array, ...]:
        return gradient_rows(prepared.modes, *self.pull_back(cotangent, prepared))

    def gradients(
        self, columns: Columns, weights: jax.Array, prepared: _Waves, factors: Any
    ) -> tuple[Columns, jax.Array]:
        of_cos, of_sin = factors
        cos, sin = _waves(columns, prepared)
        total, *slopes = matmul(of_cos, cos) + matmul(of_sin, sin)
        return [weights * slope for slope in slopes], total

    def counts(self, x: jax.Array, weights: jax.Array, points: Points, backend: str) -> jax.Array:
        found = fourier_counts(x, weights, points.each["modes"], backend)
        return jnp.stack([found.real, found.imag], axis=1)

    def squares(
        self, x: jax.Array, weights: jax.Array, points: Points, backend: str, total: jax.Array
    ) -> jax.Array:
        found = fourier_counts(x, weights * weights, 2.0 * points.each["modes"], backend)
        return _squares(found.real, total)


def _waves(columns: Columns, prepared: _Waves) -> tuple[jax.Array, ...]:
    return make_waves(prepared.modes)(columns, prepared.origin)


def _squares(cos: jax.Array, total: jax.Array) -> jax.Array:
    """Sums (k, 2) of squared cosines and sines; the limit of 0 corrects rounding errors."""
    return jnp.maximum(0.5 * jnp.stack([total + cos, total - cos], axis=1), 0.0)
