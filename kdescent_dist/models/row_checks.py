"""Which samples of a population change if some rows of the input catalog do."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kdescent_dist.models.population import Population

Made = Callable[[Any, Mapping[str, Any]], Population]  # of parameters and a block of the catalog

MARKED_ROWS = 3  # rows to change one at a time to find the order of copies


def _arrays_of(population: Population) -> dict[str | None, np.ndarray]:
    """Columns by name, and weights as None: a column may be named ``weights``."""
    arrays = {**population.x, None: population.weights}
    return {name: np.asarray(values) for name, values in arrays.items() if values is not None}


def side_by_side(
    made: Made, params: np.ndarray, block: Mapping[str, np.ndarray], copies: int
) -> set[str]:
    """The columns, None for the weights, that seem to have the copies of a row side by side."""
    known, beside, apart = _arrays_of(made(params, block)), set(), set()
    for row, changed in _with_one_row_changed(block):
        for name, values in _arrays_of(made(params, changed)).items():
            same = (values == known[name]) | (np.isnan(values) & np.isnan(known[name]))
            samples = np.flatnonzero(~same)
            if np.any(samples // copies != row):
                apart.add(name)
            elif np.any(samples % (len(values) // copies) != row):
                beside.add(name)
        if apart == known.keys():
            break
    return beside - apart


def mixed_columns(made: Made, params: np.ndarray, block: Mapping[str, np.ndarray]) -> list[str]:
    """Names of columns whose values in some rows change if only other rows are changed.

    The key stays the same, and so do all random numbers. Every other row is replaced, and the last
    row, to which JAX leads numbers of rows beyond the block.
    """
    if not block or len(next(iter(block.values()))) < 4:
        return []
    table = np.stack(list(block.values()))
    replaced = table.copy()
    rows = np.unique(np.append(np.arange(1, table.shape[1], 2), table.shape[1] - 1))
    replaced[:, rows] = table[:, rows - 1]  # so that sums and ranks change, too
    kept = np.delete(np.arange(table.shape[1]), rows)
    known = _arrays_of(made(params, block))
    found = _arrays_of(made(params, dict(zip(block, replaced, strict=True))))
    return [
        "weights" if name is None else name
        for name, values in found.items()
        if not np.array_equal(
            values.reshape(-1, table.shape[1])[:, kept],
            known[name].reshape(-1, table.shape[1])[:, kept],
            equal_nan=True,
        )
    ]


def _with_one_row_changed(
    block: Mapping[str, np.ndarray],
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Some rows, each with a block where another row replaces it; none if all rows are equal."""
    table = np.stack(list(block.values()))
    size = table.shape[1]
    for row in sorted({size * i // (MARKED_ROWS + 1) for i in range(1, MARKED_ROWS + 1)}):
        others = np.flatnonzero(np.any(table != table[:, [row]], axis=0))
        if len(others):
            changed = table.copy()
            changed[:, row] = table[:, others[len(others) // 2]]
            yield row, dict(zip(block, changed, strict=True))
