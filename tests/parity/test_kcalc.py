"""Comparisons of model and training counts: draws, values, gradients, meshes and extremes."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer

KEY = jax.random.key(1)
NIGHTLY = [pytest.param(*mesh, marks=pytest.mark.nightly) for mesh in [(8, 1), (2, 4)]]
MESHES = [(1, 1), (3, 2), *NIGHTLY]


def normal_sample(seed, size):
    rng = np.random.default_rng(seed)
    cov = np.array([[3.0, 0.2, -0.1], [0.2, 5.0, 0.5], [-0.1, 0.5, 7.0]])
    return rng.multivariate_normal([1.0, 2.0, 3.0], cov, size=size).astype(np.float32)


@pytest.fixture(scope="module")
def train():
    return KPretrainer.from_training_data(
        normal_sample(0, 500),
        num_eval_kernels=10,
        num_eval_fourier_positions=7,
        num_pretrain_kernels=300,
        num_pretrain_fourier_positions=200,
        covariant_kernels=True,
        mesh=make_mesh(devices=jax.devices()[:1]),
    )


@pytest.fixture(scope="module")
def calc(train):
    return KCalc(train, make_mesh(devices=jax.devices()[:1]))


@pytest.fixture(scope="module")
def model():
    """Samples, whose number no mesh divides, and weights, some of them 0."""
    weights = np.random.default_rng(2).uniform(-0.2, 1, size=301).clip(0).astype(np.float32)
    return normal_sample(1, 301) * np.float32(1.1), weights


def reference(calc, x, weights):
    """Float64 counts of the drawn kernels and modes, and the gradients of their squared sums."""
    x, weights = x.astype(float), weights.astype(float)
    centers = np.asarray(calc.kernel_centers, float)[calc.realize_kernel_inds(KEY)]
    modes = np.asarray(calc.fourier_positions, float)[calc.realize_fourier_inds(KEY)]
    cov = np.asarray(calc.kernelcov, float)
    difference = x[:, None] - centers
    scaled = difference @ np.linalg.inv(cov)
    kernels = np.exp(-0.5 * np.sum(difference * scaled, -1))
    kernels /= np.sqrt(np.linalg.det(2 * np.pi * cov))
    waves = np.exp(1j * x @ modes.T)
    kde, fourier = weights @ kernels, weights @ waves
    grad_kde = -2 * np.einsum("n,k,nk,nki->ni", weights, kde, kernels, scaled)
    turned = np.real(np.conj(fourier) * 1j * waves)
    grad_fourier = 2 * np.einsum("n,nk,ki->ni", weights, turned, modes)
    grad_weights = 2 * (kernels @ kde), 2 * np.real(waves @ np.conj(fourier))
    return kde, fourier, (grad_kde, grad_weights[0]), (grad_fourier, grad_weights[1])


def assert_close(value, expected, tolerance=2e-5):
    value = np.asarray(value)
    assert value.shape == expected.shape
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance * scale)


# --- values and gradients -------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "kernels"), MESHES)
def test_counts_and_gradients_match_float64_on_every_mesh(train, model, samples, kernels):
    """Samples and kernels whose numbers the mesh does not divide, traced under jit."""
    calc = KCalc(train, make_mesh(samples, kernels))
    kde, fourier, grad_kde, grad_fourier = reference(calc, *model)

    @jax.jit
    def both(x, weights):
        def of_kde(x, weights):
            counts, _ = calc.compare_kde_counts(KEY, x, weights)
            return jnp.sum(counts**2), counts

        def of_fourier(x, weights):
            counts, _ = calc.compare_fourier_counts(KEY, x, weights)
            return jnp.sum(jnp.abs(counts) ** 2), counts

        return [
            jax.value_and_grad(f, (0, 1), has_aux=True)(x, weights) for f in (of_kde, of_fourier)
        ]

    ((_, counts), gradients), ((_, waves), wave_gradients) = both(*model)
    assert_close(counts, kde)
    assert_close(waves, fourier)
    for gradient, expected in zip(
        (*gradients, *wave_gradients), (*grad_kde, *grad_fourier), strict=True
    ):
        assert_close(gradient, expected)


@pytest.mark.parametrize(("samples", "kernels"), [(1, 1), (4, 2)])
def test_truth_and_errors_are_those_of_the_drawn_kernels(train, model, samples, kernels):
    calc = KCalc(train, make_mesh(samples, kernels))
    _, truth, err = calc.compare_kde_counts(KEY, *model, return_err=True)
    drawn = calc.realize_kernel_inds(KEY)
    assert np.array_equal(truth, train.kde_counts[drawn])
    assert np.array_equal(err, train.kde_err[drawn])
    _, truth, err = calc.compare_fourier_counts(KEY, *model, return_err=True)
    drawn = calc.realize_fourier_inds(KEY)
    assert np.array_equal(truth, train.fourier_counts[drawn])
    assert np.array_equal(err, train.fourier_err[drawn])


def test_gradients_in_kernels_on_a_mesh(calc, model):
    """Centers, covariance and modes are differentiable through the mesh, too."""
    from kdescent_dist.counts.sharded import sharded_fourier_counts, sharded_kde_counts

    x, weights = model
    centers, modes = calc.kernel_centers[:9], calc.fourier_positions[:9]

    def loss(centers, cov, modes, mesh):
        kde = sharded_kde_counts(x, weights, centers, cov, mesh)
        wave = sharded_fourier_counts(x, weights, modes, mesh)
        return jnp.sum(kde**2) * 1e3 + jnp.sum(jnp.abs(wave) ** 2)

    gradients = [
        jax.jit(jax.grad(lambda *a, m=mesh: loss(*a, m), (0, 1, 2)))(centers, calc.kernelcov, modes)
        for mesh in (make_mesh(4, 2), None)
    ]
    for sharded, alone in zip(*gradients, strict=True):
        assert_close(sharded, np.asarray(alone), 1e-4)


def test_all_local_devices_are_used_by_default(train, model):
    calc = KCalc(train)
    assert calc.mesh is not None
    assert calc.mesh.size == 8
    assert_close(calc.compare_kde_counts(KEY, *model)[0], reference(calc, *model)[0])


def test_samples_may_live_on_other_devices(train, model):
    """A sample held by one device, or sharded already, is brought to the mesh."""
    calc = KCalc(train)
    kde = reference(calc, *model)[0]
    held = jax.device_put(model, jax.devices()[3])
    assert_close(calc.compare_kde_counts(KEY, *held)[0], kde)
    sharding = jax.NamedSharding(calc.mesh, jax.P("samples"))
    even = [np.concatenate([a, 0 * a[:3]]) for a in model]  # 304 samples on 8 devices
    assert_close(calc.compare_kde_counts(KEY, *jax.device_put(even, sharding))[0], kde)


def test_one_dimension_may_be_given_flat():
    x = normal_sample(3, 100)[:, 0]
    train = KPretrainer.from_training_data(x, num_eval_kernels=4)
    calc = KCalc(train)
    flat, column = (calc.compare_kde_counts(KEY, y)[0] for y in (x, x[:, None]))
    assert flat.shape == (4,)
    assert np.array_equal(flat, column)


# --- draws ----------------------------------------------------------------------------------


def test_draws_follow_the_key_alone(calc):
    """Also under jit, and from an integer seed, a typed key or a raw one."""
    drawn = calc.realize_kernel_inds(KEY)
    assert drawn.shape == (10,)
    assert np.all((drawn >= 0) & (drawn < 300))
    assert calc.realize_fourier_inds(KEY).shape == (7,)
    for other in (jax.jit(calc.realize_kernel_inds)(KEY), calc.realize_kernel_inds(1)):
        assert np.array_equal(drawn, other)
    assert np.array_equal(drawn, calc.realize_kernel_inds(jax.random.PRNGKey(1)))
    assert not np.array_equal(drawn, calc.realize_kernel_inds(jax.random.key(2)))


def test_rank_zero_draws_for_all(calc, model):
    class Comm:
        """Rank 1 of two: what rank 0 broadcast arrives."""

        rank, size = 1, 2

        def __init__(self, sent):
            self.sent = sent

        def bcast(self, value, root):
            assert root == 0
            return self.sent if self.rank != root else value

    comm = Comm(np.asarray(calc.realize_kernel_inds(KEY)))
    ours = calc.compare_kde_counts(jax.random.key(99), *model, comm=comm)
    rank_0 = calc.compare_kde_counts(KEY, *model)
    assert np.array_equal(ours[0], rank_0[0])
    assert np.array_equal(ours[1], rank_0[1])
    comm.rank = 0
    assert np.array_equal(calc.realize_kernel_inds(KEY, comm), comm.sent)


def test_a_single_process_communicator(calc, model):
    try:
        from mpi4py.MPI import COMM_SELF
    except (ImportError, RuntimeError) as error:
        reason = f"mpi4py cannot be used: {str(error).splitlines()[0]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with_comm = calc.compare_fourier_counts(KEY, *model, return_err=True, comm=COMM_SELF)
    without = calc.compare_fourier_counts(KEY, *model, return_err=True)
    for a, b in zip(with_comm, without, strict=True):
        assert np.array_equal(a, b)


# --- chi-square -----------------------------------------------------------------------------


@pytest.mark.parametrize("density", [False, True])
def test_chi_square_is_the_mean_squared_normalized_residual(calc, model, density):
    x, weights = model
    key_kernels, key_modes = jax.random.split(KEY)
    kde, kde_truth, kde_err = calc.compare_kde_counts(key_kernels, x, weights, return_err=True)
    wave, truth, err = calc.compare_fourier_counts(key_modes, x, weights, return_err=True)
    scale = calc.training_sum_of_weights / weights.sum() if density else 1.0
    residuals = np.concatenate(
        [
            (scale * kde - kde_truth) / kde_err,
            (scale * wave - truth).real / err.real,
            (scale * wave - truth).imag / err.imag,
        ]
    )
    value = calc.reduced_chisq_loss(KEY, x, weights, density=density)
    np.testing.assert_allclose(value, np.mean(residuals**2), rtol=1e-5)


def test_two_samples_of_one_distribution_agree_within_errors(calc):
    """Both fluctuate, so that the expectation is 2; a shifted model is far off."""
    same = calc.reduced_chisq_loss(KEY, normal_sample(5, 500))
    shifted = calc.reduced_chisq_loss(KEY, normal_sample(5, 500) + np.float32(1.5))
    assert 0.3 < same < 6
    assert shifted > 10 * same


def empty_kernels(train, count):
    """The same training counts with ``count`` kernels that no training sample reaches."""
    values = dict(vars(train))
    for name in ("kernel_centers", "kde_counts", "kde_err"):
        values[name] = values[name].copy()
    values["kernel_centers"][:count] = 1e6
    values["kde_counts"][:count] = values["kde_err"][:count] = 0
    return KCalc(KPretrainer(**values), make_mesh(devices=jax.devices()[:1]))


def test_chi_square_leaves_out_empty_kernels(train, calc, model):
    """The mean runs over the others; loss and gradient stay finite where diffopt's are NaN."""
    partly, key = empty_kernels(train, 90), jax.random.split(KEY)[0]
    empty = np.asarray(partly.realize_kernel_inds(key)) < 90
    assert 0 < empty.sum() < 10

    def loss(calc):
        return jax.value_and_grad(lambda x: calc.reduced_chisq_loss(KEY, x, model[1]))(model[0])

    value, gradient = loss(partly)
    kde, truth, err = calc.compare_kde_counts(key, *model, return_err=True)
    left_out = np.sum(np.asarray(((kde - truth) / err) ** 2)[empty])
    np.testing.assert_allclose(value * (24 - empty.sum()), loss(calc)[0] * 24 - left_out, rtol=1e-5)
    assert np.all(np.isfinite(gradient))


