"""Devices and processes.

``mesh`` has two axes, samples and kernels. ``sample_blocks`` cuts the samples of a model into the
units of work, ``row_blocks`` the rows of a catalog: both follow from the config, never from who
computes. ``processes`` is what processes tell each other between steps. ``runtime`` starts JAX,
``launch`` recognizes srun and mpirun, ``watchdog`` ends all processes when one is lost.
"""

from kdescent_dist.distributed.mesh import make_mesh, mesh_of
from kdescent_dist.distributed.runtime import start

__all__ = ["make_mesh", "mesh_of", "start"]
