"""Training counts, computed once at many kernels and modes, from which the steps of a fit draw."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.validation import one_of
from kdescent_dist.counts.points import Points
from kdescent_dist.counts.statistics.kernels import GaussianKernels
from kdescent_dist.counts.statistics.modes import FourierModes
from kdescent_dist.distributed.mesh import default_mesh
from kdescent_dist.numerics import threefry
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.counting import METHODS, count_kernels, count_modes
from kdescent_dist.pretraining.draws import KernelDensity
from kdescent_dist.pretraining.sample import TrainingSample
from kdescent_dist.pretraining.training_counts import TrainingCounts
from kdescent_dist.pretraining.validate import check_training_data

PRETRAINED_PER_DRAWN = 300  # default number of pretrained kernels or modes per drawn one


@dataclasses.dataclass
class KPretrainer:
    """Kernel and Fourier counts of a training sample of d dimensions, and their parameters.

    Attributes:
        kernel_centers: (num_pretrain_kernels, d) centers, drawn from the training density.
        fourier_positions: (num_pretrain_fourier_positions, d) wave vectors, in radians per unit.
        kernelcov: (d, d) covariance of the kernels.
        kde_counts: training counts at the centers, in samples per unit volume.
        kde_err: errors of ``kde_counts``, 0 for an empty kernel.
        fourier_counts: complex training counts at the wave vectors.
        fourier_err: errors of ``fourier_counts``: the error of the real part plus i times the
            error of the imaginary part.
        num_eval_kernels: number of kernels that a comparison draws.
        num_eval_fourier_positions: number of wave vectors that a comparison draws.
        num_pretrain_kernels: number of kernels to draw from.
        num_pretrain_fourier_positions: number of wave vectors to draw from.
        bandwidth_factor: factor of the width of the kernels.
        fourier_range_factor: factor of the largest wave vector.
        covariant_kernels: whether the kernels have the correlations of the training sample.
        inverse_density_weight_power: kernels are drawn from p^(1 - power), see
            ``from_training_data``.
        training_sum_of_weights: sum of the training weights.
        seed: random seed of the centers and wave vectors.
    """

    kernel_centers: np.ndarray
    fourier_positions: np.ndarray
    kernelcov: np.ndarray
    kde_counts: np.ndarray
    kde_err: np.ndarray
    fourier_counts: np.ndarray
    fourier_err: np.ndarray
    num_eval_kernels: int
    num_eval_fourier_positions: int
    num_pretrain_kernels: int
    num_pretrain_fourier_positions: int
    bandwidth_factor: float
    fourier_range_factor: float
    covariant_kernels: bool
    inverse_density_weight_power: float
    training_sum_of_weights: float
    seed: int

    @classmethod
    def from_training_data(
        cls,
        training_x: Any,
        training_weights: Any = None,
        num_eval_kernels: int | None = None,
        num_eval_fourier_positions: int | None = None,
        num_pretrain_kernels: int | None = None,
        num_pretrain_fourier_positions: int | None = None,
        bandwidth_factor: float = 1.0,
        fourier_range_factor: float = 1.0,
        covariant_kernels: bool = False,
        inverse_density_weight_power: float = 0.0,
        num_idw_draws: int | None = None,
        chunk_size: int | None = None,
        seed: int = 0,
        comm: Any = None,
        mesh: Mesh | None = None,
        fourier_half_space: bool = False,
        drop_non_finite: bool = False,
        method: str = "auto",
        robust_widths: bool = False,
    ) -> "KPretrainer":
        """Draw kernels and modes for a training sample, and compute the training counts.

        The result is the same on any mesh and any number of ranks, bit for bit.

        Args:
            training_x: (n, d) training samples, or (n,) for one dimension; or a
                ``TrainingSample``, which includes weights and may be spread over processes.
            training_weights: (n,) weights, 1 by default.
            num_eval_kernels: number of kernels that a comparison draws, by default 10 d. This
                number sets the bandwidth: ``num_eval_kernels^(-1 / (d + 4))`` standard deviations.
            num_eval_fourier_positions: number of modes that a comparison draws, by default 10 d.
            num_pretrain_kernels: number of kernels to draw from, by default 300 times
                ``num_eval_kernels``.
            num_pretrain_fourier_positions: number of modes to draw from, by default 300 times
                ``num_eval_fourier_positions``.
            bandwidth_factor: factor of the bandwidth.
            fourier_range_factor: largest component of a mode, in units of one over the standard
                deviation of the training samples.
            covariant_kernels: whether kernels have the correlations of the training sample.
            inverse_density_weight_power: kernels are drawn from ``p^(1 - power)``, where p is the
                density of the training sample. 0 draws from p; 1 draws about evenly where p > 0.
            num_idw_draws: for a power other than 0, number of draws from p to choose from, by
                default 100 times ``num_pretrain_kernels``.
            chunk_size: number of kernels per chunk of the direct sums; bounds the memory.
            seed: random seed.
            comm: mpi4py communicator whose ranks share the work. All ranks must pass the same
                training sample, and all ranks get the result.
            mesh: devices that share the work, by default all local devices.
            fourier_half_space: whether to draw modes from the half-space of independent modes,
                scaled by the weighted standard deviation; by default modes are drawn from the
                positive orthant, scaled by the unweighted standard deviation.
            drop_non_finite: drop rows with NaN or infinite values, instead of refusing them.
            method: ``"direct"`` sums over all pairs on all devices. ``"finufft"`` uses non-uniform
                fast Fourier transforms on the CPU of the host, for up to 3 columns; their cost
                grows with samples plus kernels, not with their product. If over 2 % of the counts
                are too small for a transform, all counts are direct sums, which is logged.
                ``"auto"`` uses the transforms in single precision on CPUs, if finufft is installed
                and the transforms are clearly faster. Both methods agree to the rounding error of
                single precision, but not in the last bit: results of ``"auto"`` may differ between
                machines with and without finufft.
            robust_widths: whether widths of columns that outliers do not set, see ``ColumnWidths``,
                take the place of standard deviations. The default has the numbers of diffopt.

        Raises:
            InputError: samples or weights are not valid, a number is out of range, or the method
                is not available.
        """
        rows = training_x
        if not isinstance(rows, TrainingSample):
            given = check_training_data(training_x, training_weights, drop_non_finite)
            rows = TrainingSample.whole(*given)
        dims = rows.dims
        evaluate = _number("num_eval_kernels", num_eval_kernels, 10 * dims, 1)
        evaluate_modes = _number(
            "num_eval_fourier_positions", num_eval_fourier_positions, 10 * dims, 0
        )
        kernels = _number(
            "num_pretrain_kernels", num_pretrain_kernels, PRETRAINED_PER_DRAWN * evaluate, 1
        )
        modes = _number(
            "num_pretrain_fourier_positions",
            num_pretrain_fourier_positions,
            PRETRAINED_PER_DRAWN * evaluate_modes,
            min(evaluate_modes, 1),
        )
        draws = _number("num_idw_draws", num_idw_draws, 100 * kernels, 1)
        chunk = None if chunk_size is None else _number("chunk_size", chunk_size, 1, 1)
        one_of("method", method, METHODS)
        _at_least("bandwidth_factor", bandwidth_factor, 0.0, open_end=True)
        _at_least("fourier_range_factor", fourier_range_factor, 0.0)
        _at_least("inverse_density_weight_power", inverse_density_weight_power, 0.0)

        options = Counting(method, chunk, default_mesh(mesh), comm)
        density, key = (
            KernelDensity(rows, options, robust_widths),
            threefry.seed_key(int(seed) + 987),
        )
        of_kernels = {
            "num_eval_kernels": evaluate,
            "bandwidth_factor": bandwidth_factor,
            "covariant_kernels": covariant_kernels,
            "inverse_density_weight_power": float(inverse_density_weight_power),
            "num_idw_draws": draws,
        }
        of_modes = {
            "fourier_range_factor": fourier_range_factor,
            "fourier_half_space": fourier_half_space,
        }
        placed = GaussianKernels().place(key, density, kernels, of_kernels)
        centers, kernelcov = placed.each["centers"], placed.common["cov"]
        positions = FourierModes().place(key, density, modes, of_modes).each["modes"]

        kde, kde_err = count_kernels(rows, centers, kernelcov, options)
        fourier, fourier_err = count_modes(rows, positions, options)
        return cls(
            kernel_centers=centers,
            fourier_positions=positions,
            kernelcov=kernelcov,
            kde_counts=kde,
            kde_err=kde_err,
            fourier_counts=fourier,
            fourier_err=fourier_err,
            num_eval_kernels=evaluate,
            num_eval_fourier_positions=evaluate_modes,
            num_pretrain_kernels=kernels,
            num_pretrain_fourier_positions=modes,
            bandwidth_factor=float(bandwidth_factor),
            fourier_range_factor=float(fourier_range_factor),
            covariant_kernels=bool(covariant_kernels),
            inverse_density_weight_power=float(inverse_density_weight_power),
            training_sum_of_weights=rows.moments.weight,
            seed=int(seed),
        )

    def statistics(self) -> dict[str, TrainingCounts]:
        """Names of statistics to counts, with complex numbers split into two parts."""
        centers = Points({"centers": self.kernel_centers}, {"cov": np.atleast_2d(self.kernelcov)})
        modes = Points({"modes": self.fourier_positions}, {})
        kernels, waves = self.num_eval_kernels, self.num_eval_fourier_positions
        return {
            "kde": TrainingCounts(centers, _parts(self.kde_counts), _parts(self.kde_err), kernels),
            "fourier": TrainingCounts(
                modes, _parts(self.fourier_counts), _parts(self.fourier_err), waves
            ),
        }

    def save(self, filename: Any) -> None:
        """Write all attributes to a ``.npz`` file; a missing suffix is added."""
        np.savez(filename, **{name: getattr(self, name) for name in _TYPES})

    @classmethod
    def load(cls, filename: Any) -> "KPretrainer":
        """Read a file of ``save``, or of diffopt's ``KPretrainer.save``.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the file has another format, or an attribute is missing or unknown.
        """
        path = Path(filename)
        if not path.exists() and path.with_name(path.name + ".npz").exists():
            path = path.with_name(path.name + ".npz")
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
                values = {name: data[name] for name in data.files}
        except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise InputError(f"{filename}: not a .npz file of training counts ({error})") from error
        missing, unknown = _TYPES.keys() - values.keys(), values.keys() - _TYPES.keys()
        if missing or unknown:
            raise InputError(
                f"{filename}: not a file of training counts: missing {sorted(missing)}, unknown "
                f"{sorted(unknown)}"
            )
        return cls(**{name: _restored(values[name], _TYPES[name]) for name in _TYPES})


_TYPES = {field.name: field.type for field in dataclasses.fields(KPretrainer)}


def _parts(values: np.ndarray) -> np.ndarray:
    """Numbers (p,) as real numbers (p, parts)."""
    parts = [np.real(values), np.imag(values)] if np.iscomplexobj(values) else [values]
    return np.stack(parts, axis=-1)


def _restored(value: np.ndarray, kind: Any) -> Any:
    return value if kind is np.ndarray else kind(value.item())


def _number(name: str, value: int | None, default: int, least: int) -> int:
    number = default if value is None else int(value)
    if number < least:
        raise InputError(f"{name}={number}: must be at least {least}")
    return number


def _at_least(name: str, value: float, least: float, open_end: bool = False) -> None:
    if not (value > least if open_end else value >= least) or not np.isfinite(value):
        raise InputError(
            f"{name}={value}: must be {'greater than' if open_end else 'at least'} {least:g}"
        )
