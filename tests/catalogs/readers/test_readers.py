"""Files of every format: what is read, and what is said of a file that cannot be."""

import sys

import h5py
import numpy as np
import pytest

from kdescent_dist.catalogs.readers import FileTable
from kdescent_dist.config.errors import InputError
from support.tables import optional, read

COLUMNS = {
    "mag": np.array([20.5, 21.25, 99.0], dtype=np.float32),
    "z": np.array([0.1, 0.2, 0.3]),
    "flag": np.array([1, 0, 4], dtype=np.int16),
    "FLUX": np.arange(6.0).reshape(3, 2),
}


def write_hdf5(folder):
    with h5py.File(folder / "table.hdf5", "w") as file:
        for name, values in COLUMNS.items():
            file[name] = values
    return folder / "table.hdf5"


def write_parquet(folder):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    table = pa.table({n: a if a.ndim == 1 else a.tolist() for n, a in COLUMNS.items()})
    parquet.write_table(table, folder / "table.parquet", row_group_size=2)
    return folder / "table.parquet"


def write_fits(folder):
    optional("astropy.io.fits")
    table = optional("astropy.table").Table(COLUMNS)
    table.write(folder / "table.fits")
    return folder / "table.fits"


def write_npz(folder):
    np.savez(folder / "table.npz", **COLUMNS)
    return folder / "table.npz"


def write_csv(folder):
    path = folder / "table.csv"
    lines = ["# mag, z,flag,name"]
    rows = zip(COLUMNS["mag"], COLUMNS["z"], COLUMNS["flag"], strict=True)
    lines += [f'{m},{z},{flag},"a, b"' for m, z, flag in rows]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8-sig")
    return path


WRITERS = {
    "hdf5": write_hdf5,
    "parquet": write_parquet,
    "fits": write_fits,
    "npz": write_npz,
    "csv": write_csv,
}


@pytest.mark.parametrize("format", WRITERS)
def test_columns_come_back_as_written(tmp_path, format):
    columns = read(WRITERS[format](tmp_path), "z", "flag", "mag")
    assert list(columns) == ["z", "flag", "mag"]
    for name, values in columns.items():
        np.testing.assert_array_equal(values, COLUMNS[name])


@pytest.mark.parametrize("format", ["hdf5", "parquet", "fits", "npz"])
def test_vector_columns_come_back_as_written(tmp_path, format):
    columns = read(WRITERS[format](tmp_path), "FLUX")
    np.testing.assert_array_equal(columns["FLUX"], COLUMNS["FLUX"])


@pytest.mark.parametrize("format", WRITERS)
def test_all_columns_of_the_file_are_named(tmp_path, format):
    path = WRITERS[format](tmp_path)
    expected = {"mag", "z", "flag", "name"} if format == "csv" else set(COLUMNS)
    with FileTable(path, format=None, group=None, key="catalog") as table:
        assert set(table.names) == expected


@pytest.mark.parametrize("format", WRITERS)
def test_the_format_can_be_set_where_the_suffix_does_not_tell(tmp_path, format):
    path = WRITERS[format](tmp_path)
    path = path.rename(tmp_path / "table.dat")
    np.testing.assert_array_equal(read(path, "z", format=format)["z"], COLUMNS["z"])
    with pytest.raises(InputError, match=r"catalog\.format: .*table\.dat.* hdf5, parquet"):
        read(path)


@pytest.mark.parametrize("format", WRITERS)
def test_a_file_that_is_not_of_its_format_is_refused(tmp_path, format):
    if format in ("parquet", "fits"):
        optional({"parquet": "pyarrow", "fits": "astropy"}[format])
    path = tmp_path / "table.dat"
    path.write_text("a\nneither a number nor a table\n")
    with pytest.raises(InputError, match=rf"catalog\.path=.*: cannot be read as {format}"):
        read(path, "a", format=format)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"catalog\.format=xls: must be one of hdf5"):
        read(write_npz(tmp_path), format="xls")


def test_a_group_is_refused_where_the_format_has_none(tmp_path):
    with pytest.raises(InputError, match=r"catalog\.group=photometry: a npz file has no groups"):
        read(write_npz(tmp_path), group="photometry")


@pytest.mark.parametrize(
    ("format", "library"), [("parquet", "pyarrow.parquet"), ("fits", "astropy.io.fits")]
)
def test_a_missing_library_names_the_extra(tmp_path, monkeypatch, format, library):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / f"table.{format}").touch()
    with pytest.raises(InputError, match=r"pip install kdescent-dist\[io\]"):
        read(tmp_path / f"table.{format}")


@pytest.fixture
def nested(tmp_path):
    records = np.array([(0.5, 1), (0.7, 2)], dtype=[("z", "<f8"), ("n", "<i4")])
    with h5py.File(tmp_path / "nested.h5", "w") as file:
        file["photometry/lsst/mag"] = np.array([1.0, 2.0])
        file["photometry/z"] = np.array([3.0, 4.0])
        file["records"] = records
        file["scalar"] = 1.0
    return tmp_path / "nested.h5"


def test_nested_datasets_are_named_by_their_path(nested):
    assert set(read(nested)) == {"photometry/lsst/mag", "photometry/z", "records/z", "records/n"}
    assert set(read(nested, group="photometry")) == {"lsst/mag", "z"}
    assert read(nested, "lsst/mag", group="photometry")["lsst/mag"].tolist() == [1.0, 2.0]


def test_a_table_of_records_is_a_group(nested):
    assert read(nested, "z", group="records")["z"].tolist() == [0.5, 0.7]
    assert read(nested, "records/n")["records/n"].tolist() == [1, 2]


