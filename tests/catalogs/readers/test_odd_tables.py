"""Tables as strangers write them: odd layouts, types, names and missing values, in each format."""

import gzip
import threading
import time
from decimal import Decimal

import h5py
import numpy as np
import pytest

from kdescent_dist.catalogs.catalog import load_catalog
from kdescent_dist.catalogs.chunks import LARGEST_CHUNK
from kdescent_dist.catalogs.readers import FileTable
from kdescent_dist.catalogs.threads import work_through
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import CatalogConfig
from support.tables import optional, read

X = np.array([0.5, -1.5, 2.25, 3.0])
N = len(X)


def loaded(path, expression="x", **options):
    config = CatalogConfig(path=str(path), columns={"c": expression}, **options)
    return load_catalog(config, required=["c"]).columns["c"].tolist()


LAYOUTS = {
    "contiguous": {},
    "in chunks": {"chunks": (3,)},
    "compressed": {"chunks": (3,), "compression": "gzip", "shuffle": True},
    "big-endian": {"dtype": ">f4"},
    "half precision": {"dtype": "f2"},
    "not yet written": {"data": None, "shape": (N,), "fillvalue": 2.5, "dtype": "f4"},
}


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_an_hdf5_dataset_is_read(tmp_path, layout, userblock, monkeypatch):
    monkeypatch.chdir(tmp_path)  # HDF5 looks for the file of the dataset outside from here
    options = {"data": X} | LAYOUTS[layout]
    with h5py.File(tmp_path / "t.h5", "w", userblock_size=userblock) as file:
        file.create_dataset("x", **options)
        file["flags"] = X > 0
        file.create_dataset("compact", dtype="f8", shape=(N,), dcpl=_compact())[:] = X
        file.create_dataset("outside", shape=(N,), dtype="f8", external=[("x.bin", 0, 8 * N)])[
            :
        ] = X
    with h5py.File(tmp_path / "t.h5") as file:
        expected = file["x"][:]  # type: ignore[index]
    got = read(tmp_path / "t.h5")
    np.testing.assert_array_equal(got["x"], expected)
    assert got["flags"].dtype == bool
    for name in ("compact", "outside"):
        np.testing.assert_array_equal(got[name], X)
    with FileTable(tmp_path / "t.h5", format=None, group=None, key="catalog") as table:
        np.testing.assert_array_equal(table.read(["x"], 1, 3)["x"], expected[1:3])


def _compact():
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    return plist


def virtual(folder, length=N, **options):
    """A data set of the first rows of another file."""
    source = folder / "source" / "s.h5"
    source.parent.mkdir(exist_ok=True)
    with h5py.File(source, "w") as file:
        file.create_dataset("x", data=X, maxshape=(None,))
    layout = h5py.VirtualLayout((length,), "f8")
    layout[:N] = h5py.VirtualSource("source/s.h5", "x", (N,))
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("x", layout, **options)
        file["n"] = np.arange(length)
    return folder / "v.h5", source


def test_a_virtual_hdf5_dataset_needs_all_that_it_is_made_of(tmp_path):
    path, source = virtual(tmp_path)
    assert loaded(path) == X.tolist()
    with h5py.File(source, "a") as file:
        file["x"].resize((N - 1,))  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"data set x of source/s\.h5 has fewer rows than"):
        loaded(path)
    with h5py.File(source, "w") as file:
        file.create_dataset("x", shape=(N,), dtype="f8")
    with pytest.raises(InputError, match=r"'/x' of .*s\.h5: rows were never written"):
        loaded(path)
    with h5py.File(source, "w") as file:
        file["y"] = X
    with pytest.raises(InputError, match=r"source/s\.h5 has no data set x"):
        loaded(path)
    source.unlink()
    message = r"read as hdf5: virtual data set '/x' of .*: its source file source/s\.h5 is"
    with pytest.raises(InputError, match=message):
        loaded(path)
    assert loaded(path, "n") == list(range(N))  # only what is used is checked


