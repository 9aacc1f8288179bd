"""Statistics of a bin beside kernels and modes, which the config of the bin gives options."""

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

# What the options of each bin or grid give its further statistics, by their names.
Found = Mapping[str, Mapping[str, Given]]


def read_statistics(key: str, config: BinsConfig) -> dict[str, Given]:
    """What the options of a bin give each of its further statistics, by name.

    Args:
        key: config key of the bin, for messages.
        config: the bin.

    Raises:
        InputError: there is no such statistic, or the options cannot be used; names the key.
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
        except Exception as error:  # whatever the statistic of another package raises
            raise InputError(f"{own}: {type(error).__name__}: {error}") from error
    return found


def read_all(grids: Mapping[str, BinsConfig]) -> dict[str, dict[str, Given]]:
    """What ``read_statistics`` finds for each bin or grid of a config, by its name.

    A run reads once, and hands on what was found: a table may be large, or change in the meantime.

    Raises:
        InputError: as ``read_statistics``.
    """
    return {name: read_statistics(f"bins.{name}", config) for name, config in grids.items()}


def _checked(one: Statistic, given: Given, config: BinsConfig) -> Given:
    """What is given, with counts and errors as finite numbers of one shape.

    Raises:
        InputError: the shapes do not fit together, a number is not finite, or the bin is one of
            several, or is counted in a catalog.
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
    """The points as arrays of NumPy.

    Raises:
        InputError: there is not one row per point in each array.
    """
    each = {name: np.asarray(values) for name, values in points.each.items()}
    common = {name: np.asarray(values) for name, values in points.common.items()}
    lengths = {name: np.shape(values)[:1] for name, values in each.items()}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        raise InputError(f"points: arrays of one length each are needed, not {lengths}")
    return Points(each, common)


def _check_alone(given: Given, config: BinsConfig) -> None:
    """Check that given counts are of one bin, and their weight not beside that of a catalog."""
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
    """Check that counts that are given have errors, as a chi-square needs them.

    Args:
        key: config key of the bin, for messages.
        config: the bin.
        found: what ``read_statistics`` returns.

    Raises:
        InputError: a statistic has none; names its key.
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
    """Whether a bin is counted in the training catalog, or knows all that it compares.

    Args:
        config: the bin.
        found: what ``read_statistics`` returns.
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
    """The counts that are given with the points."""
    assert given.points is not None
    assert given.values is not None
    errors = np.zeros_like(given.values) if given.errors is None else given.errors
    number = given.points.number
    return TrainingCounts(given.points, given.values, errors, number, every=True, given=True)
