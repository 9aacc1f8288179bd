"""The device mesh and its shardings.

The mesh has two axes: ``samples`` (model or training samples) and ``kernels`` (kernel batches).
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kdescent_dist.config.errors import InputError

AXES = ("samples", "kernels")


def make_mesh(
    samples: int | None = None, kernels: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """Arrange devices in a mesh of shape (samples, kernels).

    Args:
        samples: number of devices along the samples axis; by default as many as fit.
        kernels: number of devices along the kernels axis.
        devices: JAX devices to use, by default all devices.

    Raises:
        InputError: the mesh needs more devices than there are.
    """
    devices = list(jax.devices() if devices is None else devices)
    if samples is None:
        samples = max(len(devices) // kernels, 1)
    if samples < 1 or kernels < 1:
        raise InputError(f"mesh.samples={samples}, mesh.kernels={kernels}: both must be at least 1")
    if samples * kernels > len(devices):
        raise InputError(
            f"mesh.samples={samples} x mesh.kernels={kernels} needs {samples * kernels} devices, "
            f"but there are {len(devices)}: lower them, or set runtime.cpu_devices"
        )
    grid = np.asarray(devices[: samples * kernels], dtype=object).reshape(samples, kernels)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 2)


def mesh_of(comm: Any, samples: int | None = None, kernels: int = 1) -> Mesh:
    """The mesh of the devices of the ranks of an mpi4py communicator, such as one of ``Split``.

    The ranks of different communicators can run different fits at the same time. All ranks must
    have started JAX together, see ``runtime.start``.

    Args:
        comm: the communicator; all of its ranks must call this function.
        samples: number of devices along the samples axis; by default as many as fit.
        kernels: number of devices along the kernels axis.
    """
    processes = set(comm.allgather(jax.process_index()))
    return make_mesh(samples, kernels, [d for d in jax.devices() if d.process_index in processes])


def platform_of(mesh: Mesh | None) -> str:
    """The platform of a mesh's devices, such as ``cpu``; without a mesh, JAX's default platform."""
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def default_mesh(mesh: Mesh | None = None) -> Mesh | None:
    """Return the given mesh, else a mesh of all local devices if there are several, else None."""
    if mesh is None and jax.local_device_count() > 1:
        return make_mesh(devices=jax.local_devices())
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def by_samples(mesh: Mesh) -> NamedSharding:
    """Sharding of the leading axis over the ``samples`` axis of the mesh."""
    return NamedSharding(mesh, PartitionSpec("samples"))


def whole(tree: Any, mesh: Mesh) -> Any:
    """Replicate a pytree of arrays on all devices; every process passes the same arrays."""
    return jax.tree.map(lambda array: _placed(np.asarray(array), replicated(mesh)), tree)


def dealt(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Shard the leading axis of an array over ``samples``; every process passes the same array."""
    return _placed(array, by_samples(mesh))


def _placed(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    # ``jax.device_put`` would compare the arrays of all processes.
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
