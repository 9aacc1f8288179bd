"""Weighted sums of plane waves, with a derivative that recomputes the waves.

Phases are in turns, relative to an origin near the samples, and reduced to half a turn. The phase
of the origin is computed exactly and added later, so that an offset of the samples costs no digits.

A backend computes the sums and all their gradients. The sums of squares, for the errors, use no
backend: they and their gradients are always computed in blocks.
"""

import math

import jax
import jax.numpy as jnp

from kdescent_dist.counts.backends import with_backend
from kdescent_dist.counts.contraction import Backend, Columns, PairTables
from kdescent_dist.counts.origin import near_origin
from kdescent_dist.counts.tiled import TiledBackend, tile_tables
from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import matmul, scan_tiles
from kdescent_dist.numerics.vector_math import cos_sin_turns, phase_turns


def _fourier_sums(
    backend: str, x: jax.Array, weights: jax.Array, modes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``sum_n w_n cos(k . x_n)`` and the same sum of sines, (K,) each; all of one dtype."""
    return with_backend(backend, _sums, x, weights, modes)


def _backward(backend, arrays, cotangents):
    """Two computations: XLA drops the computation of unused gradients."""
    grad_x, grad_weights = with_backend(backend, _sample_gradients, *arrays, *cotangents)
    return grad_x, grad_weights, with_backend(backend, _mode_gradients, *arrays, *cotangents)


def _plain(backend: str, x, weights, modes):
    """Like ``_fourier_sums``, in blocks for any backend, for all other derivatives."""
    origin = near_origin(x)

    # Otherwise a reverse pass would keep the waves of all blocks.
    @jax.checkpoint
    def body(columns, w):
        return [matmul(wave, w) for wave in plain_waves(columns, modes, origin)]

    cos, sin = (tree_sum(part) for part in scan_tiles(body, x, weights))
    c, s = plain_cos_sin(phase_turns(modes, origin))
    return cos * c - sin * s, cos * s + sin * c


fourier_sums = differentiable(_fourier_sums, _backward, _plain, static=1)


def _squared_sums(
    x: jax.Array, weights: jax.Array, modes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``sum_n w_n cos^2(k . x_n)`` and the same sum of squared sines, (K,) each."""
    origin = jax.lax.stop_gradient(near_origin(x))
    offset = phase_turns(modes, origin)
    waves = make_waves(modes)

    @jax.checkpoint
    def body(columns: list[jax.Array], w: jax.Array) -> tuple[jax.Array, jax.Array]:
        cos, sin = waves(columns, origin)
        cos, sin = rotate(cos, sin, offset[:, None])
        return matmul(cos * cos, w), matmul(sin * sin, w)

    cos, sin = scan_tiles(body, x, weights)
    return tree_sum(cos), tree_sum(sin)


def _squared_backward(arrays, cotangents):
    """Plain autodiff, one block at a time."""
    return jax.vjp(_squared_sums, *arrays)[1](cotangents)


def _plain_squared_sums(x, weights, modes):
    """Waves of twice the frequency: ``2 cos^2 a = 1 + cos 2a``, ``2 sin^2 a = 1 - cos 2a``."""
    total = jnp.sum(weights)
    cos, _ = _plain("tiled", x, weights, 2.0 * modes)
    return 0.5 * (total + cos), 0.5 * (total - cos)


fourier_squared_sums = differentiable(_squared_sums, _squared_backward, _plain_squared_sums)


def make_waves(modes: jax.Array):
    """Return a function from columns and origin to cosine and sine (K, size) of one block."""

    def waves(columns: Columns, origin: jax.Array) -> tuple[jax.Array, ...]:
        pairs = _pairs(TiledBackend(), modes, origin)
        return tile_tables(pairs, pairs.prepare(columns))

    return waves


def plain_waves(columns: Columns, modes: jax.Array, origin: jax.Array) -> tuple[jax.Array, ...]:
    """Like the function of ``make_waves``, with all derivatives."""
    turns = (modes * (0.5 / math.pi)).T
    shifted = [(column - o)[None, :] for column, o in zip(columns, origin, strict=True)]
    return plain_cos_sin(phase_of(0.0, shifted, [k[:, None] for k in turns]))


def plain_cos_sin(turns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of phases in turns, with all derivatives."""
    radians = 2.0 * math.pi * (turns - jax.lax.stop_gradient(jnp.round(turns)))
    return jnp.cos(radians), jnp.sin(radians)


def _pairs(backend: Backend, modes: jax.Array, origin: jax.Array) -> PairTables:
    def prepare(columns: Columns) -> Columns:
        shifted = [column - o for column, o in zip(columns, origin, strict=True)]
        # Multiplied by the identity, the columns are stored, and not recomputed for every mode.
        return backend.transform(jnp.eye(len(columns), dtype=modes.dtype), shifted)

    def plane_waves(z: Columns, per_turn: Columns) -> tuple[jax.Array, jax.Array]:
        return backend.cos_sin(lambda start: phase_of(start, z, per_turn))

    return PairTables(prepare, list((modes * (0.5 / math.pi)).T), plane_waves)


def phase_of(start: float, z: Columns, per_turn: Columns) -> jax.Array:
    """``start`` plus the phase in turns, of samples and modes with broadcasting shapes."""
    phase: jax.Array | float = start
    for column, mode in zip(z, per_turn, strict=True):
        phase = phase + column * mode
    return jnp.asarray(phase)


def _sums(backend: Backend, x, weights, modes):
    origin = near_origin(x)
    cos, sin = backend.over_samples(_pairs(backend, modes, origin), x, weights, lambda _, w: [w])
    return rotate(cos[:, 0], sin[:, 0], phase_turns(modes, origin))


def rotate(cos: jax.Array, sin: jax.Array, turns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Multiply ``cos + i sin`` by ``exp(2 pi i turns)``."""
    c, s = cos_sin_turns(turns)
    return cos * c - sin * s, cos * s + sin * c


def gradient_rows(
    modes: jax.Array, grad_cos: jax.Array, grad_sin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Factors (..., d + 1, K) of cosine and of sine, for gradients in weights and coordinates.

    Args:
        modes: (..., K, d) wave vectors.
        grad_cos, grad_sin: (..., K) gradients with respect to the sums of cosines and sines.
    """
    components = jnp.moveaxis(modes, -1, 0)
    of_cos = jnp.stack([grad_cos, *(grad_sin * k for k in components)], axis=-2)
    return of_cos, jnp.stack([grad_sin, *(-grad_cos * k for k in components)], axis=-2)


def _sample_gradients(backend: Backend, x, weights, modes, grad_cos, grad_sin):
    origin = near_origin(x)
    # Rotate the cotangents from true phases back to phases relative to the origin.
    grad_cos, grad_sin = rotate(grad_cos, grad_sin, -phase_turns(modes, origin))

    def finish(_, w, sums):
        total, *slopes = sums
        return [*(w * slope for slope in slopes), total]

    rows = list(gradient_rows(modes, grad_cos, grad_sin))
    *columns, total = backend.over_kernels(_pairs(backend, modes, origin), x, weights, rows, finish)
    return jnp.stack(columns, axis=1), total


def _mode_gradients(backend: Backend, x, weights, modes, grad_cos, grad_sin):
    origin = near_origin(x)
    grad_cos, grad_sin = rotate(grad_cos, grad_sin, -phase_turns(modes, origin))
    pairs = _pairs(backend, modes, origin)
    cos, sin = backend.over_samples(pairs, x, weights, lambda z, w: [w, *(w * c for c in z)])
    slopes = grad_sin[:, None] * cos - grad_cos[:, None] * sin
    return slopes[:, 1:] + slopes[:, :1] * origin
