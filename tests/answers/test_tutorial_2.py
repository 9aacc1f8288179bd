"""Tutorial 2 of the kdescent document, with only the import changed: its published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdescent_dist as kdescent

pytestmark = pytest.mark.as_shipped

PUBLISHED = [
    9.2615385, 2.6516986, 1.4330685, 1.1343558, 0.36523223, 0.35466456, 0.17270456,
    0.2798898, -0.15260133, 1.5365064, 0.41886896, 1.2801453, 1.7342998, 1.1486027,
    0.8496331, 0.7393313, 0.90481573, 0.25919464, 1.1972123, 0.86743474,
]  # fmt: skip


def normal_covariance(var_1, var_2, correlation):
    off = correlation * jnp.sqrt(var_1 * var_2)
    return jnp.array([[var_1, off], [off, var_2]])


def tutorial_2_model(params, randkey, undersample=False, nsample=20_000):
    low, span = params[0], params[1] + 0.001
    at_low, at_high = params[2:11], params[11:20]
    key_mass, key_color = jax.random.split(randkey, num=2)
    mode = 0.5 if undersample else 0
    logm = jax.random.triangular(key_mass, 0, mode, 1, shape=(nsample,))
    logm = low + logm * span

    def linear(value_low, value_high):
        slope = (value_high - value_low) / span
        above = (logm - low).reshape((-1,) + (1,) * jnp.ndim(value_low))
        return (value_low + slope * above).reshape((nsample, *jnp.shape(value_low)))

    mean = linear(at_low[:2], at_high[:2])
    mean_q = linear(at_low[:2] + at_low[6:8], at_high[:2] + at_high[6:8])
    cov = linear(normal_covariance(*at_low[2:5]), normal_covariance(*at_high[2:5]))
    cov_q = cov * linear(at_low[8], at_high[8])[:, None, None] ** 2
    fraction_q = linear(at_low[5], at_high[5])
    x_sf = jax.random.multivariate_normal(key_color, mean, cov)
    x_q = jax.random.multivariate_normal(key_color, mean_q, cov_q)
    colors = jnp.concatenate([x_sf, x_q])
    data = jnp.column_stack([colors, jnp.concatenate([logm, logm])])
    return data, jnp.concatenate([1 - fraction_q, fraction_q])


def soft_tophat(x, low, high, squish=25.0):
    width = (high - low) / squish
    return jax.nn.sigmoid((x - low) / width) * jax.nn.sigmoid((high - x) / width)


CUTS = [(9.0, 9.5), (10.25, 10.75), (11.5, 12.0)]


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
