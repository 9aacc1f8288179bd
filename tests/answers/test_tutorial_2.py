"""Tutorial 2 of the kdescent document, with only the import changed: its published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdescent_dist as kdescent
from support.tutorials import CUTS, soft_tophat, tutorial_2_model

pytestmark = pytest.mark.as_shipped

PUBLISHED = [
    9.2615385, 2.6516986, 1.4330685, 1.1343558, 0.36523223, 0.35466456, 0.17270456,
    0.2798898, -0.15260133, 1.5365064, 0.41886896, 1.2801453, 1.7342998, 1.1486027,
    0.8496331, 0.7393313, 0.90481573, 0.25919464, 1.1972123, 0.86743474,
]  # fmt: skip


def test_tutorial_2_gives_the_published_parameters():
    """20 parameters, three mass bins with Fourier terms, and one number-density constraint."""
    truth_at_low = [1.4, 1.1, 0.7, 0.4, 0.3, 0.2, -0.1, 1.6, 0.3]
    truth_at_high = [2.0, 1.6, 0.5, 0.5, 0.75, 0.95, -0.6, 1.2, 1.1]
    truth = jnp.array([9.0, 3.0, *truth_at_low, *truth_at_high])
    guess = jnp.array([9.25, 2.5, *[0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0] * 2])
    positive = [0.001, jnp.inf]
    end = [None, None, positive, positive, [-0.999, 0.999], [0.0, 1.0], None, positive, positive]
    bounds = [None, positive, *end * 2]
    key = jax.random.key(43)
    weighted_x, weights = tutorial_2_model(truth, key, undersample=True, nsample=10_000)
    kept = jax.random.uniform(jax.random.split(key)[0], weights.shape) < weights
    training_x = weighted_x[kept]

    kcalcs, training_sums = [], []
    for low, high in CUTS:
        inside = (low < training_x[:, 2]) & (training_x[:, 2] < high)
        kcalcs.append(
            kdescent.KCalc(
                kdescent.KPretrainer.from_training_data(
                    training_x[inside, :2], bandwidth_factor=0.3, fourier_range_factor=3.0
                )
            )
        )
        in_cut = (low < weighted_x[:, 2]) & (weighted_x[:, 2] < high)
        training_sums.append((weights * in_cut).sum())

    @jax.jit
    def lossfunc(params, randkey):
        key_model, *keys = jax.random.split(randkey, 7)
        model_x, model_w = tutorial_2_model(params, key_model)
        squares = []
        for i, (kcalc, cut, training_sum) in enumerate(
            zip(kcalcs, CUTS, training_sums, strict=True)
        ):
            w = soft_tophat(model_x[:, 2], *cut) * model_w
            model_sum, training_sum = w.sum() + 1e-10, training_sum + 1e-10
            model, training = kcalc.compare_kde_counts(keys[i], model_x[:, :2], w)
            squares.append((model / model_sum - training / training_sum) ** 2)
            model, training = kcalc.compare_fourier_counts(keys[3 + i], model_x[:, :2], w)
            squares.append(jnp.abs(model / model_sum - training / training_sum) ** 2)
        squares.append(((w.sum() - training_sums[-1]) / 100.0)[None] ** 2)
        return jnp.mean(jnp.concatenate(squares))

    params, losses = kdescent.adam(
        lossfunc, guess, nsteps=600, param_bounds=bounds, learning_rate=0.05, randkey=12345
    )
    np.testing.assert_allclose(params[-1], PUBLISHED, atol=2e-2)
    assert float(jnp.mean(losses[-20:])) == pytest.approx(0.00456, abs=2e-4)
