"""The covariance of residuals that the model predicts, against that of catalogs of the model."""

import numpy as np
import pytest

import kdescent_dist as kd
from kdescent_dist.config.schema import BinsConfig, LossConfig
from kdescent_dist.response.covariance import residual_covariance
from kdescent_dist.response.effective_number import is_predicted
from kdescent_dist.response.predicted_covariance import predicted_covariance
from support import problems

ROWS = 6000


def catalog(seed, mass=None):
    """Galaxies of equal weights, each red or blue, of the small problem at its truth."""
    rng = np.random.default_rng(seed)
    mean, slope, scatter, fraction = map(float, problems.TRUTH)
    mass = rng.uniform(size=ROWS) if mass is None else mass
    noise = scatter * rng.normal(size=(2, len(mass)))
    center, second = mean + slope * mass, rng.uniform(size=len(mass)) < fraction
    return {
        "red": center + second + noise[0],
        "blue": np.where(second, 0.5 * noise[1], center + noise[1]),
        "mass": mass,
    }
