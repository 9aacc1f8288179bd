"""Records of data and model in ``diagnostics.npz`` and ``inspect.npz``, and names of the arrays.

``diagnostics`` writes the records, and ``report`` reads them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdescent_dist.config.schema import softness_by_column

# Attributes of a record, and the names of their arrays after ``bin<i>/``.
ARRAYS = {
    "centers": "kernel_centers",
    "kernel_cov": "kernel_cov",
    "modes": "fourier_positions",
    "kde_err": "kde_err",
    "fourier_err": "fourier_err",
    "ecf": "ecf",
    "ecf_err": "ecf_err",
}
OPTIONAL = ("kernel_cov", "ecf", "ecf_err")
# Counts of a record, and the suffixes of the names of their arrays and of their weight.
COUNTS = {"data": ("truth", "training"), "guess": ("guess", "guess"), "fit": ("fit", "fit")}
# Attributes that have the same names in the JSON list ``bins``.
DESCRIBED = ("name", "group", "columns", "window", "softness", "normalization", "number_density")
POPULATIONS = ("data", "guess", "fit", "input")


@dataclass(frozen=True)
class Samples:
    """Weighted samples of the training catalog or of the model.

    Attributes:
        x: column names to (n,) arrays.
        weights: (n,) non-negative weights.
    """

    x: dict[str, np.ndarray]
    weights: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Counts of the training catalog or of a population in a bin.

    Attributes:
        weight: weight in the bin.
        kde: (kernels,) normalized kernel counts.
        fourier: (modes,) normalized Fourier counts, complex.
        further: (points, parts) normalized counts of further statistics, by name.
    """

    weight: float
    kde: np.ndarray
    fourier: np.ndarray
    further: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BinRecord:
    """One conditional bin with its counts.

    Attributes:
        name: unique name of the bin.
        group: key of the config under which the bin was defined.
        columns: the d compared columns.
        window: conditioned columns to (low, high).
        softness: width of the soft edges of conditioned columns in units of the bin, 0 for hard
            edges.
        normalization: conditional, density or counts.
        number_density: whether the total weight is a term of the loss.
        n_training: number of training samples in the bin.
        centers: (kernels, d) centers of the kernels.
        kernel_cov: (d, d) covariance of the kernels. Files of early versions have none.
        modes: (modes, d) wave vectors of the Fourier counts, in radians per unit.
        data: counts of the training catalog.
        guess: counts of the model at the guess.
        fit: counts of the fitted model, None before a fit.
        kde_err: (kernels,) errors of model minus data.
        fourier_err: (modes,) errors of both parts of model minus data, complex.
        ecf: (modes,) empirical characteristic function of the training samples. Only an
            inspection has ``ecf``, ``ecf_err`` and ``min_training``.
        ecf_err: (modes,) errors of ``ecf``.
        min_training: least number of training samples of the bin, 0 if unknown.
        further_errors: errors of model minus data of further statistics, by name.
        weight_err: error of the weight of the data. None if the weight was counted in a training
            catalog; 0 if the counts were given without an error of the weight.
    """

    name: str
    group: str
    columns: list[str]
    window: dict[str, tuple[float, float]]
    softness: dict[str, float]
    normalization: str
    number_density: bool
    n_training: int
    centers: np.ndarray
    kernel_cov: np.ndarray | None
    modes: np.ndarray
    data: Counts
    guess: Counts
    fit: Counts | None
    kde_err: np.ndarray
    fourier_err: np.ndarray
    ecf: np.ndarray | None = None
    ecf_err: np.ndarray | None = None
    min_training: int = 0
    further_errors: dict[str, np.ndarray] = field(default_factory=dict)
    weight_err: float | None = None

    @property
    def share(self) -> bool:
        """Whether the loss compares the weight in the bin as a fraction of the total weight."""
        return self.normalization == "density" and not self.number_density

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays of the bin by name, and the entry of the bin in the list ``bins``."""
        found = {key: getattr(self, name) for name, key in ARRAYS.items()}
        arrays = {key: values for key, values in found.items() if values is not None}
        described = {name: getattr(self, name) for name in DESCRIBED}
        described["n_training"] = int(self.n_training)
        if self.min_training:
            described["min_training"] = int(self.min_training)
        if self.weight_err is not None:
            described["sum_training_err"] = float(self.weight_err)
        for name, (key, total) in COUNTS.items():
            counts: Counts | None = getattr(self, name)
            if counts is not None:
                arrays |= {f"kde_{key}": counts.kde, f"fourier_{key}": counts.fourier}
                arrays |= {f"{n}/{key}": values for n, values in counts.further.items()}
                described[f"sum_{total}"] = float(counts.weight)
        arrays |= {f"{name}/err": values for name, values in self.further_errors.items()}
        return arrays, described

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], described: Mapping[str, Any]
    ) -> "BinRecord":
        """A bin from the result of ``to_arrays``, of this version or of an earlier version."""
        window = {c: (float(low), float(high)) for c, (low, high) in described["window"].items()}
        # Early versions have one softness for all columns.
        softness = softness_by_column(described["softness"], window)
        known: dict[str, Any] = {name: described[name] for name in DESCRIBED}
        known |= {"window": window, "softness": dict(zip(window, softness, strict=True))}
        for name, key in ARRAYS.items():
            known[name] = arrays.get(key) if name in OPTIONAL else arrays[key]
        for name, (key, total) in COUNTS.items():
            if name == "fit" and f"sum_{total}" not in described:
                known[name] = None
                continue
            weight = float(described[f"sum_{total}"])
            own = arrays[f"kde_{key}"], arrays[f"fourier_{key}"]
            known[name] = Counts(weight, *own, _ending(arrays, key))
        known["further_errors"] = _ending(arrays, "err")
        known["weight_err"] = described.get("sum_training_err")
        for name in ("centers", "modes"):
            known[name] = np.asarray(known[name], float)
        number, least = described["n_training"], described.get("min_training", 0)
        return cls(**known, n_training=int(number), min_training=int(least))


@dataclass(frozen=True)
class Comparison:
    """The model against the training catalog, in every bin.

    Attributes:
        bins: the bins in the order of the config.
        samples: available samples of ``data`` (the training catalog), ``guess`` (the model at the
            guess), ``fit`` (the fitted model) and ``input`` (the input catalog of the model).
    """

    bins: list[BinRecord]
    samples: dict[str, Samples]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, ready for ``np.savez``.

        ``bins`` is a JSON list that describes the bins. ``bin<i>/...`` are the arrays of the i-th
        bin. ``<population>/<column>`` and ``<population>/weights`` are samples.
        """
        arrays: dict[str, np.ndarray] = {}
        for which, samples in self.samples.items():
            arrays |= {f"{which}/{name}": values for name, values in samples.x.items()}
            arrays[f"{which}/weights"] = samples.weights
        entries = []
        for i, record in enumerate(self.bins):
            of_bin, described = record.to_arrays()
            arrays |= {f"bin{i}/{name}": values for name, values in of_bin.items()}
            entries.append(described)
        return arrays | {"bins": np.array(json.dumps(entries))}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Comparison":
        """A comparison from the result of ``to_arrays``, of this or an earlier version."""
        samples = {}
        for which in POPULATIONS:
            if columns := _under(arrays, which):
                weights = columns.pop("weights")
                samples[which] = Samples(columns, weights)
        entries = enumerate(json.loads(str(arrays["bins"])))
        bins = [BinRecord.from_arrays(_under(arrays, f"bin{i}"), entry) for i, entry in entries]
        return cls(bins, samples)


def _ending(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """Arrays of further statistics with names ``<statistic>/<key>``, by statistic."""
    end = f"/{key}"
    return {name.removesuffix(end): v for name, v in arrays.items() if name.endswith(end)}


def _under(arrays: Mapping[str, np.ndarray], which: str) -> dict[str, np.ndarray]:
    """Arrays with names ``<which>/<name>``, by name."""
    prefix = f"{which}/"
    return {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
