"""Run directories made up with NumPy, as a finished fit leaves them."""

import itertools
import json

import numpy as np
from scipy.stats import logistic, multivariate_normal

from kdescent_dist.config.compose import to_yaml
from kdescent_dist.config.schema import Config, ParameterConfig


def population(rng, size, shift=0.0):
    """Two populations of colors whose mixture changes with redshift."""
    redshift = rng.uniform(0.0, 1.5, size)
    red = rng.random(size) < 0.3 + 0.25 * redshift
    center = np.where(red, 1.1 + 0.4 * redshift, 0.35 + 0.3 * redshift) + shift
    g_r = center + np.where(red, 0.09, 0.2) * rng.standard_normal(size)
    r_i = 0.55 * g_r - 0.1 + 0.12 * rng.standard_normal(size) - 0.4 * shift
    mag_i = 24.0 - 1.5 * rng.exponential(1.0, size) + shift
    return {"redshift": redshift, "g_r": g_r, "r_i": r_i, "mag_i": mag_i}


def window_weights(x, window, softness):
    weights = np.ones(len(x["redshift"]))
    for column, (low, high) in window.items():
        value, width = x[column], softness * (high - low)
        if softness:
            edges = logistic.cdf((value - low) / width), logistic.cdf((high - value) / width)
        else:
            edges = value >= low, value < high
        weights = weights * edges[0] * edges[1]
    return weights


def windows(config, group):
    """Name and window of each bin of a grid, or of the one bin without edges."""
    if not config.edges:
        return [(group, {})]
    sides = [
        [(column, [low, high]) for low, high in itertools.pairwise(edges)]
        for column, edges in config.edges.items()
    ]
    cells = [dict(cell) for cell in itertools.product(*sides)]
    return [
        (f"{group}[{', '.join(f'{c} {low:g}-{high:g}' for c, (low, high) in cell.items())}]", cell)
        for cell in cells
    ]


def compare(rng, x, weights, kernels, modes):
    """Normalized counts of the data and of the models, and their errors."""
    total = {which: w.sum() for which, w in weights.items()}
    cov = 0.05 * np.atleast_2d(np.cov(x["data"].T, aweights=weights["data"]))
    picked = rng.choice(len(x["data"]), kernels, p=weights["data"] / total["data"])
    dims = x["data"].shape[1]
    centers = rng.multivariate_normal(np.zeros(dims), cov, kernels) + x["data"][picked]
    positions = rng.uniform(0, 4, (modes, dims))
    out = {"kernel_centers": centers, "fourier_positions": positions}
    noise = {"kde": [], "real": [], "imag": []}
    for which, key in (("data", "truth"), ("guess", "guess"), ("fit", "fit")):
        w = weights[which] / total[which]
        pdfs = [np.atleast_1d(multivariate_normal(c, cov).pdf(x[which])) for c in centers]
        pdfs = np.reshape(pdfs, (kernels, len(w)))
        waves = np.exp(1j * positions @ x[which].T)
        out |= {f"kde_{key}": pdfs @ w, f"fourier_{key}": waves @ w}
        if which != "guess":
            noise["kde"].append(pdfs**2 @ w**2)
            noise["real"].append(waves.real**2 @ w**2)
            noise["imag"].append(waves.imag**2 @ w**2)
    error = {name: np.sqrt(np.sum(parts, axis=0)) for name, parts in noise.items()}
    out |= {"kde_err": error["kde"], "fourier_err": error["real"] + 1j * error["imag"]}
    return out, total


