"""Fits of the GPU check: how long does a step of the shipped experiments take?"""

import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import yaml
from bench_measure import microseconds, repeated_seconds, temporary_bytes
from gpu_sections import Row

from kdescent_dist import (
    BinsConfig,
    CatalogConfig,
    CountsConfig,
    LossConfig,
    Parameters,
    PopulationObjective,
    expand_bins,
    load_catalog,
    make_mesh,
    pretrain_bin,
)
from kdescent_dist.bins.bin import required_columns
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.config.dotted_path import bind_target
from kdescent_dist.config.schema import OptimizerConfig, ParameterConfig
from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.optimizer import make_optimizer
from kdescent_dist.fitting.state import init_state
from kdescent_dist.fitting.steps import compile_steps
from kdescent_dist.numerics.prng import as_key, fold_schedule

CONF = Path(__file__).resolve().parents[1] / "conf"
CAPACITY = 100  # steps that a program can run in one dispatch, as in a fit
SEED = 0


@dataclass(frozen=True)
class Problem:
    """An experiment with its training catalog, all but the objective.

    Attributes:
        settings: content of the YAML files.
        columns: names to (n,) columns of the training catalog.
        weights: (n,) weights of the training catalog.
        bins: the pretrained bins.
        parameters: the parameters, in single precision.
        optimizer: optimizer of the fit.
    """

    settings: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    weights: np.ndarray
    bins: list[PretrainedBin]
    parameters: Parameters
    optimizer: optax.GradientTransformation


def read_experiment(name: str) -> dict[str, Any]:
    """The content of the YAML files of a shipped experiment, read without Hydra."""
    settings = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())
    for default in settings.get("defaults", ()):  # such as "/parameters: galaxy_colors"
        for group, file in default.items():
            key = group.strip("/")
            settings[key] = yaml.safe_load((CONF / key / f"{file}.yaml").read_text())
    return settings


@functools.cache
def prepare(experiment: str, most_bins: int | None = None) -> Problem:
    """Read an experiment and count the training catalog, as a run of the command line does."""
    settings = read_experiment(experiment)
    grids = {name: BinsConfig(**grid) for name, grid in settings["bins"].items()}
    inputs = settings.get("input", {}).get("columns", [])
    needed = list(dict.fromkeys([*required_columns(grids), *inputs]))
    catalog = load_catalog(CatalogConfig(**settings["catalog"]), required=needed)
    columns = {name: values.astype(np.float32) for name, values in catalog.columns.items()}
    weights = catalog.weights.astype(np.float32)
    bins = expand_bins(grids)[:most_bins]
    parameters = {name: ParameterConfig(**one) for name, one in settings["parameters"].items()}
    return Problem(
        settings,
        columns,
        weights,
        [pretrain_bin(one, columns, weights, SEED) for one in bins],
        Parameters.of_config(parameters, np.float32),
        make_optimizer(OptimizerConfig(**settings["optimizer"]), settings["fit"]["steps"]),
    )


def objective_of(
    problem: Problem, size: int | None, block_size: int | None, bins: str
) -> PopulationObjective:
    """The objective of an experiment on one device.

    Args:
        problem: the experiment.
        size: samples of a step, by default the number in the experiment.
        block_size: samples per block.
        bins: sums of the bins, see ``CountsConfig``.
    """
    settings = problem.settings
    target = {"_target_": settings["model"]["_target_"], **settings["model"].get("options", {})}
    inputs = settings.get("input", {}).get("columns", [])
    return PopulationObjective(
        bind_target(target, "model"),
        problem.parameters,
        problem.bins,
        training_weight=float(problem.weights.sum()),
        size=None if inputs else size or settings["samples"]["size"],
        catalog={name: problem.columns[name][:size] for name in inputs},
        loss=LossConfig(**settings.get("loss", {})),
        mesh=make_mesh(1),
        block_size=block_size,
        counts=CountsConfig(bins=bins),
    )


def steps(
    experiment: str,
    size: int | None = None,
    block_size: int | None = None,
    bins: str = "auto",
    most_bins: int | None = None,
    options: Mapping[str, str] | None = None,
    trace: Path | None = None,
    count: int = 20,
) -> Iterator[Row]:
    """The time of a step, many of them in one dispatch, and the first losses of the fit.

    Args:
        experiment: name of the experiment.
        size: samples of a step, by default the number in the experiment.
        block_size: samples per block.
        bins: sums of the bins, see ``CountsConfig``.
        most_bins: the largest number of bins, by default all.
        options: options of the compiler.
        trace: folder for a profile of three steps.
        count: steps in a dispatch.
    """
    begun = time.perf_counter()
    problem = prepare(experiment, most_bins)
    objective = objective_of(problem, size, block_size, bins)
    prepare_s = time.perf_counter() - begun
    begun = time.perf_counter()
    objective.settle(problem.parameters.guess)
    settle_s = time.perf_counter() - begun
    optimizer, guess = problem.optimizer, problem.parameters.guess
    coordinates = Coordinates.of(problem.parameters)
    state = init_state(guess, optimizer, as_key(SEED), objective.mesh, coordinates.of_params)
    run = compile_steps(
        *(objective, optimizer, coordinates, fold_schedule, CAPACITY),
        written_out=True,
        device=objective.mesh.devices.flat[0],
    )
    begun = time.perf_counter()
    lowered = run.lower(state, np.int32(1), np.bool_(True), objective.data)
    program = lowered.compile(compiler_options=options and dict(options))
    compile_s = time.perf_counter() - begun
    losses: list[float] = []

    def advance(count: int) -> None:
        nonlocal state
        state, record, done, _ = program(state, np.int32(count), np.bool_(True), objective.data)
        if int(done) < count:
            raise RuntimeError(f"the loss is not finite at step {int(state.step)}")
        losses.extend(np.asarray(record["loss"])[:count].tolist())

    times = repeated_seconds(lambda: advance(count), seconds=0.5, most=50)
    yield {
        "experiment": experiment,
        "samples": objective.layout.size,
        "blocks": objective.layout.count,
        # Whether many blocks at once have the bits of one block at a time; on GPUs.
        "blocks_alike": objective.chain_rule.most is None,
        "bins": len(problem.bins),
        "options": dict(options or {}),
        "minimum_us": microseconds(min(times) / count),
        "median_us": microseconds(np.median(times) / count),
        "first_losses": losses[:3],
        "prepare_s": round(prepare_s, 1),
        "settle_s": round(settle_s, 1),
        "compile_s": round(compile_s, 1),
        "temporary_mb": temporary_bytes(program) / 1e6,
    }
    if trace is not None:
        with jax.profiler.trace(str(trace)):
            advance(3)
        yield {"experiment": experiment, "trace": str(trace)}
