"""Errors of the normalized training counts of a bin."""

from typing import Any

import numpy as np

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.ratio_errors import ratio_variances


def training_errors(pretrained: PretrainedBin, weight: float, dtype: Any) -> dict[str, np.ndarray]:
    """Errors (p, parts) of the normalized training counts of each statistic of a bin.

    Given counts keep their given errors, divided by the norm. An error is infinite where the
    samples are known but the normalized count does not vary beyond rounding: there is nothing to
    compare.

    Args:
        pretrained: the bin.
        weight: sum of the weights of all training samples.
        dtype: type of the errors.
    """
    kind, number = pretrained.bin.config.normalization, np.dtype(dtype).type
    norm = {"conditional": pretrained.training_sum, "density": weight, "counts": 1.0}[kind]
    factor = number(1) / number(norm) if norm > 0 else number(0)
    errors = {}
    for name, counts in pretrained.statistics.items():
        if counts.given or kind == "counts" or not norm > 0:
            errors[name] = counts.errors.astype(dtype) * factor
            continue
        values = counts.values.astype(float)
        squares = counts.errors.astype(float) ** 2
        cross = pretrained.cross.get(name, values)
        variance, lost = ratio_variances(values / norm, squares, cross, pretrained.norm_square)
        known = np.sqrt(np.maximum(variance, 0.0)) / norm
        nothing = np.where(squares > 0, np.inf, 0.0)
        errors[name] = np.where(variance > lost, known, nothing).astype(dtype)
    return errors
