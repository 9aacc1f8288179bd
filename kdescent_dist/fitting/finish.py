"""The finish of a fit: Newton steps to the minimum of the loss, after the last step."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import CheckpointError, InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.whole_file import whole_file
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.identity.fit_identity import as_text
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.protocol import Objective
from kdescent_dist.response.distance import affordable_populations
from kdescent_dist.response.fixed_loss import CatalogRows, FixedLoss
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.response.newton import Newton, NewtonState
from kdescent_dist.response.whitening import check_regions

log = logging.getLogger(__name__)

MOST_PARAMETERS = MOST_BINS = 1000
GivenRows = (
    tuple[Mapping[str, np.ndarray], np.ndarray]
    | tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]
)
FINISH_FILE = "finish.json"  # in the folder of the checkpoints


def finish(
    linearizer: Linearizer,
    start: np.ndarray,
    *,
    steps: int,
    kept: "KeptFinish | None" = None,
    progress: Callable[[], None] = lambda: None,
) -> NewtonState:
    """Go to the minimum of a loss at fixed points, or continue from a saved state.

    Args:
        linearizer: linearizes the loss.
        start: (P,) parameters.
        steps: number of steps of the fit before.
        kept: saves the state after each step; the same saved state is continued.
        progress: called often, equally often in every process; may raise to stop.

    Returns:
        The last state. If the derivatives are not finite, the parameters stay where they are, and
        the message says so.

    Raises:
        CheckpointError: the state could not be saved.
    """
    newton = Newton(linearizer, progress, most_populations(steps, linearizer.loss))
    state = kept.read(start.dtype) if kept is not None else None
    if state is None:
        state = NewtonState.begin(start)
    elif state.steps:
        log.info("finish: continuing after step %d", state.steps)
    while not state.ended:
        before = state
        try:
            state = newton.step(state)
        except FloatingPointError as error:
            state = before.ending(f"stopped: {error}")
        if state.steps > before.steps:
            log.info("finish: step %d, loss %.6g -> %.6g", state.steps, *state.losses[-1])
        if kept is not None:
            kept.write(state)
    log.info("finish: %s; %d steps, %d populations", state.message, state.steps, state.populations)
    return state


def most_populations(steps: int, loss: FixedLoss) -> int:
    """The most populations of a finish: a quarter of those of the fit, or all that are affordable.

    Args:
        steps: number of steps of the fit.
        loss: the loss at fixed points.
    """
    return max(steps // 4, affordable_populations(loss))


def can_finish(objective: Objective, parameters: Parameters) -> TypeGuard[PopulationObjective]:
    """Whether there is a finish of an objective; the log tells why not."""
    if not isinstance(objective, PopulationObjective):
        log.debug("finish: none, as the loss is no sum over a population in bins")
        return False
    free, bins = int(np.sum(~parameters.fixed)), len(objective.bins)
    if free > MOST_PARAMETERS or bins > MOST_BINS:
        log.warning(
            "finish: none, as there are %d free parameters and %d bins; at most %d and %d",
            *(free, bins, MOST_PARAMETERS, MOST_BINS),
        )
        return False
    return True


def rows_of(
    objective: Objective, parameters: Parameters, training: GivenRows | None
) -> CatalogRows | None:
    """The rows from which ``loss.kind=gls`` estimates its covariance; None if it needs none.

    Args:
        objective: the objective of the fit.
        parameters: the parameters of the fit.
        training: columns and weights of the training catalog, and the region numbers of its rows
            where they cluster; None if all counts are given.

    Raises:
        InputError: there is no training catalog, but counts of one; or its regions cannot be used.
    """
    if not isinstance(objective, PopulationObjective) or objective.config.kind != "gls":
        return None
    if training is not None:
        return given_rows(training, parameters, "loss.kind=gls")
    if any(pretrained.counts is not None for pretrained in objective.bins):
        raise InputError(
            "loss.kind=gls: its covariance needs the training catalog: fit(..., training=(columns, "
            "weights))"
        )
    return None


def given_rows(training: GivenRows, parameters: Parameters, what: str) -> CatalogRows:
    """The given rows of a training catalog.

    Args:
        training, parameters: see ``rows_of``.
        what: what takes the inverse of their covariance, see ``check_regions``.

    Raises:
        InputError: the regions of the rows cannot be used, or are too few.
    """
    columns, weights, *regions = training
    rows = CatalogRows(TrainingCatalog.of(columns, weights, None, *regions))
    check_regions(rows.training.regions, int(np.sum(~parameters.fixed)), what)
    return rows


def finish_of(
    identity: Mapping[str, Any], result: FitResult, kind: str, training: TrainingCatalog | None
) -> dict[str, Any]:
    """What a finish depends on, see ``KeptFinish.of``.

    Args:
        identity: identity of the fit, ready for JSON.
        result: the fit before the finish.
        kind: ``loss.kind``.
        training: the training catalog, whose regions matter for ``gls`` only.
    """
    of = {"step": int(result.state.step), "params": result.arrived.tolist()}
    regions = {} if training is None or kind != "gls" else training.digest_of_regions()
    return {**identity, **of, "loss.kind": kind, **regions}


@dataclass(frozen=True)
class KeptFinish:
    """Saves the state of a finish in a file; only the primary process reads and writes the file.

    Attributes:
        file: the file.
        of: identity of the fit, and the step and parameters after which the finish begins, ready
            for JSON. A saved state of anything else does not count.
        processes: the processes, which must call the methods together.
    """

    file: Path
    of: Mapping[str, Any]
    processes: Processes

    def read(self, dtype: Any) -> NewtonState | None:
        """The saved state with parameters of a type, None if there is no such state."""
        return self.processes.on_primary(lambda: self._read(dtype))

    def write(self, state: NewtonState) -> None:
        """Save the state, so that a killed run leaves the state before or after.

        Raises:
            CheckpointError: the state could not be saved.
        """
        self.processes.on_primary(lambda: self._write(state))

    def _read(self, dtype: Any) -> NewtonState | None:
        try:
            known = json.loads(self.file.read_bytes())
            if as_text(known["of"]) != as_text(self.of):
                return None
            return NewtonState.of_json(known["state"], dtype)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            log.warning("%s cannot be used (%s): the finish begins anew", self.file, error)
            return None

    def _write(self, state: NewtonState) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.file) as opened:
                json.dump({"of": dict(self.of), "state": state.to_json()}, opened)
        except OSError as error:
            raise CheckpointError(
                f"{self.file}: the state of the finish could not be saved: {error.strerror}; the "
                "checkpoint before the finish stands"
            ) from error
