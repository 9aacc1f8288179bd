"""The noise of derivatives: how much information on a parameter is none."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import kdescent_dist as kd
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.response import linearizer as module
from kdescent_dist.response import population_derivatives
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.fixed_loss import CatalogRows, FixedLoss
from kdescent_dist.response.linearization import FURTHER, MOST_NOISE
from kdescent_dist.response.linearizer import Linearizer
from support import problems
from support.minima import CHISQ


def linearizer(bins):
    parameters = Parameters.of_vector(problems.GUESS, problems.NAMES, problems.BOUNDS)
    objective = problems.objective(bins, loss=CHISQ)
    rows = CatalogRows(TrainingCatalog.of(*problems.training()))
    return Linearizer(FixedLoss(objective, parameters, 3, catalogs=rows))


@pytest.fixture(scope="module")
def at(few_points):
    return linearizer(few_points).at(problems.TRUTH)


def of_noise(at, information, noise, rounds):
    """A linearization with known information, and noise of the derivatives of one population."""

    def curvature(number):
        return np.diag(information) + np.diag(noise) / number

    halves = [curvature(rounds // 2)] * 2 if rounds > 1 else []
    return replace(
        at,
        rounds=rounds,
        curvature=curvature(rounds),
        halves=np.array(halves).reshape(-1, 4, 4),
        inverse=np.linalg.inv(curvature(rounds)),
        determined=np.ones(4, bool),
    )


@pytest.mark.parametrize("rounds", [2, 3, 4, 7])
def test_the_part_of_the_noise_is_found_from_halves_of_the_populations(at, rounds):
    information, noise = np.array([1.0, 1e4, 1e-6, 2.0]), np.array([0.1, 1e3, 2e-7, 0.0])
    one = of_noise(at, information, noise, rounds)
    expected = (noise / rounds) / (information + noise / rounds)
    np.testing.assert_allclose(one.noise_of_derivatives, expected, rtol=1e-9, atol=1e-12)
    variance = np.diagonal(one.inverse) * one.without_noise
    np.testing.assert_allclose(variance, 1 / information, rtol=1e-9)


def test_a_single_population_tells_no_noise(at):
    one = of_noise(at, np.ones(4), np.ones(4), 1)
    assert not one.noise_of_derivatives.any()
    assert one.wanted_rounds(0.1, 16) == 1


def test_a_part_that_is_not_known_well_is_limited(at):
    one = of_noise(at, np.ones(4), np.array([1e4, 0, 0, 0]), 2)
    assert one.noise_of_derivatives[0] > 0.99
    assert one.without_noise[0] == pytest.approx(1 / (1 - MOST_NOISE))
    assert one.without_noise[1] == 1


def test_as_many_populations_are_wanted_as_make_the_noise_small(at):
    of_one = np.array([0.5, 0, 0, 0])
    one = of_noise(at, np.ones(4), of_one, 2)
    assert one.wanted_rounds(0.25, 64) == 2
    wanted = one.wanted_rounds(0.1, 64)
    assert of_noise(at, np.ones(4), of_one, wanted).noise_of_derivatives[0] <= 0.1
    assert one.wanted_rounds(0.1, 4) == 4
    assert of_noise(at, np.ones(4), 1e3 * of_one, 2).wanted_rounds(0.1, 64) == 2 * FURTHER


def mixed(params, key, catalog):
    """The difference of the parameters hardly matters: it changes the scatter in second order."""
    of_part, of_noise = jax.random.split(key)
    part = jax.random.uniform(of_part, (catalog,))
    noise = 0.3 * jax.random.normal(of_noise, (2, catalog))
    center = params["first"] * part + params["second"] * (1 - part)
    return kd.Population({"x": center + noise[0], "y": center + noise[1]})


@pytest.mark.slow
def test_errors_are_as_if_derivatives_had_no_noise(at):
    known = np.array([0.1, 0.0, 0.5, 0.2])
    halves = np.linalg.inv(at.inverse * np.sqrt(np.outer(1 - known, 1 - known)))
    noisy = replace(at, halves=halves[None], determined=np.ones(4, bool))
    larger = np.sqrt(noisy.without_noise)
    assert larger.max() > 1.1
    without = replace(at, halves=at.halves[:0])
    np.testing.assert_allclose(
        parameter_covariance(noisy), parameter_covariance(without) * np.outer(larger, larger)
    )
    np.testing.assert_allclose(noisy.rough_errors(), without.rough_errors() * larger)


@pytest.mark.slow
def test_variances_with_few_populations_are_those_of_many(monkeypatch):
    """Over seeds, of two parameters that are nearly degenerate."""
    params = np.array([1.0, 0.97], np.float32)
    named = dict(zip(("first", "second"), params, strict=True))
    columns = {name: np.asarray(x) for name, x in mixed(named, jax.random.key(1), 4000).x.items()}
    grid = kd.BinsConfig(columns=["x", "y"], kernels=40, fourier=0, pretrain_kernels=40)
    (one,) = kd.expand_bins({"plane": grid})
    bins = [kd.pretrain_bin(one, columns, np.ones(4000), 3, make_mesh(1))]
    objective = kd.PopulationObjective(
        mixed, tuple(named), bins, training_weight=4000.0, size=1000, loss=CHISQ
    )
    parameters = Parameters.of_vector(params, tuple(named), [None, None])

    def linearized(rounds, seeds):
        monkeypatch.setattr(module, "FEWEST_ROUNDS", rounds)
        monkeypatch.setattr(population_derivatives, "ROUNDS", rounds)
        losses = [FixedLoss(objective, parameters, seed) for seed in range(seeds)]
        found = [Linearizer(loss).at(params) for loss in losses]
        assert {at.rounds for at in found} == {rounds}
        return found

    few = linearized(16, 12)
    truth = np.mean([np.diagonal(at.inverse) for at in linearized(256, 3)], axis=0)
    noisy = np.array([np.diagonal(at.inverse) for at in few]) / truth
    corrected = noisy * [at.without_noise for at in few]
    error = np.std(corrected, axis=0, ddof=1) / np.sqrt(len(few))
    assert np.all(np.mean(noisy, axis=0) < 0.85)
    assert np.all(np.abs(np.mean(corrected, axis=0) - 1) < 3 * error + 0.05)
