"""Read a run directory: no model is run and nothing is changed."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kdescent_dist.config.compose import read_config
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import softness_by_column
from kdescent_dist.report.data.records import Bin, History, Residuals, Run, Samples, residuals

T = TypeVar("T")


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        InputError: it holds no ``config.yaml``, or a damaged one.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise InputError(f"run_dir={run_dir}: it holds no config.yaml, so it is no run directory")
    config, text = read_config(path)
    notes: list[str] = []
    result = _optional(run_dir / "result.json", _read_result, notes) or {}
    history = _optional(run_dir / "history.npz", _read_history, notes)
    bins, samples = _optional(run_dir / "diagnostics.npz", _read_diagnostics, notes) or ([], {})
    return Run(run_dir, config, text, result, history, bins, samples, notes)


def _optional(path: Path, read: Callable[[Path], T], notes: list[str]) -> T | None:
    """A report is worth most when something went wrong: a bad file costs its sections alone."""
    if not path.is_file():
        notes.append(f"{path.name} has not been written: the parts that need it are left out.")
        return None
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
        notes.append(f"{path.name} cannot be read ({reason}): the parts that need it are left out.")
        return None


def _read_result(path: Path) -> dict[str, Any]:
    result = json.loads(path.read_text())
    if not isinstance(result, dict):
        raise ValueError("it is no JSON object")
    return result


def _read_history(path: Path) -> History:
    with path.open("rb") as stream, np.load(stream) as file:
        params = np.asarray(file["params"], dtype=float)
        names = [str(name) for name in file["names"]]
        return History(
            step=np.asarray(file["step"], dtype=float),
            loss=np.asarray(file["loss"], dtype=float),
            grad_norm=np.asarray(file["grad_norm"], dtype=float),
            params={name: params[:, i] for i, name in enumerate(names)},
        )


def _read_diagnostics(path: Path) -> tuple[list[Bin], dict[str, Samples]]:
    with path.open("rb") as stream, np.load(stream) as file:
        arrays = {key: file[key] for key in file.files}
    return read_bins(arrays)


def read_bins(arrays: Mapping[str, np.ndarray]) -> tuple[list[Bin], dict[str, Samples]]:
    """Bins and samples from the arrays of diagnostics, or of an inspection, which has no fit."""
    samples = {which: _read_samples(arrays, which) for which in ("data", "guess", "fit", "input")}
    samples = {which: s for which, s in samples.items() if s is not None}
    described = enumerate(json.loads(str(arrays["bins"])))
    return [_read_bin(arrays, i, meta, samples) for i, meta in described], samples


def _read_samples(arrays: Mapping[str, np.ndarray], which: str) -> Samples | None:
    prefix = f"{which}/"
    x = {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
    if not x:
        return None
    weights = x.pop("weights")
    return Samples(x, weights)


def _read_bin(
    arrays: Mapping[str, np.ndarray],
    index: int,
    meta: Mapping[str, Any],
    samples: Mapping[str, Samples],
) -> Bin:
    final = "fit" if "sum_fit" in meta else "guess"

    def compare(kind: str) -> Residuals:
        truth, error = (arrays[f"bin{index}/{kind}_{what}"] for what in ("truth", "err"))
        guess, fit = (arrays[f"bin{index}/{kind}_{what}"] for what in ("guess", final))
        return Residuals(residuals(guess, truth, error), residuals(fit, truth, error))

    # A run of an older version has one number for all columns.
    each = softness_by_column(meta["softness"], meta["window"])
    softness = dict(zip(meta["window"], each, strict=True))
    bin_ = Bin(
        name=meta["name"],
        group=meta["group"],
        columns=list(meta["columns"]),
        window={c: (float(low), float(high)) for c, (low, high) in meta["window"].items()},
        softness=softness,
        normalization=meta["normalization"],
        n_training=int(meta["n_training"]),
        sums={
            which: float(meta[f"sum_{key}"])
            for which, key in (("training", "training"), ("guess", "guess"), ("fit", final))
        },
        number_density=bool(meta["number_density"]),
        number=index + 1,
        centers=np.asarray(arrays[f"bin{index}/kernel_centers"], dtype=float),
        kernel_cov=arrays.get(f"bin{index}/kernel_cov"),
        modes=np.asarray(arrays[f"bin{index}/fourier_positions"], dtype=float),
        kde=compare("kde"),
        fourier=compare("fourier"),
        ecf=arrays.get(f"bin{index}/ecf"),
        ecf_err=arrays.get(f"bin{index}/ecf_err"),
        min_training=int(meta.get("min_training", 0)),
    )
    if not bin_.share:
        return bin_
    names = {"training": "data", "guess": "guess", "fit": final}
    totals = {k: samples[name].weights.sum(dtype=float) for k, name in names.items()}
    return replace(bin_, sums={k: v / totals[k] for k, v in bin_.sums.items()})
