"""Devices and processes.

``mesh`` has two axes, samples and kernels. ``sample_blocks`` cuts the samples of a model into
blocks, ``row_blocks`` the rows of a catalog. The blocks never depend on the number of devices or
processes. ``processes`` exchanges data between processes, between steps. ``runtime`` starts JAX,
``launchers`` recognize srun and mpirun, ``watchdog`` ends all processes when a process is lost.
``whole_file`` writes files that a lost process leaves whole.
"""

from kdescent_dist.distributed.mesh import make_mesh, mesh_of
from kdescent_dist.distributed.runtime import start

__all__ = ["make_mesh", "mesh_of", "start"]
