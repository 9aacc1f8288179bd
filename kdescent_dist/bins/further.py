"""Further statistics of a bin, besides kernels and modes, from the options in its config."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.counts.statistics import STATISTICS
from kdescent_dist.pretraining.training_counts import TrainingCounts

# Names of bins or grids to names of further statistics to the values from their options.
Found = Mapping[str, Mapping[str, Given]]


def read_statistics(key: str, config: BinsConfig) -> dict[str, Given]:
    """Read the options of each further statistic of a bin, by name.

    Args:
        key: config key of the bin, for messages.
        config: config of the bin.

    Raises:
        InputError: a statistic does not exist, or its options are not valid; names the key.
    """
    found: dict[str, Given] = {}
    for name, options in config.statistics.items():
        own = f"{key}.statistics.{name}"
        one = STATISTICS.find(f"{key}.statistics", name)
        if not isinstance(options, Mapping):
            raise InputError(f"{own}={options}: must be a mapping of options, such as {{}}")
        try:
            found[name] = _checked(one, one.read(options, config.columns), config)
        except InputError as error:
            raise InputError(f"{own}: {error}") from error
        except Exception as error:  # statistics of other packages may raise any error
            raise InputError(f"{own}: {type(error).__name__}: {error}") from error
    return found


def read_all(grids: Mapping[str, BinsConfig]) -> dict[str, dict[str, Given]]:
    """The results of ``read_statistics`` for each bin or grid of a config, by name.

    A run calls this once and passes on the results: a table may be large, or change during a run.

    Raises:
        InputError: as of ``read_statistics``.
    """
    return {name: read_statistics(f"bins.{name}", config) for name, config in grids.items()}


def _checked(one: Statistic, given: Given, config: BinsConfig) -> Given:
    """Check given points, counts and errors; counts and errors become arrays of floats.

    Raises:
        InputError: points are missing, a shape is wrong, a number is not finite, an error is
            negative, or ``_check_alone`` fails.
    """
    if given.points is None:
        if given.values is not None or given.errors is not None:
            raise InputError("counts are given, but no points")
        return given
    points = checked_points(given.points)
    given = replace(given, points=points)
    if given.values is not None:
        _check_alone(given, config)
    shape = (points.number, len(one.parts))
    arrays = {}
    for what in ("values", "errors"):
        if (array := getattr(given, what)) is not None:
            arrays[what] = array = np.asarray(array, float)
            if array.shape != shape:
                raise InputError(f"{what} have shape {array.shape}: must be {shape}")
            if bad := int(np.count_nonzero(~np.isfinite(array))):
                raise InputError(f"{what}: {bad} of {array.size} are not finite")
    if np.any(arrays.get("errors", 0.0) < 0):
        raise InputError("errors: must be at least 0; 0 leaves a count out")
    return replace(given, **arrays)


def checked_points(points: Points) -> Points:
    """The points as NumPy arrays.

    Raises:
        InputError: an array has no rows, or numbers of rows differ.
    """
    each = {name: np.asarray(values) for name, values in points.each.items()}
    common = {name: np.asarray(values) for name, values in points.common.items()}
    lengths = {name: np.shape(values)[:1] for name, values in each.items()}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        raise InputError(f"points: arrays of one length each are needed, not {lengths}")
    return Points(each, common)


def _check_alone(given: Given, config: BinsConfig) -> None:
    """Check that given counts are of one bin, and that a bin with a given weight is not counted.

    Raises:
        InputError: the config makes several bins, a weight or its error is not valid, or a weight
            is given for a bin that is counted in the training catalog.
    """
    rules = [e for e in config.edges.values() if isinstance(e, Mapping)]
    cells = [len(e) - 1 for e in config.edges.values() if not isinstance(e, Mapping)]
    if rules or math.prod(cells) != 1 or len(config.windows) > 1:
        raise InputError("counts of one bin are given, but edges or windows make several")
    if given.weight is None:
        return
    for what, value in (("weight", given.weight), ("weight_err", given.weight_err)):
        if not np.isfinite(value) or value < 0 or (what == "weight" and value == 0):
            raise InputError(f"{what}={value}: must be finite and positive")
    if config.kernels != 0 or config.fourier != 0 or config.normalization == "density":
        raise InputError(
            "the weight in the bin is given, but the bin is counted in the training catalog: take "
            "a bin with kernels=0, fourier=0 and normalization=conditional or counts"
        )


def check_errors_known(key: str, config: BinsConfig, found: Mapping[str, Given]) -> None:
    """Check that given counts have errors, which a chi-square needs.

    Args:
        key: config key of the bin, for messages.
        config: config of the bin.
        found: result of ``read_statistics``.

    Raises:
        InputError: given counts, or a given weight that the loss compares, have no error; names
            the key of the statistic.
    """
    for name, given in found.items():
        if given.values is not None and given.errors is None:
            raise InputError(
                f"{key}.statistics.{name}: its counts have no errors, which loss.kind=chisq "
                "needs: give them, or take loss.kind=mse"
            )
        if config.number_density and given.weight is not None and not given.weight_err:
            raise InputError(
                f"{key}.statistics.{name}: the weight in the bin has no error, which "
                f"{key}.number_density and loss.kind=chisq need: give weight_err"
            )


def needs_catalog(config: BinsConfig, found: Mapping[str, Given]) -> bool:
    """Whether a bin needs the training catalog, because the options do not give all its counts.

    Args:
        config: config of the bin.
        found: result of ``read_statistics``.
    """
    if config.kernels != 0 or config.fourier != 0 or not config.statistics:
        return True
    if config.normalization == "density":
        return True
    return any(given.values is None for given in found.values()) or (
        (config.number_density or config.normalization == "conditional")
        and not any(given.weight is not None for given in found.values())
    )


def known_counts(given: Given) -> TrainingCounts:
    """Training counts from given points and given counts."""
    assert given.points is not None
    assert given.values is not None
    errors = np.zeros_like(given.values) if given.errors is None else given.errors
    number = given.points.number
    return TrainingCounts(given.points, given.values, errors, number, every=True, given=True)
