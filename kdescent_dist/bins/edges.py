"""Edges of grids from the training data: bins of equal width, or of equal training weight."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kdescent_dist.bins.validate import check_bins, finite_column
from kdescent_dist.bins.window_checks import check_increasing
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.numerics.arrays import unmasked

Limits = Mapping[str, tuple[float, float]]


def resolve_grids(
    grids: Mapping[str, BinsConfig],
    columns: Mapping[str, np.ndarray],
    weights: np.ndarray,
    limits: Limits | None = None,
) -> dict[str, BinsConfig]:
    """Replace rules for edges (``{number: 10}``, ``{quantiles: 10}``) by lists of edges.

    The edges depend on the arguments alone. Without ``low``, the first edge is the smallest value.
    Without ``high``, the last edge is just above the largest value.

    Args:
        grids: ``bins`` of a config.
        columns: names to (n,) training columns; a representative part of the catalog is enough.
        weights: (n,) training weights.
        limits: conditional columns to the smallest and the largest value in the whole catalog; by
            default the limits of ``columns``.

    Returns:
        The grids with lists of edges, for ``expand_bins``.

    Raises:
        InputError: a value of the config is not allowed, a column is missing or not finite, or
            the values of a column do not allow such edges.
    """
    resolved = {}
    for group, config in grids.items():
        check_bins(f"bins.{group}", config)
        edges = dict(config.edges)
        for column, rule in config.edges.items():
            if isinstance(rule, Mapping):
                key = f"bins.{group}.edges.{column}"
                values = finite_column(key, column, columns).astype(float)
                low, high = _limits(key, rule, values, (limits or {}).get(column))
                edges[column] = _edges(key, rule, (low, high), values, unmasked(weights))
        resolved[group] = replace(config, edges=edges)
    return resolved


def _limits(
    key: str, rule: Mapping[str, Any], values: np.ndarray, limits: tuple[float, float] | None
) -> tuple[float, float]:
    if not len(values):
        raise InputError(f"{key}: there is no training data to find edges in: give them as a list")
    low, high = rule.get("low"), rule.get("high")
    smallest, largest = limits or (values.min(), values.max())
    if low is None:
        low = smallest
    if high is None:
        high = largest
    if not low < high:
        raise InputError(f"{key}: low {low:g} is not below high {high:g} for {dict(rule)}")
    if rule.get("log") and not low > 0:
        raise InputError(f"{key}: log=true, but the smallest value is {low:g}: give low, above 0")
    return float(low), float(high)


def _edges(
    key: str,
    rule: Mapping[str, Any],
    limits: tuple[float, float],
    values: np.ndarray,
    weights: np.ndarray,
) -> list[float]:
    low, high = limits
    # A bin excludes its upper edge: the last edge must be above the largest value.
    last = _above(high) if rule.get("high") is None else high
    if rule.get("quantiles") is not None:
        edges = _quantiles(key, int(rule["quantiles"]), (low, last), values, weights)
    else:
        spaced = np.geomspace if rule.get("log") else np.linspace
        edges = [low, *spaced(low, high, int(rule["number"]) + 1)[1:-1].tolist(), last]
    if np.any(np.diff(np.asarray(edges, np.float32)) <= 0):
        raise InputError(
            f"{key}: {dict(rule)} between {limits[0]:g} and {limits[1]:g} gives edges that are the "
            "same in single precision: ask for fewer bins, or subtract a constant from the column"
        )
    check_increasing(key, edges)
    return edges


def _above(value: float) -> float:
    """A number just above a value, in single and in double precision."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _quantiles(
    key: str,
    bins: int,
    limits: tuple[float, float],
    values: np.ndarray,
    weights: np.ndarray,
) -> list[float]:
    """Edges of bins of equal weight, as nearly as equal values of the column allow."""
    inside = (values >= limits[0]) & (values < limits[1]) & (weights > 0)
    if not inside.any():
        raise InputError(
            f"{key}: no training sample of positive weight lies between {limits[0]:g} and "
            f"{limits[1]:g}: correct low and high"
        )
    distinct, which = np.unique(values[inside], return_inverse=True)
    of_value = np.bincount(which, np.asarray(weights, float)[inside])
    below = np.cumsum(of_value)[:-1]  # total weight up to each value but the last
    wanted = np.arange(1, bins) / bins * of_value.sum()
    above = np.clip(np.searchsorted(below, wanted), 0, max(len(below) - 1, 0))
    cuts = np.maximum(above - 1, 0)
    if len(below):
        nearer = np.abs(below[above] - wanted) <= np.abs(below[cuts] - wanted)
        cuts = np.where(nearer, above, cuts)
    if len(distinct) < bins or np.any(np.diff(cuts) <= 0):
        most = distinct[np.argmax(of_value)]
        share = of_value.max() / of_value.sum()
        raise InputError(
            f"{key}: {bins} bins of equal weight are not possible: the column has {len(distinct)} "
            f"different values there, and {share:.0%} of the weight is at {most:g}: ask for fewer "
            "quantiles, or give edges"
        )
    inner = [_roundest(*distinct[cut : cut + 2].tolist()) for cut in cuts.tolist()]
    return [limits[0], *inner, limits[1]]


def _roundest(low: float, high: float) -> float:
    """The midpoint, with the fewest digits that keep the result in (low, high]; else ``high``."""
    for digits in range(1, 17):
        edge = float(f"{0.5 * (low + high):.{digits}g}")
        if np.float32(low) < np.float32(edge) <= np.float32(high) and low < edge <= high:
            return edge
    return float(high)
