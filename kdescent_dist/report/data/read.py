"""Reads a run directory, without running the model or changing files."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kdescent_dist.config.compose import read_config
from kdescent_dist.config.errors import InputError
from kdescent_dist.report.data.comparison import Comparison, Samples
from kdescent_dist.report.data.covariance import ParameterCovariance
from kdescent_dist.report.data.records import Bin, History, Run, bins_of

T = TypeVar("T")


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        InputError: ``config.yaml`` is missing or damaged.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise InputError(f"run_dir={run_dir}: it holds no config.yaml, so it is no run directory")
    config, text = read_config(path)
    notes: list[str] = []
    result = _optional(run_dir / "result.json", _read_result, notes) or {}
    history = _optional(run_dir / "history.npz", _read_history, notes)
    bins, samples = _optional(run_dir / "diagnostics.npz", _read_diagnostics, notes) or ([], {})
    covariance = None
    if result.get("covariance"):  # not without errors, or of an earlier version
        covariance = _optional(run_dir / "covariance.npz", _read_covariance, notes)
    if covariance is not None and not covariance.is_of(result.get("params") or {}):
        notes.append("covariance.npz is of other parameters than result.json: it is not drawn.")
        covariance = None
    further = [
        _of_this_fit(run_dir / name, given, of, notes)
        for name, given, of in (
            ("coverage.json", result.get("params"), _truth),
            ("starts.json", (result.get("setup") or {}).get("guess"), _best),
        )
    ]
    return Run(run_dir, config, text, result, history, bins, samples, notes, covariance, *further)


def _of_this_fit(
    path: Path,
    given: Mapping[str, float] | None,
    of: Callable[[dict[str, Any]], Mapping[str, float]],
    notes: list[str],
) -> dict[str, Any]:
    """The contents of a file that most runs lack; empty, with a note, if it is of another fit.

    Args:
        path: the file.
        given: parameters of the fit, None if not known.
        of: ``of(contents)`` are the same parameters according to the file, or some of them.
        notes: notes of the report.
    """
    if not path.is_file():
        return {}

    def read(path: Path) -> tuple[dict[str, Any], bool]:
        known = _read_result(path)
        return known, given is None or of(known).items() <= given.items()

    known, same = _optional(path, read, notes) or ({}, True)
    if same:
        return known
    notes.append(f"{path.name} is of other parameters than result.json: it is not drawn.")
    return {}


def _truth(coverage: dict[str, Any]) -> Mapping[str, float]:
    return coverage["truth"]


def _best(starts: dict[str, Any]) -> Mapping[str, float]:
    best = starts["starts"][starts["best"]]["params"]
    return dict(zip(starts["names"], best, strict=True))


def _optional(path: Path, read: Callable[[Path], T], notes: list[str]) -> T | None:
    """Read a file; if the file is missing or damaged, add a note and return None.

    A report must work after a failed run, so only the sections of a bad file are left out.
    """
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


def _read_covariance(path: Path) -> ParameterCovariance:
    with path.open("rb") as stream, np.load(stream) as file:
        return ParameterCovariance.from_arrays(file)


def _read_diagnostics(path: Path) -> tuple[list[Bin], dict[str, Samples]]:
    with path.open("rb") as stream, np.load(stream) as file:
        comparison = Comparison.from_arrays({key: file[key] for key in file.files})
    return bins_of(comparison), comparison.samples
