"""The covariance of residuals that the model predicts, against an estimate from many rows."""

from dataclasses import replace

import numpy as np
import pytest

import kdescent_dist as kd
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.response import effective_number, goodness, whitening
from kdescent_dist.response.covariance import parameter_covariance, residual_covariance
from kdescent_dist.response.distance import Populations
from kdescent_dist.response.effective_number import (
    is_predictable,
    number_of_samples,
    populations_of,
)
from kdescent_dist.response.goodness import goodness_of_fit
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.predicted_covariance import predicted_covariance
from support import problems

ROWS = 6000
GLS = LossConfig(kind="gls")
(KEY,) = population_keys(3, 1)


def galaxies():
    """Galaxies of equal weights, each red or blue, at the truth of the small problem."""
    rng = np.random.default_rng(8)
    mean, slope, scatter, fraction = map(float, problems.TRUTH)
    mass, noise = rng.uniform(size=ROWS), scatter * rng.normal(size=(2, ROWS))
    center, second = mean + slope * mass, rng.uniform(size=ROWS) < fraction
    blue = np.where(second, 0.5 * noise[1], center + noise[1])
    columns = {"red": center + second + noise[0], "blue": blue, "mass": mass}
    return {name: values.astype(np.float32) for name, values in columns.items()}


COLUMNS = galaxies()


def linearized(normalization="conditional", inputs=None, devices=1, weights=None, **options):
    """The loss at the truth; the input is none, ``own``, or a number of training rows."""
    grid = replace(problems.GRIDS["grid"], normalization=normalization, pretrain_kernels=20)
    mesh = make_mesh(devices)
    weights = np.ones(ROWS) if weights is None else weights
    bins = [kd.pretrain_bin(b, COLUMNS, weights, 3, mesh) for b in kd.expand_bins({"grid": grid})]
    given = {"size": ROWS, **options}
    if inputs is not None:
        mass = COLUMNS["mass"]
        if inputs == "own":
            mass = np.random.default_rng(1).uniform(size=ROWS).astype(np.float32)
        else:
            mass = mass[:inputs]
        given = {"size": len(mass), "catalog": {"mass": mass}}
    if normalization == "counts":
        # The model has two samples for each row, whose weights add up to 1.
        given["catalog_weights"] = np.full(given["size"], ROWS / given["size"], np.float32)
    objective = problems.objective(bins, devices, loss=GLS, **given)
    problem = problems.problem(objective.with_catalogs(bins, float(np.sum(weights))))
    rows = range(inputs) if isinstance(inputs, int) else None
    training = TrainingCatalog.of(COLUMNS, weights)
    problem = replace(problem, training=training, input_rows=rows)
    return Linearizer(problem.fixed_loss).at(problems.TRUTH)


def correlation(covariance, scale):
    return covariance / np.outer(scale, scale)


