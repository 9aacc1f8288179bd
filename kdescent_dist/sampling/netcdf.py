"""Draws as a netCDF-4 file in the layout of InferenceData, which ArviZ opens.

The file is HDF5 with dimension scales, so that h5py writes it.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

DIMENSIONS = ("chain", "draw")


def write_draws(
    file: Path,
    groups: Mapping[str, Mapping[str, np.ndarray]],
    attributes: Mapping[str, Any],
) -> None:
    """Write groups of arrays (chains, draws), so that a killed run leaves no partial file.

    Args:
        file: the file.
        groups: names of groups, such as ``posterior``, to names of variables to arrays.
        attributes: attributes of each group, texts and numbers.
    """
    temporary = file.with_name(f".{file.name}")
    with h5py.File(temporary, "w") as opened:
        for name, variables in groups.items():
            group = opened.create_group(name, track_order=True)
            group.attrs.update(attributes)
            shape = next(iter(variables.values())).shape
            scales, safe = [], _safe(variables)
            for dimension, size in zip(DIMENSIONS, shape, strict=True):
                scale = group.create_dataset(dimension, data=np.arange(size))
                scale.make_scale(dimension)
                scales.append(scale)
            for variable, values in variables.items():
                kind = np.int8 if values.dtype == bool else values.dtype
                data = group.create_dataset(safe[variable], data=values.astype(kind))
                if safe[variable] != variable:
                    data.attrs["long_name"] = variable
                if values.dtype == bool:
                    data.attrs["dtype"] = "bool"  # as xarray writes it
                for axis, scale in enumerate(scales):
                    data.dims[axis].attach_scale(scale)
    os.replace(temporary, file)


def _safe(names: Iterable[str]) -> dict[str, str]:
    """Names to names of variables, of which none is a dimension, a path or another name."""
    names = list(names)
    found = {name: name for name in names if "/" not in name and name not in DIMENSIONS}
    taken = {*found, *DIMENSIONS}
    for name in names:
        if name not in found:
            safe = name.replace("/", "_")
            while safe in taken:
                safe += "_"
            found[name] = safe
            taken.add(safe)
    return found
