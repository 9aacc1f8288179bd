"""What a step costs against the number of conditional bins, with the same samples.

    .venv/bin/python scripts/bins_cost.py --plot bins_cost.png

The model and catalog of ``galaxy_colors`` in bins of three color planes: nine bins of redshift, and
grids of redshift and magnitude, with 20 kernels and 20 modes in each bin. All programs are compiled
first; then value and gradient of the objective are timed in turns, and the minimum of each counts.
Prints a Markdown table, relative to nine soft bins.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from bench_measure import compiled, seconds_of
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

import kdescent_dist as ours
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import count_bins, settle_bins
from kdescent_dist.cli import _conf
from kdescent_dist.config import compose as configs
from kdescent_dist.config.dotted_path import bind_target

PLANES = {"gr_ri": ["g_r", "r_i"], "ri_iz": ["r_i", "i_z"], "gr_iz": ["g_r", "i_z"]}
# Bins in redshift and in magnitude.
GRIDS = ((9, 1), (10, 2), (10, 5), (10, 10), (15, 14), (20, 20))


def galaxy_colors() -> tuple[configs.Config, ours.Catalog]:
    ConfigStore.instance().store(name="schema", node=configs.schema())
    with initialize_config_dir(str(_conf()), version_base="1.3"):
        config = configs.from_omegaconf(compose("config", ["experiment=galaxy_colors"]))
    needed = ["redshift", "i", "g_r", "r_i", "i_z"]
    return config, ours.load_catalog(config.catalog, required=needed)


def bins_of(catalog: ours.Catalog, redshifts: int, magnitudes: int, softness: float) -> list:
    """Pretrained bins of equal weight in each column, those with too few galaxies left out."""
    columns = {name: values.astype(np.float32) for name, values in catalog.columns.items()}
    edges = {"redshift": {"quantiles": redshifts}}
    if magnitudes > 1:
        edges["i"] = {"quantiles": magnitudes}
    grids = {
        name: ours.BinsConfig(
            columns=plane,
            edges=dict(edges),
            softness=softness,
            kernels=20,
            fourier=20,
            pretrain_kernels=60,
            pretrain_fourier=60,
            min_training=10,
            few_training="drop",
            covariant_kernels=True,
        )
        for name, plane in PLANES.items()
    }
    bins = ours.expand_bins(resolve_grids(grids, columns, catalog.weights))
    bins, _ = settle_bins(bins, count_bins(bins, columns))
    weights = catalog.weights.astype(np.float32)
    return [ours.pretrain_bin(bin_, columns, weights, 0) for bin_ in bins]


def step_of(config: configs.Config, catalog: ours.Catalog, bins: list, size: int, blocks: int):
    """A compiled step at the guess of the parameters, as a function without arguments."""
    rng = np.random.default_rng(0)
    rows = np.resize(rng.permutation(len(catalog)), size)
    spec = {"_target_": config.model._target_, **config.model.options}
    objective = ours.PopulationObjective(
        bind_target(spec, "model"),
        tuple(config.parameters),
        bins,
        training_weight=float(catalog.weights.sum()),
        catalog={name: catalog.columns[name][rows] for name in config.input.columns},
        loss=config.loss,
        mesh=ours.make_mesh(1),
        block_size=-(-size // blocks),
    )
    params = jnp.asarray([p.guess for p in config.parameters.values()], jnp.float32)
    key, data = jax.random.key(0), objective.data
    program = compiled(objective.value_and_grad, params, key, data)
    return lambda: program(params, key, data)


def draw(path: str, costs: dict[float, list[tuple[int, float]]], size: int) -> None:
    """Plot the cost of a step against the number of bins, for each softness."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    base = costs[max(costs)][0][1]
    figure, axes = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
    for softness, points in costs.items():
        bins, seconds = zip(*points, strict=True)
        label = f"softness {softness:g}" if softness else "hard edges"
        axes.plot(bins, [s / base for s in seconds], "o-", label=label)
    axes.axhline(3.0, color="0.6", ls=":", lw=1.0)
    axes.set(
        xscale="log",
        xlabel="bins of each of three color planes",
        ylabel=f"cost of a step, relative to {costs[max(costs)][0][0]} soft bins",
        title=f"{size:,} galaxies, 20 kernels and 20 modes a bin",
    )
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, help="samples, by default those of the catalog")
    options.add_argument("--blocks", type=int, default=1, help="blocks of samples")
    options.add_argument("--softness", type=float, nargs="+", default=[0.04, 0.0])
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--plot", help="file of the plot")
    given = options.parse_args()
    jax.config.update("jax_platforms", "cpu")
    config, catalog = galaxy_colors()
    size = given.size or len(catalog)
    cases = []
    for softness in given.softness:
        for grid in GRIDS:
            bins = bins_of(catalog, *grid, softness)
            cases.append((softness, len(bins), step_of(config, catalog, bins, size, given.blocks)))
    best = [min(seconds_of(step) for _ in range(2)) for _, _, step in cases]
    for _ in range(given.rounds):
        best = [min(b, seconds_of(step)) for b, (_, _, step) in zip(best, cases, strict=True)]
    print("| bins of a plane | softness | ms a step | relative |\n|---|---|---|---|")
    costs: dict[float, list[tuple[int, float]]] = {softness: [] for softness in given.softness}
    for seconds, (softness, bins, _) in zip(best, cases, strict=True):
        number = round(bins / len(PLANES))
        costs[softness].append((number, seconds))
        print(f"| {number} | {softness:g} | {1e3 * seconds:.1f} | {seconds / best[0]:.2f} |")
    if given.plot:
        draw(given.plot, costs, size)


if __name__ == "__main__":
    main()
