"""Tutorial 1 of the kdescent document, with only the import changed: its published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdescent_dist as kdescent
from support.tutorials import BOUNDS_1, tutorial_1_model

pytestmark = pytest.mark.as_shipped

PUBLISHED_1 = [1.578705, 2.8871017, 0.7483871, 1.3494768, -0.3659099]


@pytest.fixture(scope="module")
def tutorial_1(tmp_path_factory):
    truth = jnp.array([1.6, 2.9, 0.8, 1.25, -0.2])
    training_x = tutorial_1_model(truth, jax.random.key(42), nsample=10_000)
    ktrain = kdescent.KPretrainer.from_training_data(training_x, num_eval_kernels=20)
    file = str(tmp_path_factory.mktemp("tutorial") / "pretrainer.npz")
    ktrain.save(file)
    kde = kdescent.KCalc(kdescent.KPretrainer.load(file))

    def lossfunc(params, randkey):
        key_model, key_kernels = jax.random.split(randkey)
        model_x = tutorial_1_model(params, key_model)
        model, training = kde.compare_kde_counts(key_kernels, model_x)
        return jnp.mean((model / 5_000 - training / 10_000) ** 2)

    return lossfunc


def test_tutorial_1_gives_the_published_parameters(tutorial_1):
    params, losses = kdescent.adam(
        tutorial_1,
        jnp.array([0.0, 0.0, 1.0, 1.0, 0.0]),
        nsteps=100,
        param_bounds=BOUNDS_1,
        learning_rate=1.0,
        randkey=12345,
    )
    assert params.shape == (101, 5)
    assert losses.shape == (101,)
    np.testing.assert_allclose(params[-1], PUBLISHED_1, atol=1e-3)


def test_bfgs_recovers_the_truth_of_tutorial_1(tutorial_1):
    truth = jnp.array([1.6, 2.9, 0.8, 1.25, -0.2])
    params, losses, result = kdescent.bfgs(
        tutorial_1, truth + 0.1, param_bounds=BOUNDS_1, randkey=3, progress=False
    )
    assert params.shape == (len(losses), 5)
    assert losses[-1] == pytest.approx(result.fun)
    assert losses[-1] < losses[0] / 10
    np.testing.assert_allclose(params[-1], truth, atol=0.1)


def parabola(params, power, offsets):
    return jnp.sum((params - offsets) ** (2 if power == "square" else 4))


def test_bfgs_accepts_a_guess_on_a_bound_and_options_that_are_not_arrays():
    params, losses, _ = kdescent.bfgs(
        parabola,
        jnp.array([0.1, 0.0]),
        param_bounds=[(0.1, None), (-1, 0.0)],
        progress=False,
        power="square",
        offsets=np.array([0.5, -0.5]),
    )
    np.testing.assert_allclose(params[-1], [0.5, -0.5], atol=1e-4)
    assert losses[-1] < 1e-6


def test_bfgs_refuses_a_guess_beyond_a_bound():
    with pytest.raises(kdescent.InputError, match=r"p0: guess 2 is outside its bounds \(0, 1\)"):
        kdescent.bfgs(parabola, [2.0], param_bounds=[(0, 1)], power="square", offsets=0.0)
