"""Fits of many catalogs of one problem, which compile once."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import optax

from kdescent_dist.bins.pretrained import PretrainedBin, pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError, NonFiniteLossError
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.diagnostics.reported_errors import state_errors
from kdescent_dist.diagnostics.simulated import SimulatedCatalog
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.fitting.finish import can_finish, finish
from kdescent_dist.fitting.loop import fit
from kdescent_dist.models.block_model import INPUT_WEIGHTS

# Rooms whose messages on each of many fits say nothing new.
_QUIET = ("fitting", "diagnostics", "response")


@dataclass(frozen=True)
class Refits:
    """Fits of other catalogs, with the model, bins, steps, finish and errors of one fit.

    Attributes:
        problem: the fit. All fits begin with its guess.
        optimizer: the optimizer of the fit.
        config: steps and finish of the fit.
        method: ``counts.pretrain``.
        progress: called often, equally often in every process; may raise to stop.
    """

    problem: Problem
    optimizer: optax.GradientTransformation
    config: FitConfig
    method: str = "auto"
    progress: Callable[[], None] = lambda: None

    def fit(self, catalog: SimulatedCatalog, seed: int) -> dict[str, Any]:
        """Fit a catalog.

        Args:
            catalog: the catalog, whose input catalog must have the rows of that of the problem.
            seed: seed of all random numbers of the fit.

        Returns:
            Ready for JSON: ``params`` by name; the entries of ``state_errors``; and ``seconds``.
            A fit without an answer has ``failed`` alone, which says why.
        """
        begun = time.monotonic()
        try:
            with _quietly():
                found = self._fit(catalog, seed)
        except (InputError, NonFiniteLossError) as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        return {**found, "seconds": round(time.monotonic() - begun, 3)}

    def _fit(self, catalog: SimulatedCatalog, seed: int) -> dict[str, Any]:
        problem = self.problem_of(catalog, seed)
        objective = problem.objective
        result = fit(
            objective,
            problem.parameters,
            self.optimizer,
            config=replace(self.config, finish="none"),
            seed=seed,
            callbacks=[lambda event: self.progress()],
            written_out=problem.written_out,
        )
        answer = result.arrived
        if self.config.finish != "none" and can_finish(objective, problem.parameters):
            steps = int(result.state.step)
            end = finish(problem.linearizer, answer, steps=steps, progress=self.progress)
            answer = end.params
        params = problem.parameters.named(np.asarray(answer, float).tolist())
        found, _ = state_errors(problem, answer, self.progress)
        return {"params": params, **found}

    def problem_of(self, catalog: SimulatedCatalog, seed: int) -> Problem:
        """The fit of a catalog; its programs are those of the problem.

        Raises:
            InputError: the catalog cannot be counted in the bins, or has another input catalog.
        """
        problem, first = self.problem, self.problem.training.rows
        objective = problem.objective
        rows = RowBlocks(len(catalog.weights), first.block_size, first.processes)
        mine = slice(*rows.rows)
        columns = {name: np.asarray(values)[mine] for name, values in catalog.columns.items()}
        training = TrainingCatalog.of(columns, np.asarray(catalog.weights)[mine], rows)
        bins = [self._counted(one, training, seed) for one in problem.bins]
        given: dict[str, Any] = {}
        if catalog.inputs:
            begin, end = objective.layout.rows(objective.mesh)
            part = slice(begin, end)
            given = {
                "catalog": {name: values[part] for name, values in catalog.inputs.items()},
                "first_row": begin,
            }
            if catalog.input_weights is not None:
                given["catalog_weights"] = catalog.input_weights[part]
        objective = objective.with_catalogs(bins, training.weight, **given)
        return replace(
            problem,
            objective=objective,
            training=training,
            seed=seed,
            input_rows=catalog.input_rows,
        )

    def _counted(self, one: PretrainedBin, training: TrainingCatalog, seed: int) -> PretrainedBin:
        if one.counts is None:
            return one
        devices = self.problem.objective.mesh.devices.flat
        own = make_mesh(devices=[d for d in devices if d.process_index == jax.process_index()])
        counted = pretrain_bin(one.bin, training, None, seed, own, method=self.method)
        # Different CPUs may round differently.
        return training.rows.processes.on_primary(lambda: counted)


def fit_catalogs(
    refits: Refits,
    catalogs: Iterable[tuple[Mapping[str, Any], Any]],
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Fit catalogs of the same kind, one after the other, with programs that compile once.

    Args:
        refits: the fit that is repeated, such as the result of ``run.refits.refits_of``.
        catalogs: columns (n,) and weights (n,), None for 1, of each training catalog, after its
            selection. Programs of some errors compile again for another number of rows.
        seed: the fit of catalog i has the seed ``seed + i``.

    Yields:
        The result of ``Refits.fit`` for each catalog.

    Raises:
        InputError: a catalog lacks a column; or it is the input of the model, and does not have
            as many rows as the model has samples.
    """
    problem, data = refits.problem, refits.problem.objective.data["catalog"]
    size, dtype = problem.objective.layout.size, problem.guess.dtype
    same = problem.input_rows is not None
    names = [name for name in data if name != INPUT_WEIGHTS] if same else []
    for i, (columns, weights) in enumerate(catalogs):
        if missing := [n for n in (*problem.columns, *names) if n not in columns]:
            raise InputError(f"catalog {i}: it lacks the columns {', '.join(missing)}")
        known = {name: np.asarray(values, dtype) for name, values in columns.items()}
        rows = len(next(iter(known.values())))
        own = np.ones(rows, dtype) if weights is None else np.asarray(weights, dtype)
        catalog = SimulatedCatalog(known, own, {})
        if same:
            if rows != size:
                raise InputError(
                    f"catalog {i}: it has {rows} rows, but the model has {size} samples, which are "
                    "the rows of the training catalog: give all catalogs as many rows"
                )
            inputs = {name: known[name] for name in names}
            of_input = own if INPUT_WEIGHTS in data else None
            catalog = SimulatedCatalog(known, own, inputs, of_input, range(rows))
        yield refits.fit(catalog, seed + i)


@contextmanager
def _quietly() -> Iterator[None]:
    loggers = [logging.getLogger(f"kdescent_dist.{room}") for room in _QUIET]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
