"""Elementary functions that vectorize: powers of two, and sine and cosine of phases in turns.

The library functions accept every argument. The counts need a small range: exponents are never
positive, and phases are first reduced to half a turn. In this range a branch-free polynomial
reaches the rounding error of float32. Double precision uses the library functions.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Minimax polynomials: 2^f for |f| <= 1/2 (relative error 2e-9); sin(2 pi q) / q in powers of q^2
# for |q| <= 1/4 (absolute error 3e-9 after multiplying by q); and, in powers of r^2 for
# |r| <= 1/2, sqrt(2) sin(pi r) / r (9e-9 after multiplying by r) and sqrt(2) cos(pi r) (7e-8).
_EXP2 = (
    1.0,
    0.6931471824645996,
    0.24022646248340607,
    0.05550328642129898,
    0.009618489071726799,
    0.0013399930903688073,
    0.0001534581242594868,
)
_SIN_TURNS = (
    6.283185005187988,
    -41.34165573120117,
    81.60100555419922,
    -76.5497817993164,
    39.536705017089844,
)

_SIN_HALF_ANGLE = (
    4.442883014678955,
    -7.308248996734619,
    3.6063895225524902,
    -0.8462606072425842,
    0.11004260927438736,
)
_COS_HALF_ANGLE = (
    1.4142135381698608,
    -6.978853225708008,
    5.739492893218994,
    -1.8837281465530396,
    0.3109835386276245,
)

# 1 / (2 pi) in pieces of half the significant bits: products of such pieces are exact.
_TURNS_PER_RADIAN = {
    "float32": (
        0.15911865234375,
        3.628432750701904e-05,
        6.4192136051133275e-09,
        1.4246381851990009e-12,
    ),
    "float64": (0.15915494039654732, 2.6953480003477637e-09, 1.7916237000301966e-17),
}


def exp2_nonpositive(t: jax.Array) -> jax.Array:
    """Return 2^t for t <= 0, with exactly 0 below the smallest normal number."""
    if t.dtype != jnp.float32:
        return jnp.exp2(t)
    t = jnp.maximum(t, np.float32(-127.0))
    whole = jnp.round(t)
    # The addition moves the integer to the lowest bits of the mantissa. A conversion to int32 would
    # check for overflow. The exponent -127 gives the bits of 0: distant samples contribute nothing.
    bits = lax.bitcast_convert_type(whole + np.float32(1.5 * 2**23 + 127), jnp.int32)
    scale = lax.bitcast_convert_type(bits << 23, jnp.float32)
    return _polynomial(t - whole, _EXP2) * scale


def cos_turns(t: jax.Array) -> jax.Array:
    """Return cos(2 pi t) for a phase in turns."""
    r = t - jnp.round(t)
    return _cos_half_turn(r) if t.dtype == jnp.float32 else jnp.cos(2.0 * np.pi * r)


def cos_sin_turns(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return cos(2 pi t) and sin(2 pi t) for a phase in turns."""
    r = t - jnp.round(t)
    if t.dtype != jnp.float32:
        return jnp.cos(2.0 * np.pi * r), jnp.sin(2.0 * np.pi * r)
    return _cos_half_turn(r), cos_turns(r - np.float32(0.25))


def cos_sin_alone(turns: Callable[[float], jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Return cosine and sine of phases in turns, for an XLA that computes each table alone.

    The sine is the cosine of a phase that starts at -1/4 turn, at no cost.

    Args:
        turns: ``turns(start)`` is the phase plus ``start``.
    """
    return cos_turns(turns(0.0)), cos_turns(turns(-0.25))


def cos_sin_by_half_angle(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return cos(2 pi t) and sin(2 pi t) for a phase in turns, together cheaper than each alone.

    With half the angle a, cos 2a = 1 - 2 sin^2 a and sin 2a = 2 sin a cos a. In float32, the
    absolute error is 6e-7.
    """
    if t.dtype != jnp.float32:
        return cos_sin_turns(t)
    r = t - jnp.round(t)
    square = r * r
    sin = r * _polynomial(square, _SIN_HALF_ANGLE)
    return np.float32(1.0) - sin * sin, sin * _polynomial(square, _COS_HALF_ANGLE)


def _cos_half_turn(r: jax.Array) -> jax.Array:
    """Return cos(2 pi r) for |r| <= 1/2, as sin(2 pi (1/4 - |r|))."""
    q = np.float32(0.25) - jnp.abs(r)
    return q * _polynomial(q * q, _SIN_TURNS)


def _polynomial(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + jnp.asarray(c, x.dtype)
    return value


def upper_bits(a: jax.Array) -> jax.Array:
    """Keep the upper half of the significant bits; ``a`` minus the result is exact."""
    if a.dtype == jnp.float32:
        kept = lax.bitcast_convert_type(a, jnp.uint32) & np.uint32(0xFFFFF000)
    else:
        kept = lax.bitcast_convert_type(a, jnp.uint64) & np.uint64(0xFFFFFFFFF8000000)
    return lax.bitcast_convert_type(kept, a.dtype)


def phase_turns(modes: jax.Array, origin: jax.Array) -> jax.Array:
    """Return the phase ``modes . origin`` in turns, up to whole turns, without cancellation.

    Far from the origin, a phase is many turns, but only the fraction of a turn matters. Both
    factors are split into pieces of half the bits: every product and its fraction are then exact.

    Args:
        modes: (K, d) wave vectors, in radians per unit of ``origin``.
        origin: (d,) position with half of the significant bits, as ``upper_bits`` returns it.

    Returns:
        (K,) phases in turns, about [-1/2, 1/2].
    """
    # One array for all products: separate products would dominate the compile time.
    high = upper_bits(modes)
    pieces = jnp.stack([high, modes - high])
    constants = jnp.asarray(_TURNS_PER_RADIAN[modes.dtype.name], modes.dtype)
    products = pieces * constants[:, None, None, None]
    upper = upper_bits(products)
    turns = _fraction(jnp.stack([upper, products - upper]) * origin)
    rows = jnp.moveaxis(turns, -1, 0)
    rows = rows.reshape(math.prod(rows.shape[:-1]), len(modes))
    while (half := len(rows) // 2) > 0:
        added = _fraction(rows[:half] + rows[half : 2 * half])
        rows = jnp.concatenate([added, rows[2 * half :]])
    return rows[0]


def _fraction(t: jax.Array) -> jax.Array:
    return t - jnp.round(t)
