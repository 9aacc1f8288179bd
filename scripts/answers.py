"""Fit fresh simulated catalogs, and compare the answers with the truth.

    scripts/answers [--quick] [--only tutorial-1-gls] [--catalogs 12] [--out answers.json]

Rows:
    tutorial-1-mse, tutorial-1-chisq, tutorial-1-gls
        rms of the errors in units of those of maximum likelihood; coverage; p-values
    tutorial-2
        mean absolute errors of the parameters, against those of diffopt from the same catalogs
    endings
        fits that end too early, diverge, run into a bound, or have a wrong model: whether each ends
        right, or says that it has not converged or does not describe the data
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.stats import kstest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_cases  # noqa: E402
from answers_catalogs import TRUTH  # noqa: E402

from kdescent_dist import cli  # noqa: E402
from kdescent_dist.config.compose import from_yaml  # noqa: E402
from kdescent_dist.models import color_mass  # noqa: E402
from kdescent_dist.models.gaussian import training_catalog  # noqa: E402

LOSSES = {f"{kind}": [f"loss.kind={kind}"] for kind in ("mse", "chisq", "gls")}
OFF = 5.0  # stated errors from the truth of an answer that is wrong

# Names to overrides, and whether an honest fit can end at the truth.
ENDINGS = {
    "frozen schedule": (["fit.steps=100"], True),
    "too few steps": (["fit.steps=60", "optimizer.learning_rate=0.03"], True),
    "bound at the truth": (["parameters.mean_1.high=1.6"], True),
    "few rows": (["catalog.make.size=150"], True),
    "diverged": (["optimizer.learning_rate=100"], False),
    "two populations": (["catalog.make._target_=answers_catalogs.two_populations"], False),
    "heavy tails": (["catalog.make._target_=answers_catalogs.heavy_tails"], False),
}


def fit(folder: Path, seed: int, *overrides: str, experiment: str = "quickstart") -> dict[str, Any]:
    """The result of a fit to a fresh catalog."""
    given = (f"experiment={experiment}", "report.enabled=false", "runtime.compilation_cache=false")
    given = (*given, f"seed={seed}", f"catalog.make.seed={1000 + seed}", *overrides)
    given = (*given, f"run_dir={folder}")
    told = io.StringIO()
    sys.argv = ["kdescent-dist", *given]
    with contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
        cli.main()
    try:
        return json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        raise RuntimeError(told.getvalue()) from None


def maximum_likelihood(seed: int, size: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """The estimate of maximum likelihood from a catalog, and its errors at the truth."""
    catalog = training_catalog(TRUTH, size, 1000 + seed)
    x = np.array([catalog["x1"], catalog["x2"]], float)
    covariance = np.cov(x, bias=True)
    scale = np.sqrt(np.diagonal(covariance))
    estimate = [*x.mean(axis=1), *np.diagonal(covariance), covariance[0, 1] / np.prod(scale)]
    variance = np.array([TRUTH["variance_1"], TRUTH["variance_2"]])
    of_correlation = 1 - TRUTH["correlation"] ** 2
    errors = [*np.sqrt(variance / size), *variance * np.sqrt(2 / size)]
    return np.array(estimate), np.array([*errors, of_correlation / np.sqrt(size)])


def tutorial_1(folder: Path, catalogs: int, loss: str) -> dict[str, Any]:
    """The distance from maximum likelihood adds in squares to the errors of maximum likelihood."""
    apart, in_errors, p_values, converged = [], [], [], 0
    for seed in range(catalogs):
        found = fit(folder / str(seed), seed, *LOSSES[loss])
        names = list(TRUTH)
        params = np.array([found["params"][name] for name in names])
        errors = np.array([found["errors"][name] or np.nan for name in names])
        best, of_best = maximum_likelihood(seed)
        apart.append((params - best) / of_best)
        in_errors.append((params - np.array(list(TRUTH.values()))) / errors)
        p_values.append(found["goodness"]["p_value"])
        converged += bool(found["converged"])
    squares = np.mean(np.square(apart), axis=1)
    scatter = np.std(squares, ddof=1) / np.sqrt(catalogs)
    rms = float(np.sqrt(1 + np.mean(squares)))
    z = np.abs(in_errors)
    cover = np.mean(z < 1, axis=1)
    return {
        "catalogs": catalogs,
        "rms in errors of maximum likelihood": [rms, float(scatter / (2 * rms))],
        "coverage of 68%": [float(np.mean(cover)), float(np.std(cover) / np.sqrt(catalogs))],
        "rms in stated errors": float(np.sqrt(np.mean(z**2))),
        "p-values: Kolmogorov-Smirnov": float(kstest(p_values, "uniform").pvalue),
        "converged": converged,
    }


def tutorial_2(folder: Path, catalogs: int) -> dict[str, Any]:
    """Fits of this library as shipped, and of diffopt as in its document, to the same catalogs."""
    import diffopt.kdescent

    of_ours, of_theirs, in_errors, converged = [], [], [], 0
    for seed in range(catalogs):
        found = fit(folder / str(seed), seed, experiment="color_mass")
        make = from_yaml((folder / str(seed) / "config.yaml").read_text()).catalog.make
        truth = np.array([make["truth"][name] for name in found["params"]])
        catalog = color_mass.training_catalog(make["truth"], make["size"], make["seed"])
        x = np.stack([catalog[name] for name in ("r_z", "g_r", "logm")], axis=1)
        totals = [float(np.sum(inside)) for inside in bench_cases.cuts(x)]
        options = bench_cases.tutorial_2(diffopt.kdescent, x, totals)
        params, _ = diffopt.kdescent.adam(**options, nsteps=600, randkey=seed)
        apart = np.array(list(found["params"].values())) - truth
        of_ours.append(np.mean(np.abs(apart)))
        of_theirs.append(np.mean(np.abs(np.asarray(params)[-1] - truth)))
        errors = [error or np.nan for error in found["errors"].values()]
        in_errors.append(apart / np.array(errors))
        converged += bool(found["converged"])
    ratio = np.array(of_ours) / np.array(of_theirs)
    z = np.abs(in_errors)
    return {
        "catalogs": catalogs,
        "mean absolute error": _with_error(of_ours),
        "of diffopt": _with_error(of_theirs),
        "ratio": _with_error(ratio),
        "rms in stated errors": float(np.sqrt(np.nanmean(z**2))),
        "within 3 stated errors": float(np.mean(z[np.isfinite(z)] < 3)),
        "converged": converged,
    }


def _with_error(values: Any) -> list[float]:
    return [float(np.mean(values)), float(np.std(values) / np.sqrt(max(len(values) - 1, 1)))]


def endings(folder: Path, catalogs: int) -> dict[str, Any]:
    """Each fit with and without the finish."""
    rows: dict[str, Any] = {}
    for name, (overrides, possible) in ENDINGS.items():
        for finish in ("newton", "none"):
            counted = {"right": 0, "told": 0, "wrong and not told": 0, "right and told": 0}
            for seed in range(catalogs):
                where = folder / f"{name}-{finish}-{seed}".replace(" ", "-")
                found = fit(where, seed, *LOSSES["gls"], f"fit.finish={finish}", *overrides)
                right, told = _judged(found, possible)
                both = ("right and told" if told else "right") if right else ""
                counted[both or ("told" if told else "wrong and not told")] += 1
            rows[f"{name}, finish={finish}"] = counted
            print(f"  {name}, finish={finish}: {counted}", flush=True)
    return rows


def _judged(found: dict[str, Any], possible: bool) -> tuple[bool, bool]:
    """Whether the answer is right, and whether the result says that it may not be."""
    told = not (found["status"] == "done" and found.get("converged") and found.get("acceptable"))
    errors = found.get("errors") or {}
    known = {name: error for name, error in errors.items() if error}
    if found["status"] != "done" or not known:
        return False, True
    away = [abs(found["params"][name] - TRUTH[name]) / known[name] for name in known]
    return possible and max(away) < OFF, told


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few catalogs")
    parser.add_argument("--only", default="", help="names of rows, separated by commas")
    parser.add_argument("--catalogs", type=int, help="number of catalogs of each row")
    parser.add_argument("--out", type=Path, help="file for the numbers")
    given = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache/jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    rows: dict[str, tuple[Callable, int, int]] = {
        f"tutorial-1-{loss}": (lambda f, n, loss=loss: tutorial_1(f, n, loss), 4, 40)
        for loss in LOSSES
    }
    rows["tutorial-2"] = (tutorial_2, 1, 10)
    rows["endings"] = (endings, 1, 6)
    chosen = given.only.split(",") if given.only else list(rows)
    found = {}
    for name in chosen:
        measure, few, many = rows[name]
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            number = given.catalogs or (few if given.quick else many)
            found[name] = measure(Path(folder), number)
        found[name]["seconds"] = round(time.monotonic() - begun, 1)
        print(f"{name}: {json.dumps(found[name], indent=2)}", flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
