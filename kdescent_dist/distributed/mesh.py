"""The device mesh, its shardings, and the two ways to add up partial sums over it.

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
        samples: devices along the samples axis; by default all that ``kernels`` leaves.
        kernels: devices along the kernels axis.
        devices: JAX devices to use, by default all of them.

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
    """The mesh of the devices of an mpi4py communicator's ranks, by ``Split`` perhaps some of all.

    Objectives on the meshes of different communicators are fitted at the same time, each by its
    own ranks. The ranks have started JAX together, see ``runtime.start``.

    Args:
        comm: the communicator; all of its ranks call this.
        samples: devices along the samples axis, by default all that ``kernels`` leaves.
        kernels: devices along the kernels axis.
    """
    processes = set(comm.allgather(jax.process_index()))
    return make_mesh(samples, kernels, [d for d in jax.devices() if d.process_index in processes])


def platform_of(mesh: Mesh | None) -> str:
    """The platform of a mesh's devices, such as ``cpu``; without a mesh, that of the process."""
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def default_mesh(mesh: Mesh | None = None) -> Mesh | None:
    """Return the given mesh or, where there are several local devices, a mesh of all of them."""
    if mesh is None and jax.local_device_count() > 1:
        return make_mesh(devices=jax.local_devices())
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def by_samples(mesh: Mesh) -> NamedSharding:
    """Sharding of the leading axis over the ``samples`` axis of the mesh."""
    return NamedSharding(mesh, PartitionSpec("samples"))


def whole(tree: Any, mesh: Mesh) -> Any:
    """Put arrays, the same in every process, whole on each device."""
    return jax.tree.map(lambda array: _placed(np.asarray(array), replicated(mesh)), tree)


def dealt(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Deal out the leading axis of an array, the same in every process, over the samples axis."""
    return _placed(array, by_samples(mesh))


def _placed(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    # Without the comparison of all processes' arrays that ``jax.device_put`` makes.
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
