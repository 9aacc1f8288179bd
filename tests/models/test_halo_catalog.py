"""The shipped experiment halo_catalog: its equations, and its catalogs."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.catalogs.catalog import load_catalog
from kdescent_dist.config.compose import from_omegaconf
from kdescent_dist.config.schema import CatalogConfig, Config, SamplesConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.models.halo_catalog import (
    LOGM,
    NAMES,
    halo_catalog,
    halo_sample,
    mass_function,
    mean_logsm,
    mock_survey,
)
from kdescent_dist.run.catalogs import RunCatalogs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return from_omegaconf(compose("config", ["experiment=halo_catalog"]))


@pytest.fixture(scope="module")
def truth(config):
    return {name: parameter.truth for name, parameter in config.parameters.items()}


@pytest.fixture(scope="module")
def params(truth):
    return {name: jnp.float32(value) for name, value in truth.items()}


@pytest.fixture(scope="module")
def halos():
    return {"logm": jnp.asarray(np.linspace(11.0, 15.0, 4000), jnp.float32)}


def test_the_config_has_every_parameter_of_the_model_and_draws_its_survey_from_their_truths(
    config, truth
):
    assert tuple(config.parameters) == NAMES
    assert dict(config.catalog.make["truth"]) == truth


def test_stellar_mass_is_the_double_power_law_of_halo_mass(truth, params):
    logm = np.array([11.0, 11.6, 12.5, 15.0])
    x = 10.0 ** (logm - truth["logm_peak"])
    ratio = 2 * 10 ** truth["log_ratio"] / (x ** -truth["slope_low"] + x ** truth["slope_high"])
    drawn = mean_logsm(params, jnp.asarray(logm, jnp.float32))
    np.testing.assert_allclose(drawn, logm + np.log10(ratio), atol=1e-5)


def test_each_halo_is_shared_between_a_blue_and_a_red_galaxy_of_the_same_mass(truth, params, halos):
    size = len(halos["logm"])
    population = halo_catalog(params, jax.random.key(0), halos)
    logm = np.asarray(halos["logm"], float)
    red = 1 / (1 + np.exp(-(logm - truth["logm_quench"]) / truth["width_quench"]))
    np.testing.assert_allclose(population.weights[size:], red, atol=1e-6)
    np.testing.assert_allclose(population.weights[:size], 1 - red, atol=1e-6)
    np.testing.assert_array_equal(population.x["logsm"][:size], population.x["logsm"][size:])


def test_drawn_values_have_the_scatter_of_the_parameters(truth, params):
    size = 100_000
    population = halo_catalog(params, jax.random.key(0), {"logm": jnp.full(size, 12.3)})
    x = {name: np.asarray(values, float) for name, values in population.x.items()}
    error = 4 / np.sqrt(size)
    assert np.std(x["logsm"][:size]) == pytest.approx(truth["scatter"], rel=error)
    for name, rows in (("blue", slice(None, size)), ("red", slice(size, None))):
        trend = truth["color_slope"] * (x["logsm"][rows] - 10.5)
        for color, part in (("g_r", 1.0), ("r_i", 0.5)):
            around = x[color][rows] - part * trend
            scatter = part * truth[f"{name}_scatter"]
            assert np.std(around) == pytest.approx(scatter, rel=error)
            assert np.mean(around) == pytest.approx(truth[f"{name}_{color}"], abs=error * scatter)


def test_every_parameter_has_a_finite_gradient_and_an_influence_at_the_guess(config, halos):
    guess = {name: jnp.float32(p.guess) for name, p in config.parameters.items()}
    factors = jax.random.normal(jax.random.key(8), (4, 2 * len(halos["logm"])))

    @jax.grad
    def gradient(params):
        population = halo_catalog(params, jax.random.key(3), halos)
        return jnp.sum(factors * jnp.stack([*population.x.values(), population.weights]))

    gradients = {name: float(value) for name, value in gradient(guess).items()}
    assert [name for name, value in gradients.items() if not abs(value) > 1e-3] == []


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_halos_stand_for_those_of_the_volume_whatever_their_number(tilt):
    """Fewer halos with larger weights, and massive ones drawn more often, give the same numbers."""
    volume = 2e6
    for size in (20_000, 200_000):
        halos = halo_sample(size, 7, volume, tilt)
        for low, high in ((11.0, 11.5), (12.0, 13.0), (13.0, 14.0)):
            inside = (halos["logm"] >= low) & (halos["logm"] < high)
            grid = np.linspace(low, high, 2001)
            expected = volume * np.trapezoid(mass_function(grid), grid)
            error = np.sqrt(np.sum(halos["weights"][inside] ** 2))
            assert abs(halos["weights"][inside].sum() - expected) < 4 * error


def test_the_survey_holds_all_galaxies_of_its_volume_once(truth):
    survey = mock_survey(truth, 1e6, seed=1)
    assert sorted(survey) == ["g_r", "logsm", "r_i"]
    expected = 1e6 * np.trapezoid(mass_function(LOGM), LOGM)
    assert abs(len(survey["logsm"]) - expected) < 4 * np.sqrt(expected)


def test_of_a_part_of_the_halos_each_stands_for_more(config):
    """Numbers of galaxies have the same expectation."""
    few = replace(config, samples=SamplesConfig(size=4000))
    found = []
    for given in (config, few):
        catalogs = RunCatalogs(given, Processes(()))
        catalogs.training()
        layout, _, halos = catalogs.input(make_mesh(1))
        assert len(halos) == layout.size
        found.append(halos)
    all_halos, part = found
    assert (len(all_halos), len(part)) == (40_000, 4000)
    order = np.argsort(all_halos.columns["logm"])
    rows = order[np.searchsorted(all_halos.columns["logm"], part.columns["logm"], sorter=order)]
    np.testing.assert_array_equal(all_halos.columns["logm"][rows], part.columns["logm"])
    np.testing.assert_allclose(part.weights, 10 * all_halos.weights[rows], rtol=1e-6)
    error = np.sqrt(np.sum(part.weights.astype(float) ** 2))
    assert abs(part.weights.sum(dtype=float) - all_halos.weights.sum(dtype=float)) < 4 * error


def test_the_config_fills_every_bin(config):
    survey = load_catalog(config.catalog, required=["logsm", "g_r", "r_i"])
    bins = expand_bins(config.bins)
    assert len(bins) == 7
    assert min(b.count(survey.columns) for b in bins) > 500


def test_the_script_writes_the_same_halos_to_parquet_and_hdf5(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    spec = importlib.util.spec_from_file_location("make_halos", ROOT / "scripts/make_halos.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    paths = script.write(tmp_path, 2500, 0.4, piece=1000)
    assert pq.ParquetFile(paths[0]).num_row_groups == 3
    catalogs = [
        load_catalog(
            CatalogConfig(path=str(path), group=group, weights="1e6 * weights"), required=["logm"]
        )
        for path, group in zip(paths, (None, "halos"), strict=True)
    ]
    np.testing.assert_array_equal(catalogs[0].columns["logm"], catalogs[1].columns["logm"])
    np.testing.assert_array_equal(catalogs[0].weights, catalogs[1].weights)
    expected = 1e6 * np.trapezoid(mass_function(LOGM), LOGM)
    error = np.sqrt(np.sum(catalogs[0].weights ** 2))
    assert abs(catalogs[0].weights.sum() - expected) < 4 * error
