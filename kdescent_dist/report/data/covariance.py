"""The covariance of fitted parameters, and names of its arrays in ``covariance.npz``.

``diagnostics`` makes the record, and ``report`` reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_IN_RESULT = 50  # parameters whose covariance is in result.json; npz files have any number


@dataclass(frozen=True)
class ParameterCovariance:
    """The covariance of the Q fitted parameters that have an error.

    Attributes:
        names: Q names of parameters.
        params: (Q,) fitted parameters.
        covariance: (Q, Q) covariance, in the units of the parameters.
        includes: the noise that the covariance includes, as text.
    """

    names: tuple[str, ...]
    params: np.ndarray
    covariance: np.ndarray
    includes: str

    @property
    def errors(self) -> np.ndarray:
        """Standard deviations (Q,)."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """Correlations (Q, Q)."""
        correlation = self.covariance / np.outer(self.errors, self.errors)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def to_json(self) -> dict[str, Any]:
        """The entry ``covariance`` of ``result.json``; with many parameters, without the matrix."""
        few = len(self.names) <= MOST_IN_RESULT
        return {
            "names": list(self.names),
            "matrix": self.covariance.tolist() if few else None,
            "file": "covariance.npz",
            "includes": self.includes,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of ``covariance.npz``."""
        return {
            "names": np.array(self.names, str),
            "params": self.params,
            "covariance": self.covariance,
            "correlation": self.correlation,
            "includes": np.array(self.includes),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ParameterCovariance":
        """The record of the arrays of ``to_arrays``.

        Raises:
            KeyError: an array is missing.
        """
        return cls(
            tuple(map(str, arrays["names"])),
            np.asarray(arrays["params"], float),
            np.asarray(arrays["covariance"], float),
            str(arrays["includes"]),
        )

    def is_of(self, params: Mapping[str, Any]) -> bool:
        """Whether the fitted parameters are these, by name."""
        fitted = [params.get(name) for name in self.names]
        return None not in fitted and np.array_equal(self.params, np.asarray(fitted, float))
