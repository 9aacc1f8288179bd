"""Fits of further catalogs with the setup of a run, from Python."""

from pathlib import Path

import jax

from kdescent_dist.config.compose import read_config
from kdescent_dist.config.errors import InputError
from kdescent_dist.diagnostics.refits import Refits
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import PhaseStore
from kdescent_dist.run.prepare import first_parameters, prepare
from kdescent_dist.run.validate import check


def refits_of(run_dir: Path | str) -> Refits:
    """The setup of a run, for ``diagnostics.refits.fit_catalogs``; the run is not changed.

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
    config, _ = read_config(file)
    processes = Processes.with_devices(jax.devices())
    directory = RunDirectory(run_dir)
    phases = PhaseStore(directory, processes, {}, lambda: None)
    found = check(config)
    prepared = prepare(
        config, first_parameters(config), directory, processes, lambda phase: None, phases, found
    )
    return Refits(prepared.problem, prepared.optimizer, config.fit, config.counts.pretrain)
