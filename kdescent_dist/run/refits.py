"""Fits of further catalogs with the setup of a run, from Python."""

import logging
from pathlib import Path

import jax

from kdescent_dist.config.errors import InputError
from kdescent_dist.diagnostics.refits import Refits
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.prepare import prepare_without_run
from kdescent_dist.run.setup import config_of_answer, refits_as_fitted

log = logging.getLogger(__name__)


def refits_of(run_dir: Path | str) -> Refits:
    """The setup of a run, for ``diagnostics.refits.fit_catalogs``; the run is not changed.

    The guess, the steps and ``loss.kind`` are those with which the run has found its answer. The
    rows of the catalogs are independent, though those of the run may cluster (``catalog.regions``).
    The modules that the config names must be importable, and paths in the config are relative to
    the current folder.

    Args:
        run_dir: directory of a run, finished or not.

    Raises:
        InputError: there is no run in the directory, or its input is no longer valid.
    """
    file = Path(run_dir) / "config.yaml"
    if not file.is_file():
        raise InputError(f"run_dir={run_dir}: it holds no config.yaml, so it is no run directory")
    directory = RunDirectory(run_dir)
    config = config_of_answer(directory)
    processes = Processes.with_devices(jax.devices())
    prepared = prepare_without_run(config, directory, processes)
    if prepared.problem.training.regions is not None:
        log.warning("refits: their errors are of independent rows, without catalog.regions")
    return refits_as_fitted(config, prepared, directory, processes)
