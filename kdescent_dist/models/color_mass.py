"""Colors of star-forming and quenched galaxies against stellar mass: kdescent's second tutorial.

The model mixes two normal distributions of the colors r - z and g - r. Between a lower and an upper
log stellar mass, these change linearly: mean and covariance of star-forming galaxies, the shift of
the mean of quenched galaxies, the factor of their scatter, and the quenched fraction. There are
twenty parameters: two for the mass range, and nine at each end (``_mmin`` and ``_mmax``).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist import Population

Params = Mapping[str, jax.Array]
AT_EACH_END = (
    "mean_r_z", "mean_g_r", "variance_r_z", "variance_g_r", "correlation",
    "quenched_fraction", "quenched_shift_r_z", "quenched_shift_g_r", "quenched_scale",
)  # fmt: skip
NAMES = (
    "logm_min",
    "logm_range",
    *(f"{name}_{end}" for end in ("mmin", "mmax") for name in AT_EACH_END),
)


def color_mass(
    params: Params, key: jax.Array, catalog: int, undersample: bool = False
) -> Population:
    """Draw ``catalog`` masses, and for each mass a star-forming and a quenched galaxy.

    Args:
        params: the twenty parameters by name.
        key: random key.
        catalog: number of masses n.
        undersample: draw masses from a symmetric triangular distribution, which lacks low masses,
            instead of one with its mode at the lowest mass.

    Returns:
        The 2 n samples ``r_z`` and ``g_r`` (mag) and ``logm``, star-forming galaxies first, with
        the star-forming and quenched fractions as weights.
    """
    key_mass, key_color = jax.random.split(key)
    log_range = params["logm_range"] + 0.001
    # Inverse cumulative triangular distribution, with the mode at 0 or in the middle.
    uniform = jax.random.uniform(key_mass, (catalog,))
    fraction = 1.0 - jnp.sqrt(1.0 - uniform)
    if undersample:
        rising = jnp.sqrt(uniform / 2.0)
        fraction = jnp.where(uniform < 0.5, rising, 1.0 - jnp.sqrt((1.0 - uniform) / 2.0))
    logm = params["logm_min"] + fraction * log_range

    def at(value_min: jax.Array, value_max: jax.Array) -> jax.Array:
        return value_min + (value_max - value_min) * fraction

    low, high = _end(params, "mmin"), _end(params, "mmax")
    mean_r_z, mean_g_r = (
        at(low["mean_r_z"], high["mean_r_z"]),
        at(low["mean_g_r"], high["mean_g_r"]),
    )
    # Cholesky factor of the covariance; the elements of the covariance change linearly.
    variance_r_z = at(low["variance_r_z"], high["variance_r_z"])
    variance_g_r = at(low["variance_g_r"], high["variance_g_r"])
    covariance = at(low["covariance"], high["covariance"])
    scatter_r_z = jnp.sqrt(variance_r_z)
    slope = covariance / scatter_r_z
    scatter_g_r = jnp.sqrt(variance_g_r - slope**2)
    normal_1, normal_2 = jax.random.normal(key_color, (2, catalog))
    noise_r_z = scatter_r_z * normal_1
    noise_g_r = slope * normal_1 + scatter_g_r * normal_2

    quenched_r_z = mean_r_z + at(low["quenched_shift_r_z"], high["quenched_shift_r_z"])
    quenched_g_r = mean_g_r + at(low["quenched_shift_g_r"], high["quenched_shift_g_r"])
    scale = at(low["quenched_scale"], high["quenched_scale"])
    quenched = at(low["quenched_fraction"], high["quenched_fraction"])
    columns = {
        "r_z": jnp.concatenate([mean_r_z + noise_r_z, quenched_r_z + scale * noise_r_z]),
        "g_r": jnp.concatenate([mean_g_r + noise_g_r, quenched_g_r + scale * noise_g_r]),
        "logm": jnp.concatenate([logm, logm]),
    }
    return Population(columns, jnp.concatenate([1.0 - quenched, quenched]))


def _end(params: Params, end: str) -> dict[str, jax.Array]:
    values = {name: params[f"{name}_{end}"] for name in AT_EACH_END}
    scale = jnp.sqrt(values["variance_r_z"] * values["variance_g_r"])
    values["covariance"] = values["correlation"] * scale
    return values


def training_catalog(truth: Mapping[str, float], size: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the training catalog, undersampled at low masses, with one row per galaxy.

    For each of the ``size`` masses, one galaxy is drawn by the weights, quenched or star-forming.
    So the rows have no weights.
    """
    params = {name: jnp.asarray(float(value)) for name, value in truth.items()}
    key, key_type = jax.random.split(jax.random.key(seed))
    population = color_mass(params, key, size, undersample=True)
    quenched = np.asarray(jax.random.uniform(key_type, (size,)) < population.weights[size:])
    keep = np.concatenate([~quenched, quenched])
    return {name: np.asarray(values)[keep] for name, values in population.x.items()}
