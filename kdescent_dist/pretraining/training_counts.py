"""The counts of a training sample at the points of one statistic."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.points import Points


@dataclass(frozen=True)
class TrainingCounts:
    """Counts of one statistic of a training sample, at the points from which a step draws.

    Attributes:
        points: p points, as NumPy arrays.
        values: (p, parts) counts.
        errors: (p, parts) errors of the counts; 0 for counts that are not compared.
        drawn: the number of points that a step draws.
        every: whether a step uses all points in order instead of drawing points.
        given: whether the user gave the counts, instead of a training catalog.
    """

    points: Points
    values: np.ndarray
    errors: np.ndarray
    drawn: int
    every: bool = False
    given: bool = False

    @property
    def number(self) -> int:
        """p."""
        return len(self.values)

    def save(self, file: Path) -> None:
        """Write counts with ``every`` that were not given to an ``.npz`` file."""
        arrays = {f"each/{name}": values for name, values in self.points.each.items()}
        arrays |= {f"common/{name}": values for name, values in self.points.common.items()}
        np.savez(file, values=self.values, errors=self.errors, **arrays)

    @classmethod
    def load(cls, file: Path) -> "TrainingCounts":
        """Read a file of ``save``.

        Raises:
            InputError: the arrays differ in length.
            Exception: the file is truncated or altered.
        """
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        values, errors = arrays.pop("values"), arrays.pop("errors")
        kinds: dict[str, dict[str, np.ndarray]] = {"each": {}, "common": {}}
        for name, array in arrays.items():
            kind, _, own = name.partition("/")
            kinds[kind][own] = array
        numbers = {len(array) for array in (values, errors, *kinds["each"].values())}
        if len(numbers) != 1 or values.shape != errors.shape or not kinds["each"]:
            raise InputError(f"{file}: arrays of different lengths")
        return cls(Points(**kinds), values, errors, len(values), every=True)
