"""Weighted sums of plane waves, with a derivative that recomputes the waves.

Phases are taken relative to an origin near the samples, in turns, and reduced to half a turn;
the phase of the origin itself is added exactly, so that an offset of the samples costs no digits.
"""

import math

import jax
import jax.numpy as jnp

from kdescent_dist.blocks import matmul, scan_blocks, unblock
from kdescent_dist.elementary import cos_sin_turns, phase_turns, upper_bits
from kdescent_dist.mesh import tree_sum

_PROBES = 127  # samples that place the origin


@jax.custom_vjp
def fourier_sums(x: jax.Array, weights: jax.Array, modes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return ``sum_n w_n cos(k . x_n)`` and the same of the sine, (K,) each; all of one dtype."""
    origin = near_origin(x)
    waves = make_waves(modes)

    def body(columns: list[jax.Array], w: jax.Array) -> tuple[jax.Array, jax.Array]:
        cos, sin = waves(columns, origin)
        return matmul(cos, w), matmul(sin, w)

    cos, sin = (tree_sum(part) for part in scan_blocks(body, x, weights))
    return rotate(cos, sin, phase_turns(modes, origin))


def _forward(x, weights, modes):
    return fourier_sums(x, weights, modes), (x, weights, modes)


def _backward(saved, cotangents):
    x, weights, modes = saved
    grad_x, grad_weights = _sample_gradients(x, weights, modes, *cotangents)
    return grad_x, grad_weights, _mode_gradients(x, weights, modes, *cotangents)


fourier_sums.defvjp(_forward, _backward)


def fourier_squared_sums(
    x: jax.Array, weights: jax.Array, modes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``sum_n w_n cos^2(k . x_n)`` and the same of the sine, (K,) each.

    Differentiated by plain autodiff, one block at a time.
    """
    origin = jax.lax.stop_gradient(near_origin(x))
    offset = jax.lax.stop_gradient(phase_turns(modes, origin))
    waves = make_waves(modes)

    @jax.checkpoint
    def body(columns: list[jax.Array], w: jax.Array) -> tuple[jax.Array, jax.Array]:
        cos, sin = rotate(*waves(columns, origin), offset[:, None])
        return matmul(cos * cos, w), matmul(sin * sin, w)

    cos, sin = scan_blocks(body, x, weights)
    return tree_sum(cos), tree_sum(sin)


def near_origin(x: jax.Array) -> jax.Array:
    """A position (d,) near the samples: the median of a few, which no outlier can move far."""
    probes = jnp.sort(x[:: max(len(x) // _PROBES, 1)], axis=0)
    return upper_bits(probes[len(probes) // 2])


def make_waves(modes: jax.Array):
    """Return the function from coordinates to the waves (K, size) of one block."""
    per_turn = modes * (0.5 / math.pi)

    def waves(columns: list[jax.Array], origin: jax.Array) -> tuple[jax.Array, jax.Array]:
        phase: jax.Array | float = 0.0
        for i, column in enumerate(columns):
            phase = phase + (column - origin[i])[None, :] * per_turn[:, i, None]
        return cos_sin_turns(jnp.asarray(phase))

    return waves


def rotate(cos: jax.Array, sin: jax.Array, turns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Multiply ``cos + i sin`` by ``exp(2 pi i turns)``."""
    c, s = cos_sin_turns(turns)
    return cos * c - sin * s, cos * s + sin * c


def _sample_gradients(x, weights, modes, grad_cos, grad_sin):
    origin = near_origin(x)
    waves = make_waves(modes)
    # The gradient turns back with the waves, from the true phase to that relative to the origin.
    grad_cos, grad_sin = rotate(grad_cos, grad_sin, -phase_turns(modes, origin))
    of_cos = jnp.stack([grad_cos, *(grad_sin * k for k in modes.T)])
    of_sin = jnp.stack([grad_sin, *(-grad_cos * k for k in modes.T)])

    def body(columns, w):
        cos, sin = waves(columns, origin)
        total, *slopes = matmul(of_cos, cos) + matmul(of_sin, sin)
        return [w * slope for slope in slopes], total

    columns, total = scan_blocks(body, x, weights)
    return unblock(columns, len(x)), total.reshape(-1)[: len(x)]


def _mode_gradients(x, weights, modes, grad_cos, grad_sin):
    """A loop of its own, which the compiler drops where no one asks for this gradient."""
    origin = near_origin(x)
    waves = make_waves(modes)
    grad_cos, grad_sin = rotate(grad_cos, grad_sin, -phase_turns(modes, origin))

    def body(columns, w):
        cos, sin = waves(columns, origin)
        moments = jnp.stack([w, *(w * (c - o) for c, o in zip(columns, origin, strict=True))], 1)
        return matmul(cos, moments), matmul(sin, moments)

    cos, sin = (tree_sum(part) for part in scan_blocks(body, x, weights))
    slopes = grad_sin[:, None] * cos - grad_cos[:, None] * sin
    return slopes[:, 1:] + slopes[:, :1] * origin
