"""The record of a run for its report, with the residuals of all bins."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import Config
from kdescent_dist.config.soft_window import soft_window
from kdescent_dist.report.data.comparison import BinRecord, Comparison, Counts, Samples
from kdescent_dist.report.data.covariance import ParameterCovariance


@dataclass(frozen=True)
class History:
    """The trajectory of a fit.

    Attributes:
        step, loss, grad_norm: (steps,).
        params: names to (steps,) values.
    """

    step: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray
    params: dict[str, np.ndarray]


@dataclass(frozen=True)
class Residuals:
    """Model minus data in units of the error, NaN if the error is 0 or a number is not finite.

    Attributes:
        guess: (entries,) residuals at the guess. Real and imaginary parts of Fourier counts are
            separate entries.
        fit: (entries,) residuals of the fit, None before a fit.
    """

    guess: np.ndarray
    fit: np.ndarray | None

    @property
    def model(self) -> np.ndarray:
        """The residuals of the fit, or of the guess if there is no fit."""
        return self.guess if self.fit is None else self.fit

    def chisq(self, which: Literal["guess", "fit", "model"]) -> float:
        """Mean square of the residuals, NaN if there are none."""
        values = getattr(self, which)
        return float("nan") if values is None else _mean(np.square(values))

    def outliers(self, limit: float = 3.0) -> float:
        """Fraction of the residuals of the model beyond ``limit`` errors."""
        finite = self.model[np.isfinite(self.model)]
        return _mean(np.abs(finite) > limit)


@dataclass(frozen=True, kw_only=True)
class Bin(BinRecord):
    """A bin with its residuals.

    Attributes:
        number: number of the bin in the config, from 1.
        sums: weight in the bin of ``data``, ``guess`` and, if there is a fit, ``fit``. The weight
            is the total or, with ``share``, a fraction of the weight of all samples.
        kde: residuals of the (kernels,) kernel counts.
        fourier: residuals of the (2 x modes,) Fourier counts, real parts first.
        further: residuals of the (points x parts,) counts of further statistics, by name.
    """

    number: int
    sums: dict[str, float]
    kde: Residuals
    fourier: Residuals
    further: dict[str, Residuals] = field(default_factory=dict)

    @property
    def statistics(self) -> dict[str, Residuals]:
        """Names of the statistics that the bin compares to their residuals."""
        every = {"kde": self.kde, "fourier": self.fourier, **self.further}
        return {name: residuals for name, residuals in every.items() if residuals.guess.size}

    @property
    def worst(self) -> float:
        """The largest reduced chi-square of the model, which ranks the bins."""
        values = [residuals.chisq("model") for residuals in self.statistics.values()]
        return max((v for v in values if np.isfinite(v)), default=-1.0)

    @property
    def counted(self) -> bool:
        """Whether the loss depends on the weight in the bin, not only on the distribution."""
        if self.share:  # without a window, the share is 1 for any model
            return bool(self.window)
        return self.number_density or self.normalization == "counts"

    @property
    def ratio(self) -> float:
        """Weight of the fitted model over the weight of the data, NaN unless ``counted``."""
        if not (self.counted and self.sums["data"] > 0 and "fit" in self.sums):
            return float("nan")
        return self.sums["fit"] / self.sums["data"]

    def select(self, samples: Samples | None) -> tuple[np.ndarray, np.ndarray]:
        """Take the samples within the (soft) window.

        Returns:
            (n, d) values of the columns of the bin and (n,) weights; empty if a column is missing.
        """
        if samples is None or not {*self.columns, *self.window} <= samples.x.keys():
            return np.empty((0, len(self.columns))), np.empty(0)
        from scipy.special import expit

        weights = samples.weights.astype(float)
        for column, (low, high) in self.window.items():
            soft = self.softness[column]
            weights = weights * soft_window(samples.x[column], low, high, soft, expit)
        x = np.stack([samples.x[c] for c in self.columns], axis=1).astype(float)
        keep = np.isfinite(x).all(axis=1) & np.isfinite(weights)
        keep &= weights > 1e-6 * np.max(samples.weights, initial=0.0)
        return x[keep], weights[keep]


@dataclass(frozen=True)
class Run:
    """The data of the report of a run.

    Attributes:
        directory: the run directory.
        config: the resolved config.
        config_text: the text of config.yaml.
        result: contents of result.json, empty if there is no such file.
        history: the history, None if there is no history.
        bins: the bins with diagnostics, empty without diagnostics.
        samples: available samples of ``data``, ``guess`` and ``fit``.
        notes: sentences about missing files.
        covariance: covariance of the fitted parameters, None if there is none.
        coverage: contents of coverage.json, empty if there is no such file.
        starts: contents of starts.json, empty if there is no such file.
    """

    directory: Path
    config: Config
    config_text: str
    result: dict[str, Any]
    history: History | None
    bins: list[Bin]
    samples: dict[str, Samples]
    notes: list[str] = field(default_factory=list)
    covariance: ParameterCovariance | None = None
    coverage: dict[str, Any] = field(default_factory=dict)
    starts: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> Parameters:
        """The parameters of the fit."""
        return Parameters.of_config(self.config.parameters)

    @property
    def shown(self) -> list[Bin]:
        """The bins to draw: all bins in order; or, of too many, the worst bins, worst first."""
        most = self.config.report.max_bins
        return self.bins if len(self.bins) <= most else ranked(self.bins)[:most]


def residuals(model: np.ndarray, truth: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(model - truth) / error; for complex counts, real parts, then imaginary parts.

    Args:
        model, truth, error: (n,) counts; a complex error holds the errors of both parts.

    Returns:
        (n,) or, for complex counts, (2 n,) residuals, NaN if undefined.
    """
    if any(np.iscomplexobj(a) for a in (model, truth, error)):
        parts = (np.real, np.imag)
        return np.concatenate([residuals(p(model), p(truth), p(error)) for p in parts])
    model, truth, error = (np.asarray(a, dtype=float) for a in (model, truth, error))
    known = np.isfinite(model) & np.isfinite(truth) & np.isfinite(error) & (error > 0)
    return np.where(known, (model - truth) / np.where(known, error, 1.0), np.nan)


