"""The step program of a config, compiled for GPUs that are not there.

XLA compiles for the description of a card, without a driver and without a device. The objective is
prepared on as many CPU devices, and the shapes of its arrays then stand on a mesh of the GPUs.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdescent_dist.config import compose as configs
from kdescent_dist.config.schema import Config
from kdescent_dist.counts.choice import backend_on
from kdescent_dist.distributed.mesh import make_mesh, replicated
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.state import init_state
from kdescent_dist.fitting.steps import compile_steps
from kdescent_dist.numerics.prng import as_key, fold_schedule
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.prepare import Prepared, prepare_without_run

SCRIPTS = Path(__file__).resolve().parent
# What ``auto`` chooses on GPUs, said aloud: the objective is prepared on CPUs.
ON_GPUS = ("counts.bins=dense", "report.enabled=false")


@dataclass(frozen=True)
class StepProgram:
    """The program of a dispatch, compiled for GPUs.

    Attributes:
        module: name of the program in the files that XLA dumps.
        text: the compiled program, as HLO.
        steps: number of steps of a dispatch.
        trips: times round of the loops whose length the compiler does not know, by function.
        block: samples of a block.
        points: numbers of kernels and modes of a bin, one of each statistic.
        temporary_bytes: memory for temporaries on a device.
        compile_s: seconds that XLA took.
    """

    module: str
    text: str
    steps: int
    trips: dict[str, float]
    block: int
    points: frozenset[int]
    temporary_bytes: int
    compile_s: float

    def is_pair_table(self, dimensions: Sequence[int]) -> bool:
        """Whether an array of such dimensions has a number for each sample and kernel."""
        size = math.prod(dimensions)
        return any(k in dimensions and size >= k * self.block for k in self.points)


def gpu_mesh(card: str, like: Mesh) -> Mesh:
    """A mesh like that of CPU devices, of GPUs of one node that are not there."""
    topology = topologies.get_topology_desc(
        platform="cuda",
        topology_name="",
        target_config=card,
        topology=f"1x1x{like.size}",
    )
    return make_mesh(*like.devices.shape, devices=topology.devices)


def compile_for(card: str, overrides: Sequence[str], dump: Path) -> StepProgram:
    """Compile the program of a dispatch of a config for as many GPUs as there are CPU devices.

    Args:
        card: description of the card, a target config of XLA.
        overrides: overrides of the config, as on the command line.
        dump: folder for what XLA dumps.

    Raises:
        InputError: the config is not valid.
    """
    config = config_of([*ON_GPUS, *overrides])
    asked, config.counts.backend = config.counts.backend, "fused"  # a CPU refuses others
    with tempfile.TemporaryDirectory() as folder:
        config.run_dir = folder
        prepared = prepared_on_cpus(config)
    parameters, on_cpus = prepared.problem.parameters, prepared.problem.objective
    coordinates = Coordinates.of(parameters, config.fit.bounds)
    state = init_state(
        *(parameters.guess, prepared.optimizer, as_key(config.seed), on_cpus.mesh),
        coordinates.of_params,
    )
    mesh = gpu_mesh(card, on_cpus.mesh)
    objective = on_mesh(on_cpus, mesh)
    gpu = mesh.devices.flat[0]
    objective.backend = backend_on(asked, gpu, objective.layout.block_size, on_cpus.dtype)
    steps = config.fit.steps_per_call
    program = compile_steps(
        *(objective, prepared.optimizer, coordinates, fold_schedule, steps),
        written_out=config.runtime.written_out,
        device=gpu,
    )
    lowered = program.lower(
        shapes(state, mesh),
        jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(mesh)),
        jax.ShapeDtypeStruct((), jnp.bool_, sharding=replicated(mesh)),
        shapes(on_cpus.data, mesh),
    )
    begun = time.perf_counter()
    # No card is there on which to time algorithms.
    compiled = lowered.compile({"xla_dump_to": str(dump), "xla_gpu_autotune_level": 0})
    return StepProgram(
        module="jit_run",
        text=compiled.as_text() or "",
        steps=steps,
        trips={"compile_steps.<locals>.run": steps},
        block=objective.layout.block_size,
        points=frozenset(n for stack in objective.stacks for n in stack.drawn.values()),
        temporary_bytes=compiled.memory_analysis().temp_size_in_bytes,
        compile_s=time.perf_counter() - begun,
    )


def config_of(overrides: Sequence[str]) -> Config:
    """The config that a command line with these overrides has."""
    ConfigStore.instance().store(name="schema", node=configs.schema(overrides))
    with initialize_config_dir(str(SCRIPTS.parent / "conf"), version_base="1.3"):
        return configs.from_omegaconf(compose("config", list(overrides)))


def prepared_on_cpus(config: Config) -> Prepared:
    """The fit of a config before its first step, on the CPU devices of this process."""
    directory = RunDirectory.of(config)
    directory.begin()
    return prepare_without_run(config, directory, Processes.with_devices(jax.devices()))


def on_mesh(objective: PopulationObjective, mesh: Mesh) -> PopulationObjective:
    """The same loss on another mesh of as many devices, but for its arrays."""
    moved = copy(objective)
    moved.mesh = mesh
    moved.chain_rule = replace(objective.chain_rule, mesh=mesh)
    return moved


def shapes(tree: Any, mesh: Mesh) -> Any:
    """Shapes of the arrays of a pytree, on another mesh of as many devices."""

    def shape(array: jax.Array) -> jax.ShapeDtypeStruct:
        spec = getattr(array.sharding, "spec", PartitionSpec())
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(shape, tree)
