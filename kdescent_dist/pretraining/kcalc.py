"""Comparison of a model sample with a training sample, at randomly drawn kernels and modes."""

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kdescent_dist.counts.sharded import sharded_fourier_counts, sharded_kde_counts
from kdescent_dist.distributed.mesh import default_mesh
from kdescent_dist.numerics.arrays import unmasked
from kdescent_dist.numerics.prng import as_key
from kdescent_dist.pretraining.pretrainer import KPretrainer

Pair = tuple[jax.Array, jax.Array]
Triple = tuple[jax.Array, jax.Array, jax.Array]


class KCalc:
    """Compares model counts with training counts at randomly drawn kernels and modes.

    All methods may be jitted (with ``comm=None``) and differentiated with respect to the model
    samples and weights. Values masked by NumPy become NaN. Pass the same keys in all processes.

    Attributes:
        mesh: devices over which model samples and kernels are sharded, or None.
        kernel_centers, fourier_positions, kernelcov, kde_counts, kde_err, fourier_counts,
            fourier_err: arrays of the ``KPretrainer``.
        num_eval_kernels, num_eval_fourier_positions, num_pretrain_kernels,
            num_pretrain_fourier_positions, bandwidth_factor, fourier_range_factor,
            covariant_kernels, inverse_density_weight_power, training_sum_of_weights: numbers of
            the ``KPretrainer``.
    """

    def __init__(self, pretrainer: KPretrainer, mesh: Mesh | None = None) -> None:
        """Copy training counts to the default device.

        Args:
            pretrainer: training counts of d dimensions.
            mesh: devices that share the work; by default all local devices, if there are several.

        Raises:
            TypeError: ``pretrainer`` is not a ``KPretrainer``.
        """
        if not isinstance(pretrainer, KPretrainer):
            raise TypeError(f"pretrainer must be a KPretrainer, not {type(pretrainer)}")
        self.mesh = default_mesh(mesh)
        self.kernel_centers = jnp.array(pretrainer.kernel_centers)
        self.fourier_positions = jnp.array(pretrainer.fourier_positions)
        self.kernelcov = jnp.array(np.atleast_2d(pretrainer.kernelcov))
        self.kde_counts = jnp.array(pretrainer.kde_counts)
        self.kde_err = jnp.array(pretrainer.kde_err)
        self.fourier_counts = jnp.array(pretrainer.fourier_counts)
        self.fourier_err = jnp.array(pretrainer.fourier_err)
        self.num_eval_kernels = int(pretrainer.num_eval_kernels)
        self.num_eval_fourier_positions = int(pretrainer.num_eval_fourier_positions)
        self.num_pretrain_kernels = int(pretrainer.num_pretrain_kernels)
        self.num_pretrain_fourier_positions = int(pretrainer.num_pretrain_fourier_positions)
        self.bandwidth_factor = float(pretrainer.bandwidth_factor)
        self.fourier_range_factor = float(pretrainer.fourier_range_factor)
        self.covariant_kernels = bool(pretrainer.covariant_kernels)
        self.inverse_density_weight_power = float(pretrainer.inverse_density_weight_power)
        self.training_sum_of_weights = float(pretrainer.training_sum_of_weights)

    def reduced_chisq_loss(
        self, randkey: Any, x: Any, weights: Any = None, density: bool = False
    ) -> jax.Array:
        """Return the mean squared difference of all counts in units of the training errors.

        Real and imaginary parts count separately. The mean leaves out counts whose training error
        is 0, which are counts at kernels that no training sample reaches.

        Args:
            randkey: random key, from which the keys of kernels and modes are split.
            x: (n, d) model samples.
            weights: (n,) model weights, 1 by default.
            density: whether to scale the model to the training sum of weights first.
        """
        key_kernels, key_modes = jax.random.split(_key(randkey))
        x, weights = unmasked(x), unmasked(weights)
        kde, kde_truth, kde_err = self.compare_kde_counts(key_kernels, x, weights, True)
        fourier, fourier_truth, fourier_err = self.compare_fourier_counts(
            key_modes, x, weights, True
        )
        if density:
            total = len(x) if weights is None else jnp.sum(jnp.asarray(weights))
            kde = kde * (self.training_sum_of_weights / total)
            fourier = fourier * (self.training_sum_of_weights / total)
        wave = fourier - fourier_truth
        residuals = jnp.concatenate([kde - kde_truth, wave.real, wave.imag])
        errors = jnp.concatenate([kde_err, fourier_err.real, fourier_err.imag])
        known = errors > 0
        # The denominator is replaced, too: the derivative of a division by 0 would be NaN.
        normalized = jnp.where(known, residuals, 0.0) / jnp.where(known, errors, 1.0)
        return jnp.sum(normalized**2) / jnp.maximum(jnp.sum(known), 1)

    @overload
    def compare_kde_counts(
        self, randkey: Any, x: Any, weights: Any = ..., return_err: Literal[False] = ..., comm=...
    ) -> Pair: ...
    @overload
    def compare_kde_counts(
        self, randkey: Any, x: Any, weights: Any, return_err: Literal[True], comm=...
    ) -> Triple: ...
    @overload
    def compare_kde_counts(
        self, randkey: Any, x: Any, weights: Any = ..., *, return_err: Literal[True], comm=...
    ) -> Triple: ...
    def compare_kde_counts(self, randkey, x, weights=None, return_err=False, comm=None):
        """Count a model sample in randomly drawn kernels of the training sample.

        Args:
            randkey: random key of the draw.
            x: (n, d) model samples, or (n,) for one dimension.
            weights: (n,) model weights, 1 by default.
            return_err: also return the errors of the training counts.
            comm: mpi4py communicator; all ranks use the kernels that rank 0 draws. Do not use
                ``comm`` under ``jit``: there, pass the same key in all ranks.

        Returns:
            Model counts and training counts, (num_eval_kernels,) each, in samples per unit
            volume; with ``return_err`` also the errors of the training counts.

        Raises:
            InputError: the shapes do not match.
        """
        drawn = self.realize_kernel_inds(randkey, comm)
        centers = self.kernel_centers[drawn]
        model = sharded_kde_counts(
            _samples(x, centers), unmasked(weights), centers, self.kernelcov, self.mesh
        )
        truth = self.kde_counts[drawn]
        return (model, truth, self.kde_err[drawn]) if return_err else (model, truth)

    @overload
    def compare_fourier_counts(
        self, randkey: Any, x: Any, weights: Any = ..., return_err: Literal[False] = ..., comm=...
    ) -> Pair: ...
    @overload
    def compare_fourier_counts(
        self, randkey: Any, x: Any, weights: Any, return_err: Literal[True], comm=...
    ) -> Triple: ...
    @overload
    def compare_fourier_counts(
        self, randkey: Any, x: Any, weights: Any = ..., *, return_err: Literal[True], comm=...
    ) -> Triple: ...
    def compare_fourier_counts(self, randkey, x, weights=None, return_err=False, comm=None):
        """Evaluate the characteristic functions of model and training sample at random modes.

        Args:
            randkey: random key of the draw.
            x: (n, d) model samples, or (n,) for one dimension.
            weights: (n,) model weights, 1 by default.
            return_err: also return the errors of the training counts.
            comm: mpi4py communicator; all ranks use the modes that rank 0 draws. Do not use
                ``comm`` under ``jit``: there, pass the same key in all ranks.

        Returns:
            Complex model counts and training counts, (num_eval_fourier_positions,) each; with
            ``return_err`` also the errors of the training counts: the error of the real part plus
            i times the error of the imaginary part.

        Raises:
            InputError: the shapes do not match.
        """
        drawn = self.realize_fourier_inds(randkey, comm)
        modes = self.fourier_positions[drawn]
        model = sharded_fourier_counts(_samples(x, modes), unmasked(weights), modes, self.mesh)
        truth = self.fourier_counts[drawn]
        return (model, truth, self.fourier_err[drawn]) if return_err else (model, truth)

    def realize_kernel_inds(self, randkey: Any, comm: Any = None) -> jax.Array:
        """Draw the indices (num_eval_kernels,) of kernels, with replacement."""
        return _draw(randkey, self.num_pretrain_kernels, self.num_eval_kernels, comm)

    def realize_fourier_inds(self, randkey: Any, comm: Any = None) -> jax.Array:
        """Draw the indices (num_eval_fourier_positions,) of modes, with replacement."""
        return _draw(
            randkey, self.num_pretrain_fourier_positions, self.num_eval_fourier_positions, comm
        )


def _key(randkey: Any) -> jax.Array:
    """A typed key from a typed key or an integer seed; raw keys of uint32 pairs are unchanged."""
    return as_key(randkey) if np.ndim(randkey) == 0 else randkey


def _draw(randkey: Any, among: int, number: int, comm: Any) -> jax.Array:
    if comm is not None and comm.rank != 0:
        return jnp.asarray(comm.bcast(None, root=0))
    drawn = jax.random.choice(_key(randkey), among, (number,))
    return drawn if comm is None else jnp.asarray(comm.bcast(np.asarray(drawn), root=0))


def _samples(x: Any, kernels: jax.Array) -> jax.Array:
    """Model samples as (n, d); samples of one dimension may have the shape (n,)."""
    x = jnp.asarray(unmasked(x))
    return x[:, None] if x.ndim == 1 and kernels.shape[1] == 1 else x
