"""What a report is made from: the record of a run, and the residuals of its bins."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.config.schema import Config


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
    """Model minus data in units of the error, NaN where the error is 0 or something not finite.

    Attributes:
        guess, fit: (entries,), the same where nothing has been fitted yet; real and imaginary
            parts of Fourier counts are entries of their own.
    """

    guess: np.ndarray
    fit: np.ndarray

    def chisq(self, which: str) -> float:
        """Mean square of the residuals at the ``guess`` or ``fit``, NaN where there are none."""
        return _mean(np.square(getattr(self, which)))

    def outliers(self, limit: float = 3.0) -> float:
        """Fraction of the residuals of the fit beyond ``limit`` errors."""
        finite = self.fit[np.isfinite(self.fit)]
        return _mean(np.abs(finite) > limit)


@dataclass(frozen=True)
class Bin:
    """One conditional bin with the residuals of its kernel and Fourier counts.

    Attributes:
        name: unique name of the bin.
        group: key of the config under which it was defined.
        columns: the d columns that are compared.
        window: conditioned columns to (low, high).
        softness: width of the soft edges of conditioned columns in units of the bin, 0 for hard
            edges.
        normalization: conditional, density or counts.
        n_training: training samples within the bin.
        sums: weight in the bin of the ``training`` samples and of the model at ``guess`` and
            ``fit``: in total or, for ``share``, in fractions of their weight in all.
        number_density: whether the total weight is a term of the loss.
        number: place among all bins of the config, from 1.
        centers: (kernels, d) centers of the kernels.
        kernel_cov: (d, d) covariance of the kernels, None where it was not written.
        modes: (modes, d) wave vectors of the Fourier counts, in radians per unit.
        kde: residuals of the (kernels,) kernel counts.
        fourier: residuals of the (2 x modes,) Fourier counts, real parts first.
        ecf, ecf_err: (modes,) empirical characteristic function of the training samples with its
            errors, and ``min_training``; in an inspection alone.
    """

    name: str
    group: str
    columns: list[str]
    window: dict[str, tuple[float, float]]
    softness: dict[str, float]
    normalization: str
    n_training: int
    sums: dict[str, float]
    number_density: bool
    number: int
    centers: np.ndarray
    kernel_cov: np.ndarray | None
    modes: np.ndarray
    kde: Residuals
    fourier: Residuals
    ecf: np.ndarray | None = None
    ecf_err: np.ndarray | None = None
    min_training: int = 0

    @property
    def worst(self) -> float:
        """The larger of the two reduced chi-squares of the fit, by which bins are ranked."""
        values = [r.chisq("fit") for r in (self.kde, self.fourier)]
        return max((v for v in values if np.isfinite(v)), default=-1.0)

    @property
    def counted(self) -> bool:
        """Whether the weight in the bin matters to the loss, not its distribution alone."""
        if self.share:  # which is 1 whatever the model is, where there is no window
            return bool(self.window)
        return self.number_density or self.normalization == "counts"

    @property
    def share(self) -> bool:
        """Whether the loss knows the weight in the bin only as a fraction of that in all."""
        return self.normalization == "density" and not self.number_density

    @property
    def ratio(self) -> float:
        """Weight of the fitted model over that of the data, NaN where it does not count."""
        if not (self.counted and self.sums["training"] > 0):
            return float("nan")
        return self.sums["fit"] / self.sums["training"]

    def select(self, samples: Samples | None) -> tuple[np.ndarray, np.ndarray]:
        """Take the samples within the (soft) window.

        Returns:
            (n, d) values of the columns of the bin and (n,) weights; of length 0 where a column
            is missing.
        """
        if samples is None or not {*self.columns, *self.window} <= samples.x.keys():
            return np.empty((0, len(self.columns))), np.empty(0)
        weights = samples.weights.astype(float)
        for column, (low, high) in self.window.items():
            weights = weights * tophat(samples.x[column], low, high, self.softness[column])
        x = np.stack([samples.x[c] for c in self.columns], axis=1).astype(float)
        keep = np.isfinite(x).all(axis=1) & np.isfinite(weights)
        keep &= weights > 1e-6 * np.max(samples.weights, initial=0.0)
        return x[keep], weights[keep]


@dataclass(frozen=True)
class Run:
    """All that the report of a run is made from.

    Attributes:
        directory: the run directory.
        config: its resolved config.
        config_text: config.yaml as it is.
        result: result.json, empty where there is none.
        history: None where there is none.
        bins: the bins with diagnostics, empty where there are none.
        samples: ``data``, ``guess`` and ``fit`` where they are known.
        notes: what is missing, in words.
    """

    directory: Path
    config: Config
    config_text: str
    result: dict[str, Any]
    history: History | None
    bins: list[Bin]
    samples: dict[str, Samples]
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> list[Bin]:
        """The bins that are drawn: all in their order or, of too many, the worst, worst first."""
        most = self.config.report.max_bins
        return self.bins if len(self.bins) <= most else ranked(self.bins)[:most]


def tophat(x: np.ndarray, low: float, high: float, softness: float) -> np.ndarray:
    """Soft window: about 1 within (low, high) and 0 outside, as in the counts of a bin."""
    from scipy.special import expit

    width = softness * (high - low)
    if width <= 0 or not np.isfinite(width):
        return ((x >= low) & (x < high)).astype(float)
    return expit((x - low) / width) * expit((high - x) / width)


def residuals(model: np.ndarray, truth: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(model - truth) / error; complex counts give their real parts, then the imaginary ones.

    Args:
        model, truth, error: (n,) counts; a complex error holds those of both parts.

    Returns:
        (n,) or, for complex counts, (2 n,) residuals, NaN where they are undefined.
    """
    if any(np.iscomplexobj(a) for a in (model, truth, error)):
        parts = (np.real, np.imag)
        return np.concatenate([residuals(p(model), p(truth), p(error)) for p in parts])
    model, truth, error = (np.asarray(a, dtype=float) for a in (model, truth, error))
    known = np.isfinite(model) & np.isfinite(truth) & np.isfinite(error) & (error > 0)
    return np.where(known, (model - truth) / np.where(known, error, 1.0), np.nan)


def ranked(bins: Sequence[Bin]) -> list[Bin]:
    """The bins by their larger reduced chi-square, worst first."""
    return sorted(bins, key=lambda b: -b.worst)


def grouped(bins: Sequence[Bin]) -> Iterator[tuple[str, list[Bin]]]:
    """Bins that are drawn together, with a name of them, in order of appearance.

    These are the bins of one grid, or lone bins that compare the same columns in the same way.
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
