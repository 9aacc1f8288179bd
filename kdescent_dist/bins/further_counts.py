"""The training counts of the further statistics of a bin."""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.further import checked_points, known_counts
from kdescent_dist.bins.narrow_columns import is_robust
from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.counts.statistics import statistic
from kdescent_dist.numerics import threefry
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.draws import KernelDensity
from kdescent_dist.pretraining.sample import TrainingSample, WeightedRows
from kdescent_dist.pretraining.training_counts import TrainingCounts
from kdescent_dist.pretraining.validate import filled_size


def count_further(
    bin_: Bin,
    found: Mapping[str, Given],
    known: Mapping[str, TrainingCounts],
    sample: TrainingSample,
    seed: int,
    options: Counting,
) -> dict[str, TrainingCounts]:
    """Count the further statistics of a bin in its training sample, unless counts are given.

    Args:
        bin_: the bin.
        found: result of ``read_statistics`` for the bin.
        known: names of statistics to counts of an earlier call.
        sample: weighted training sample of the bin; this process holds some of the blocks.
        seed: random seed for placing points.
        options: method and devices for evaluating the training density.

    Raises:
        InputError: a statistic fails to place its points; names the statistic.
    """
    if not found:
        return {}
    counted, density = {}, KernelDensity(sample, options, is_robust(bin_.config))
    for name, given in found.items():
        if given.values is not None:
            counted[name] = known_counts(given)
            continue
        if name in known:
            counted[name] = known[name]
            continue
        one, points = statistic(name), given.points
        if points is None:
            points = _placed(one, given.number, bin_.config.statistics[name], density, seed)
        shape = (2, points.number, len(one.parts))
        parts = [_counted(_with_squares, one, points, x, w) for x, w in sample.blocks if len(x)]
        values, squares = sample.added(parts, shape)
        errors = np.sqrt(np.maximum(squares, 0.0))
        counted[name] = TrainingCounts(points, values, errors, shape[1], every=True)
    return counted


def _placed(
    one: Statistic,
    number: int | None,
    options: Mapping[str, object],
    density: KernelDensity,
    seed: int,
) -> Points:
    """Place the points of a statistic; every process gets the points of the first process.

    Raises:
        InputError: the statistic fails; names the statistic.
    """
    # Each statistic has its own random numbers.
    own = hashlib.sha256(f"{seed} {one.name}".encode()).digest()[:4]
    key = threefry.seed_key(int.from_bytes(own))
    try:
        points = checked_points(one.place(key, density, number, options))
    except Exception as error:  # statistics of other packages may raise any error
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(f"statistics.{one.name}: {kind}{error}") from error
    return density.agreed(lambda: points)


def count_further_rows(one: Statistic, points: Points, rows: WeightedRows) -> np.ndarray:
    """Counts (k, parts) of weighted rows; this process holds some of the blocks."""
    parts = [_counted(_alone, one, points, x, w) for x, w in rows.blocks if len(x)]
    return rows.added(parts, (points.number, len(one.parts)))


def _counted(
    of_block: Callable[..., jax.Array],
    one: Statistic,
    points: Points,
    x: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """The result of ``of_block`` for a block, padded with weights of 0, in double precision."""
    own = np.ones(len(x), x.dtype) if weights is None else weights
    fill = filled_size(max(len(x), 2)) - len(x)
    x, own = np.pad(x, ((0, fill), (0, 0)), mode="edge"), np.pad(own, (0, fill))
    return np.asarray(_program(of_block, one)(x, own, points), float)


@lru_cache(maxsize=64)
def _program(of_block: Callable[..., jax.Array], one: Statistic):
    return jax.jit(partial(of_block, one))


def _alone(one: Statistic, x: jax.Array, weights: jax.Array, points: Points) -> jax.Array:
    return one.counts(x, weights, points, "auto")


def _with_squares(one: Statistic, x: jax.Array, weights: jax.Array, points: Points) -> jax.Array:
    """Counts and sums of squares (2, k, parts)."""
    squares = one.squares(x, weights, points, "auto", jnp.sum(weights * weights))
    return jnp.stack([one.counts(x, weights, points, "auto"), squares])
