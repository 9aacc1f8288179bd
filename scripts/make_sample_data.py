"""Reduce the DC2 catalog of pz-rail-base to the sample data of the package.

    python scripts/make_sample_data.py dc2_training.hdf5

Keeps all rows, the redshift and the six magnitudes, in single precision.
"""

import sys
from pathlib import Path

import h5py
import numpy as np

COLUMNS = ("redshift", *(f"mag_{band}_lsst" for band in "ugrizy"))
TARGET = Path(__file__).parents[1] / "kdescent_dist" / "sample_data" / "dc2.hdf5"


def reduce(source: Path, target: Path) -> None:
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        group = new.create_group("photometry")
        for name in COLUMNS:
            values = old["photometry"][name][:].astype(np.float32)
            group.create_dataset(
                name, data=values, chunks=values.shape, compression="gzip", compression_opts=9,
                shuffle=True,
            )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    reduce(Path(sys.argv[1]), TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
