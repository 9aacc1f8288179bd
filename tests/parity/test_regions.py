"""Jackknife covariances over regions: against a delete-one jackknife in float64 NumPy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.catalogs import regions as regions_module
from kdescent_dist.catalogs.regions import Regions
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.fitting.finish import rows_of
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.fixed_loss import CatalogRows
from kdescent_dist.response.region_sums import noise_of_inverse
from kdescent_dist.response.whitening import check_regions
from parity.test_covariance import (
    GRIDS,
    SIZE,
    TRUTH,
    compared,
    followed,
    problem,
    quantiles,
    reference,
    sample,
)
from support.thread_processes import in_threads

NUMBER = 40


def region_numbers(rows, number=NUMBER):
    """Region numbers of unequal regions, with gaps, in no order."""
    rng = np.random.default_rng(8)
    return 7 * np.floor(number * rng.random(rows) ** 1.2).astype(np.int64) - 100


def errors(given, numbers, params=TRUTH, rows=None, **options):
    objective, _, columns, weights = given
    training = TrainingCatalog.of(columns, weights, rows, numbers)
    parameters = Parameters.of_vector(params, objective.names)
    return parameter_covariance(
        Problem(objective, training, parameters, 5, **options).linearizer.at(params)
    )


def delete_one(influences, numbers):
    """The jackknife covariance of sums over rows, of which one region after another is left out."""
    known = np.unique(numbers)
    number = len(known)
    left = [influences[numbers != one].sum(axis=0) * number / (number - 1) for one in known]
    apart = left - np.mean(left, axis=0)
    return (number - 1) / number * apart.T @ apart


@pytest.mark.parametrize("kind", ["chisq", pytest.param("mse", marks=pytest.mark.nightly)])
def test_errors_are_those_of_a_jackknife_that_leaves_out_one_region_after_another(kind):
    grids = {name: GRIDS[name] for name in ("conditional", "density")}
    given = problem(grids, kind)
    _, bins, columns, weights = given
    numbers = region_numbers(len(weights))
    found = errors(given, numbers)
    response = reference(bins, columns, weights, kind, quantiles(SIZE))
    _, rows = compared(columns["x"].astype(float), weights.astype(float), bins)
    expected = delete_one(rows @ response.T, numbers)
    scale = np.sqrt(np.diagonal(expected))
    units = np.outer(scale, scale)
    # The derivatives of the model are those of random populations.
    np.testing.assert_allclose(found / units, expected / units, atol=0.05)
    independent = response @ (rows.T @ rows) @ response.T
    assert np.max(np.abs(independent / units - expected / units)) > 0.2


def clustered(seed, clusters=90):
    """Rows in clusters of ten, which have most of their scatter in common; and their clusters."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.normal(size=clusters), 10)
    x = 0.3 + 1.2 * (np.sqrt(0.7) * common + np.sqrt(0.3) * rng.normal(size=10 * clusters))
    columns = {"x": x.astype(np.float32), "y": (0.5 * x).astype(np.float32)}
    weights = rng.uniform(0.5, 1.5, len(x)).astype(np.float32)
    return columns, weights, np.repeat(np.arange(clusters), 10)