def diagnostics(rng, groups, size, kernels, modes):
    samples = {
        "data": population(rng, size),
        "guess": population(rng, size, 0.5),
        "fit": population(rng, 3 * size),
    }
    scale = {"data": 1.0, "guess": 1.4, "fit": 1.05 / 3}
    arrays, described = {}, []
    for which, x in samples.items():
        arrays |= {f"{which}/{column}": values for column, values in x.items()}
        arrays[f"{which}/weights"] = np.full(len(x["redshift"]), scale[which])
    for group, config in groups.items():
        for name, window in windows(config, group):
            weights = {
                which: scale[which] * window_weights(x, window, config.softness)
                for which, x in samples.items()
            }
            values = {
                which: np.stack([x[column] for column in config.columns], axis=1)
                for which, x in samples.items()
            }
            p = 0 if config.kernels == 0 else kernels
            q = 0 if config.fourier == 0 else modes
            counts, total = compare(rng, values, weights, p, q)
            arrays |= {f"bin{len(described)}/{key}": value for key, value in counts.items()}
            described.append(
                {
                    "name": name,
                    "group": group,
                    "columns": config.columns,
                    "window": window,
                    "softness": config.softness,
                    "normalization": config.normalization,
                    "n_training": int(window_weights(samples["data"], window, 0).sum()),
                    "sum_training": total["data"],
                    "sum_guess": total["guess"],
                    "sum_fit": total["fit"],
                    "number_density": config.number_density,
                }
            )
    return arrays | {"bins": np.array(json.dumps(described))}


def write_run(directory, groups, *, parameters=20, size=2000, kernels=40, modes=30, **result):
    """Write a run of 300 steps in the given grids of bins; return what its files hold.

    The first parameter ends at its upper bound; of every fourth the truth is unknown.
    """
    rng = np.random.default_rng(1)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = diagnostics(rng, groups, size, kernels, modes)
    np.savez(directory / "diagnostics.npz", **arrays)
    names = [f"p{i:02d}" for i in range(parameters)]
    steps = np.arange(301)
    guess = rng.uniform(-1, 1, parameters)
    truth = guess + np.append(0.6, rng.normal(0, 0.5, parameters - 1))
    decay = np.exp(-steps / 36)[:, None]
    params = truth + (guess - truth) * decay + 0.01 * rng.standard_normal((301, parameters))
    params[0] = guess
    bound = truth[0]
    params[:, 0] = np.minimum(params[:, 0] + 0.1 * (1 - decay[:, 0]), bound - 1e-5)
    loss = (4e-3 + 1.2 * decay[:, 0] ** 2) * rng.lognormal(0, 0.25, 301)
    grad_norm = 0.02 * np.sqrt(loss) * rng.lognormal(0, 0.3, 301)
    np.savez(
        directory / "history.npz",
        step=steps,
        loss=loss,
        grad_norm=grad_norm,
        params=params,
        names=np.array(names),
    )
    config = Config(
        name="color_redshift",
        question="Do the colors of galaxies depend on their redshift?",
        bins=groups,
        parameters={
            name: ParameterConfig(
                guess=float(guess[i]),
                low=-3.0 if i % 2 else None,
                high=float(bound) if i == 0 else 3.0 if i % 3 else None,
                truth=float(truth[i]) if i % 4 else None,
                label=rf"$\mu_{{g-r}}^{{{i}}}$" if i % 5 == 1 else None,
            )
            for i, name in enumerate(names)
        },
    )
    config.model._target_ = "my_models.colors"
    config.catalog.path = "colors.hdf5"
    config.samples.size = 10_000
    (directory / "config.yaml").write_text(to_yaml(config))
    last = zip(names, params[-1], params[-30:].std(0), strict=True)
    fitted = {name: (float(value), float(scatter)) for name, value, scatter in last}
    record = {
        "status": "done",
        "step": 300,
        "steps": 300,
        "loss": float(loss[-1]),
        "seed": 7,
        "params": {name: value for name, (value, _) in fitted.items()},
        "scatter": {name: scatter for name, (_, scatter) in fitted.items()},
        "errors": {name: 0.01 * i or None for i, name in enumerate(names)},
        "errors_note": "noise of the training catalog; held by a bound: p00",
        "versions": {"kdescent-dist": "0.1.0", "jax": "0.10.2"},
        "wall_s": 83.2,
        "devices": {"platform": "cpu", "count": 8},
        "samples": 10_000,
        "catalog": {
            "source": "colors.hdf5",
            "rows": 9123,
            "dropped": {"not detected": 714, "redshift < 1.5": 388},
        },
    } | result
    (directory / "result.json").write_text(json.dumps(record))
    return config, record, arrays
