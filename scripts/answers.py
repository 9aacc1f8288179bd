"""Fit fresh simulated catalogs, and compare the answers with the truth.

    scripts/answers [--quick] [--only tutorial-1-gls] [--catalogs 12] [--out answers.json]

Rows:
    quickstart, quickstart-chisq, quickstart-mse
        tutorial 1 as shipped, and with other losses: rms of the errors in units of those of maximum
        likelihood; coverage; p-values
    missing
        p-values of catalogs with a population that the model of quickstart lacks
    quenching
        coverage of the experiment of the README
    tutorial-2
        mean absolute errors of the parameters, against those of diffopt from the same catalogs
    chi-square
        the reduced chi-square at the truth, of all normalizations
    colors, halos
        time of the finish and the errors over that of the steps, of 314 parameters; and of a fit to
        10^7 halos with the shipped guess, whether it converges
    endings
        fits of three experiments that end too early, diverge, run into a bound, or have a wrong
        model: whether each ends right, or says that it has not converged or does not describe the
        data
"""

import argparse
import contextlib
import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.stats import kstest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import answers_catalogs  # noqa: E402
import answers_endings  # noqa: E402
import bench_cases  # noqa: E402
from answers_catalogs import NORMAL as TRUTH  # noqa: E402

from kdescent_dist import cli  # noqa: E402
from kdescent_dist.config.compose import from_yaml  # noqa: E402
from kdescent_dist.diagnostics.coverage import summarize  # noqa: E402
from kdescent_dist.diagnostics.refits import fit_catalogs  # noqa: E402
from kdescent_dist.models import color_mass  # noqa: E402
from kdescent_dist.models.gaussian import training_catalog  # noqa: E402
from kdescent_dist.run.refits import refits_of  # noqa: E402
from kdescent_dist.run.sweep import release_programs  # noqa: E402
from support.chi_squares import chi_squares  # noqa: E402

Columns = Mapping[str, np.ndarray]


def fit(folder: Path, seed: int, *overrides: str) -> dict[str, Any]:
    """The result of a fit."""
    given = ("report.enabled=false", "runtime.compilation_cache=false", f"seed={seed}")
    given = (*overrides, *given, f"run_dir={folder}")
    told = io.StringIO()
    sys.argv = ["kdescent-dist", *given]
    with contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
        cli.main()
    release_programs()
    try:
        return json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        raise RuntimeError(told.getvalue()) from None


def _made(seed: int) -> str:
    """A fresh catalog."""
    return f"catalog.make.seed={1000 + seed}"