# --- extremes -------------------------------------------------------------------------------


def test_a_far_model_has_the_larger_loss_and_no_slope(train):
    """At 1e20 counts are 0 and their gradient is exactly 0, not NaN; nearer is better."""
    calc, x = KCalc(train), normal_sample(0, 500) * np.float32(0.999)

    @jax.jit
    @jax.value_and_grad
    def loss(shift):
        counts, truth = calc.compare_kde_counts(KEY, x + shift)
        return jnp.mean((counts - truth) ** 2)

    @jax.jit
    def chi_square(shift):
        return calc.reduced_chisq_loss(KEY, x + shift)

    shifts = jnp.array([[0.0, 0, 0], [0.9, -1.7, 2.4], [1e20, -1e20, 1e20]])
    (near, mid, far) = (loss(shift) for shift in shifts)
    assert far[0] > mid[0] > near[0] > 0
    assert np.all(np.asarray(far[1]) == 0)
    assert np.all(np.asarray(near[1]) != 0)
    assert np.all(np.asarray(mid[1]) != 0)
    near, mid, far = (float(chi_square(shift)) for shift in shifts)
    assert np.isfinite(far)
    assert far > mid > near > 0


def test_an_empty_model_counts_nothing(calc):
    assert np.all(calc.compare_kde_counts(KEY, np.zeros((0, 3), np.float32))[0] == 0)


@pytest.mark.parametrize("devices", [1, 8])
def test_bad_arguments_are_named(train, model, devices):
    calc = KCalc(train, make_mesh(devices))
    x, weights = model
    with pytest.raises(InputError, match="samples of 2 dimensions"):
        calc.compare_kde_counts(KEY, x[:, :2])
    with pytest.raises(InputError, match="weights has shape"):
        calc.compare_fourier_counts(KEY, x, weights[:5])
    with pytest.raises(TypeError, match="KPretrainer"):
        KCalc(x)
