"""Simulated catalogs of ``scripts/answers``."""

from collections.abc import Mapping

import numpy as np

TRUTH = {
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


def quenching(size: int, seed: int) -> dict[str, np.ndarray]:
    """The catalog of the README, selected, with as many rows in each catalog.

    Returns:
        The columns of the file, and ``g_r``, which the experiment computes from two of them.
    """
    rng, rows = np.random.default_rng(seed), 2 * size
    logm = rng.uniform(9.6, 11.5, rows)
    quenched = rng.uniform(size=rows) < 1 / (1 + np.exp(-(logm - QUENCHING["logm_quench"]) / 0.2))
    red = rng.normal(QUENCHING["red_color"], QUENCHING["red_scatter"], rows)
    blue = rng.normal(0.4, QUENCHING["blue_scatter"], rows)
    blue += QUENCHING["blue_slope"] * (logm - 10.5)
    color = np.where(quenched, red, blue)
    kept = np.flatnonzero(color < 1.5)[:size]
    mag_r = rng.uniform(18, 22, size)
    known = {"logm": logm[kept], "g_r": color[kept]}
    return {**known, "mag_g": mag_r + color[kept], "mag_r": mag_r}


def _normal(truth: Mapping[str, float], size: int, rng: np.random.Generator) -> np.ndarray:
    both = truth["correlation"] * np.sqrt(truth["variance_1"] * truth["variance_2"])
    covariance = [[truth["variance_1"], both], [both, truth["variance_2"]]]
    return rng.multivariate_normal([truth["mean_1"], truth["mean_2"]], covariance, size)


def two_populations(truth: Mapping[str, float], size: int, seed: int) -> dict[str, np.ndarray]:
    """A third of the rows belongs to a population that the model lacks."""
    rng = np.random.default_rng(seed)
    x = _normal(truth, size, rng)
    x[: size // 3] += [2.5, -1.5]
    return {"x1": x[:, 0], "x2": x[:, 1]}


def heavy_tails(truth: Mapping[str, float], size: int, seed: int) -> dict[str, np.ndarray]:
    """Student's t distribution of two degrees of freedom, in place of a normal distribution."""
    rng = np.random.default_rng(seed)
    apart = _normal(truth, size, rng) - [truth["mean_1"], truth["mean_2"]]
    x = apart / np.sqrt(rng.chisquare(2, (size, 1)) / 2) + [truth["mean_1"], truth["mean_2"]]
    return {"x1": x[:, 0], "x2": x[:, 1]}
