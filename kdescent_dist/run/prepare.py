"""Prepares a fit from its config: catalogs, model, bins and objective."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
import optax

from kdescent_dist.bins.bin import Bin, required_columns
from kdescent_dist.bins.further import Found
from kdescent_dist.bins.narrow_columns import describe_narrow
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.dotted_path import bind_target
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import Config
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.given_parameters import begun_inside
from kdescent_dist.fitting.optimizer import find_factory, make_optimizer
from kdescent_dist.identity.code import describe_all
from kdescent_dist.identity.fit_identity import keys_of
from kdescent_dist.identity.number_flags import number_flags
from kdescent_dist.identity.versions import versions
from kdescent_dist.models.block_model import BlockModel
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.whitening import check_regions
from kdescent_dist.run.bins import find_bins, pretrain_bins
from kdescent_dist.run.catalogs import RunCatalogs, needs_training
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import Phase, PhaseStore
from kdescent_dist.run.result import describe_devices
from kdescent_dist.run.validate import check

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A fit before its first step.

    Attributes:
        problem: the fit.
        optimizer: optax optimizer with its schedule.
        facts: facts about catalogs, bins, samples and devices, for ``result.json``.
        packages: versions of the packages that the model imports.
        told: part of the identity of the fit: the keys of the config that define the problem, and
            the code of a user-defined optimizer.
    """

    problem: Problem
    optimizer: optax.GradientTransformation
    facts: dict[str, Any]
    packages: dict[str, str]
    told: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the fit, ready for JSON, for phases after the last step."""
        version = versions(["kdescent-dist"])
        return {**self.problem.objective.identity, **number_flags(), **self.told, **version}


def first_parameters(config: Config) -> Parameters:
    """The parameters of a fit, with the guess in its precision and inside its bounds.

    Raises:
        InputError: a guess is outside its bounds.
    """
    parameters = Parameters.of_config(config.parameters, _dtype(config))
    return begun_inside(parameters, config.fit.bounds, "parameters.")


def prepare_without_run(config: Config, directory: RunDirectory, processes: Processes) -> Prepared:
    """As ``prepare``, for a fit that no run carries out, tells of or stops.

    Args:
        config, directory, processes: see ``prepare``.

    Raises:
        InputError: the config or the input is not valid.
    """
    found, parameters = check(config), first_parameters(config)
    phases = PhaseStore(directory, processes, {}, lambda: None)
    return prepare(config, parameters, directory, processes, lambda phase: None, phases, found)


def prepare(
    config: Config,
    parameters: Parameters,
    directory: RunDirectory,
    processes: Processes,
    begin: Callable[[str], None],
    phases: PhaseStore,
    found: Found,
) -> Prepared:
    """Check all input, with cheap checks first, and count the training catalog.

    Args:
        config: config of the run.
        parameters: the result of ``first_parameters``.
        directory: run directory, which saves the training counts.
        processes: the processes, which must call this function together.
        begin: called with a description before each part of the work; may raise to stop.
        phases: runs the pretraining.
        found: the result of ``check``.

    Raises:
        InputError: the config or the input is not valid.
    """
    mesh = make_mesh(config.mesh.samples, config.mesh.kernels)
    if Processes.of(mesh) != processes:
        raise InputError(
            f"mesh.samples={config.mesh.samples}, mesh.kernels={config.mesh.kernels}: the mesh "
            f"leaves out some of the {processes.count} processes: start fewer of them"
        )
    optimizer = make_optimizer(config.optimizer, config.fit.steps)
    loss = config.loss
    model = bind_target({"_target_": config.model._target_, **config.model.options}, "model")
    custom = bind_target(loss.custom, "loss.custom") if loss.custom else None
    extra_sums = bind_target(loss.extra_sums, "loss.extra_sums") if loss.extra_sums else None
    begin("reading the catalogs")
    catalogs = RunCatalogs(config, processes, needs_training(config, found))
    training = catalogs.training()
    needs = {"loss.kind=gls": loss.kind == "gls", "mode=posterior": config.mode == "posterior"}
    for what in (name for name, needed in needs.items() if needed):
        check_regions(training.regions, int(np.sum(~parameters.fixed)), what)
    begin("reading the input catalog and checking the model")
    layout, first_row, given = catalogs.input(mesh)
    inputs = {} if given is None else given.columns
    block = BlockModel(
        model, parameters.tree, tuple(config.model.columns), layout, config.model.deterministic
    )
    required, fixed = required_columns(config.bins), parameters.fixed_names
    warnings = processes.together(lambda: block.check(parameters.guess, inputs, required, fixed))
    for text in warnings if config.mode != "inspect" else ():
        log.warning("%s", text)
    pretrained, told = _pretrain(config, training, mesh, directory, begin, phases, found)
    weighted = processes.any(given is not None and bool(np.any(given.weights != 1)))
    objective = PopulationObjective(
        model,
        parameters,
        pretrained,
        training_weight=training.weight,
        size=layout.size,
        catalog=inputs,
        catalog_weights=given.weights if given is not None and weighted else None,
        first_row=first_row if given is not None else None,
        columns=config.model.columns,
        loss=loss,
        custom=custom,
        extra_sums=extra_sums,
        mesh=mesh,
        block_size=config.samples.block_size,
        memory=config.samples.memory,
        kernel_blocks=config.mesh.kernel_blocks,
        reproducible=config.mesh.reduction == "reproducible",
        counts=config.counts,
        dtype=_dtype(config),
        model_checked=True,
    )
    objective.check(parameters.guess)
    packages = {
        name.removeprefix("package."): version
        for name, version in objective.identity.items()
        if name.startswith("package.")
    }
    samples = {"samples": layout.size, "devices": describe_devices(mesh)}
    problem = Problem(
        objective,
        training,
        parameters,
        config.seed,
        config.fit.fixed_key,
        config.runtime.written_out,
        catalogs.input_rows,
    )
    own = config.optimizer._target_ is not None
    code = describe_all({"optimizer": find_factory(config.optimizer)[1]}) if own else {}
    facts = {**told, **catalogs.facts, **samples}
    if warnings:
        facts["model"] = {"warnings": warnings}
    return Prepared(problem, optimizer, facts, packages, {**keys_of(config), **code})


def _dtype(config: Config) -> Any:
    return np.float64 if config.runtime.x64 else np.float32


def _pretrain(
    config: Config,
    training: TrainingCatalog,
    mesh: jax.sharding.Mesh,
    directory: RunDirectory,
    begin: Callable[[str], None],
    phases: PhaseStore,
    found: Found,
) -> tuple[list[PretrainedBin], dict[str, Any]]:
    bins, settled = find_bins(config.bins, training, found)
    for line in settled.lines():
        log.info("bins: %s", line)

    def work(tell: Callable[[int], None]) -> list[PretrainedBin]:
        done = itertools.count()

        def begin_bin(bin_: Bin) -> None:
            tell(next(done))
            begin(f"pretraining {bin_.name}")

        counted = pretrain_bins(config, bins, training, mesh, directory, found, begin_bin)
        tell(len(bins))
        return counted

    pretrained = phases.run(Phase("pretraining", work, len(bins)))
    log.info("pretrained %d bins", len(pretrained))
    for line in describe_narrow((one.bin, one.narrow) for one in pretrained):
        log.info("%s", line)
    return pretrained, {"bins": asdict(settled)}
