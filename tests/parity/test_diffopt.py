"""The drop-in door gives the numbers of diffopt's kdescent: side by side, and as once recorded.

Inverse-density kernels and errors at empty kernels are left out, where diffopt is wrong.
"""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer
from support.tables import optional

pytestmark = pytest.mark.as_shipped

diffopt = optional("diffopt.kdescent")

COUNTED = ("kernel_centers", "fourier_positions", "kernelcov", "kde_counts", "kde_err")
COUNTED += ("fourier_counts", "fourier_err")
SMALL = {
    "num_eval_kernels": 6,
    "num_eval_fourier_positions": 5,
    "num_pretrain_kernels": 50,
    "num_pretrain_fourier_positions": 40,
    "seed": 5,
}


@pytest.fixture(scope="module")
def one_device():
    return make_mesh(devices=jax.devices()[:1])


def wiggles():
    """A training sample without random numbers: 40 rows of 3 columns, and weights."""
    t = np.arange(40.0)
    x = np.stack([np.sin(1.7 * t) + 0.05 * t, 2 * np.cos(0.9 * t), np.sin(t**2)], axis=1)
    return x.astype(np.float32), (1 + 0.5 * np.cos(t)).astype(np.float32)


def assert_close(value, reference, tolerance=1e-5):
    value, reference = np.asarray(value), np.asarray(reference)
    assert value.shape == reference.shape
    assert value.dtype == reference.dtype
    scale = np.max(np.abs(reference))
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("dims", "weighted", "covariant"), [(2, False, False), (2, True, True), (3, True, False)]
)
def test_pretraining_matches(dims, weighted, covariant, one_device):
    """The same centers and modes to rounding, and the same counts and errors there."""
    rng = np.random.default_rng(dims)
    x = (rng.normal(size=(500, dims)) @ rng.normal(size=(dims, dims)) + 3).astype(np.float32)
    weights = rng.uniform(size=500).astype(np.float32) if weighted else None
    options = SMALL | {"covariant_kernels": covariant, "bandwidth_factor": 1.3}
    theirs = diffopt.KPretrainer.from_training_data(jnp.asarray(x), weights, **options)
    ours = KPretrainer.from_training_data(x, weights, **options, mesh=one_device)
    for field in dataclasses.fields(ours):
        value, reference = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in COUNTED:
            assert_close(value, reference)
        else:
            assert value == pytest.approx(float(reference), rel=1e-6)


@pytest.fixture(scope="module")
def both(one_device):
    """The same training counts in both, and a model sample with weights."""
    x, weights = wiggles()
    theirs = diffopt.KPretrainer.from_training_data(jnp.asarray(x), weights, **SMALL)
    ours = KPretrainer(**vars(theirs))
    return KCalc(ours, one_device), diffopt.KCalc(theirs), jnp.asarray(1.1 * x + 0.2), weights


@pytest.mark.parametrize("seed", [0, 11])
def test_draws_are_the_same_indices(both, seed):
    ours, theirs, _, _ = both
    key = jax.random.key(seed)
    assert jnp.array_equal(ours.realize_kernel_inds(key), theirs.realize_kernel_inds(key))
    assert jnp.array_equal(ours.realize_fourier_inds(key), theirs.realize_fourier_inds(key))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["compare_kde_counts", "compare_fourier_counts"])
def test_comparisons_match(both, method, weighted):
    ours, theirs, x, weights = both
    arguments = (jax.random.key(3), x, weights if weighted else None, True)
    for value, reference in zip(
        getattr(ours, method)(*arguments), getattr(theirs, method)(*arguments), strict=True
    ):
        assert_close(value, reference)


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_chi_square_and_its_gradient_match(both, weighted, density):
    ours, theirs, x, weights = both

    def evaluate(calc):
        def loss(shift):
            w = weights if weighted else None
            return calc.reduced_chisq_loss(jax.random.key(3), x + shift, w, density)

        return jax.value_and_grad(loss)(jnp.zeros(3))

    for value, reference in zip(evaluate(ours), evaluate(theirs), strict=True):
        assert_close(value, reference, 1e-4)


def test_attributes_match(both):
    """Whatever a script reads from diffopt's KCalc is here, of the same kind."""
    ours, theirs, _, _ = both
    for name, reference in vars(theirs).items():
        value = getattr(ours, name)
        assert np.shape(value) == np.shape(reference), name
        assert np.allclose(value, reference), name