@pytest.mark.parametrize(
    ("normalization", "inputs"),
    [
        pytest.param("conditional", None, marks=pytest.mark.nightly),
        ("density", None),
        pytest.param("conditional", "own", marks=pytest.mark.nightly),
        pytest.param("conditional", ROWS, marks=pytest.mark.nightly),
        ("counts", ROWS),
        ("conditional", ROWS // 3),
    ],
)
def test_it_is_that_of_many_rows(normalization, inputs, monkeypatch):
    """Of 42 numbers from 6,000 rows; their mean variance is known to 2%."""
    monkeypatch.setattr(effective_number, "FEWEST", 8)
    at = linearized(normalization, inputs)
    assert is_predictable(at)
    chosen = [np.arange(21) for _ in at.linear]
    found, rows = predicted_covariance(at, chosen), residual_covariance(at, chosen)
    scale = np.sqrt(np.diagonal(rows))
    ratio = np.diagonal(found) / scale**2
    assert np.mean(ratio) == pytest.approx(1, abs=0.06)
    assert np.all(np.abs(ratio - 1) < 0.3)
    assert np.max(np.abs(correlation(found, scale) - correlation(rows, scale))) < 0.2


def test_it_does_not_depend_on_the_noise_of_the_data():
    """Only the norms and the number of the rows count."""
    at = linearized()
    chosen = [np.arange(0, 20) for _ in at.linear]
    shuffled = {name: np.random.default_rng(0).permutation(v) for name, v in COLUMNS.items()}
    other = TrainingCatalog.of(shuffled, np.ones(ROWS))
    assert at.loss.catalogs is not None
    catalogs = replace(at.loss.catalogs, training=other)
    elsewhere = replace(at, loss=replace(at.loss, catalogs=catalogs))
    assert np.array_equal(predicted_covariance(at, chosen), predicted_covariance(elsewhere, chosen))


def test_generalized_least_squares_have_its_errors():
    """The errors from the rows are those of the curvature, up to the noise of 6,000 rows."""
    at = linearized()
    errors = np.sqrt(np.diagonal(parameter_covariance(at)))
    np.testing.assert_allclose(errors, at.rough_errors(), rtol=0.06)


def test_far_from_the_data_the_rows_make_it():
    """A model without samples where the rows are would predict no variance there."""
    at = linearized()
    assert whitening.whitening(at).predicted
    far = problems.TRUTH + np.array([3.0, 0, 0, 0], np.float32)
    at = Linearizer(at.loss).at(far)
    weights = whitening.whitening(at)
    assert not weights.predicted
    assert weights.values(at.residuals([at.whole.totals(far, KEY)]))[0] > 1e4


def predicted_for_goodness(at, monkeypatch):
    """The goodness of a fit, and whether the model has predicted its covariance."""
    made = []

    def spy(*args, **options):
        made.append(whitening.whitening_of(*args, **options))
        return made[-1]

    monkeypatch.setattr(goodness, "whitening_of", spy)
    found = goodness_of_fit(at, Populations(at.whole, at.params, 40))
    return found, any(weights.predicted for weights in made)


def test_the_model_predicts_the_covariance_of_a_fit_that_may_be_acceptable(monkeypatch):
    at = linearized()
    found, predicted = predicted_for_goodness(at, monkeypatch)
    assert predicted
    assert found.acceptable
    assert abs(found.chi_square / found.degrees - 1) < 5 * np.sqrt(2 / found.degrees)
    far = problems.TRUTH + np.array([3.0, 0, 0, 0], np.float32)
    found, predicted = predicted_for_goodness(Linearizer(at.loss).at(far), monkeypatch)
    assert not predicted
    assert found.p_value < 1e-6


def test_rows_of_different_weights_make_the_covariance_of_the_test(monkeypatch):
    weights = np.random.default_rng(2).uniform(0.5, 1.5, ROWS)
    found, predicted = predicted_for_goodness(linearized(weights=weights), monkeypatch)
    assert not predicted
    assert found.acceptable


def test_weighted_rows_and_regions_make_their_own():
    """Their weights may depend on their columns."""
    weights = np.random.default_rng(2).uniform(0.5, 1.5, ROWS)
    assert not is_predictable(linearized(weights=weights))
    at = linearized()
    regions = TrainingCatalog.of(COLUMNS, np.ones(ROWS), None, np.arange(ROWS) % 50)
    assert at.loss.catalogs is not None
    catalogs = replace(at.loss.catalogs, training=regions)
    assert not is_predictable(replace(at, loss=replace(at.loss, catalogs=catalogs)))


@pytest.mark.as_shipped
def test_it_has_the_same_bits_on_any_mesh():
    found = []
    for devices in (1, 4):
        at = linearized("conditional", ROWS, devices)
        chosen = [np.arange(0, 20, 3) for _ in at.linear]
        found.append(predicted_covariance(at, chosen).tobytes())
    assert found[0] == found[1]


def test_as_many_populations_make_it_as_it_needs():
    """100 effective samples of blue and red galaxies in both bins, for each number."""
    at = linearized(size=problems.SIZE)
    fraction = float(problems.TRUTH[3])
    effective = problems.SIZE / (fraction**2 + (1 - fraction) ** 2)
    for numbers, populations in ((10, 2), (40, 4), (1000, 8)):
        assert populations_of(at, numbers) == populations
        found = number_of_samples(at, numbers)
        assert found == pytest.approx(populations * effective, rel=0.1)
