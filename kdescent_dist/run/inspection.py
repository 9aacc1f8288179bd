"""The mode ``inspect``: everything up to the first step, shown instead of fitted."""

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdescent_dist.config import compose as configs
from kdescent_dist.config.schema import Config
from kdescent_dist.diagnostics.preview import compare_guess, try_steps
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.report import make_inspection, missing_package
from kdescent_dist.report.data.inspection import read_inspection
from kdescent_dist.report.pages.inspection_text import summary
from kdescent_dist.run.directory import RunDirectory

log = logging.getLogger(__name__)


def inspect_run(
    config: Config,
    directory: RunDirectory,
    processes: Processes,
    problem: Problem,
    facts: Mapping[str, Any],
) -> None:
    """Compute the state of a fit at its guess, print a summary and draw plots.

    All processes compute. The primary writes ``inspect.npz``, and prints and draws from this file
    alone. If plots fail or packages are missing, only the plots are missing.

    Args:
        config: the config of the fit.
        directory: the run directory, which an inspection does not claim for the config.
        processes: the processes, which must call this function together.
        problem: the fit.
        facts: facts about the catalogs and devices, as in ``result.json``.
    """
    begun = time.perf_counter()
    objective = problem.objective
    count = compare_guess(problem, samples=config.report.samples)
    losses, slopes, cost = try_steps(problem)
    kinds = {device.platform for device in objective.mesh.devices.flat}

    def show() -> None:
        arrays = count()
        known = {
            "config": configs.to_yaml(config),
            "facts": dict(facts),
            "losses": losses.tolist(),
            "gradients": problem.parameters.named(slopes.T),
            "cost": cost,
            "device_memory": _memory_of_a_device(objective, "cpu" in kinds),
            "blocks": [objective.layout.count, objective.layout.block_size],
            "sparse": [stack.sparse for stack in objective.stacks],
        }
        directory.write_arrays("inspect", arrays | {"known": np.array(json.dumps(known))})
        log.info("computed in %.1f s what the inspection shows", time.perf_counter() - begun)
        inspection = read_inspection(directory.path)
        lines = summary(inspection)
        folder = directory.path / "inspect"
        folder.mkdir(exist_ok=True)
        (folder / "summary.txt").write_text("\n".join(lines) + "\n")
        print("\n".join([*lines, _drawn(directory, config)]), flush=True)

    processes.on_primary(show)


def _drawn(directory: RunDirectory, config: Config) -> str:
    """Draw the plots; returns a line with their place, or with the reason why there are none."""
    if not config.report.enabled:
        return "no plots: report.enabled=false"
    if missing := missing_package():
        return f"no plots: {missing} is not installed: pip install kdescent-dist[plots]"
    try:
        return f"plots: {make_inspection(directory.path)}"
    except Exception as error:
        log.warning("the plots failed (%s)", error, exc_info=True)
        return f"no plots: {type(error).__name__}: {error}"


def _memory_of_a_device(objective: PopulationObjective, is_cpu: bool) -> int | None:
    """Memory of a device in bytes; the CPU devices of a host share the memory of the host."""
    local = objective.mesh.local_mesh.devices.flat
    if is_cpu:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(list(local))
    statistics = local[0].memory_stats() or {}
    return statistics.get("bytes_limit")