def test_files_written_by_diffopt_load(tmp_path, both):
    theirs = diffopt.KPretrainer.from_training_data(jnp.asarray(wiggles()[0]), **SMALL)
    theirs.save(tmp_path / "theirs.npz")
    loaded = KPretrainer.load(tmp_path / "theirs.npz")
    for field in dataclasses.fields(KPretrainer):
        assert np.array_equal(getattr(loaded, field.name), getattr(theirs, field.name))


def test_diffopt_loads_our_files(tmp_path, one_device):
    ours = KPretrainer.from_training_data(wiggles()[0], **SMALL, mesh=one_device)
    ours.save(tmp_path / "ours.npz")
    calc = diffopt.KCalc(diffopt.KPretrainer.load(tmp_path / "ours.npz"))
    assert np.array_equal(calc.kde_counts, ours.kde_counts)
    assert calc.num_eval_kernels == ours.num_eval_kernels


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (KPretrainer, diffopt.KPretrainer),
        (KPretrainer.from_training_data, diffopt.KPretrainer.from_training_data),
        (KPretrainer.save, diffopt.KPretrainer.save),
        (KPretrainer.load, diffopt.KPretrainer.load),
        (KCalc, diffopt.KCalc),
        (KCalc.reduced_chisq_loss, diffopt.KCalc.reduced_chisq_loss),
        (KCalc.compare_kde_counts, diffopt.KCalc.compare_kde_counts),
        (KCalc.compare_fourier_counts, diffopt.KCalc.compare_fourier_counts),
        (KCalc.realize_kernel_inds, diffopt.KCalc.realize_kernel_inds),
        (KCalc.realize_fourier_inds, diffopt.KCalc.realize_fourier_inds),
    ],
)
def test_arguments_match_by_name_position_and_default(ours, theirs):
    """Our own arguments only follow after those of diffopt."""

    def arguments(function):
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default) for p in parameters]

    expected = arguments(theirs)
    assert arguments(ours)[: len(expected)] == expected


def test_numbers_recorded_from_diffopt(one_device):
    """The same check without diffopt at work: its 2.0.0 numbers under jax 0.10.2."""
    x, weights = wiggles()
    options = SMALL | {
        "bandwidth_factor": 0.8,
        "fourier_range_factor": 2.0,
        "covariant_kernels": True,
    }
    train = KPretrainer.from_training_data(x, weights, **options, mesh=one_device)
    recorded = {
        "kernel_centers": [[0.8234398365, 0.3025469184, 1.0168421268]],
        "fourier_positions": [[1.0330777168, 0.4339359403, 2.1089694500]],
        "kernelcov": [
            [0.3213182986, -0.1177617833, 0.0005840949],
            [-0.1177617833, 0.8106810451, 0.0147525528],
            [0.0005840949, 0.0147525528, 0.1799098253],
        ],
        "kde_counts": [0.7865172029, 1.0421793461, 0.0792231709],
        "kde_err": [0.3356273770, 0.4263540208, 0.0366876870],
        "fourier_counts": [7.1145162582 - 2.3123192787j, 1.3062038422 - 3.7730250359j],
        "fourier_err": [5.3064203262 + 4.2879891396j, 4.9289746284 + 4.7170066834j],
    }
    for name, expected in recorded.items():
        value = getattr(train, name)[: len(expected)]
        np.testing.assert_allclose(value, expected, rtol=3e-5, atol=1e-6, err_msg=name)

    calc, key, model = KCalc(train, one_device), jax.random.key(11), jnp.asarray(x) * 1.1 + 0.2
    assert calc.realize_kernel_inds(key).tolist() == [41, 25, 28, 46, 31, 14]
    assert calc.realize_fourier_inds(key).tolist() == [21, 35, 8, 16, 31]
    np.testing.assert_allclose(
        calc.compare_kde_counts(key, model)[0],
        [0.8812774420, 0.2459054589, 1.0220160484, 0.0941394120, 0.5639891028, 1.1394704580],
        rtol=3e-5,
    )
    np.testing.assert_allclose(
        calc.compare_fourier_counts(key, model, weights)[0][:2],
        [2.9881024361 - 13.1146640778j, 13.8365240097 - 6.4777407646j],
        rtol=3e-5,
    )
    np.testing.assert_allclose(
        calc.reduced_chisq_loss(key, model, weights), 1.6070085764, rtol=3e-5
    )
    np.testing.assert_allclose(
        calc.reduced_chisq_loss(key, model, density=True), 1.9244384766, rtol=3e-5
    )
    gradient = jax.grad(lambda s: calc.reduced_chisq_loss(key, model + s, weights))(jnp.zeros(3))
    np.testing.assert_allclose(gradient, [2.6585226059, 4.4627466202, 7.5963001251], rtol=1e-4)
