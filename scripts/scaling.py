"""How communication and memory of a step scale, read off the programs that XLA compiles.

    .venv/bin/python scripts/scaling.py

For a base case, and with one of its sizes doubled at a time: the collectives of a step, the bytes
that each device gets by them, and the memory of a device (arguments: its share of the catalog;
temporaries). Nothing is run, so nothing is timed. Prints a Markdown table.
"""

import argparse
from dataclasses import asdict, dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from bench_measure import compiled
from bench_scaling import collectives_of

import kdescent_dist as ours


@dataclass(frozen=True)
class Case:
    """Sizes of a fit: samples, kernels (and as many modes) a bin, bins, parameters, devices."""

    samples: int = 1 << 20
    kernels: int = 20
    bins: int = 4
    parameters: int = 8
    devices: int = 4


def columns(params, key, catalog):
    """Two colors that depend on a mass by a series with as many terms as parameters."""
    terms = jnp.cos(catalog["mass"][:, None] * jnp.arange(len(params)))
    mean = terms @ jnp.stack(list(params.values()))
    noise = 0.3 * jax.random.normal(key, (2, *mean.shape))
    red, blue = mean + noise
    return ours.Population({"red": red, "blue": blue, "mass": catalog["mass"]})


def program(case: Case, reduction: str):
    rng = np.random.default_rng(0)
    size = 500 * case.bins
    training = {name: rng.normal(size=size).astype(np.float32) for name in ("red", "blue")}
    training["mass"] = rng.uniform(size=size).astype(np.float32)
    config = ours.BinsConfig(
        columns=["red", "blue"],
        edges={"mass": np.linspace(0.0, 1.0, case.bins + 1).tolist()},
        kernels=case.kernels,
        fourier=case.kernels,
        pretrain_kernels=4 * case.kernels,
        pretrain_fourier=4 * case.kernels,
    )
    names = [f"p{i}" for i in range(case.parameters)]
    weights = np.ones(size, np.float32)
    objective = ours.PopulationObjective(
        columns,
        names,
        [ours.pretrain_bin(b, training, weights, 3) for b in ours.expand_bins({"grid": config})],
        training_weight=float(size),
        catalog={"mass": rng.uniform(size=case.samples).astype(np.float32)},
        mesh=ours.make_mesh(case.devices),
        reproducible=reduction == "reproducible",
    )
    params = jnp.zeros(case.parameters)
    return compiled(objective.value_and_grad, params, jax.random.key(0), objective.data)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--devices", type=int, default=8, help="fake CPU devices, at least 8")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.parse_args().devices)
    base = Case()
    print("| case | reduction | collectives | bytes a device gets | catalog MB | temporary MB |")
    print("|---|---|---|---|---|---|")
    doubled = [replace(base, **{name: 2 * value}) for name, value in asdict(base).items()]
    for name, case in zip(
        ["base", *(f"2 x {n}" for n in asdict(base))], [base, *doubled], strict=True
    ):
        for reduction in ("reproducible", "psum"):
            done = program(case, reduction)
            kinds, received = collectives_of(done.as_text())
            memory = done.memory_analysis()
            arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
            print(
                f"| {name} | {reduction} | {sum(kinds.values())} | {received} | "
                f"{arguments / 1e6:.2f} | {temporary / 1e6:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