def test_the_only_group_of_a_file_needs_no_name(tmp_path):
    with h5py.File(tmp_path / "one.hdf5", "w") as file:
        file["survey/photometry/z"] = [0.5, 0.7]
        file["survey/photometry/lsst/mag"] = [1.0, 2.0]
    for name in ("z", "survey/photometry/z"):
        assert read(tmp_path / "one.hdf5", name)[name].tolist() == [0.5, 0.7]
    assert read(tmp_path / "one.hdf5", "lsst/mag")["lsst/mag"].tolist() == [1.0, 2.0]


def test_a_missing_group_names_those_there_are(nested):
    with pytest.raises(InputError, match=r"catalog\.group=photometri: .*did you mean photometry"):
        read(nested, group="photometri")


def test_a_missing_extension_names_those_there_are(tmp_path):
    path = write_fits(tmp_path)
    with pytest.raises(InputError, match=r"catalog\.group=CATALOG: no such table"):
        read(path, group="CATALOG")


def test_extensions_are_chosen_by_name_or_number(tmp_path):
    fits = optional("astropy.io.fits")
    tables = [
        fits.BinTableHDU.from_columns([fits.Column("z", "D", array=[float(i)])], name=name)
        for i, name in enumerate(["FIRST", "SECOND"])
    ]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "two.fits")
    for group, value in [(None, 0.0), ("second", 1.0), ("1", 0.0), ("2", 1.0)]:
        assert read(tmp_path / "two.fits", "z", group=group)["z"].tolist() == [value]


def test_nulls_are_nan(tmp_path):
    fits = optional("astropy.io.fits")
    column = fits.Column("n", "J", array=np.array([1, -9, 3]), null=-9)
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "null.fits")
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    parquet.write_table(pa.table({"n": [1, None, 3]}), tmp_path / "null.parquet")
    (tmp_path / "null.csv").write_text("n,m\n1,1\n ,1\n3,1\n")
    for format in ("fits", "parquet", "csv"):
        values = read(tmp_path / f"null.{format}", "n")["n"]
        np.testing.assert_array_equal(values, [1.0, np.nan, 3.0], err_msg=format)


def test_lists_of_different_length_are_refused(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    parquet.write_table(pa.table({"x": [[1.0], [2.0, 3.0]]}), tmp_path / "ragged.parquet")
    with pytest.raises(InputError, match="lists of column 'x' differ in length"):
        read(tmp_path / "ragged.parquet", "x")


def test_text_in_a_csv_column_of_numbers_is_named(tmp_path):
    (tmp_path / "text.csv").write_text("z,name\n0.1,1\n0.2,b\n")
    assert read(tmp_path / "text.csv", "z")["z"].tolist() == [0.1, 0.2]
    with pytest.raises(InputError, match="column 'name' is not numeric, it holds 'b'"):
        read(tmp_path / "text.csv", "name")


def test_a_csv_file_without_rows_gives_empty_columns(tmp_path):
    (tmp_path / "empty.csv").write_text("z,mag\n")
    assert read(tmp_path / "empty.csv", "mag")["mag"].shape == (0,)


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as npz"):
        read(tmp_path / "objects.npz", "x")


@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_scaled_unsigned_and_logical_columns_of_fits_are_converted(tmp_path, suffix):
    fits = optional("astropy.io.fits")
    columns = {
        "scaled": fits.Column("scaled", "I", array=np.array([1, 2, 12])),
        "unsigned": fits.Column(
            "unsigned", "I", bzero=2**15, array=np.array([1, 65535, 7], np.uint16)
        ),
        "logical": fits.Column("logical", "L", array=np.array([True, False, True])),
        "matrix": fits.Column("matrix", "4E", dim="(2,2)", array=np.arange(12.0).reshape(3, 2, 2)),
        "plain": fits.Column("plain", "K", array=np.array([1, -2, 3])),
        "vector": fits.Column("vector", "2E", array=np.arange(6.0).reshape(3, 2)),
    }
    path = tmp_path / f"columns.{suffix}"
    fits.BinTableHDU.from_columns(list(columns.values())).writeto(path)
    fits.setval(path, "TSCAL1", value=0.5, ext=1)
    fits.setval(path, "TZERO1", value=3.0, ext=1)
    with FileTable(path, format=None, group=None, key="catalog") as table:
        part = table.read(list(columns), 1, 3)
    assert part["scaled"].tolist() == [4.0, 9.0]
    assert part["unsigned"].tolist() == [65535, 7]
    assert part["logical"].tolist() == [False, True]
    assert part["matrix"].tolist() == [[[4.0, 5.0], [6.0, 7.0]], [[8.0, 9.0], [10.0, 11.0]]]
    assert part["plain"].tolist() == [-2, 3]
    assert part["vector"].tolist() == [[2.0, 3.0], [4.0, 5.0]]


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_truncated_fits_table_is_refused(tmp_path):
    path = write_fits(tmp_path)
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(InputError, match=r"cannot be read as fits"):
        read(path, "z")


def test_a_partitioned_data_set_has_the_columns_of_its_folders(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    table = pa.table({"x": np.arange(6.0), "field": [1, 1, 2, 2, 2, 3]})
    parquet.write_to_dataset(table, tmp_path / "set", partition_cols=["field"])
    columns = read(tmp_path / "set", "field", "x", format="parquet")
    assert columns["field"].tolist() == [1, 1, 2, 2, 2, 3]
    assert columns["x"].tolist() == list(range(6))