@pytest.mark.nightly
def test_68_percent_intervals_of_rows_in_clusters_of_ten_cover_68_percent_with_regions():
    """Of the linear response of the parameters to 150 catalogs, at the truth."""
    grids = {name: GRIDS[name] for name in ("conditional", "density")}
    objective, bins, columns, weights = problem(grids)
    parameters = Parameters.of_vector(TRUTH, objective.names)
    first = Problem(objective, TrainingCatalog.of(columns, weights), parameters, 5)
    at = first.linearizer.at(TRUTH)
    response = reference(bins, columns, weights, "chisq", quantiles(SIZE))
    estimates, stated = [], []
    for seed in range(150):
        columns, weights, clusters = clustered(seed)
        values, _ = compared(columns["x"].astype(float), weights.astype(float), bins)
        estimates.append(response @ values)
        for numbers in (clusters // 2, None):  # regions of two clusters
            catalog = TrainingCatalog.of(columns, weights, None, numbers)
            loss = replace(at.loss, catalogs=CatalogRows(catalog))
            covariance = parameter_covariance(replace(at, loss=loss))
            stated.append(np.sqrt(np.diagonal(covariance)))
    away = np.abs(estimates - np.mean(estimates, axis=0))
    with_regions, without = np.reshape(stated, (150, 2, 3)).swapaxes(0, 1)
    # The number is fixed here, and its error is that of weights and of the window alone.
    coverage, as_rows = (np.mean(away < errors, axis=0)[:2] for errors in (with_regions, without))
    print("coverage of mean and scatter: with regions", coverage, "without", as_rows)
    # 150 catalogs of two parameters tell a coverage of 68% to 2.7%, and one parameter to 3.8%.
    assert 0.60 < np.mean(coverage) < 0.76
    assert np.all(np.abs(coverage - 0.683) < 0.12)
    assert np.mean(as_rows) < 0.45


def shared():
    """A problem whose input catalog is the training catalog, in blocks that cut through regions."""
    columns, weights = sample(1)
    given, function = followed(columns, weights, 1)
    grids = {name: GRIDS[name] for name in ("conditional", "density")}
    return problem(grids, function=function, block_size=100, **given)


def test_regions_that_are_both_training_and_input_count_once():
    """A model that moves the rows of the training catalog has the noise of its regions."""
    given = shared()
    rows, params = len(given[3]), np.array([0.3, 1.2, 1.0], np.float32)
    numbers = region_numbers(rows)
    other = np.diagonal(errors(given, numbers, params))
    same = np.diagonal(errors(given, numbers, params, input_rows=range(rows)))
    assert np.all(other > 0)
    np.testing.assert_allclose(same / other, 0, atol=1e-3)


@pytest.mark.nightly
@pytest.mark.as_shipped
def test_the_same_bits_for_any_number_of_processes_and_blocks_of_rows_in_regions():
    given = problem()
    _, _, columns, weights = given
    numbers = region_numbers(len(weights))

    def work(processes):
        rows = RowBlocks(len(weights), 100, processes)
        mine = slice(*rows.rows)
        part = {name: values[mine] for name, values in columns.items()}
        own = (*given[:2], part, weights[mine])
        return errors(own, numbers[mine], rows=rows)

    alone = errors(given, numbers, rows=RowBlocks(len(weights), 100))
    assert np.all(np.diagonal(alone) > 0)
    for found in in_threads(3, work):
        assert np.array_equal(found, alone)


@pytest.mark.nightly
def test_extra_sums_of_regions_act_as_the_sums_that_they_restate():
    """Of rows that are both training and input, with a key of all steps."""
    _, weights = sample(1)
    numbers = region_numbers(len(weights))

    def of_weight(sums, truth, params):
        return 1e-4 * (sums.weight - truth.weight) ** 2

    def of_extra_sums(sums, truth, params):
        return 1e-4 * (sums.extra_sums["weight"] - truth.weight) ** 2

    def found(**options):
        z = np.random.default_rng(0).normal(size=len(weights)).astype(np.float32)
        given = problem(catalog={"z": z}, size=len(weights), block_size=100, **options)
        return errors(given, numbers, input_rows=range(len(weights)), fixed_key=True)

    expected, plain = found(custom=of_weight), found()
    restated = found(
        custom=of_extra_sums, extra_sums=lambda population: {"weight": jnp.sum(population.weights)}
    )
    np.testing.assert_allclose(restated, expected, rtol=1e-3, atol=1e-9)
    assert not np.allclose(expected, plain, rtol=0.02)


def test_errors_of_generalized_least_squares_include_the_noise_of_the_covariance():
    """Against fits to normal numbers, with a covariance of few regions."""
    rng = np.random.default_rng(3)
    regions, numbers, parameters, fits = 40, 8, 2, 4000
    slopes = rng.normal(size=(parameters, numbers))
    noise = rng.normal(size=(fits, numbers))
    scatter = rng.normal(size=(fits, regions, numbers))
    scatter -= scatter.mean(axis=1, keepdims=True)
    inverse = np.linalg.inv(scatter.swapaxes(1, 2) @ scatter / (regions - 1))
    stated = np.linalg.inv(slopes @ inverse @ slopes.T)
    found = (stated @ slopes @ inverse @ noise[:, :, None])[:, :, 0]
    factor = noise_of_inverse(regions, numbers, parameters)
    ratio = np.var(found, axis=0) / np.mean(np.diagonal(stated, axis1=1, axis2=2), axis=0)
    assert factor == pytest.approx(39 * 38 / (33 * 32))
    np.testing.assert_allclose(ratio, factor, rtol=0.08)  # known to 2.2%


@pytest.mark.nightly
def test_a_fit_from_python_takes_regions_with_the_rows():
    objective, _, columns, weights = problem(kind="gls")
    parameters = Parameters.of_vector(TRUTH, objective.names)
    numbers = region_numbers(len(weights), 300)
    rows = rows_of(objective, parameters, (columns, weights, numbers))
    assert rows.training.regions.count == len(np.unique(numbers))
    with pytest.raises(InputError, match=r"catalog\.regions: .* needs 45 for 3 free parameters"):
        rows_of(objective, parameters, (columns, weights, region_numbers(len(weights))))


def test_generalized_least_squares_need_enough_regions():
    regions = Regions(np.arange(30), np.ones(30))
    check_regions(regions, 2)
    check_regions(None, 100)
    with pytest.raises(InputError, match=r"30 effective regions .* needs 45 for 3 free parameters"):
        check_regions(regions, 3)


def test_more_regions_than_memory_allows_are_joined(monkeypatch):
    monkeypatch.setattr(regions_module, "MOST_REGIONS", 10)
    columns, weights = sample(1)
    numbers = region_numbers(len(weights))
    found = TrainingCatalog.of(columns, weights, None, numbers).regions
    assert found is not None
    assert found.count == 10
    places = np.searchsorted(np.unique(numbers), numbers)
    assert np.array_equal(found.of_rows, places * 10 // len(np.unique(numbers)))
    np.testing.assert_allclose(found.weights.sum(), weights.sum(dtype=float), rtol=1e-6)
    assert 5 < found.effective < 10


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (np.linspace(0, 20, 100), "are no integers"),
        (np.where(np.arange(100) % 7, np.arange(100.0), np.nan), "15 of 100 region numbers"),
        (np.arange(100) % 9, "there are 9 regions, fewer than 10"),
        (np.arange(50), "one region number per row"),
        (np.full(100, "a"), "must be integers"),
    ],
)
def test_region_numbers_that_cannot_be_used(numbers, told):
    with pytest.raises(InputError, match=r"catalog\.regions") as raised:
        TrainingCatalog.of({"x": np.arange(100.0)}, np.ones(100), None, numbers)
    assert told in str(raised.value)
