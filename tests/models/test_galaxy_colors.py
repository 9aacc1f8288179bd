"""The shipped experiment galaxy_colors: its equations, and the config that goes with them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from scipy.interpolate import CubicSpline

from kdescent_dist.bins.bin import expand_bins, required_columns
from kdescent_dist.catalogs.catalog import load_catalog
from kdescent_dist.config.compose import from_omegaconf
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import Config
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.models.block_model import check_model
from kdescent_dist.models.galaxy_colors import (
    COLOR_KNOTS,
    COLORS,
    NAMES,
    OTHER_KNOTS,
    PARAMETERS,
    TRACKS,
    evaluate_tracks,
    galaxy_colors,
    spline_basis,
)

CONF = Path(__file__).parents[2] / "conf"
DEPTHS = (26.88, 26.96, 26.56, 25.94)


@pytest.fixture(scope="module")
def config():
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return from_omegaconf(compose("config", ["experiment=galaxy_colors"]))


@pytest.fixture(scope="module")
def guess(config):
    return {name: jnp.float32(parameter.guess) for name, parameter in config.parameters.items()}


@pytest.fixture(scope="module")
def params(guess):
    """Parameters away from the guess, with every shape, so that no term of the model vanishes."""
    rng = np.random.default_rng(4)
    moved = {name: value + 0.15 * rng.normal() for name, value in guess.items()}
    return {name: jnp.float32(value) for name, value in moved.items()}


@pytest.fixture(scope="module")
def galaxies():
    """A catalog that covers all knots."""
    rng = np.random.default_rng(5)
    redshift = rng.uniform(0.05, 2.6, 3000).astype(np.float32)
    mag = rng.uniform(18.0, 25.3, 3000).astype(np.float32)
    return {"redshift": jnp.asarray(redshift), "i": jnp.asarray(mag)}


def at(params, track, redshift):
    """The value of a track by SciPy in double precision."""
    knots = TRACKS[track]
    spline = CubicSpline(knots, [float(params[p]) for p in PARAMETERS[track]], bc_type="natural")
    return float(spline(np.clip(redshift, knots[0], knots[-1])))


def equations(params, name, redshift, mag):
    """Center (3,), intrinsic and noise covariance (3, 3), and shape (4,) of one population."""
    relative = max(mag, 20.0) - 24.0

    def own(stem):
        return at(params, f"{name}_{stem}", redshift)

    center = np.array([own(c) + relative * own(f"{c}_slope") for c in COLORS])
    scatter = np.exp([own(f"{c}_logsd") for c in COLORS])
    unit = np.array(
        [[1, 0, 0], [own("ri_per_gr"), 1, 0], [own("iz_per_gr"), own("iz_per_ri"), 1]], float
    )
    root = unit * scatter
    mags = np.array([mag + center[0] + center[1], mag + center[1], mag, mag - center[2]])
    noise = np.minimum(0.2 * 10 ** (0.4 * (mags - DEPTHS)), 1.0)
    difference = np.array([[1, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1]], float) * noise
    shape = np.array([own(s) for s in ("skew", "tail", "bend_ri", "bend_iz")])
    return center, root @ root.T, difference @ difference.T, shape


def expected_moments(params, name, redshift, mag):
    """Mean (3,) and covariance (3, 3) of the colors, by integration over the first normal."""
    center, intrinsic, noise, (skew, tail, bend_ri, bend_iz) = equations(
        params, name, redshift, mag
    )
    factor = np.linalg.cholesky(intrinsic + noise)
    e = np.linspace(-9.0, 9.0, 40_001)
    density = np.exp(-0.5 * e**2) / np.sqrt(2.0 * np.pi) * (e[1] - e[0])
    u = np.sinh(np.exp(tail) * (np.arcsinh(e) + skew))
    curve = intrinsic[0, 0] / factor[0, 0] * (np.sqrt(1.0 + u**2) - 1.0)
    along = factor[:, :1] * u + np.array([[0.0], [bend_ri], [bend_iz]]) * curve
    mean = along @ density
    second = (along * density) @ along.T
    across = factor[:, 1:] @ factor[:, 1:].T
    return center + mean, second - np.outer(mean, mean) + across


@pytest.mark.parametrize("knots", [COLOR_KNOTS, OTHER_KNOTS])
def test_a_track_is_the_natural_cubic_spline_through_its_parameters(knots):
    values = np.random.default_rng(1).normal(size=len(knots))
    x = np.linspace(knots[0], knots[-1], 501)
    spline = values @ np.asarray(spline_basis(jnp.asarray(x, jnp.float32), knots), float)
    np.testing.assert_allclose(spline, CubicSpline(knots, values, bc_type="natural")(x), atol=2e-5)


def test_a_track_is_constant_beyond_its_outermost_knots():
    basis = spline_basis(jnp.asarray([-1.0, 0.0, OTHER_KNOTS[-1] + 0.1, 9.0]), OTHER_KNOTS)
    first, last = np.eye(len(OTHER_KNOTS))[[0, -1]]
    np.testing.assert_allclose(basis.T, [first, first, last, last], atol=1e-5)


def test_tracks_are_evaluated_from_their_own_parameters(params):
    redshift = jnp.asarray([0.3, 1.23, 2.0])
    tracks = evaluate_tracks(params, redshift)
    assert tracks.keys() == TRACKS.keys()
    expected = [[at(params, track, float(z)) for z in redshift] for track in tracks]
    np.testing.assert_allclose(list(tracks.values()), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redshift", "mag"), [(0.35, 19.0), (0.35, 24.0), (0.97, 25.0), (1.4, 23.0)]
)
def test_the_drawn_colors_have_the_moments_of_the_equations(params, redshift, mag):
    size = 200_000
    catalog = {"redshift": jnp.full(size, redshift), "i": jnp.full(size, mag)}
    population = galaxy_colors(params, jax.random.key(2), catalog)
    drawn = np.stack([np.asarray(population.x[c], float) for c in COLORS])
    for name, sample in (("blue", drawn[:, :size]), ("red", drawn[:, size:])):
        mean, cov = expected_moments(params, name, redshift, mag)
        sd = np.sqrt(np.diagonal(cov))
        np.testing.assert_allclose((sample.mean(axis=1) - mean) / sd, 0.0, atol=0.012)
        np.testing.assert_allclose(
            np.cov(sample) / np.outer(sd, sd), cov / np.outer(sd, sd), atol=0.04
        )


def test_each_galaxy_is_shared_between_blue_and_red_by_the_red_fraction(params, galaxies):
    size = len(galaxies["i"])
    weights = galaxy_colors(params, jax.random.key(0), galaxies).weights
    np.testing.assert_allclose(weights[:size] + weights[size:], 1.0, atol=1e-6)
    relative = np.maximum(np.asarray(galaxies["i"], float), 20.0) - 24.0
    redshift = np.asarray(galaxies["redshift"], float)
    logit = [
        at(params, "red_logit", z) + m * at(params, "red_logit_slope", z)
        for z, m in zip(redshift[:50], relative[:50], strict=True)
    ]
    np.testing.assert_allclose(
        weights[size : size + 50], 1 / (1 + np.exp(-np.array(logit))), atol=1e-5
    )


def test_redshifts_and_magnitudes_are_those_of_the_catalog(params, galaxies):
    population = galaxy_colors(params, jax.random.key(0), galaxies)
    for name, values in galaxies.items():
        np.testing.assert_array_equal(population.x[name], np.tile(values, 2))


def test_every_parameter_has_a_finite_gradient_and_an_influence_at_the_guess(guess, galaxies):
    factors = jax.random.normal(jax.random.key(8), (4, 2 * len(galaxies["i"])))

    @jax.jit
    @jax.grad
    def gradient(params):
        population = galaxy_colors(params, jax.random.key(3), galaxies)
        values = jnp.stack([*(population.x[c] for c in COLORS), population.weights])
        return jnp.sum(factors * values)

    gradients = {name: float(value) for name, value in gradient(guess).items()}
    assert [name for name, value in gradients.items() if not np.isfinite(value)] == []
    assert [name for name, value in gradients.items() if abs(value) < 1e-3] == []


def test_galaxies_far_below_the_depths_have_finite_colors(guess):
    catalog = {"redshift": jnp.full(100, 1.0), "i": jnp.linspace(15.0, 40.0, 100)}
    population = galaxy_colors(guess, jax.random.key(0), catalog)
    assert all(np.isfinite(values).all() for values in population.x.values())


def test_depths_of_three_bands_are_refused(guess, galaxies):
    with pytest.raises(InputError, match=r"model\.options\.depths"):
        galaxy_colors(guess, jax.random.key(0), galaxies, depths=(26.0, 26.0, 26.0))


def test_the_config_has_every_parameter_of_the_model_and_no_other(config):
    assert tuple(config.parameters) == NAMES


def test_the_depths_of_the_config_are_those_of_the_sample(config):
    assert tuple(config.model.options["depths"]) == DEPTHS


def test_the_guess_lies_within_its_bounds(config):
    values = list(config.parameters.values())
    bounds = Bounds.from_pairs([(p.low, p.high) for p in values], len(values))
    bounds.check(np.array([p.guess for p in values]), NAMES)


def test_the_model_returns_what_the_bins_of_the_config_need(config, guess, galaxies):
    def block(values):
        return galaxy_colors(dict(zip(guess, values, strict=True)), jax.random.key(0), galaxies)

    check_model(block, jnp.stack(list(guess.values())), required_columns(config.bins))


def test_the_config_leaves_out_undetected_galaxies_and_fills_every_bin(config):
    needed = [*required_columns(config.bins), *config.input.columns]
    catalog = load_catalog(config.catalog, required=needed, seed=0)
    assert len(catalog) == 10_094
    assert dict(catalog.dropped) == {
        "mag_g_lsst is 99 (missing)": 2,
        f"where is false: {config.catalog.where}": 129,
    }
    bins = expand_bins(config.bins)
    assert len(bins) == 18
    assert min(b.count(catalog.columns) for b in bins) > 700
