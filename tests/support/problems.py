"""A small problem that several test files share: two colors and a mass, fitted in mass bins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kdescent_dist as kd
from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import PretrainedBin, pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.models.population import Population
from kdescent_dist.objective.population_objective import PopulationObjective

NAMES = ("mean", "slope", "scatter", "fraction")
TRUTH = np.array([0.4, 0.6, 0.5, 0.3], np.float32)
GUESS = np.array([0.0, 0.2, 0.9, 0.5], np.float32)
BOUNDS = [None, None, (0.05, None), (0.0, 1.0)]
SIZE = 1003  # does not divide into the blocks


def toy(params, key, catalog):
    """Two colors of a red and a blue galaxy for each mass."""
    generative = not isinstance(catalog, dict)
    size = catalog if generative else catalog["mass"].shape[0]
    key_mass, key_color = jax.random.split(key)
    mass = jax.random.uniform(key_mass, (size,)) if generative else catalog["mass"]
    noise = params["scatter"] * jax.random.normal(key_color, (2, size))
    center = params["mean"] + params["slope"] * mass
    columns = {
        "red": jnp.concatenate([center + noise[0], center + 1.0 + noise[0]]),
        "blue": jnp.concatenate([center + noise[1], 0.5 * noise[1]]),
        "mass": jnp.concatenate([mass, mass]),
    }
    fraction = params["fraction"] * jnp.ones(size)
    return Population(columns, jnp.concatenate([1.0 - fraction, fraction]))


def training(size: int = 3000) -> tuple[dict[str, np.ndarray], np.ndarray]:
    params = dict(zip(NAMES, jnp.asarray(TRUTH), strict=True))
    population = toy(params, jax.random.key(5), size)
    return {k: np.asarray(v) for k, v in population.x.items()}, np.asarray(population.weights)


GRIDS = {
    "grid": BinsConfig(
        columns=["red", "blue"],
        edges={"mass": [0.0, 0.4, 1.0]},
        kernels=7,
        fourier=5,
        pretrain_kernels=60,
        pretrain_fourier=60,
        number_density=True,
    ),
    "one": BinsConfig(
        columns=["red"],
        normalization="density",
        kernels=6,
        fourier=0,
        pretrain_kernels=60,
        pretrain_fourier=60,
        weight=2.0,
    ),
}


def pretrained(grids: dict[str, BinsConfig] = GRIDS) -> list[PretrainedBin]:
    columns, weights = training()
    mesh = make_mesh(1)
    return [pretrain_bin(b, columns, weights, 3, mesh) for b in expand_bins(grids)]


def objective(
    bins, devices: int = 1, kernels: int = 1, names=NAMES, model=toy, **options
) -> PopulationObjective:
    options = {"size": SIZE, "kernel_blocks": 2, **options}
    return PopulationObjective(
        model,
        names,
        bins,
        training_weight=float(training()[1].sum()),
        mesh=make_mesh(devices // kernels, kernels),
        **options,
    )


def problem(objective, pairs=BOUNDS, fixed=(), **options) -> Problem:
    """A fit of the small problem before its first step."""
    catalog = TrainingCatalog.of(*training())
    parameters = Parameters.of_vector(GUESS, NAMES, pairs, fixed=fixed)
    options = {"seed": 3, **options}
    return Problem(objective, catalog, parameters, **options)


def fitted(mesh, seed):
    """A fit of the small problem in one bin."""
    columns, weights = training()
    (one,) = kd.expand_bins({"one": GRIDS["one"]})
    objective = kd.PopulationObjective(
        toy,
        NAMES,
        [kd.pretrain_bin(one, columns, weights, 3, mesh)],
        training_weight=float(weights.sum()),
        size=SIZE,
        mesh=mesh,
    )
    config = kd.FitConfig(finish="none", steps=30)
    return kd.fit(objective, GUESS, optax.adam(0.05), config=config, seed=seed)
