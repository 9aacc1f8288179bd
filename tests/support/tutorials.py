"""The models of the two tutorials of the kdescent document."""

import functools

import jax
import jax.numpy as jnp

BOUNDS_1 = jnp.array(
    [[-jnp.inf, jnp.inf], [-jnp.inf, jnp.inf], [0.001, jnp.inf], [0.001, jnp.inf], [-0.999, 0.999]]
)
CUTS = [(9.0, 9.5), (10.25, 10.75), (11.5, 12.0)]


def normal_covariance(var_1, var_2, correlation):
    off = correlation * jnp.sqrt(var_1 * var_2)
    return jnp.array([[var_1, off], [off, var_2]])


@functools.partial(jax.jit, static_argnames=["nsample"])
def tutorial_1_model(params, randkey, nsample=5_000):
    cov = normal_covariance(*jnp.abs(params[2:4]), params[4])
    return jax.random.multivariate_normal(randkey, params[:2], cov, shape=(nsample,))


def tutorial_2_model(params, randkey, undersample=False, nsample=20_000):
    low, span = params[0], params[1] + 0.001
    at_low, at_high = params[2:11], params[11:20]
    key_mass, key_color = jax.random.split(randkey, num=2)
    mode = 0.5 if undersample else 0
    logm = jax.random.triangular(key_mass, 0, mode, 1, shape=(nsample,))
    logm = low + logm * span

    def linear(value_low, value_high):
        slope = (value_high - value_low) / span
        above = (logm - low).reshape((-1,) + (1,) * jnp.ndim(value_low))
        return (value_low + slope * above).reshape((nsample, *jnp.shape(value_low)))

    mean = linear(at_low[:2], at_high[:2])
    mean_q = linear(at_low[:2] + at_low[6:8], at_high[:2] + at_high[6:8])
    cov = linear(normal_covariance(*at_low[2:5]), normal_covariance(*at_high[2:5]))
    cov_q = cov * linear(at_low[8], at_high[8])[:, None, None] ** 2
    fraction_q = linear(at_low[5], at_high[5])
    x_sf = jax.random.multivariate_normal(key_color, mean, cov)
    x_q = jax.random.multivariate_normal(key_color, mean_q, cov_q)
    colors = jnp.concatenate([x_sf, x_q])
    data = jnp.column_stack([colors, jnp.concatenate([logm, logm])])
    return data, jnp.concatenate([1 - fraction_q, fraction_q])


def soft_tophat(x, low, high, squish=25.0):
    width = (high - low) / squish
    return jax.nn.sigmoid((x - low) / width) * jax.nn.sigmoid((high - x) / width)
