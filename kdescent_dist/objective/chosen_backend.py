"""The backend of the counts of a fit, the same in all processes."""

import logging
from typing import Any

import jax
from jax.sharding import Mesh

from kdescent_dist.counts.choice import backend_on, fault_of
from kdescent_dist.distributed.processes import Processes

log = logging.getLogger(__name__)


def chosen_backend(asked: str, mesh: Mesh, samples: int, dtype: Any, processes: Processes) -> str:
    """The backend that is asked for, or the fastest; ``fused`` where hand-written kernels fail.

    Args:
        asked: name of a backend, or ``auto``.
        mesh: devices of the fit.
        samples: samples of a block.
        dtype: dtype of the samples.
        processes: the processes that the devices belong to.
    """
    own = next(d for d in mesh.devices.flat if d.process_index == jax.process_index())
    backend = backend_on(asked, own, samples, dtype)
    if backend != "pallas":
        return backend
    faults = [fault for fault in processes.gather(fault_of(backend, own)) if fault]
    if not faults:
        log.info("counts.backend: pallas, whose kernels are right on %s", own.device_kind)
        return backend
    log.warning(
        "counts.backend: fused takes the place of pallas, whose kernels fail on %s: %s",
        own.device_kind,
        faults[0],
    )
    return "fused"
