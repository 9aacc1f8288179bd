"""Draws from the posterior of a run, from its netCDF file."""

from pathlib import Path

import h5py
import numpy as np

FILE = "posterior.nc"  # in the run directory


def read_draws(file: Path) -> dict[str, np.ndarray]:
    """Names of parameters to draws (chains, draws), in the order of the file.

    Raises:
        OSError, KeyError: the file cannot be read, or is of another form.
    """
    with h5py.File(file) as opened:
        group = opened["posterior"]
        assert isinstance(group, h5py.Group)
        return {
            str(data.attrs.get("long_name", name)): np.asarray(data, float)
            for name, data in group.items()
            if isinstance(data, h5py.Dataset) and data.ndim == 2
        }