def bins_of(comparison: Comparison) -> list[Bin]:
    """The bins of a comparison with their numbers, sums and residuals."""
    totals = {k: float(s.weights.sum(dtype=float)) for k, s in comparison.samples.items()}
    bins = []
    for number, record in enumerate(comparison.bins, 1):
        counts = {"data": record.data, "guess": record.guess, "fit": record.fit}
        sums = {which: of.weight for which, of in counts.items() if of is not None}
        if record.share:
            sums = {which: weight / totals[which] for which, weight in sums.items()}
        kde = _residuals(counts, record.kde_err, lambda c: c.kde)
        fourier = _residuals(counts, record.fourier_err, lambda c: c.fourier)
        further = {
            name: _residuals(counts, error, lambda c, name=name: c.further[name])
            for name, error in record.further_errors.items()
        }
        own = {"number": number, "sums": sums, "kde": kde, "fourier": fourier, "further": further}
        bins.append(Bin(**vars(record), **own))
    return bins


def _residuals(
    counts: Mapping[str, Counts | None], error: np.ndarray, of: Callable[[Counts], np.ndarray]
) -> Residuals:
    data, guess, fit = (counts[which] for which in ("data", "guess", "fit"))
    assert data is not None
    assert guess is not None
    return Residuals(
        residuals(of(guess), of(data), error).reshape(-1),
        None if fit is None else residuals(of(fit), of(data), error).reshape(-1),
    )


def ranked(bins: Sequence[Bin]) -> list[Bin]:
    """The bins by their largest reduced chi-square, worst first."""
    return sorted(bins, key=lambda b: -b.worst)


def grouped(bins: Sequence[Bin]) -> Iterator[tuple[str, list[Bin]]]:
    """Groups of bins that are drawn together, with a name, in order of appearance.

    A group has the bins of one grid, or single bins that compare the same columns in the same way.
    """
    sizes = Counter(b.group for b in bins)
    groups: dict[tuple, list[Bin]] = {}
    for b in bins:
        alone = (*b.columns, b.normalization, b.share)
        groups.setdefault((b.group,) if sizes[b.group] > 1 else alone, []).append(b)
    for members in groups.values():
        names = list(dict.fromkeys(b.group for b in members))
        yield ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]]), members


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
