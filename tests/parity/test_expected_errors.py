"""Errors that a model predicts: the scatter of catalogs drawn from the model, and no bias."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, LossConfig
from kdescent_dist.config.validation import check_values
from kdescent_dist.objective.residuals import (
    Compared,
    expected_errors,
    model_errors,
    normalized,
    norms,
)
from kdescent_dist.objective.terms import check_terms
from support.table_sums import table_sums

ROWS, MODEL = 400, 60_000  # expected rows of a catalog, samples of the model
DRAWS = 600
LOW, HIGH = 0.2, 0.9  # window of the bin
CENTERS = np.linspace(-1.8, 1.8, 9)
MODES = np.linspace(0.3, 3.0, 7)


def rows(rng, shape, softness, width=1.0):
    """A column of a normal distribution of some width, weights of a unit one, and the window."""
    x = width * rng.normal(size=shape)
    condition = 0.5 + 0.3 * rng.normal(size=shape) + 0.1 * x
    weights = np.exp(-0.5 * x**2 * (1 - 1 / width**2)) * width
    if softness == 0:
        window = (condition >= LOW) & (condition < HIGH)
    else:
        scale = softness * (HIGH - LOW)
        window = 1 / (1 + np.exp((LOW - condition) / scale))
        window = window / (1 + np.exp((condition - HIGH) / scale))
    return x, weights, window * 1.0


@partial(jax.jit, static_argnums=0)
def added(kind, x, weights, window):
    """The sums over samples (m, n), their squares, and the sum of all weights."""
    phases = x[..., None] * MODES
    kernels = jnp.exp(-8 * (x[..., None] - CENTERS) ** 2)[..., None]
    tables = {"kde": kernels, "fourier": jnp.stack([jnp.cos(phases), jnp.sin(phases)], axis=-1)}
    return *table_sums(kind, tables, weights, window * weights), weights.sum(axis=1)


def catalogs(kind, softness, weighted, number=ROWS, draws=DRAWS):
    """What is compared of many catalogs, their errors from their rows, and of what they follow."""
    rng = np.random.default_rng(2)
    shape = (draws, number + 8 * int(number**0.5))
    x, weights, window = rows(rng, shape, softness)
    weights = weights * (rng.uniform(0.2, 1.8, shape) if weighted else 1.0)
    weights = weights * (np.arange(shape[1]) < rng.poisson(number, (draws, 1)))
    sums, squares, weight = added(kind, x, weights, window)
    factors = norms((kind,), sums.weight, weight)
    own = model_errors(sums, squares, factors, 1.0)
    of_row = squares.weight / sums.weight
    unit = of_row if kind == "counts" else squares.norm * factors**2
    return normalized(sums, factors, 1.0), own, {"kde": unit, "fourier": unit, "": of_row}


def of_model(kind, softness, number=ROWS):
    """The model: a wider sample with weights that stand for so many rows."""
    x, weights, window = rows(np.random.default_rng(3), (1, MODEL), softness, width=1.5)
    weights = weights * number / weights.sum()
    sums, _, weight = added(kind, x, weights, window)
    _, drawn, _ = added(kind, x, np.sqrt(weights), window)
    factors = norms((kind,), sums.weight, weight)

    def errors(training, units):
        return expected_errors(training, sums, drawn, factors, 1.0, (kind,), units)

    return normalized(sums, factors, 1.0), errors


@pytest.mark.parametrize(
    ("kind", "softness", "weighted"),
    [
        ("conditional", 0.1, True),
        ("density", 0.0, False),
        ("counts", 0.1, True),
        *(
            pytest.param(kind, softness, weighted, marks=pytest.mark.nightly)
            for kind in ("conditional", "density", "counts")
            for softness, weighted in ((0.0, False), (0.0, True), (0.3, True))
        ),
    ],
)
def test_the_reduced_chi_square_with_errors_of_the_model_is_1(kind, softness, weighted):
    values, own, units = catalogs(kind, softness, weighted)
    known, errors = of_model(kind, softness)
    predicted = errors(own, units)
    for name in ("kde", "fourier"):
        pulls = (values.counts[name] - known.counts[name]) / predicted.counts[name]
        chi_squares = np.mean(np.square(pulls), axis=(1, 2))
        # A kernel of few rows has the variance of one more row, of on average about 20.
        expected, noise = 1.0, chi_squares.std() / np.sqrt(len(chi_squares))
        if name == "kde":
            expected = 0.95
        assert abs(chi_squares.mean() - expected) < 3 * noise + 0.03, name
    pulls = (values.number - known.number) / predicted.number
    assert np.mean(pulls**2) == pytest.approx(1, abs=0.2)


def test_at_few_counts_errors_from_rows_bias_a_fit_and_those_of_the_model_do_not():
    """A number of galaxies, fitted to kernels of a few rows each; the true number is 1."""
    values, own, units = catalogs("counts", 0.0, False, number=40, draws=4000)
    known, errors = of_model("counts", 0.0, number=40)
    data, truth = np.asarray(values.counts["kde"]), np.asarray(known.counts["kde"])
    predicted = np.asarray(errors(own, units).counts["kde"])
    of_rows = np.maximum(np.asarray(own.counts["kde"]), 1e-3 * predicted)  # where no row is

    def fitted(errors):
        weights = truth / np.square(errors)
        return np.sum(weights * data, axis=(1, 2)) / np.sum(weights * truth, axis=(1, 2))

    model, rows = fitted(predicted), fitted(of_rows)
    noise = np.std(model) / np.sqrt(len(model))
    print(f"number: {model.mean():.3f} +- {noise:.3f} of the model, {rows.mean():.3f} of the rows")
    assert abs(model.mean() - 1) < 3 * noise
    assert rows.mean() < 0.85


def test_errors_stay_of_the_rows_where_counts_are_given_or_nothing_can_be_compared():
    _, errors = of_model("counts", 0.0)
    given = {"kde": np.full((1, 9, 1), 0.3), "fourier": np.full((1, 7, 2), np.inf)}
    nothing = np.zeros(1)
    units = {"kde": nothing, "fourier": 1 + nothing, "": nothing}
    found = errors(Compared(given, np.array([2.0])), units)
    assert np.all(found.counts["kde"] == np.float32(0.3))
    assert np.isinf(found.counts["fourier"]).all()
    assert found.number == 2


def test_what_cannot_be_asked_for():
    bins = {"one": BinsConfig(columns=["x"])}
    check_terms(LossConfig(kind="gls", errors="model"), bins, custom=False)
    with pytest.raises(InputError, match=r"loss\.errors=model: loss\.kind=mse"):
        check_terms(LossConfig(errors="model"), bins, custom=False)
    with pytest.raises(InputError, match=r"loss\.errors=pearson: must be one of training, model"):
        check_values(LossConfig(errors="pearson"), "loss")
