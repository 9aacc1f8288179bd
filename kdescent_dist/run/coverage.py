"""The mode ``coverage``: fits of catalogs that are drawn from the model of a finished run.

Each repeat is a file in ``phases/coverage/`` of the run directory, whole or missing. Tasks of an
array share the folder: each computes its part, and the last one draws the table.
"""

import fcntl
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import Config
from kdescent_dist.diagnostics.coverage import (
    names_with_prior,
    notes_of,
    summarize,
    table,
    warnings,
)
from kdescent_dist.diagnostics.refits import Refits
from kdescent_dist.diagnostics.simulated import Simulation
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.kept_parts import KeptParts
from kdescent_dist.run.prepare import Prepared
from kdescent_dist.run.report import draw_report
from kdescent_dist.run.setup import config_of_answer, refits_as_fitted

log = logging.getLogger(__name__)


def config_of_run(config: Config, directory: RunDirectory) -> Config:
    """The config of a finished run, with what a coverage takes from the command.

    Raises:
        InputError: there is no finished run in the run directory, or ``coverage.part`` is no part.
    """
    part = config.coverage.part
    if part is not None and not (len(part) == 2 and part[1] >= 1 and 0 <= part[0] <= part[1]):
        raise InputError(
            f"coverage.part={list(part)}: must be [i, n], part i of n, with i from 0 or from 1"
        )
    result, file = directory.result(), directory.path / "config.yaml"
    if result.get("status") != "done" or not file.is_file():
        raise InputError(
            f"run_dir={directory.path}: no finished fit is there, of which to find the coverage: "
            "run the fit first, and give mode=coverage the same run_dir"
        )
    known = config_of_answer(directory)
    return replace(
        known,
        mode="coverage",
        run_dir=str(directory.path),
        coverage=config.coverage,
        report=config.report,
        mesh=replace(known.mesh, samples=config.mesh.samples),
        runtime=replace(
            config.runtime, x64=known.runtime.x64, written_out=known.runtime.written_out
        ),
    )


def lock_of(config: Config) -> str:
    """The file that a run locks in its run directory; parts of a coverage run side by side."""
    if config.mode != "coverage":
        return ".lock"
    part = config.coverage.part
    return ".lock-coverage" if part is None else f".lock-coverage-{part[0] % part[1]}-{part[1]}"


def cover(
    config: Config,
    prepared: Prepared,
    directory: RunDirectory,
    processes: Processes,
    progress: Callable[[str], None],
) -> None:
    """Compute the missing repeats of a part, and draw the table if all repeats are done.

    Args:
        config: the result of ``config_of_run``.
        prepared: the fit.
        directory: the run directory.
        processes: the processes, which must call this function together.
        progress: called often with what is computed; may raise ``Preempted`` to stop.

    Raises:
        InputError: no catalog can be drawn from the model.
    """
    problem, settings = prepared.problem, config.coverage
    params = processes.on_primary(directory.result)["params"]
    fitted = np.array([params[name] for name in problem.parameters.names], problem.guess.dtype)
    now = ""
    refits = refits_as_fitted(config, prepared, directory, processes, lambda: progress(now))
    store = KeptParts(directory, processes, "coverage", _identity(config, prepared, refits, fitted))
    simulation = Simulation(problem, fitted)
    number, (part, parts) = settings.repeats, settings.part or (0, 1)
    own = [i for i in range(number) if i % parts == part % parts]
    missing = [i for i in own if store.read(i) is None]
    if len(missing) < len(own):
        log.info("coverage: %d of %d repeats were done before", len(own) - len(missing), len(own))
    for i in missing:
        now = f"coverage, repeat {i + 1} of {number}"
        progress(now)
        found = refits.fit(simulation.catalog(_seed(config, i, "catalog")), _seed(config, i, "fit"))
        store.write(i, found)
        if "failed" in found:
            outcome = found["failed"]
        else:
            outcome = "converged" if found["converged"] else "not converged"
        log.info("%s: %s, %.1f s", now, outcome, found["seconds"])
    every = [store.read(i) for i in range(number)]
    fits = [one for one in every if one is not None]
    if len(fits) < number:
        log.info("coverage: %d of %d repeats are done; other parts do the rest", len(fits), number)
        return
    of_priors, notes = names_with_prior(problem), notes_of(problem)
    for line in notes:
        log.warning("coverage: %s", line)
    summary = {**summarize(params, fits, of_priors), "notes": notes}
    processes.on_primary(lambda: _tell(config, directory, summary, fits))


def _identity(
    config: Config, prepared: Prepared, refits: Refits, fitted: np.ndarray
) -> dict[str, Any]:
    fit = refits.config
    return {
        **prepared.identity,
        "params": fitted.tolist(),
        "guess": refits.problem.guess.tolist(),
        "fit.steps": fit.steps,
        "fit.finish": fit.finish,
        "fit.answer": fit.answer,
        "fit.stop": asdict(fit.stop),
        "loss.kind": config.loss.kind,
    }


def _seed(config: Config, repeat: int, what: str) -> int:
    """Repeats have unrelated seeds, and none has that of the fit."""
    text = f"coverage {config.seed} {repeat} {what}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def _tell(
    config: Config,
    directory: RunDirectory,
    summary: Mapping[str, Any],
    fits: list[dict[str, Any]],
) -> None:
    """Write and log the table, and draw the report; another task may do so at this moment."""
    with (directory.path / ".lock-coverage-table").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("coverage: all repeats are done; another part draws the table")
            return
        except OSError:  # a file system without locks
            pass
        directory.write_json("coverage.json", {**summary, "repeats": fits})
        for line in table(summary):
            log.info("coverage: %s", line)
        for line in warnings(summary):
            log.warning("coverage: %s", line)
        if config.report.enabled:
            draw_report(directory.path, config.report)
