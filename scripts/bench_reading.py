"""How long it takes to read and select a catalog, against the library that reads its format.

    .venv/bin/python scripts/bench_reading.py
    .venv/bin/python scripts/bench_reading.py --rows 1000000 --only csv fits

Each format holds the same eight columns. The library reads them into arrays; kdescent_dist opens
the same file, cuts, derives a column, checks, and returns eight columns, in the same precision.
Both are measured in turns after one of each to warm up, and the median is told. The files are in
the cache of the operating system, so that no disk hides what is done with the bytes. Prints a
Markdown table.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from bench_measure import optional, seconds_of

from kdescent_dist.catalogs.catalog import open_catalog
from kdescent_dist.config.schema import CatalogConfig

BANDS = "ugrizy"
NAMES = ["redshift", "logm", *(f"mag_{band}" for band in BANDS)]
REQUIRED = ["g_r", *NAMES[:3], *NAMES[4:]]  # made of all eight
SELECTION = {"columns": {"g_r": "mag_g - mag_r"}, "where": "redshift > 0.05 and mag_i < 24.5"}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Format:
    """A file name, what writes the columns, and what reads them with the library alone."""

    file: str
    write: Callable[[Path, Columns], None]
    read: Callable[[Path], list[np.ndarray]]


def table_of(rows: int, dtype: str) -> Columns:
    rng = np.random.default_rng(1)
    columns = {"redshift": rng.uniform(0.0, 2.0, rows), "logm": rng.normal(10.5, 0.5, rows)}
    columns |= {f"mag_{band}": rng.normal(23.0, 1.0, rows) for band in BANDS}
    return {name: values.astype(dtype) for name, values in columns.items()}


def write_hdf5(path: Path, columns: Columns, **options) -> None:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values, **options)


def write_gzip(path: Path, columns: Columns) -> None:
    write_hdf5(path, columns, chunks=(100_000,), compression="gzip", compression_opts=4)


def read_hdf5(path: Path) -> list[np.ndarray]:
    with h5py.File(path, "r") as file:
        return [file[name][:] for name in NAMES]  # type: ignore[index]


def write_parquet(path: Path, columns: Columns) -> None:
    pyarrow, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path)


def read_parquet(path: Path) -> list[np.ndarray]:
    table = optional("pyarrow.parquet").read_table(path, columns=NAMES)
    return [table[name].to_numpy() for name in NAMES]


def write_fits(path: Path, columns: Columns) -> None:
    fits = optional("astropy.io.fits")
    record = np.rec.fromarrays(list(columns.values()), names=",".join(columns))
    fits.BinTableHDU(record).writeto(path)


def read_fits(path: Path) -> list[np.ndarray]:
    with optional("astropy.io.fits").open(path) as hdus:
        return [np.array(hdus[1].data[name]) for name in NAMES]


def write_npy(path: Path, columns: Columns) -> None:
    np.save(path, np.rec.fromarrays(list(columns.values()), names=",".join(columns)))


def read_npy(path: Path) -> list[np.ndarray]:
    table = np.load(path)
    return [np.array(table[name]) for name in NAMES]


def write_npz(path: Path, columns: Columns) -> None:
    np.savez(path, **columns)  # type: ignore[arg-type]


def read_npz(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[name] for name in NAMES]


def write_csv(path: Path, columns: Columns) -> None:
    with path.open("w") as file:
        file.write(",".join(columns) + "\n")
        for rows in np.array_split(np.stack(list(columns.values()), axis=1), 100):
            line = ",".join(["%.6g"] * rows.shape[1]) + "\n"
            file.write(line * len(rows) % tuple(rows.ravel().tolist()))


def read_csv(path: Path) -> list[np.ndarray]:
    return list(np.loadtxt(path, delimiter=",", skiprows=1, unpack=True))


FORMATS = {
    "HDF5, raw": Format("raw.hdf5", write_hdf5, read_hdf5),
    "HDF5, gzip": Format("gzip.hdf5", write_gzip, read_hdf5),
    "Parquet": Format("table.parquet", write_parquet, read_parquet),
    "FITS": Format("table.fits", write_fits, read_fits),
    "NPY": Format("table.npy", write_npy, read_npy),
    "NPZ": Format("table.npz", write_npz, read_npz),
    "CSV": Format("table.csv", write_csv, read_csv),
}


def select(path: Path, dtype: str) -> None:
    config = CatalogConfig(path=str(path), **SELECTION)
    open_catalog(config, required=REQUIRED, dtype=dtype).rows(release=True)


def turns(one: Callable[[], object], other: Callable[[], object], n: int) -> Iterator[list[float]]:
    """Seconds of two calls that take turns, after one of each to warm up."""
    for number in range(n + 1):
        times = [seconds_of(one), seconds_of(other)]
        if number:
            yield times


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    options.add_argument("--repeats", type=int, default=5, help="of CSV, one")
    options.add_argument("--only", nargs="*", default=[], help="parts of the names of formats")
    given = options.parse_args()
    columns = table_of(given.rows, given.dtype)
    print(f"{given.rows:.0e} rows of {len(NAMES)} columns, {given.dtype}\n")
    print("| format | library, s | read and selected, s | ratio |\n|---|---|---|---|")
    for name, format in FORMATS.items():
        if given.only and not any(part.lower() in name.lower() for part in given.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / format.file
            format.write(path, columns)
            library, ours = lambda: format.read(path), lambda: select(path, given.dtype)  # noqa: B023
            times = list(turns(library, ours, 1 if name == "CSV" else given.repeats))
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        ratio = statistics.median(b / a for a, b in times)
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
