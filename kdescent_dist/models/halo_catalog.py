"""Stellar masses and colors of the galaxies of dark-matter halos: a template for halo catalogs.

The input catalog is a sample of halo masses; the model draws the central galaxy of each halo. With
M the halo mass in solar masses, the median stellar mass is the double power law of Moster et al.
(2013, MNRAS 428, 3121),

    M* = 2 M 10^log_ratio / [(M / M1)^-slope_low + (M / M1)^slope_high],   M1 = 10^logm_peak,

with a lognormal scatter of ``scatter`` dex. The probability to be quenched rises with halo mass, as
found by Zu & Mandelbaum (2016, MNRAS 457, 4360); here it is a logistic function,

    1 / [1 + exp(-(logm - logm_quench) / width_quench)].

Quenched galaxies are red, and other galaxies are blue. In both populations, g - r and r - i are
normal. The mean of g - r changes by ``color_slope`` (mag per dex of stellar mass) from its value at
M* = 10^10.5. Slope and scatter of r - i are half of the slope and scatter of g - r.

To write a model of your own: a model draws *every* outcome of a choice and weights each outcome by
its probability, because a random choice has no gradient. Here, each halo has a blue and a red
galaxy. Continuous values have a gradient if parameters shift and scale random numbers. Weights of
halos belong to the input catalog, not to the model.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist import Population

Arrays = Mapping[str, jax.Array]
NAMES = (
    "logm_peak", "log_ratio", "slope_low", "slope_high", "scatter",
    "logm_quench", "width_quench",
    "blue_g_r", "blue_r_i", "blue_scatter", "red_g_r", "red_r_i", "red_scatter", "color_slope",
)  # fmt: skip


def halo_catalog(params: Arrays, key: jax.Array, catalog: Arrays) -> Population:
    """Draw the galaxy of each halo of ``catalog`` twice, as a blue and as a red galaxy.

    Args:
        params: the parameters by name.
        key: random key.
        catalog: ``logm`` (n,), decimal logarithm of the halo mass in solar masses.

    Returns:
        The 2 n samples ``logsm`` (decimal logarithm of the stellar mass in solar masses), ``g_r``
        and ``r_i`` (mag), blue galaxies first, with the blue and red probabilities as weights.
    """
    logm = catalog["logm"]
    normals = jax.random.normal(key, (3, *logm.shape), logm.dtype)
    logsm = mean_logsm(params, logm) + params["scatter"] * normals[0]
    g_r, r_i = zip(*(_colors(params, of, logsm, normals) for of in ("blue", "red")), strict=True)
    logit = (logm - params["logm_quench"]) / params["width_quench"]
    columns = {
        "logsm": jnp.concatenate([logsm, logsm]),
        "g_r": jnp.concatenate(g_r),
        "r_i": jnp.concatenate(r_i),
    }
    return Population(columns, jnp.concatenate([jax.nn.sigmoid(-logit), jax.nn.sigmoid(logit)]))


def mean_logsm(params: Arrays, logm: jax.Array) -> jax.Array:
    """Mean decimal logarithm of the stellar mass (n,) in halos of ``logm`` (n,)."""
    ln_x = np.log(10.0) * (logm - params["logm_peak"])
    # The logarithm of a sum of two powers, each of which may overflow.
    ln_sum = jnp.logaddexp(-params["slope_low"] * ln_x, params["slope_high"] * ln_x)
    return logm + params["log_ratio"] + (np.log(2.0) - ln_sum) / np.log(10.0)


def _colors(
    params: Arrays, population: str, logsm: jax.Array, normals: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Colors g - r and r - i, (n,) each, of one population from normal numbers (3, n)."""
    trend = params["color_slope"] * (logsm - 10.5)
    scatter = params[f"{population}_scatter"]
    g_r = params[f"{population}_g_r"] + trend + scatter * normals[1]
    r_i = params[f"{population}_r_i"] + 0.5 * trend + 0.5 * scatter * normals[2]
    return g_r, r_i


# The functions below make catalogs to test the model; a model of your own does not need them.

LOGM = np.linspace(11.0, 15.5, 2001)  # halos of lower mass host few galaxies above 10^9.4


def mass_function(logm: np.ndarray) -> np.ndarray:
    """Halos per Mpc^3 and dex of mass: a Schechter function, roughly as at redshift 0."""
    mass = 10.0 ** (logm - 14.0)
    return 5e-5 * mass**-0.9 * np.exp(-mass)


def halo_sample(size: int, seed: int, volume: float, tilt: float = 0.0) -> dict[str, np.ndarray]:
    """Draw halos from the mass function, with weights for a volume.

    Args:
        size: number of halos to draw.
        seed: random seed.
        volume: volume of the survey in Mpc^3; the expected sum of weights is its number of halos.
        tilt: draw halos of mass M more often by a factor M^tilt, and divide their weights by this
            factor. Expectations of weighted sums stay the same, and massive halos are not rare.

    Returns:
        Columns ``logm`` and ``weights``, (size,) each.
    """
    density = mass_function(LOGM)
    tilted = density * 10.0 ** (tilt * (LOGM - 12.0))
    logm = _draw(tilted, size, np.random.default_rng(seed))
    per_halo = np.trapezoid(tilted, LOGM) / size
    return {"logm": logm, "weights": volume * per_halo * 10.0 ** (-tilt * (logm - 12.0))}


def _draw(density: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (size,) values of ``logm`` by the inverse cumulative of a density at ``LOGM``."""
    steps = 0.5 * (density[1:] + density[:-1])
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    return np.interp(rng.uniform(0.0, integral[-1], size), integral, LOGM)


def mock_survey(truth: Mapping[str, float], volume: float, seed: int) -> dict[str, np.ndarray]:
    """Draw a training catalog: all galaxies of a volume in Mpc^3, each once, without weights.

    For each halo, one of the two galaxies is drawn by their weights.
    """
    rng = np.random.default_rng(seed)
    density = mass_function(LOGM)
    size = int(rng.poisson(volume * np.trapezoid(density, LOGM)))
    logm = jnp.asarray(_draw(density, size, rng))
    params = {name: jnp.asarray(float(value)) for name, value in truth.items()}
    population = halo_catalog(params, jax.random.key(seed), {"logm": logm})
    quenched = rng.uniform(size=size) < np.asarray(population.weights[size:])
    rows = np.where(quenched, size, 0) + np.arange(size)
    return {name: np.asarray(values)[rows] for name, values in population.x.items()}
