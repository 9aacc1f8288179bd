"""Write a sample of dark-matter halos to Parquet and HDF5, to try catalogs of any size.

    python scripts/make_halos.py FOLDER [HALOS [TILT]]

By default 10,000,000 halos, in pieces of 262,144 rows: halos.parquet has a row group for each,
halos.hdf5 (group halos) chunks of as many. Columns, in single precision: logm, the logarithm of
the halo mass in solar masses; weights, the halos per Mpc^3 that each stands for; and the positions
x, y and z in Mpc, which no fit reads. The model of experiment=halo_catalog takes logm; give the
weights as input.catalog.weights, times the volume of the survey.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdescent_dist.models.halo_catalog import halo_sample

PIECE = 262_144  # rows


def pieces(halos: int, tilt: float, piece: int) -> Iterator[dict[str, np.ndarray]]:
    """The columns, piece by piece, so that memory does not grow with the number of halos."""
    for first in range(0, halos, piece):
        size = min(piece, halos - first)
        columns = halo_sample(size, seed=first, volume=size / halos, tilt=tilt)
        position = np.random.default_rng(first + 1).uniform(0.0, 400.0, (3, size))
        columns |= dict(zip("xyz", position, strict=True))
        yield {name: values.astype(np.float32) for name, values in columns.items()}


def write(folder: Path, halos: int, tilt: float, piece: int = PIECE) -> list[Path]:
    """Write both files, of the same rows."""
    names = ("logm", "weights", "x", "y", "z")
    paths = [folder / "halos.parquet", folder / "halos.hdf5"]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with (
        pq.ParquetWriter(paths[0], schema, use_dictionary=False) as table,
        h5py.File(paths[1], "w") as file,
    ):
        group = file.create_group("halos")
        for name in names:
            group.create_dataset(name, (halos,), np.float32, chunks=(min(piece, halos),))
        first = 0
        for columns in pieces(halos, tilt, piece):
            table.write_table(pa.table(columns, schema=schema), row_group_size=piece)
            last = first + len(columns["logm"])
            for name, values in columns.items():
                group[name][first:last] = values
            first = last
    return paths


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    halos = int(float(sys.argv[2])) if len(sys.argv) > 2 else 10_000_000
    tilt = float(sys.argv[3]) if len(sys.argv) > 3 else 0.4
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in write(folder, halos, tilt):
        print(f"{path}: {halos} halos, {path.stat().st_size} bytes")
