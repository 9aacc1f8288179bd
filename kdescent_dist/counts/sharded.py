"""Counts of samples that are sharded over a mesh, and their gradients.

Samples are sharded along the ``samples`` axis, and kernels along the ``kernels`` axis. The forward
and the backward pass are separate ``shard_map`` calls with explicit reductions, so that a gradient
needs no derivative of a collective. Only other derivatives differentiate the collective of the
forward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdescent_dist.counts.local import fourier_counts, kde_counts
from kdescent_dist.numerics.differentiable import differentiable

_SAMPLES, _KERNELS, _ALL = PartitionSpec("samples"), PartitionSpec("kernels"), PartitionSpec()


def sharded_kde_counts(
    x: jax.Array,
    weights: jax.Array | None,
    centers: jax.Array,
    cov: jax.Array,
    mesh: Mesh | None,
) -> jax.Array:
    """``local.kde_counts`` over the devices of a mesh; arguments and result are global arrays."""
    return _dispatch(kde_counts, mesh, x, weights, centers, cov)


def sharded_fourier_counts(
    x: jax.Array, weights: jax.Array | None, modes: jax.Array, mesh: Mesh | None
) -> jax.Array:
    """``local.fourier_counts`` over the devices of a mesh, for global arrays."""
    return _dispatch(fourier_counts, mesh, x, weights, modes)


def _dispatch(counts, mesh, x, weights, kernels, *rest):
    if mesh is None or mesh.size == 1:
        return counts(x, weights, kernels, *rest)
    # Check the given shapes before padding.
    jax.eval_shape(counts, x, weights, kernels, *rest)
    arrays = [_on(mesh, jnp.asarray(a)) for a in (x, kernels, *rest)]
    weights = jnp.ones(len(x), arrays[0].dtype) if weights is None else jnp.asarray(weights)
    return _padded(counts, mesh, arrays[0], _on(mesh, weights), *arrays[1:])


def _on(mesh: Mesh, array: jax.Array) -> jax.Array:
    """Move an array from other devices to the mesh; a traced array stays as it is."""
    if isinstance(array, Tracer) or array.sharding.device_set == set(mesh.devices.flat):
        return array
    return jax.device_put(array, NamedSharding(mesh, _ALL))


@partial(jax.jit, static_argnums=(0, 1))
def _padded(counts, mesh, x, weights, kernels, *rest) -> jax.Array:
    """Pad samples with weight 0, and kernels with copies of the last kernel."""
    size, number = len(x), len(kernels)
    if not size or not number:
        return counts(x, weights, kernels, *rest)
    fill = -size % mesh.shape["samples"]
    x, weights = jnp.pad(x, ((0, fill), (0, 0))), jnp.pad(weights, (0, fill))
    fill = -number % mesh.shape["kernels"]
    kernels = jnp.pad(kernels, ((0, fill), (0, 0)), mode="edge")
    return _sharded(counts, mesh, x, weights, kernels, *rest)[:number]


def _whole(counts, mesh, x, weights, kernels, *rest) -> jax.Array:
    def local(*arrays):
        return _psum(counts(*arrays), mesh, "samples")

    return _shard_map(local, mesh, len(rest), _KERNELS)(x, weights, kernels, *rest)


def _backward(counts, mesh, arrays, cotangent):
    def pulled_back(which: slice, axes: tuple[str, ...], specs) -> tuple[jax.Array, ...]:
        """Some of the gradients, as a separate computation, which XLA drops if it is unused."""

        def local(cotangent, *arrays):
            gradients = jax.vjp(counts, *arrays)[1](cotangent)
            return _psum(gradients[which], mesh, *axes)

        return _shard_map(local, mesh, len(arrays) - 3, specs, _KERNELS)(cotangent, *arrays)

    return (
        *pulled_back(slice(0, 2), ("kernels",), _SAMPLES),
        *pulled_back(slice(2, 3), ("samples",), _KERNELS),
        *pulled_back(slice(3, None), ("samples", "kernels"), _ALL),
    )


_sharded = differentiable(_whole, _backward, static=2)


def _psum(values: Any, mesh: Mesh, *axes: str) -> Any:
    """Sum over axes with several devices; a sum over a single device would cost a copy."""
    wide = tuple(axis for axis in axes if mesh.shape[axis] > 1)
    return jax.lax.psum(values, wide) if wide else values


def _shard_map(local: Callable, mesh: Mesh, rest: int, out_specs, *first: PartitionSpec):
    # Without check_vma: the check would add collectives to the inner derivatives.
    in_specs = (*first, _SAMPLES, _SAMPLES, _KERNELS, *[_ALL] * rest)
    return jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
