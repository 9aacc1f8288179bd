"""Catalogs that several processes read together: the same rows, checks and messages as one."""

import re
import threading
from pathlib import Path
from zipfile import ZipFile

import h5py
import numpy as np
import pytest

from kdescent_dist.catalogs.catalog import load_catalog, open_catalog
from kdescent_dist.catalogs.readers import FileTable
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.identity.digests import block_digests, combined
from support.tables import optional
from support.thread_processes import in_threads

RNG = np.random.default_rng(7)
ROWS = 1000
TABLE = {
    "x": RNG.normal(size=ROWS),
    "y": RNG.normal(size=ROWS).astype(np.float32),
    "n": np.arange(ROWS),
    "w": RNG.uniform(0.5, 1.5, ROWS),
}
FLUX = RNG.normal(size=(ROWS, 3))
PROCESSES = (1, 2, 3, 5)


def together(number, work):
    """What ``work(processes)`` returns or raises on each of several processes."""

    def one(processes):
        try:
            return work(processes)
        except Exception as error:
            return error

    return in_threads(number, one)


def shares(size, processes):
    return [(size * p // processes, size * (p + 1) // processes) for p in range(processes)]


def opened(config, processes, required=("x", "y"), chunk_rows=64, **options):
    """The reader of each process, or what it raised."""
    config = config if callable(config) else lambda process, config=config: config

    def work(processes):
        return open_catalog(
            config(processes.index),
            required=required,
            processes=processes,
            chunk_rows=chunk_rows,
            **options,
        )

    return together(processes, work)


def check_shares(config, processes, required=("x", "y"), **options):
    """Each process's rows are those that a single process finds in their place."""
    whole = load_catalog(config, required=required, seed=options.get("seed", 0))
    readers = opened(config, processes, required, **options)
    for reader, (first, last) in zip(readers, shares(len(whole), processes), strict=True):
        assert (reader.total, reader.dropped) == (len(whole), whole.dropped), reader
        part = reader.rows(first, last)
        assert (part.dropped, part.source) == (whole.dropped, whole.source)
        np.testing.assert_array_equal(part.weights, whole.weights[first:last])
        for name in required:
            np.testing.assert_array_equal(part.columns[name], whole.columns[name][first:last])
            assert part.columns[name].dtype == np.float64
    return whole, readers


def write_npz(folder, **changes):
    np.savez(folder / "table.npz", **(TABLE | {"flux": FLUX} | changes))
    return str(folder / "table.npz")


def write_compressed(folder):
    path = folder / "table.npz"
    columns = TABLE | {"flux": np.asfortranarray(FLUX)}
    np.savez_compressed(path, **columns)  # type: ignore[arg-type]
    return str(path)


def write_hdf5(folder):
    with h5py.File(folder / "table.hdf5", "w") as file:
        for name, values in TABLE.items():
            file.create_dataset(name, data=values, chunks=(300,), compression="gzip")
        file["flux"] = FLUX
    return str(folder / "table.hdf5")


def write_parquet(folder):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    table = pa.table(TABLE | {"flux": FLUX.tolist()})
    parquet.write_table(table, folder / "table.parquet", row_group_size=110)
    return str(folder / "table.parquet")


def write_parquet_folder(folder):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    table = pa.table(TABLE | {"flux": FLUX.tolist()})
    (folder / "table.parquet").mkdir()
    for i, first in enumerate((0, 10, 700)):
        part = table.slice(first, (10, 690, 300)[i])
        parquet.write_table(part, folder / "table.parquet" / f"{i}.parquet", row_group_size=200)
    return str(folder / "table.parquet")


def write_fits(folder):
    optional("astropy.io.fits")
    optional("astropy.table").Table(TABLE | {"flux": FLUX}).write(folder / "table.fits")
    return str(folder / "table.fits")


def write_csv(folder):
    lines = ["x,note,y,n,w"]
    for i, row in enumerate(zip(*TABLE.values(), strict=True)):
        x, y, n, w = row
        note = '"two\nlines, ""quoted"""' if i % 97 == 0 else "plain"
        lines.append(f"{x!r},{note},{float(y)!r},{n},{w!r}".replace("np.float64", ""))
        lines += [""] * (i % 50 == 0)
    text = "\n".join(lines).replace("(", "").replace(")", "") + "\n"
    (folder / "table.csv").write_text(text, encoding="utf-8-sig")
    return str(folder / "table.csv")


WRITERS = {
    "npz": write_npz,
    "compressed npz": write_compressed,
    "hdf5": write_hdf5,
    "parquet": write_parquet,
    "folder of parquet": write_parquet_folder,
    "fits": write_fits,
    "csv": write_csv,
}


@pytest.mark.parametrize("format", WRITERS)
def test_any_range_of_rows_can_be_read(tmp_path, format, monkeypatch):
    monkeypatch.setattr("kdescent_dist.catalogs.readers.text.STRIDE", 32)
    path = tmp_path.joinpath(WRITERS[format](tmp_path))
    names = ["y", "x"] + ["flux"] * (format != "csv")
    with FileTable(path, format=None, group=None, key="catalog") as table:
        assert table.lengths(names) == dict.fromkeys(names, ROWS)
        ranges = [(0, 64), (64, 128), (128, 131), (700, 1000), (5, 900), (0, 1000), (999, 1000)]
        for first, last in [*ranges, (40, 40)]:
            columns = table.read(names, first, last)
            assert list(columns) == names
            for name, values in (TABLE | {"flux": FLUX}).items():
                if name in names and first < last:
                    np.testing.assert_array_equal(columns[name], values[first:last], str(first))
                elif name in names:
                    assert len(columns[name]) == 0


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("format", WRITERS)
def test_processes_together_have_the_catalog_of_one(tmp_path, format, processes):
    config = CatalogConfig(
        path=WRITERS[format](tmp_path), where="x > 0 and n != 77", weights="w", sentinel={"n": 5}
    )
    check_shares(config, processes)


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("where", ["n >= 500", "n < 130", "n % 100 == 3", "n > 995"])
def test_the_rows_that_are_left_may_be_anywhere_in_the_file(tmp_path, processes, where):
    check_shares(CatalogConfig(path=write_npz(tmp_path), where=where), processes)


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("held_bytes", [None, 0, 2000])
def test_a_subsample_is_that_of_one_process(tmp_path, processes, held_bytes):
    config = CatalogConfig(
        path=write_npz(tmp_path), where="n > 300", weights="w", columns={"d": "x - y"}, subsample=90
    )
    whole, _ = check_shares(config, processes, ("d", "n"), seed=3, held_bytes=held_bytes)
    left = np.flatnonzero(TABLE["n"] > 300)
    drawn = np.sort(np.random.default_rng(3).choice(left, 90, replace=False))
    np.testing.assert_array_equal(whole.columns["n"], drawn)
    assert whole.dropped["not in the subsample"] == len(left) - 90


def test_columns_in_single_precision_are_those_in_double_rounded(tmp_path):
    config = CatalogConfig(
        path=write_npz(tmp_path), where="n > 300", weights="w", columns={"d": "x - y"}
    )
    wide = load_catalog(config, required=["x", "d"])
    for narrow in opened(config, 2, ["x", "d"], dtype=np.float32):
        rows = narrow.rows()
        for name, values in {**rows.columns, "weights": rows.weights}.items():
            expected = wide.weights if name == "weights" else wide.columns[name]
            assert values.dtype == np.float32
            assert np.array_equal(values, expected.astype(np.float32))


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("subsample", [None, 200])
def test_chosen_rows_are_those_of_the_whole_catalog(tmp_path, processes, subsample):
    config = CatalogConfig(path=write_npz(tmp_path), where="n > 300", subsample=subsample)
    whole, readers = check_shares(config, processes)
    chosen = np.sort(np.random.default_rng(0).choice(len(whole), 120, replace=False))
    expected = whole.columns["x"][chosen]
    for reader, (first, last) in zip(readers, shares(120, processes), strict=True):
        np.testing.assert_array_equal(
            reader.rows(first, last, chosen=chosen).columns["x"], expected[first:last]
        )


def test_any_process_can_have_any_rows_even_none(tmp_path):
    config = CatalogConfig(path=write_npz(tmp_path), where="x > 0")
    whole, readers = check_shares(config, 3)
    for reader in readers:
        np.testing.assert_array_equal(reader.rows().columns["y"], whole.columns["y"])
        assert len(reader.rows(7, 7)) == 0
        with pytest.raises(InputError, match=r"no rows 0 to 1001"):
            reader.rows(0, 1001)
        released = reader.rows(3, 400, release=True)
        np.testing.assert_array_equal(released.columns["x"], whole.columns["x"][3:400])
        np.testing.assert_array_equal(reader.rows(0, 9).columns["x"], whole.columns["x"][:9])


def test_more_processes_than_chunks_is_allowed(tmp_path):
    check_shares(CatalogConfig(path=write_npz(tmp_path)), 5, chunk_rows=400)
    check_shares(CatalogConfig(path=write_npz(tmp_path)), 3, chunk_rows=None)


def make_table(rows):
    return {"x": np.linspace(0, 1, rows), "y": list(range(rows)), "weights": np.ones(rows)}


def test_a_catalog_that_a_function_makes_is_cut_too():
    make = {"_target_": f"{__name__}.make_table", "rows": 500}
    check_shares(CatalogConfig(make=make, where="x > 0.2"), 3)


def replaced(name, rows, value):
    values = TABLE[name].astype(np.float64)
    values[rows] = value
    return values


REFUSED = {
    "non-finite": ({}, {"x": replaced("x", [3, 990], np.nan), "y": replaced("y", 990, np.inf)}),
    "all dropped": ({"where": "x > 99"}, {}),
    "all are sentinels": ({"sentinel": {"y": 1.0}}, {"y": np.ones(ROWS)}),
    "all non-finite": (
        {"drop_non_finite": True, "columns": {"x": "log(0 * w - 1)"}},
        {},
    ),
    "no variance": ({"where": "n > 800"}, {"x": replaced("x", slice(800, None), 2.5)}),
    "negative weights": ({"weights": "w"}, {"w": replaced("w", [2, 999], -1)}),
    "zero weights": ({"weights": "0 * w"}, {}),
    "subsample": ({"subsample": 800, "where": "n < 700"}, {}),
    "not a comparison": ({"where": "x"}, {}),
    "expression": ({"columns": {"x": "flux"}}, {}),
    "column": ({"columns": {"x": "xx"}}, {}),
    "text": ({}, {"x": np.array(["a"] * ROWS)}),
    "lengths": ({}, {"x": np.zeros(ROWS - 1)}),
    "not there": ({"path": "nowhere.npz"}, {}),
}


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_last_line_that_may_be_cut_is_left_out_by_all_processes(tmp_path, processes, monkeypatch):
    monkeypatch.setattr(
        "kdescent_dist.catalogs.readers.text.STRIDE", 111
    )  # the last row is at a place
    path = write_csv(tmp_path)
    text = Path(path).read_text()
    Path(path).write_text(text.rstrip())
    whole, _ = check_shares(CatalogConfig(path=path, where="n >= 10"), processes)
    assert len(whole) + sum(whole.dropped.values()) == ROWS
    assert list(whole.dropped.values()) == [1, 10]


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("write", [write_npz, write_compressed])
@pytest.mark.parametrize("name", ["x", "y", "n"])
def test_a_flipped_bit_in_an_npz_file_is_found_in_the_columns_that_are_used(
    tmp_path, write, name, processes
):
    path = write(tmp_path)
    with ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
    raw = bytearray(Path(path).read_bytes())
    raw[member.header_offset + member.compress_size - 20] ^= 1
    Path(path).write_bytes(raw)
    told = opened(CatalogConfig(path=path), processes, required=["w", name])
    for error in told:
        assert isinstance(error, InputError), error
        assert re.search(rf"cannot be read as npz: .*{name}(\.npy)?'", str(error)), error
    others = {"x", "y", "n"} - {name}
    assert len(load_catalog(CatalogConfig(path=path), required=sorted(others))) == ROWS


@pytest.mark.parametrize("case", REFUSED)
def test_every_process_raises_the_error_of_one(tmp_path, case):
    options, changes = REFUSED[case]
    config = CatalogConfig(**({"path": write_npz(tmp_path, **changes)} | options))
    with pytest.raises(InputError) as alone:
        load_catalog(config, required=["x", "y"])
    for error in opened(config, 3):
        assert isinstance(error, InputError), error
        assert str(error) == str(alone.value)


def test_values_that_vary_only_from_one_process_to_another_do_vary(tmp_path):
    check_shares(CatalogConfig(path=write_npz(tmp_path, x=np.repeat([1.0, 2.0], 500))), 2)


def test_weights_may_all_be_zero_on_one_process(tmp_path):
    config = CatalogConfig(path=write_npz(tmp_path), weights="where(n < 500, 0, w)")
    check_shares(config, 2)


def test_non_finite_rows_of_one_process_are_dropped_and_counted_by_all(tmp_path):
    path = write_npz(tmp_path, x=replaced("x", [3, 4], np.nan), y=replaced("y", [4, 999], np.inf))
    whole, _ = check_shares(CatalogConfig(path=path, drop_non_finite=True), 3)
    assert whole.dropped == {"x is not finite": 2, "y is not finite": 1}


def test_a_row_that_one_process_cannot_read_stops_all(tmp_path):
    lines = ["x,y"] + [f"{x},{y}" for x, y in zip(TABLE["x"], TABLE["y"], strict=True)]
    lines[900] = "much,1"
    (tmp_path / "table.csv").write_text("\n".join(lines))
    for error in opened(CatalogConfig(path=str(tmp_path / "table.csv")), 3):
        assert isinstance(error, InputError)
        assert re.match(
            r"process 2 of 3: catalog\.path=.*column 'x' is not numeric, it holds 'much'",
            str(error),
        )


def test_a_file_that_only_one_process_lacks_stops_all(tmp_path):
    path = write_npz(tmp_path)
    errors = opened(lambda p: CatalogConfig(path=path if p != 1 else f"{path}.gone"), 3)
    for error in errors:
        assert isinstance(error, InputError), errors
        assert re.match(r"process 1 of 3: catalog\.path=.*: no such file", str(error)), errors


def test_files_of_different_length_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    short = write_npz(tmp_path / "other", **{n: values[:-1] for n, values in TABLE.items()})
    paths = [write_npz(tmp_path), short]
    for error in opened(lambda p: CatalogConfig(path=paths[p]), 2):
        assert isinstance(error, InputError)
        assert "process 1 sees 999 rows" in str(error)


def test_an_unexpected_failure_of_one_process_is_told_to_the_others(tmp_path, monkeypatch):
    read = FileTable.read

    def fail(table, names, first, last):
        if first >= 640:
            raise ZeroDivisionError("a fault")
        return read(table, names, first, last)

    monkeypatch.setattr(FileTable, "read", fail)
    errors = opened(CatalogConfig(path=write_npz(tmp_path)), 2)
    assert isinstance(errors[1], ZeroDivisionError)
    assert isinstance(errors[0], RuntimeError)
    assert str(errors[0]) == "process 1 of 2 failed: ZeroDivisionError: a fault"


def test_integers_with_nulls_are_numbers_of_one_type_in_all_parts(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    values = [None if i == 900 else i for i in range(ROWS)]
    for statistics in (True, False):
        table = pa.table({"x": TABLE["x"], "y": pa.array(values, pa.int64())})
        path = tmp_path / f"{statistics}.parquet"
        parquet.write_table(table, path, row_group_size=100, write_statistics=statistics)
        with FileTable(path, format=None, group=None, key="catalog") as opened_table:
            assert opened_table.read(["y"], 0, 10)["y"].dtype == np.float64
            assert opened_table.read(["x"], 0, 10)["x"].dtype == np.float64
        check_shares(CatalogConfig(path=str(path), drop_non_finite=True), 2)


def test_lists_whose_length_differs_between_processes_are_refused(tmp_path):
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    lists = [[1.0, float(i)] if i < 500 else [1.0, float(i), 3.0] for i in range(ROWS)]
    table = pa.table({"v": lists, "y": TABLE["y"]})
    parquet.write_table(table, tmp_path / "lists.parquet", row_group_size=125)
    config = CatalogConfig(path=str(tmp_path / "lists.parquet"), columns={"x": "v[1]"})
    for processes in (1, 2):
        for error in opened(config, processes, chunk_rows=125):
            assert isinstance(error, InputError)
            assert "lists of column 'v' differ in length" in str(error)


@pytest.mark.parametrize(
    ("where", "most"),
    [
        (None, 250 + 20),
        ("x > 0", 250 + 80),  # shares of the file and of the selection differ a little
        ("n < 500", 250 + 125 + 20),  # and here they do not overlap on two processes
    ],
)
def test_each_process_reads_about_its_share(tmp_path, monkeypatch, where, most):
    begin, read, rows = FileTable.__init__, FileTable.read, np.zeros(4, int)
    here, reading = threading.local(), {}

    def note(table, path, **options):
        reading[table] = here.process
        begin(table, path, **options)

    def count(table, names, first, last):
        rows[reading[table]] += last - first
        return read(table, names, first, last)

    monkeypatch.setattr(FileTable, "__init__", note)
    monkeypatch.setattr(FileTable, "read", count)
    path = write_npz(tmp_path)

    def work(processes):
        here.process = processes.index
        config = CatalogConfig(path=path, where=where)
        reader = open_catalog(config, required=["x", "y"], processes=processes, chunk_rows=10)
        return len(reader.rows(*shares(reader.total, 4)[processes.index]))

    kept = together(4, work)
    assert rows.min() >= 250
    assert rows.max() <= most
    assert max(kept) - min(kept) <= 1


def test_one_process_reads_each_row_once(tmp_path, monkeypatch):
    read, ranges = FileTable.read, []

    def note(table, names, first, last):
        ranges.append((first, last))
        return read(table, names, first, last)

    monkeypatch.setattr(FileTable, "read", note)
    config = CatalogConfig(path=write_npz(tmp_path), where="x > 0", subsample=50)
    reader = open_catalog(config, required=["x"], chunk_rows=300)
    reader.rows(0, 20)
    reader.rows(10, 50)
    assert ranges == [(0, 300), (300, 600), (600, 900), (900, 1000)]


def test_a_row_group_of_a_parquet_file_is_decoded_once(tmp_path, monkeypatch):
    from kdescent_dist.catalogs.readers.parquet import ParquetTable

    decode, decoded = ParquetTable._decode, []

    def note(table, low, high, names):
        decoded.extend(range(low, high))
        return decode(table, low, high, names)

    monkeypatch.setattr(ParquetTable, "_decode", note)
    open_catalog(CatalogConfig(path=write_parquet(tmp_path)), required=["x"], chunk_rows=30)
    assert decoded == list(range(10))


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_a_digest_does_not_depend_on_who_holds_which_blocks(parts):
    size, blocks = 128, 8
    columns = {"y": TABLE["y"], "x": TABLE["x"]}
    whole = combined(block_digests(columns, size))
    digests = np.zeros((parts, blocks, 32), np.uint8)
    for p, (first, last) in enumerate(shares(blocks, parts)):
        rows = slice(first * size, last * size)
        part = block_digests({"x": TABLE["x"][rows], "y": TABLE["y"][rows]}, size)
        digests[p, : len(part)] = part
    assert combined(digests) == whole


def test_a_digest_tells_values_names_types_order_and_blocks_apart():
    x, y = TABLE["x"], TABLE["y"].astype(np.float64)
    changed = x.copy()
    changed[-1] = np.nextafter(x[-1], 9)
    catalogs = [
        ({"x": x, "y": y}, 128),
        ({"x": y, "y": x}, 128),
        ({"x": changed, "y": y}, 128),
        ({"x": x[::-1], "y": y[::-1]}, 128),
        ({"x": x[:-1], "y": y[:-1]}, 128),
        ({"x": x}, 128),
        ({"x": x.astype(np.float32), "y": y}, 128),
        ({"x": x, "y": y}, 64),
    ]
    assert len({combined(block_digests(*catalog)) for catalog in catalogs}) == len(catalogs)
