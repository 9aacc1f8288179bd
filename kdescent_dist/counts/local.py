"""Kernel and Fourier counts of one set of samples, and their errors.

Counts are sums over the samples: add the counts of disjoint sets (or ``psum`` them) before any
nonlinear operation. Errors add in squares. All functions are differentiable with respect to every
array, any number of times, in forward and reverse mode. No derivative holds a table of samples x
kernels. A backend computes gradients; all other derivatives are computed in blocks. The dtype is
the dtype of the arguments, at least float32.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.backends import check_backend
from kdescent_dist.counts.fourier import fourier_squared_sums, fourier_sums
from kdescent_dist.counts.kde import kde_sums, square_norm


@partial(jax.jit, static_argnames="backend")
def kde_counts(
    x: jax.Array,
    weights: jax.Array | None,
    centers: jax.Array,
    cov: jax.Array,
    backend: str = "auto",
) -> jax.Array:
    """Count samples in Gaussian kernels: ``sum_n w_n N(x_n; center_k, cov)``.

    If the kernel of a distant sample underflows, the sample contributes exactly 0 to the count and
    to every gradient.

    Args:
        x: (n, d) samples.
        weights: (n,) weights, 1 by default.
        centers: (K, d) kernel centers.
        cov: (d, d) covariance of the kernels, positive definite.
        backend: "tiled" for CPUs, "fused" for GPUs, "auto" for the backend of the platform, or
            "pallas" for hand-written kernels on NVIDIA GPUs (Hopper or later; interpreted on CPUs,
            for tests). Backends agree to rounding. For any backend, a part of the gradient in
            ``cov`` is computed in blocks.

    Returns:
        (K,) counts, in samples per unit volume.

    Raises:
        InputError: the shapes do not match, or there is no such backend.
    """
    check_backend(backend)
    x, weights, centers, cov = _arrays(x, weights, centers, cov)
    _check_shapes(x, weights, centers, "centers")
    if cov.shape != (x.shape[1],) * 2:
        raise InputError(f"cov has shape {cov.shape} for samples of {x.shape[1]} dimensions")
    if not len(x) or not len(centers):
        return jnp.zeros(len(centers), x.dtype)
    return kde_sums(backend, x, weights, centers, cov)


@partial(jax.jit, static_argnames="backend")
def fourier_counts(
    x: jax.Array, weights: jax.Array | None, modes: jax.Array, backend: str = "auto"
) -> jax.Array:
    """Evaluate the weighted empirical characteristic function: ``sum_n w_n exp(i k . x_n)``.

    Args:
        x: (n, d) samples.
        weights: (n,) weights, 1 by default.
        modes: (K, d) wave vectors, in radians per unit of ``x``.
        backend: "tiled" for CPUs, "fused" for GPUs, "auto" for the backend of the platform, or
            "pallas" for hand-written kernels on NVIDIA GPUs (Hopper or later; interpreted on CPUs,
            for tests). Backends agree to rounding.

    Returns:
        (K,) complex counts.

    Raises:
        InputError: the shapes do not match, or there is no such backend.
    """
    check_backend(backend)
    x, weights, modes = _arrays(x, weights, modes)
    _check_shapes(x, weights, modes, "modes")
    if not len(x) or not len(modes):
        return lax.complex(*[jnp.zeros(len(modes), x.dtype)] * 2)
    return lax.complex(*fourier_sums(backend, x, weights, modes))


@jax.jit
def kde_errors(
    x: jax.Array, weights: jax.Array | None, centers: jax.Array, cov: jax.Array
) -> jax.Array:
    """Return the Poisson error of each kernel count, ``sqrt(sum_n w_n^2 N(x_n; center_k, cov)^2)``.

    The error is the count over the square root of its effective sample size. The error is 0 if all
    kernels underflow: in single precision, if every sample is farther away than 9.4 standard
    deviations (10.2 with a backend that keeps subnormal numbers). The backend is "auto".

    Args:
        x: (n, d) samples.
        weights: (n,) weights, 1 by default.
        centers: (K, d) kernel centers.
        cov: (d, d) covariance of the kernels, positive definite.

    Returns:
        (K,) errors, in samples per unit volume.

    Raises:
        InputError: the shapes do not match.
    """
    x, weights, centers, cov = _arrays(x, weights, centers, cov)
    root = _root(kde_counts(x, weights * weights, centers, 0.5 * cov))
    return root / jnp.sqrt(square_norm(cov))


@jax.jit
def fourier_errors(x: jax.Array, weights: jax.Array | None, modes: jax.Array) -> jax.Array:
    """Return the Poisson errors of the real and the imaginary part of each Fourier count.

    They are ``sqrt(sum_n w_n^2 cos^2(k . x_n))`` and the same expression with the sine. They are
    computed in blocks on any platform.

    Args:
        x: (n, d) samples.
        weights: (n,) weights, 1 by default.
        modes: (K, d) wave vectors, in radians per unit of ``x``.

    Returns:
        (K,) complex: error of the real part plus i times the error of the imaginary part.

    Raises:
        InputError: the shapes do not match.
    """
    x, weights, modes = _arrays(x, weights, modes)
    _check_shapes(x, weights, modes, "modes")
    if not len(x) or not len(modes):
        return lax.complex(*[jnp.zeros(len(modes), x.dtype)] * 2)
    cos, sin = fourier_squared_sums(x, weights * weights, modes)
    return lax.complex(_root(cos), _root(sin))


def _root(square: jax.Array) -> jax.Array:
    """Square root with derivative 0, not infinity, at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _arrays(x, weights, *others) -> list[jax.Array]:
    """Bring all arguments to one floating dtype, and to one type of variation over devices.

    Inside ``shard_map``, some arguments may be replicated while the samples vary over devices, but
    a custom derivative needs one type of variation. Adding a zero like every argument gives all
    arguments the same type and vanishes in compilation. The transpose of this addition adds the
    gradients of the devices. Under ``jax.vmap``, such a zero has no mapped axis.
    """
    given = [jnp.asarray(a) for a in (x, *others)]
    given.insert(1, jnp.ones(len(given[0]), given[0].dtype) if weights is None else weights)
    dtype = jnp.promote_types(jnp.result_type(*given), jnp.float32)
    arrays = [jnp.asarray(a, dtype) for a in given]
    nothing = sum(jnp.sum(jnp.zeros_like(a)[:0]) for a in arrays)
    return [a + nothing for a in arrays]


def _check_shapes(x: jax.Array, weights: jax.Array, kernels: jax.Array, name: str) -> None:
    if x.ndim != 2:
        raise InputError(f"x has shape {x.shape}: must be (samples, dimensions)")
    if weights.shape != x.shape[:1]:
        raise InputError(f"weights has shape {weights.shape} for {len(x)} samples")
    if kernels.ndim != 2 or kernels.shape[1] != x.shape[1]:
        raise InputError(f"{name} has shape {kernels.shape} for samples of {x.shape[1]} dimensions")