def maximum_likelihood(seed: int, size: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """The estimate of maximum likelihood from a catalog, and its errors at the truth."""
    catalog = training_catalog(TRUTH, size, seed)
    x = np.array([catalog["x1"], catalog["x2"]], float)
    covariance = np.cov(x, bias=True)
    scale = np.sqrt(np.diagonal(covariance))
    estimate = [*x.mean(axis=1), *np.diagonal(covariance), covariance[0, 1] / np.prod(scale)]
    variance = np.array([TRUTH["variance_1"], TRUTH["variance_2"]])
    of_correlation = 1 - TRUTH["correlation"] ** 2
    errors = [*np.sqrt(variance / size), *variance * np.sqrt(2 / size)]
    return np.array(estimate), np.array([*errors, of_correlation / np.sqrt(size)])


def refits(
    folder: Path, truth: Mapping[str, float], catalogs: Iterable[Columns], *overrides: str
) -> list[dict[str, Any]]:
    """Fits of catalogs with the setup of an experiment; all share the programs of the first."""
    fit(folder, 0, *overrides)
    weighted = ((columns, None) for columns in catalogs)
    found: list[dict[str, Any]] = []
    for one in fit_catalogs(refits_of(folder), weighted, seed=0):
        found.append(one)
        if len(found) % 20 == 0:
            told = summarize(truth, found)["pooled"]["within_68"]
            print(f"  {len(found)} fits, within 68%: {told}", flush=True)
    return found


def quickstart(folder: Path, catalogs: int, loss: str) -> dict[str, Any]:
    """The distance from maximum likelihood adds in squares to the errors of maximum likelihood."""
    seeds = range(1000, 1000 + catalogs)
    drawn = (training_catalog(TRUTH, 10_000, seed) for seed in seeds)
    found = refits(folder, TRUTH, drawn, f"loss.kind={loss}")
    apart = []
    for one, seed in zip(found, seeds, strict=True):
        best, of_best = maximum_likelihood(seed)
        apart.append((np.array([one["params"][name] for name in TRUTH]) - best) / of_best)
    squares = np.mean(np.square(apart), axis=1)
    rms = float(np.sqrt(1 + np.mean(squares)))
    noise = float(np.std(squares) / np.sqrt(catalogs - 1) / (2 * rms))
    return {"rms in errors of maximum likelihood": [rms, noise], **_coverage(TRUTH, found)}


def missing(folder: Path, catalogs: int) -> dict[str, Any]:
    """How often a fit of catalogs with a second population is told not to describe the data."""
    wrong = answers_catalogs.TWO_POPULATIONS
    drawn = (answers_catalogs.normal(10_000, seed, wrong) for seed in range(catalogs))
    p_values = [one["goodness"]["p_value"] for one in refits(folder, TRUTH, drawn)]
    return {"catalogs": catalogs, "p < 0.001": float(np.mean(np.array(p_values) < 1e-3))}


def quenching(folder: Path, catalogs: int) -> dict[str, Any]:
    """The experiment of the README, for catalogs of as many rows each."""
    conf = _experiment_of_readme(folder)
    made = "{_target_: answers_catalogs.quenching, size: 7000, seed: 1000}"
    overrides = ("experiment=quenching", "catalog.path=null", f"catalog.make={made}")
    drawn = (answers_catalogs.quenching(7_000, 1000 + seed) for seed in range(catalogs))
    truth, given = answers_catalogs.QUENCHING, f"--config-dir={conf}"
    return _coverage(truth, refits(folder / "run", truth, drawn, given, *overrides))


def _experiment_of_readme(folder: Path) -> Path:
    """The configs that the README shows; their model can be imported from then on."""
    text = (ROOT / "README.md").read_text()
    for name in ("my_models.py", "my_conf/experiment/quenching.yaml"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        block = text.split(f'title="{name}"\n')[1].split("```")[0]
        file.write_text(block)
    sys.path.insert(0, str(folder))
    return folder / "my_conf"


def chi_square(folder: Path, draws: int) -> dict[str, Any]:
    """The mean over draws of a catalog and a model of the same distribution."""
    found = {}
    for kind, dims, (weighted, softness) in itertools.product(
        ("conditional", "density", "counts"), (1, 2, 3), ((False, 0.0), (True, 0.04), (True, 0.2))
    ):
        of_statistics = chi_squares(kind, dims, weighted, softness, draws)
        name = f"{kind}, {dims}-D, {'weighted' if weighted else 'unweighted'}, softness {softness}"
        found[name] = {one: _with_error(values) for one, values in of_statistics.items()}
        print(f"  {name}: {found[name]}", flush=True)
    means = [mean for one in found.values() for mean, _ in one.values()]
    return {"means": [min(means), max(means)], "each": found}


def colors(folder: Path, fits: int) -> dict[str, Any]:
    """The cost of finish and errors of ``galaxy_colors``, compilation included."""
    return _costs(fit(folder / "run", 0, "experiment=galaxy_colors"))


def halos(folder: Path, number: int) -> dict[str, Any]:
    """A fit of ``halo_catalog`` with as many halos."""
    size = f"input.catalog.make.size={number}"
    found = fit(folder / "run", 0, "experiment=halo_catalog", size)
    truth = from_yaml((folder / "run" / "config.yaml").read_text()).catalog.make["truth"]
    errors = found["errors"]
    apart = [abs(found["params"][name] - truth[name]) / errors[name] for name in truth]
    return {"halos": number, "largest error, in stated errors": max(apart), **_costs(found)}


def _costs(found: dict[str, Any]) -> dict[str, Any]:
    seconds = {name: phase["seconds"] for name, phase in found["phases"].items()}
    return {
        "converged": found["converged"],
        "acceptable": found["acceptable"],
        "steps": found["steps"],
        "finish": found["finish"],
        "seconds of each phase": seconds,
        "finish over steps": seconds["finish"] / seconds["steps"],
        "finish and errors over steps": (seconds["finish"] + seconds["errors"]) / seconds["steps"],
    }


def _coverage(truth: Mapping[str, float], found: list[dict[str, Any]]) -> dict[str, Any]:
    known = [one for one in found if "failed" not in one]
    p_values = [one["goodness"]["p_value"] for one in known]
    told = summarize(truth, found)
    each = {name: one["within_68"] for name, one in told["parameters"].items()}
    return {
        **{name: told[name] for name in ("fits", "failed", "converged", "acceptable")},
        "within 68%, pooled": told["pooled"]["within_68"],
        "within 68%": each,
        "scatter over stated": {
            name: one["scatter_over_stated"] for name, one in told["parameters"].items()
        },
        "p-values: Kolmogorov-Smirnov": float(kstest(p_values, "uniform").pvalue),
        "seconds of a fit": float(np.median([one["seconds"] for one in known])),
    }


def tutorial_2(folder: Path, catalogs: int) -> dict[str, Any]:
    """Fits of this library as shipped, and of diffopt as in its document, to the same catalogs."""
    import diffopt.kdescent

    of_ours, of_theirs, in_errors, converged = [], [], [], 0
    for seed in range(catalogs):
        found = fit(folder / str(seed), seed, "experiment=color_mass", _made(seed))
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
    """Fits that can end wrong, of three experiments."""
    of = answers_endings.experiments(_experiment_of_readme(folder), ROOT / "scripts/answers_conf")
    number = itertools.count()

    def numbered(seed: int, *overrides: str) -> dict[str, Any]:
        return fit(folder / str(next(number)), seed, *overrides)

    return answers_endings.endings(of, numbered, catalogs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few catalogs")
    parser.add_argument("--only", default="", help="names of rows, separated by commas")
    parser.add_argument(
        "--catalogs", type=int, help="number of catalogs, draws or halos of each row"
    )
    parser.add_argument("--out", type=Path, help="file for the numbers")
    given = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache/jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    rows: dict[str, tuple[Callable, int, int]] = {
        "quickstart": (lambda f, n: quickstart(f, n, "gls"), 8, 400),
        "quickstart-chisq": (lambda f, n: quickstart(f, n, "chisq"), 3, 40),
        "quickstart-mse": (lambda f, n: quickstart(f, n, "mse"), 3, 40),
        "missing": (missing, 3, 40),
        "quenching": (quenching, 4, 400),
        "tutorial-2": (tutorial_2, 1, 10),
        "chi-square": (chi_square, 400, 8000),
        "colors": (colors, 1, 1),
        "halos": (halos, 40_000, 10_000_000),
        "endings": (endings, 1, 1),
    }
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