def test_a_virtual_hdf5_dataset_without_limit_has_the_rows_of_the_files_that_are_there(tmp_path):
    for i in range(2):
        with h5py.File(tmp_path / f"part{i}.h5", "w") as file:
            file["x"] = X + i
    unlimited = h5py.h5s.UNLIMITED
    rows = h5py.h5s.create_simple((0,), (unlimited,))
    rows.select_hyperslab((0,), (unlimited,), stride=(N,), block=(N,))
    source = h5py.h5s.create_simple((N,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(rows, b"part%b.h5", b"x", source)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        space = h5py.h5s.create_simple((0,), (unlimited,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, space, plist)
    assert loaded(tmp_path / "v.h5") == [*X, *(X + 1)]


def test_rows_that_no_file_gives_to_a_virtual_hdf5_dataset_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'/x' of .*v\.h5: rows were never written"):
        loaded(virtual(tmp_path, N + 2)[0])
    assert loaded(virtual(tmp_path, N + 2, fillvalue=-1)[0]) == [*X, -1, -1]


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip"}], ids=str
)
@pytest.mark.parametrize("record", [False, True])
def test_rows_of_hdf5_that_were_never_written_are_refused(tmp_path, options, record):
    dtype = np.dtype([("x", "f8"), ("n", "i4")] if record else "f8")
    name, x = ("table", "`table/x`") if record else ("x", "x")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        data = file.create_dataset(name, shape=(N,), dtype=dtype, **options)
        if options:
            data[:2] = np.ones(2, dtype)
        file["y"] = X
    with pytest.raises(InputError, match=f"data set '/{name}' of .*: rows were never written"):
        loaded(tmp_path / "t.h5", x)
    assert loaded(tmp_path / "t.h5", "y") == X.tolist()
    with h5py.File(tmp_path / "t.h5", "a") as file:
        file[name][-1:] = np.ones(1, dtype)  # type: ignore[index]
        if not options:  # HDF5 does not know which part of one piece was written
            file[name][:2] = np.ones(2, dtype)  # type: ignore[index]
    assert loaded(tmp_path / "t.h5", x)[-1] == 1


def test_a_file_outside_of_an_hdf5_file_must_be_as_long_as_its_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("x", shape=(N,), dtype="f8", external=[("x.bin", 8, 8 * N)])[:] = X
    assert loaded(tmp_path / "t.h5") == X.tolist()
    (tmp_path / "x.bin").write_bytes((tmp_path / "x.bin").read_bytes()[:-8])
    with pytest.raises(InputError, match=r"'/x' of .*: rows were never written"):
        loaded(tmp_path / "t.h5")


def test_links_of_an_hdf5_file_are_followed_wherever_they_lead(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["deep/x"] = X
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["a/x"] = X + 1
        file["soft"] = h5py.SoftLink("/a/x")
        file["nowhere"] = h5py.SoftLink("/missing")
        file["a/loop"] = h5py.SoftLink("/")
        file["there"] = h5py.ExternalLink("other.h5", "/deep")
    got = read(tmp_path / "t.h5")
    assert set(got) == {"a/x", "soft", "there/x"}
    assert got["soft"].tolist() == (X + 1).tolist()
    assert got["there/x"].tolist() == X.tolist()
    assert read(tmp_path / "t.h5", "x", group="there")["x"].tolist() == X.tolist()


def test_a_file_that_is_open_already_can_be_read(tmp_path):
    """As in a notebook that looks at it."""
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["x"] = X
    with h5py.File(tmp_path / "t.h5", "r") as file:
        assert loaded(tmp_path / "t.h5") == file["x"][:].tolist()


def test_a_group_without_columns_names_those_that_have_some(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["phot/x"] = X
        file.create_group("meta").attrs["version"] = 1
    with pytest.raises(InputError, match=r"catalog\.group=meta: has no datasets .* are: phot"):
        read(tmp_path / "t.h5", group="meta")


@pytest.mark.parametrize("name", ["mag g", "ra/µ", "größe", "2MASS", "a.b", "log10", "x-y"])
def test_columns_may_have_any_name(tmp_path, name):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file[name] = X
    assert loaded(tmp_path / "t.h5", name) == X.tolist()
    assert loaded(tmp_path / "t.h5", f"2 * `{name}`") == (2 * X).tolist()
    if name == "ra/µ":  # in Python, this letter stands for another
        assert loaded(tmp_path / "t.h5", "2 * µ", group="ra") == (2 * X).tolist()


def test_npy_files_have_the_columns_of_their_records_or_of_their_matrix(tmp_path):
    records = np.zeros(N, [("x", ">f8"), ("v", "f4", (3,))])
    records["x"], records["v"][:, 1] = X, 2 * X
    np.save(tmp_path / "records.npy", records)
    assert loaded(tmp_path / "records.npy") == X.tolist()
    assert loaded(tmp_path / "records.npy", "v[1]") == (2 * X).tolist()
    np.save(tmp_path / "matrix.npy", np.stack([X, -X], axis=1))
    assert loaded(tmp_path / "matrix.npy", "col0 - col1") == (2 * X).tolist()
    with pytest.raises(InputError, match="there are: col0, col1"):
        loaded(tmp_path / "matrix.npy")
    for name, array in {"none": records[:0], "cube": np.zeros((2, 2, 2))}.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(InputError, match=r"has no rows|of shape \(2, 2, 2\) is no table"):
            loaded(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_table_of_records_in_an_npz_file_is_a_group(tmp_path, save):
    records = np.zeros(N, [("x", "f8"), ("n", "i4")])
    records["x"] = X
    save(tmp_path / "t.npz", table=records, n=X, version=1.0)
    assert loaded(tmp_path / "t.npz") == loaded(tmp_path / "t.npz", "table/x") == X.tolist()
    assert loaded(tmp_path / "t.npz", "n") == X.tolist()


def test_numbers_of_fits_columns_are_what_the_header_makes_of_them(tmp_path):
    fits = optional("astropy.io.fits")
    columns = [
        fits.Column("u16", "I", bzero=2**15, array=np.array([0, 1, 65535, 7], np.uint16)),
        fits.Column("u32", "J", bzero=2**31, array=np.array([0, 1, 2**32 - 1, 7], np.uint32)),
        fits.Column("u64", "K", bzero=2**63, array=np.array([0, 1, 2**63, 7], np.uint64)),
        fits.Column("i8", "B", bzero=-128, array=np.array([-128, 1, 127, 7], np.int8)),
        fits.Column("null", "J", null=-9, array=np.array([1, -9, 3, 4])),
        fits.Column("scaled", "I", null=-9, array=np.array([1, -9, 3, 4])),
        fits.Column("text", "6A", array=["STAR", "GALAXY", "", "QSO"]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    fits.setval(tmp_path / "t.fits", "TSCAL6", value=0.5, ext=1)
    fits.setval(tmp_path / "t.fits", "TZERO6", value=10.0, ext=1)
    got = read(tmp_path / "t.fits")
    assert got["u16"].tolist() == [0, 1, 65535, 7]
    assert got["u32"].tolist() == [0, 1, 2**32 - 1, 7]
    assert got["u64"].tolist() == [0, 1, 2**63, 7]
    assert got["i8"].tolist() == [-128, 1, 127, 7]
    np.testing.assert_array_equal(got["null"], [1, np.nan, 3, 4])
    np.testing.assert_array_equal(got["scaled"], [10.5, np.nan, 11.5, 12.0])
    assert loaded(tmp_path / "t.fits", "u16", where="text != 'QSO'") == [0, 1, 65535]


def parquet_table(pa):
    return pa.table(
        {
            "x": X,
            "integer": pa.array([1, None, 3, 4], pa.int64()),
            "logical": pa.array([True, None, False, True]),
            "decimal": pa.array([Decimal("-31.83"), None, Decimal(3), Decimal("0.1")]),
            "list": pa.array([[1.0, 2.0], None, [3.0, None], [4.0, 5.0]]),
            "category": pa.array(["a", "b", None, "a"]).dictionary_encode(),
            "code": pa.array([1, 2, None, 1]).dictionary_encode(),
            "when": pa.array([0, 1, 2, 3], pa.timestamp("us")),
        }
    )


def test_nulls_of_any_parquet_type_are_missing_numbers(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    parquet.write_table(parquet_table(pa), tmp_path / "t.parquet", row_group_size=2)
    path = tmp_path / "t.parquet"
    for name, values in {
        "integer": [1, 3, 4],
        "logical": [1, 0, 1],
        "decimal": [-31.83, 3, 0.1],
        "list[0]": [1, 3, 4],
        "list[1]": [2, 5],
        "code": [1, 2, 1],
    }.items():
        assert loaded(path, name, drop_non_finite=True) == values, name
    assert loaded(path, where="category == 'a'") == [0.5, 3.0]
    for name in ("category", "when"):
        with pytest.raises(InputError, match=f"column '{name}' of .* is not numeric"):
            loaded(path, name)


def test_a_folder_may_hold_files_of_different_columns_and_other_things(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    (tmp_path / "set" / "field=7").mkdir(parents=True)
    parquet.write_table(pa.table({"x": X.astype(np.float32)}), tmp_path / "set/a.parquet")
    more = pa.table({"new": X, "x": 2 * X})
    parquet.write_table(more, tmp_path / "set/field=7/b.parquet")
    (tmp_path / "set" / "_SUCCESS").touch()
    (tmp_path / "set" / "notes.txt").write_text("not a table")
    (tmp_path / "empty").mkdir()
    assert loaded(tmp_path / "set") == [*X, *(2 * X)]
    assert loaded(tmp_path / "set", where="field == 7") == (2 * X).tolist()
    assert loaded(tmp_path / "set", "new", drop_non_finite=True) == X.tolist()
    with pytest.raises(InputError, match=r"empty: the folder holds no files named \*\.parquet"):
        loaded(tmp_path / "empty")
    with pytest.raises(InputError, match="is a folder, not a file of format fits"):
        loaded(tmp_path / "set", format="fits")


def hats_catalog(folder, name="hats.properties", as_folders=False, **columns):
    """A catalog of two partitions and, beside them, what repeats some of its rows."""
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    data = folder / "dataset"
    for i, place in enumerate(("Norder=0/Dir=0/Npix=4", "Norder=1/Dir=0/Npix=21")):
        table = pa.table({"x": X + i, **columns})
        file = data / (f"{place}/part0.parquet" if as_folders else f"{place}.parquet")
        file.parent.mkdir(parents=True)
        parquet.write_table(table, file)
        parquet.write_table(table, data / "data_thumbnail.parquet")
        parquet.write_metadata(table.schema, data / "_common_metadata")
    parquet.write_metadata(table.schema, data / "_metadata")
    (folder / "partition_info.csv").write_text("Norder,Npix\n0,4\n1,21\n")
    text = f"#HATS catalog\ndataproduct_type=object\nhats_nrows = {2 * N}\nhats_version=v1.0\n"
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["hats.properties", "properties"])
@pytest.mark.parametrize("as_folders", [True, False])
def test_of_a_hats_catalog_only_the_partitions_are_rows(tmp_path, name, as_folders):
    path = hats_catalog(tmp_path, name, as_folders)
    assert loaded(path) == loaded(path / "dataset") == [*X, *(X + 1)]
    assert loaded(path, where="Norder == 1 and Dir == 0") == (X + 1).tolist()
    if as_folders:
        assert loaded(path, where="Npix == 4") == X.tolist()


def test_a_hats_catalog_may_have_its_keys_as_columns(tmp_path):
    path = hats_catalog(tmp_path, Norder=np.arange(N, dtype=np.uint8))
    assert loaded(path, where="Norder == 2") == [X[2], X[2] + 1]


def test_a_hats_catalog_that_is_not_complete_is_refused(tmp_path):
    path = hats_catalog(tmp_path)
    (path / "dataset/Norder=0/Dir=0/Npix=4.parquet").unlink()
    message = r"catalog\.path: the 1 partition files .* hold 4 rows, .*hats\.properties tells of 8"
    with pytest.raises(InputError, match=message):
        loaded(path)
    (path / "dataset/Norder=1/Dir=0/Npix=21.parquet").unlink()
    with pytest.raises(InputError, match="holds no partition of a HATS catalog"):
        loaded(path)


def test_of_several_hats_catalogs_one_must_be_named(tmp_path):
    for name in ("stars", "stars_10arcs"):
        hats_catalog(tmp_path / name)
    (tmp_path / "collection.properties").write_text("hats_primary_table_url=stars\n")
    message = r"name the folder of one: stars, stars_10arcs \(stars is the primary one\)"
    with pytest.raises(InputError, match=message):
        loaded(tmp_path)
    assert len(loaded(tmp_path / "stars")) == 2 * N


TEXTS = {
    "comments": "# made on a Monday\n#\nx,name\n0.5,a\n# in between\n-1.5,b\n\n2.25,a\n3.0,c\n",
    "commented header": "# made on a Monday, early\n# x,name\n0.5,a\n-1.5,b\n2.25,a\n3.0,c\n",
    "semicolons": "x;name\r\n0.5;a\r\n-1.5;b\r\n2.25;a\r\n3.0;c\r\n",
    "blanks": "  x   name\n 0.5  a\n-1.5 b\n 2.25   a\n 3.0 c\n",
    "quotes": '"x","name"\n"0.5","a"\n"-1.5","b ""\nc"""\n"2.25","a"\n"3.0","c"\n',
    "other letters": "x,größe,name\n0.5,ä,a\n-1.5,ö,b\n2.25,ü,a\n3.0,é,c\n",
}


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "txt"])
@pytest.mark.parametrize("case", TEXTS)
def test_text_tables_are_read_as_they_are_meant(tmp_path, case, suffix, monkeypatch):
    monkeypatch.setattr("kdescent_dist.catalogs.readers.text.BLOCK_BYTES", 16)
    monkeypatch.setattr("kdescent_dist.catalogs.readers.text.STRIDE", 2)
    raw = TEXTS[case].encode("latin-1" if case == "other letters" else "utf-8")
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == "csv.gz" else raw)
    assert loaded(path) == X.tolist()
    assert loaded(path, where="name == 'a'") == [0.5, 2.25]


@pytest.mark.parametrize("with_arrow", [True, False])
def test_missing_values_and_words_for_true_are_known_in_text(tmp_path, monkeypatch, with_arrow):
    if with_arrow:
        optional("pyarrow")
    else:
        monkeypatch.setattr("kdescent_dist.catalogs.readers.text_values._by_arrow", lambda *_: None)
    rows = "1,true\n,False\nNaN,True\nNULL,true\n-,true\n--,true\nn/a,true\n1e400,true\n8,TRUE\n"
    (tmp_path / "t.csv").write_text("x,flag\n" + rows)
    assert loaded(tmp_path / "t.csv", drop_non_finite=True) == [1.0, 8.0]
    assert loaded(tmp_path / "t.csv", "flag").count(1.0) == 8


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x,y\n1,2,3\n", "the header has 2 names, and a row 3 values: 1, 2, 3"),
        ("x,y\n1,2\n1,2,3\n", "the header has 2 names, and a row 3 values: 1, 2, 3"),
        ("name x\nM31 1\nNGC 7 1\n", "the header has 2 names, and a row 3 values: NGC, 7, 1"),
        ("name,x\nM31,1\n7\n", "the header has 2 names, and a row 1 values: 7"),
        ('name,x\n"a, b",1\na, b,2\n', "the header has 2 names, and a row 3 values: a, b, 2"),
        ("x,x\n1,2\n3,4\n", "2 columns of .* are named 'x'"),
        ("y\n1\n2\n", "no column 'x' .* there are: y"),
        ("", "no column 'x' in .*: there are none"),
    ],
)
def test_text_that_is_no_table_is_refused(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        loaded(tmp_path / "t.csv")


@pytest.mark.parametrize("stride", [1, 2, 3, 4096])
@pytest.mark.parametrize("with_arrow", [True, False])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_last_line_that_may_be_cut_is_left_out_and_counted(
    tmp_path, monkeypatch, suffix, with_arrow, stride
):
    if with_arrow:
        optional("pyarrow")
    else:
        monkeypatch.setattr("kdescent_dist.catalogs.readers.text_values._by_arrow", lambda *_: None)
    monkeypatch.setattr("kdescent_dist.catalogs.readers.text.STRIDE", stride)
    text = "x,name\n1,a\n2,b\n99,c\n5,d\n"
    path = tmp_path / f"t.{suffix}"

    def opened(text, **options):
        path.write_bytes(gzip.compress(text.encode()) if suffix == "csv.gz" else text.encode())
        catalog = load_catalog(CatalogConfig(path=str(path), **options), required=["x"])
        return catalog.columns["x"].tolist(), catalog.dropped

    reason = "last line without a line break, which may be cut"
    assert opened(text) == ([1, 2, 99, 5], {})
    assert opened(text[:-1]) == ([1, 2, 99], {reason: 1})
    assert opened(text + "1007") == ([1, 2, 99, 5], {reason: 1})
    assert opened(text + "# a comm") == ([1, 2, 99, 5], {})
    assert opened(text[:-1], sentinel={"x": 99}) == ([1, 2], {reason: 1, "x is 99 (missing)": 1})
    with pytest.raises(InputError, match=f"has no rows, but for 1: {reason}"):
        opened("x,name\n1,a")
    with pytest.raises(InputError, match="a quote is not closed at its end"):
        opened(text + '6,"e\n7,f\n')


def test_a_compressed_text_file_that_is_cut_is_refused(tmp_path):
    raw = gzip.compress("\n".join(["x", *map(str, range(1000)), ""]).encode())
    for size in (len(raw) - 1, len(raw) // 2, 12):
        (tmp_path / "t.csv.gz").write_bytes(raw[:size])
        with pytest.raises(InputError, match=r"t\.csv\.gz: cannot be read as csv: Compressed file"):
            loaded(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    "text",
    [
        'name x\n"b c"  1\nd ""\n"" 2\n"b c" 4\n',  # as astropy writes what is masked in ECSV
        'name,x\n"b, c", 1\nd,""\n ,2,\n"b, c",4\n',
        'id, name, x\n1, "b, c", 1\n2, d ,\n3, , 2\n4,"b, c",4\n',
    ],
)
def test_values_in_quotes_may_be_missing_or_hold_delimiters(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert loaded(tmp_path / "t.csv", drop_non_finite=True) == [1.0, 2.0, 4.0]
    name = "b c" if "b c" in text else "b, c"
    assert loaded(tmp_path / "t.csv", where=f"name == '{name}'") == [1.0, 4.0]


def test_a_sentinel_may_be_several_values_and_an_exact_identifier(tmp_path):
    ids = 2**60 + np.arange(6)
    np.savez(tmp_path / "t.npz", x=[1.0, 99.0, -99.0, 2.0, 99.0, 3.0], id=ids)
    config = CatalogConfig(
        path=str(tmp_path / "t.npz"),
        columns={"last": "id - 1152921504606846976"},
        sentinel={"x": [99, -99.0], "id": int(ids[3])},
    )
    catalog = load_catalog(config, required=["x", "last"])
    assert catalog.columns["x"].tolist() == [1.0, 3.0]
    assert catalog.columns["last"].tolist() == [0.0, 5.0]
    assert catalog.dropped == {
        "x is 99 (missing)": 2,
        "x is -99 (missing)": 1,
        f"id is {ids[3]} (missing)": 1,
    }


@pytest.mark.parametrize("size", [2, 7, 10, 100])
def test_a_strided_subsample_takes_rows_at_equal_distances(tmp_path, size):
    np.savez(tmp_path / "t.npz", n=np.arange(105))
    config = CatalogConfig(
        path=str(tmp_path / "t.npz"), where="n >= 5", subsample=size, subsample_mode="stride"
    )
    starts = set()
    for seed in range(5):
        rows = load_catalog(config, required=["n"], seed=seed).columns["n"]
        assert len(rows) == size
        assert set(np.diff(rows)) <= {100 // size, -(-100 // size)}
        starts.add(rows[0])
    assert len(starts) > 1 or size == 100


def test_long_catalogs_are_selected_in_the_order_of_the_file(tmp_path):
    rows = 5 * LARGEST_CHUNK + 17
    n, x = np.arange(rows), np.random.default_rng(0).normal(size=rows).astype(np.float32)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["n"], file["x"] = n, x
    config = CatalogConfig(path=str(tmp_path / "t.h5"), where="x > 0.5")
    catalog = load_catalog(config, required=["n", "x"])
    np.testing.assert_array_equal(catalog.columns["n"], n[x > 0.5])
    np.testing.assert_array_equal(catalog.columns["x"], x[x > 0.5])


def test_results_of_threads_are_placed_in_order_and_stored_once():
    placed, stored = [], []

    def place(item):
        placed.append(item)
        return len(placed) - 1

    def work(item, in_turn):
        time.sleep(0.002 * (item % 3))
        stored.append((in_turn(lambda: place(item)), item))

    work_through(range(40), work)
    assert placed == list(range(40))
    assert sorted(stored) == [(i, i) for i in range(40)]


@pytest.mark.parametrize("stage", ["work", "place", "store", "items"])
def test_the_first_failure_of_threads_is_raised_and_no_thread_is_left(stage):
    def at(name):
        def step(*args):
            if name == stage and args[-1] >= 5:
                raise ValueError(f"{name} {args[-1]}")
            return args[-1]

        return step

    def work(item, in_turn):
        at("work")(item)
        in_turn(lambda: at("place")(item))
        at("store")(item)

    items = (at("items")(i) for i in range(30))
    before = threading.active_count()
    with pytest.raises(ValueError, match=f"{stage} 5"):
        work_through(items, work)
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_message_names_a_few_of_many_columns():
    hint = closest("zzz", [f"column_{i}" for i in range(500)])
    assert "column_39, and 460 more" in hint
