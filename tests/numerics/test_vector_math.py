"""Elementary functions of the counts, against NumPy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.numerics.vector_math import cos_sin_by_half_angle, cos_sin_turns

TURNS = np.linspace(-3.0, 3.0, 100_001).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "error"), [(cos_sin_turns, 3e-7), (cos_sin_by_half_angle, 6e-7)]
)
@pytest.mark.parametrize("first", [0, 1000])
def test_cosine_and_sine_of_turns(function, error, first):
    turns = TURNS + np.float32(first)
    angles = 2 * np.pi * turns.astype(float)
    for found, expected in zip(jax.jit(function)(turns), (np.cos, np.sin), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(angles), rtol=0, atol=error)


def test_what_is_not_finite_has_no_cosine_and_no_sine():
    for values in cos_sin_by_half_angle(jnp.asarray([np.inf, -np.inf, np.nan], jnp.float32)):
        assert np.isnan(values).all()


def test_in_double_precision_the_library_computes():
    with jax.enable_x64(True):
        turns = jnp.asarray(TURNS, float)
        found = cos_sin_by_half_angle(turns)
    angles = 2 * np.pi * TURNS.astype(float)
    np.testing.assert_allclose(found[0], np.cos(angles), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[1], np.sin(angles), rtol=0, atol=1e-14)
