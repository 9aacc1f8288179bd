"""Stellar masses and colors of the galaxies of dark-matter halos: a template for halo catalogs.

The input catalog is a sample of halos by their mass, the output one central galaxy for each. With
M the halo mass in solar masses, a galaxy has the stellar mass of Moster et al. (2013, MNRAS 428,
3121), a double power law with a lognormal scatter,

    M* = 2 M 10^log_ratio / [(M / M1)^-slope_low + (M / M1)^slope_high],   M1 = 10^logm_peak,

and is quenched with a probability that rises with halo mass (Zu & Mandelbaum 2016, MNRAS 457,
4360),

    1 / [1 + exp(-(logm - logm_quench) / width_quench)].

Galaxies are red if quenched and blue if not. Both populations have normal colors g - r and r - i
about a mean at M* = 10^10.5, which moves with stellar mass by ``color_slope`` (mag per dex) in
g - r and by half of that in r - i; the scatter of r - i is half of that of g - r.

To make a model of your own of it: a model draws *every* outcome of a choice, here each halo once
with a blue and once with a red galaxy, and weights it with its probability. A random choice would
have no gradient. Continuous values are random numbers that are shifted and scaled by parameters,
which have one. Weights of the halos themselves are the business of the input catalog.
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
    """Draw the galaxy of each halo of ``catalog`` twice, as a blue and as a red one.

    Args:
        params: the parameters by name.
        key: random key.
        catalog: ``logm`` (n,), decimal logarithm of the halo mass in solar masses.

    Returns:
        The 2 n samples ``logsm`` (decimal logarithm of the stellar mass in solar masses), ``g_r``
        and ``r_i``, the blue ones first, weighted by the probabilities of being blue and red.
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
    """Mean logarithm of the stellar mass (n,) of halos of ``logm`` (n,)."""
    ln_x = np.log(10.0) * (logm - params["logm_peak"])
    # The logarithm of the sum of two powers, where each by itself may overflow.
    ln_sum = jnp.logaddexp(-params["slope_low"] * ln_x, params["slope_high"] * ln_x)
    return logm + params["log_ratio"] + (np.log(2.0) - ln_sum) / np.log(10.0)


def _colors(
    params: Arrays, population: str, logsm: jax.Array, normals: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Colors g - r and r - i (n,) of one population from three normal numbers (3, n) each."""
    trend = params["color_slope"] * (logsm - 10.5)
    scatter = params[f"{population}_scatter"]
    g_r = params[f"{population}_g_r"] + trend + scatter * normals[1]
    r_i = params[f"{population}_r_i"] + 0.5 * trend + 0.5 * scatter * normals[2]
    return g_r, r_i


# What follows makes catalogs to try the model on; a model of your own does not need it.

LOGM = np.linspace(11.0, 15.5, 2001)  # halos of lower mass host no galaxy of 10^9.4 or more


def mass_function(logm: np.ndarray) -> np.ndarray:
    """Halos per Mpc^3 and dex of mass: a Schechter function, roughly that at redshift 0."""
    mass = 10.0 ** (logm - 14.0)
    return 5e-5 * mass**-0.9 * np.exp(-mass)


def halo_sample(size: int, seed: int, volume: float, tilt: float = 0.0) -> dict[str, np.ndarray]:
    """Draw halos from the mass function, weighted so that they stand for those of a volume.

    Args:
        size: number of halos.
        seed: random seed.
        volume: volume that they stand for, in Mpc^3, whatever their number: that of the survey.
        tilt: draw halos of mass M more often by M^tilt, and give them weights that are less by as
            much: the expectation of every sum is the same, and massive halos are not rare.

    Returns:
        Columns (size,) of ``logm`` and of ``weights``.
    """
    density = mass_function(LOGM)
    tilted = density * 10.0 ** (tilt * (LOGM - 12.0))
    logm = _draw(tilted, size, np.random.default_rng(seed))
    per_halo = np.trapezoid(tilted, LOGM) / size
    return {"logm": logm, "weights": volume * per_halo * 10.0 ** (-tilt * (logm - 12.0))}


def _draw(density: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (size,) masses from a density over ``LOGM``, by the inverse of its integral."""
    steps = 0.5 * (density[1:] + density[:-1])
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    return np.interp(rng.uniform(0.0, integral[-1], size), integral, LOGM)


def mock_survey(truth: Mapping[str, float], volume: float, seed: int) -> dict[str, np.ndarray]:
    """Draw the training catalog: all galaxies of a volume in Mpc^3, each once, without weights.

    Each halo keeps one of its two galaxies, drawn by their weights.
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
