"""Simulated catalogs and a model of ``scripts/answers``."""

from collections.abc import Mapping

import jax
import numpy as np

from kdescent_dist import Population

NORMAL = {
    "mean_1": 1.6,
    "mean_2": 2.9,
    "variance_1": 0.8,
    "variance_2": 1.25,
    "correlation": -0.2,
}
QUENCHING = {
    "logm_quench": 10.6,
    "blue_slope": 0.12,
    "blue_scatter": 0.1,
    "red_color": 0.9,
    "red_scatter": 0.05,
}
DATA_UNITS = {"center": 3e6, "width": 2e5, "rate": 1e-6, "scatter": 0.3}

# Ways in which a catalog differs from what the model can describe.
TWO_POPULATIONS = "two populations"
HEAVY_TAILS = "heavy tails"


def normal(size: int, seed: int, wrong: str = "") -> dict[str, np.ndarray]:
    """The catalog of ``experiment=quickstart``.

    Args:
        size: number of rows.
        seed: seed of the random numbers.
        wrong: empty, ``TWO_POPULATIONS`` or ``HEAVY_TAILS``.
    """
    first, second = _noise(np.random.default_rng(seed), size, wrong).T
    rho = NORMAL["correlation"]
    second = rho * first + np.sqrt(1 - rho**2) * second
    return {
        "x1": NORMAL["mean_1"] + np.sqrt(NORMAL["variance_1"]) * first,
        "x2": NORMAL["mean_2"] + np.sqrt(NORMAL["variance_2"]) * second,
    }


def quenching(size: int, seed: int, wrong: str = "") -> dict[str, np.ndarray]:
    """The catalog of the README, selected, with as many rows in each catalog.

    Args:
        size, seed, wrong: see ``normal``.

    Returns:
        The columns of the file, and ``g_r``, which the experiment computes from two of them.
    """
    rng, rows = np.random.default_rng(seed), 2 * size
    logm = rng.uniform(9.6, 11.5, rows)
    quenched = rng.uniform(size=rows) < 1 / (1 + np.exp(-(logm - QUENCHING["logm_quench"]) / 0.2))
    noise = _noise(rng, rows, wrong)[rng.permutation(rows), 0]
    blue = 0.4 + QUENCHING["blue_slope"] * (logm - 10.5) + QUENCHING["blue_scatter"] * noise
    red = QUENCHING["red_color"] + QUENCHING["red_scatter"] * noise
    color = np.where(quenched, red, blue)
    kept = np.flatnonzero(color < 1.5)[:size]
    mag_r = rng.uniform(18, 22, size)
    known = {"logm": logm[kept], "g_r": color[kept]}
    return {**known, "mag_g": mag_r + color[kept], "mag_r": mag_r}


def data_units(size: int, seed: int, wrong: str = "") -> dict[str, np.ndarray]:
    """A catalog of ``data_units_model``; see ``normal`` for the arguments."""
    noise = _noise(np.random.default_rng(seed), size, wrong).T
    mass = DATA_UNITS["center"] + DATA_UNITS["width"] * noise[0]
    return {"mass": mass, "light": DATA_UNITS["rate"] * mass + DATA_UNITS["scatter"] * noise[1]}


def data_units_model(params: Mapping[str, jax.Array], key: jax.Array, catalog: int) -> Population:
    """Masses of some 10^6, and light in proportion, whose parameters differ by 10^12 in size."""
    noise = jax.random.normal(key, (2, catalog))
    mass = params["center"] + params["width"] * noise[0]
    light = params["rate"] * mass + params["scatter"] * noise[1]
    return Population({"mass": mass, "light": light})


def _noise(rng: np.random.Generator, rows: int, wrong: str) -> np.ndarray:
    """(rows, 2) normal numbers; or a third of the rows apart; or Student's t, with 2 degrees."""
    noise = rng.normal(size=(rows, 2))
    if wrong == TWO_POPULATIONS:
        noise[: rows // 3] += [2.5, -1.5]
    elif wrong == HEAVY_TAILS:
        noise /= np.sqrt(rng.chisquare(2, (rows, 1)) / 2)
    elif wrong:
        raise ValueError(f"{wrong!r} is none of {TWO_POPULATIONS!r}, {HEAVY_TAILS!r}")
    return noise
