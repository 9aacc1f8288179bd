"""Processes of a cluster that JAX itself detects: Kubernetes, TPU pods and others."""

from collections.abc import Mapping

# ``jax.distributed.initialize`` uses this detection, which has no public name.
from jax._src.clusters import ClusterEnv

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers.launch import Launch


class JaxCluster:
    """Leaves the detection to JAX; ``runtime.started_by=auto`` never chooses this launcher.

    A Kubernetes pod may run a fit of its own.
    """

    name = "jax"

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        return False

    def rank(self, environment: Mapping[str, str]) -> int:
        return 0

    def restarts(self, environment: Mapping[str, str]) -> int:
        return 0

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
        try:
            coordinator, processes, process, gpus = ClusterEnv.auto_detect_unset_distributed_params(
                config.coordinator,
                config.processes,
                config.process,
                config.local_devices,
                None,
                config.start_timeout,
            )
        except Exception as error:  # libraries of clusters raise errors of their own
            raise InputError(
                f"runtime=jax: JAX cannot ask the cluster: {str(error).strip()}"
            ) from error
        if processes == 1:
            return Launch("jax")
        if coordinator is None or processes is None or process is None:
            raise InputError(
                "runtime=jax: JAX recognizes no cluster here (Kubernetes needs `pip install "
                "'jax[k8s]'`): choose runtime=slurm, mpi or local"
            )
        own = None if gpus is None else tuple(gpus)
        return Launch("jax", process, processes, coordinator=coordinator, gpus=own)
