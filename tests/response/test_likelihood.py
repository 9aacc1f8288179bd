"""The likelihood near a fit: against double precision, on any mesh, in every transformation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.response.covariance import noise_of_weights, residual_covariance
from kdescent_dist.response.fixed_loss import CatalogRows
from kdescent_dist.response.likelihood import Likelihood, noise_of_a_population
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.response.population_totals import mean_totals
from kdescent_dist.response.region_sums import noise_of_inverse
from kdescent_dist.response.whitening import whitening
from support import problems
from support.minima import CHISQ

POPULATIONS = 2
KEY = 11


def made(bins, devices=1):
    objective = problems.objective(bins, devices, loss=CHISQ)
    at = Linearizer(problems.problem(objective).fixed_loss).at(problems.TRUTH)
    return at, Likelihood(at, POPULATIONS)


@pytest.fixture(scope="module")
def given(few_points):
    return made(few_points)


@pytest.fixture(scope="module")
def at(given):
    return given[0]


@pytest.fixture(scope="module")
def likelihood(given):
    return given[1]


@pytest.fixture(scope="module")
def compiled(likelihood):
    both = jax.jit(lambda p, data: jax.value_and_grad(likelihood.log_likelihood)(p, KEY, data))
    return lambda params: both(jnp.asarray(params, jnp.float32), likelihood.data)


def in_double_precision(at, likelihood, params):
    """The chi-square of the sums of the same populations, on the host."""
    keys = jax.random.key_data(jax.random.split(jax.random.key(KEY), POPULATIONS))
    sums = [at.whole.totals(np.asarray(params, np.float32), np.asarray(key)) for key in keys]
    weights = whitening(at, populations=POPULATIONS)
    factor = weights.factor / np.sqrt(noise_of_weights(at, weights))
    return float(np.sum((at.residuals([mean_totals(sums)]) @ factor) ** 2))


@pytest.mark.parametrize("away", [0.0, 1.0, 30.0])
def test_chi_square_is_that_in_double_precision(at, likelihood, compiled, away):
    """In the neighborhood, and where residuals are large."""
    errors = np.sqrt(np.diagonal(np.linalg.inv(likelihood.information)))
    params = problems.TRUTH + away * errors * [1, -1, 0.5, 0.2]
    expected = in_double_precision(at, likelihood, params)
    value, _ = compiled(params)
    assert -2 * float(value) == pytest.approx(expected, abs=0.005, rel=2e-6)


def test_the_gradient_is_that_of_finite_differences(at, likelihood, compiled):
    """In double precision on the host; the sums have single precision, so differences are wide."""
    errors = np.sqrt(np.diagonal(np.linalg.inv(likelihood.information)))
    _, gradient = compiled(problems.TRUTH)
    for i, step in enumerate(0.05 * errors * np.eye(4)):
        ends = [in_double_precision(at, likelihood, problems.TRUTH + s * step) for s in (-1, 1)]
        expected = -(ends[1] - ends[0]) / 4  # of chi-square, in units of the step
        assert gradient[i] * step[i] == pytest.approx(expected, abs=2e-4)


@pytest.mark.nightly
def test_vmap_and_eager_calls_agree_with_the_compiled_function(likelihood, compiled):
    params = jnp.asarray(problems.TRUTH) * jnp.array([[1.0], [1.01]])
    values = jax.jit(jax.vmap(likelihood.log_likelihood, (0, None, None)))(
        params, KEY, likelihood.data
    )
    expected = [compiled(one)[0] for one in params]
    assert np.allclose(values, expected, atol=1e-3)
    residuals = likelihood.residuals(params[1], KEY)
    assert -0.5 * float(jnp.sum(residuals**2)) == pytest.approx(float(expected[1]), abs=1e-3)


@pytest.mark.as_shipped
@pytest.mark.nightly
def test_the_bits_are_those_of_any_mesh(few_points):
    found = []
    for devices in (1, 4):
        _, one = made(few_points, devices)
        both = jax.jit(
            lambda p, data, one=one: jax.value_and_grad(one.log_likelihood)(p, KEY, data)
        )
        value, gradient = both(jnp.asarray(1.02 * problems.TRUTH), one.data)
        found.append([np.asarray(a).tobytes() for a in (value, gradient, one.information)])
    assert found[0] == found[1]


def in_regions(at, number=100, **more):
    """The same, with rows of the training catalog in regions."""
    columns, weights = problems.training()
    numbers = np.random.default_rng(2).permutation(len(weights)) % number
    rows = CatalogRows(TrainingCatalog.of(columns, weights, None, numbers), **more)
    return replace(at, loss=replace(at.loss, catalogs=rows))


def check_noise(at):
    """That of one population is the scatter of populations; that of many vanishes."""
    chosen = [np.arange(0, 20, 4) for _ in at.linear]
    none = residual_covariance(at, chosen)
    one, four = (residual_covariance(at, chosen, populations=k) for k in (1, 4))
    assert np.allclose(four - none, (one - none) / 4, atol=1e-12 + 1e-6 * np.max(np.abs(one)))
    keys = jax.random.key_data(jax.random.split(jax.random.key(5), 60))
    sums = [at.whole.totals(problems.TRUTH, np.asarray(key)) for key in keys]
    rows = np.concatenate([first + c for first, c in zip(at.firsts, chosen, strict=True)])
    scatter = np.var(at.residuals(sums)[:, rows], axis=0, ddof=1)
    ratio = np.diagonal(one - none) / scatter
    assert np.mean(ratio) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("regions", [False, True])
def test_the_covariance_has_the_noise_of_the_random_numbers(at, regions):
    check_noise(in_regions(at) if regions else at)


def test_regions_that_move_the_model_leave_it_the_noise_of_its_random_numbers(few_points):
    """The rows of the training catalog are the input of the model."""
    catalog = {"mass": problems.training()[0]["mass"][: problems.SIZE]}
    objective = problems.objective(few_points, loss=CHISQ, catalog=catalog)
    at = Linearizer(problems.problem(objective).fixed_loss).at(problems.TRUTH)
    check_noise(in_regions(at, input_rows=range(problems.SIZE)))


def test_few_regions_widen_the_likelihood_by_the_noise_of_the_inverse(at):
    few = in_regions(at, 70)
    factor = whitening(few, populations=POPULATIONS).factor
    slopes = few.slopes @ factor
    wider = noise_of_inverse(few.loss.rows.training.regions.effective, factor.shape[1], 4)
    assert wider > 1.2
    found = Likelihood(few, POPULATIONS).information
    assert np.allclose(found * wider, slopes @ slopes.T, rtol=1e-6)


def test_the_noise_of_a_population_is_in_errors(at):
    """A third of the rows of the training catalog: more noise than that of the catalog."""
    noise = noise_of_a_population(at)
    assert noise.shape == (4,)
    assert np.all((noise > 0.3) & (noise < 3))
