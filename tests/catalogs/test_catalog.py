"""Catalogs: what is read, derived, selected and refused, in which order, and what is counted."""

import h5py
import numpy as np
import pytest

from kdescent_dist.catalogs.catalog import Catalog, load_catalog
from kdescent_dist.catalogs.readers import FileTable
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig

RNG = np.random.default_rng(1)
ROWS = 40
TABLE = {
    "g": RNG.normal(22.0, 1.0, ROWS).astype(np.float32),
    "r": RNG.normal(21.0, 1.0, ROWS).astype(np.float32),
    "z": RNG.uniform(0.0, 1.0, ROWS),
    "w": RNG.uniform(0.5, 1.5, ROWS),
    "flux": RNG.uniform(1.0, 2.0, (ROWS, 3)),
}


def write(folder, **changes):
    """A file of the table with some columns replaced; returns its path."""
    path = folder / "table.npz"
    np.savez(path, **(TABLE | {name: np.asarray(values) for name, values in changes.items()}))
    return str(path)


def replaced(name, rows, value, dtype=np.float64):
    values = TABLE[name].astype(dtype)
    values[rows] = value
    return values


def test_columns_are_derived_in_double_precision(tmp_path):
    config = CatalogConfig(path=write(tmp_path), columns={"g_r": "g - r", "red": "flux[2]"})
    catalog = load_catalog(config, required=["g_r", "z", "red"])
    g, r = TABLE["g"].astype(np.float64), TABLE["r"].astype(np.float64)
    np.testing.assert_array_equal(catalog.columns["g_r"], g - r)
    np.testing.assert_array_equal(catalog.columns["red"], TABLE["flux"][:, 2])
    np.testing.assert_array_equal(catalog.columns["z"], TABLE["z"])
    assert list(catalog.columns) == ["g_r", "z", "red"]
    assert all(values.dtype == np.float64 for values in catalog.columns.values())
    assert catalog.weights.tolist() == [1.0] * ROWS
    assert (len(catalog), catalog.dropped, catalog.source) == (ROWS, {}, config.path)


def test_only_the_columns_that_are_needed_are_read(tmp_path, monkeypatch):
    read, whole = set(), FileTable.read

    def spy(table, names, first, last):
        read.update(names)
        return whole(table, names, first, last)

    monkeypatch.setattr(FileTable, "read", spy)
    config = CatalogConfig(
        path=write(tmp_path), columns={"g_r": "g - r", "unused": "flux[0]"}, where="z > 0.1"
    )
    load_catalog(config, required=["g_r"])
    assert read == {"g", "r", "z"}


def test_a_name_hides_the_file_column_of_the_same_name_but_in_its_own_expression(tmp_path):
    config = CatalogConfig(path=write(tmp_path), columns={"z": "z + 10"}, where="z > 10.5")
    catalog = load_catalog(config, required=["z"])
    np.testing.assert_array_equal(catalog.columns["z"], (TABLE["z"] + 10)[TABLE["z"] + 10 > 10.5])


def test_columns_may_have_any_name_in_the_file(tmp_path):
    path = str(tmp_path / "nested.hdf5")
    with h5py.File(path, "w") as file:
        file["phot/mag g"], file["phot/mag r"], file["z"] = TABLE["g"], TABLE["r"], TABLE["z"]
    columns = {"g": "phot/mag g", "g_r": "`phot/mag g` - `phot/mag r`"}
    catalog = load_catalog(CatalogConfig(path=path, columns=columns), required=["g", "g_r", "z"])
    np.testing.assert_array_equal(catalog.columns["g"], TABLE["g"])
    catalog = load_catalog(CatalogConfig(path=path), required=["phot/mag g"])
    np.testing.assert_array_equal(catalog.columns["phot/mag g"], TABLE["g"])


def test_rows_with_a_sentinel_value_go_and_are_counted(tmp_path):
    path = write(tmp_path, g=replaced("g", [0, 3], 99), r=replaced("r", [3, 5], 99))
    config = CatalogConfig(path=path, sentinel={"g": 99, "r": 99}, columns={"g_r": "g - r"})
    catalog = load_catalog(config, required=["g_r", "z"])
    np.testing.assert_array_equal(catalog.columns["z"], np.delete(TABLE["z"], [0, 3, 5]))
    assert catalog.dropped == {"g is 99 (missing)": 2, "r is 99 (missing)": 1}


def test_a_sentinel_of_a_column_that_is_not_used_has_no_effect(tmp_path):
    config = CatalogConfig(path=write(tmp_path, g=replaced("g", [0], 99)), sentinel={"g": 99})
    assert len(load_catalog(config, required=["z"])) == ROWS


def test_a_sentinel_is_compared_in_the_precision_of_the_file(tmp_path):
    path = write(tmp_path, g=replaced("g", [2], -99.9, np.float32))
    config = CatalogConfig(path=path, sentinel={"g": -99.9})
    assert len(load_catalog(config, required=["g"])) == ROWS - 1


def test_a_sentinel_may_be_nan_or_an_integer(tmp_path):
    integers = np.arange(ROWS)
    path = write(tmp_path, g=replaced("g", [2], np.nan), n=integers)
    config = CatalogConfig(path=path, sentinel={"g": np.nan, "n": 7})
    catalog = load_catalog(config, required=["g", "n"])
    np.testing.assert_array_equal(catalog.columns["n"], np.delete(integers, [2, 7]))


def test_of_a_vector_column_the_sentinel_counts_in_the_entries_that_are_used(tmp_path):
    flux = TABLE["flux"].copy()
    flux[4, 0] = flux[5, 1] = -1
    config = CatalogConfig(
        path=write(tmp_path, flux=flux), sentinel={"flux": -1}, columns={"blue": "flux[0]"}
    )
    assert load_catalog(config, required=["blue"]).dropped == {"flux is -1 (missing)": 1}


def test_where_selects_by_names_and_file_columns(tmp_path):
    config = CatalogConfig(
        path=write(tmp_path), columns={"g_r": "g - r"}, where="0 < g_r < 2 and not z < 0.3"
    )
    catalog = load_catalog(config, required=["r"])
    g_r = TABLE["g"].astype(np.float64) - TABLE["r"]
    kept = (g_r > 0) & (g_r < 2) & (TABLE["z"] >= 0.3)
    np.testing.assert_array_equal(catalog.columns["r"], TABLE["r"][kept])
    assert catalog.dropped == {f"where is false: {config.where}": ROWS - kept.sum()}


def test_weights_are_an_expression(tmp_path):
    config = CatalogConfig(path=write(tmp_path), columns={"half": "w / 2"}, weights="half * 4")
    np.testing.assert_allclose(load_catalog(config, required=["z"]).weights, 2 * TABLE["w"])


def test_non_finite_rows_are_counted_and_refused(tmp_path):
    path = write(tmp_path, g=replaced("g", [0, 1], np.nan), w=replaced("w", [1, 2], np.inf))
    with pytest.raises(InputError, match=r"3 of 40 rows.*g in 2, weights in 2") as caught:
        load_catalog(CatalogConfig(path=path, weights="w"), required=["z", "g"])
    assert "set catalog.drop_non_finite=true" in str(caught.value)


def test_non_finite_rows_are_dropped_and_counted_on_request(tmp_path):
    path = write(tmp_path, g=replaced("g", [0, 1], np.nan), w=replaced("w", [1, 2], np.inf))
    config = CatalogConfig(path=path, weights="w", drop_non_finite=True)
    catalog = load_catalog(config, required=["z", "g"])
    np.testing.assert_array_equal(catalog.columns["z"], TABLE["z"][3:])
    assert catalog.dropped == {"g is not finite": 2, "weights is not finite": 1}


def test_non_finite_rows_that_are_not_selected_or_not_used_do_no_harm(tmp_path):
    path = write(tmp_path, g=replaced("g", [0], np.nan), r=replaced("r", [1], np.inf))
    config = CatalogConfig(path=path, columns={"log": "log10(g)"}, where="g > 0")
    assert len(load_catalog(config, required=["log"])) == ROWS - 1


def test_a_subsample_is_fixed_by_the_seed_and_keeps_the_order_of_the_file(tmp_path):
    config = CatalogConfig(path=write(tmp_path, n=np.arange(ROWS)), where="n >= 5", subsample=10)
    one, same, other = (load_catalog(config, required=["n"], seed=s) for s in (3, 3, 4))
    assert one.columns["n"].tolist() == same.columns["n"].tolist() != other.columns["n"].tolist()
    assert (np.diff(one.columns["n"]) > 0).all()
    assert one.dropped == {"where is false: n >= 5": 5, "not in the subsample": 25}


def make_table(rows, scale=1.0):
    x = np.linspace(0.0, scale, rows)
    return {"x": x, "y": (x**2).tolist(), "weights": 1 + x, "text": ["a"] * rows}


def make_wrong(rows):
    return [np.zeros(rows)]


def make_ragged():
    return {"x": [1.0, 2.0], "y": [[1.0], [1.0, 2.0]]}


def test_a_function_can_make_the_catalog():
    make = {"_target_": f"{__name__}.make_table", "rows": 11, "scale": 2.0}
    config = CatalogConfig(make=make, columns={"s": "x + y"}, where="x > 0.5")
    catalog = load_catalog(config, required=["s"])
    x = np.linspace(0, 2, 11)[3:]
    np.testing.assert_allclose(catalog.columns["s"], x + x**2)
    np.testing.assert_allclose(catalog.weights, 1 + x)
    assert catalog.source == f"{__name__}.make_table"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            {"_target_": f"{__name__}.make_tabel", "rows": 3},
            r"make\._target_=.*make_table",
        ),
        ({"_target_": f"{__name__}.make_table"}, r"catalog\.make: .*'rows'"),
        ({"_target_": f"{__name__}.make_wrong", "rows": 3}, r"catalog\.make: .* mapping .* list"),
        ({"_target_": f"{__name__}.make_ragged"}, r"catalog\.make: column 'y' is not an array"),
        ({"rows": 3}, r"catalog\.make\._target_: missing"),
    ],
)
def test_a_function_that_makes_no_catalog_is_refused(make, reason):
    with pytest.raises(InputError, match=reason):
        load_catalog(CatalogConfig(make=make), required=["x", "y"])


def test_the_shipped_sample_is_complete():
    config = CatalogConfig(
        path="sample:dc2",
        columns={"u_g": "mag_u_lsst - mag_g_lsst"},
        sentinel={"mag_u_lsst": 99, "mag_g_lsst": 99},
    )
    bands = [f"mag_{band}_lsst" for band in "griz"]
    catalog = load_catalog(config, required=["u_g", "redshift"])
    assert catalog.dropped == {"mag_u_lsst is 99 (missing)": 714, "mag_g_lsst is 99 (missing)": 2}
    assert len(catalog) == 10225 - 716
    assert len(load_catalog(config, required=[*bands[1:], "mag_y_lsst", "redshift"])) == 10225


BAD = {
    "no source": ({"path": None}, r"set either catalog\.path"),
    "two sources": ({"make": {"_target_": "a.b"}}, r"set either catalog\.path"),
    "unknown sample": ({"path": "sample:dc3"}, r"catalog\.path=sample:dc3: .*did you mean dc2"),
    "missing column": ({"columns": {"zz": "z"}}, r"no column 'g_r' .*catalog\.columns\.g_r"),
    "column in it": ({"columns": {"g_r": "g - i"}}, r"columns\.g_r: no column 'i'"),
    "expression": ({"columns": {"g_r": "g -"}}, r"catalog\.columns\.g_r: 'g -'"),
    "vectors": ({"columns": {"g_r": "flux"}}, r"catalog\.columns\.g_r: .*3 entries"),
    "entry": ({"columns": {"g_r": "flux[3]"}}, r"catalog\.columns\.g_r: .*3 entries"),
    "text": ({"columns": {"g_r": "name"}}, r"column 'name' of .* is not numeric"),
    "lengths": ({"columns": {"g_r": "g - short"}}, r"differ in their rows: .*short 3"),
    "no variance": ({"columns": {"g_r": "0 * g + 2"}}, r"column 'g_r' is 2 in all 40 rows"),
    "sentinel": ({"sentinel": {"gg": 99}}, r"catalog\.sentinel\.gg: no column 'gg'"),
    "sentinel of all": (
        {"sentinel": {"one": 1}, "where": "one > 0"},
        r"catalog\.sentinel\.one=1: drops all 40",
    ),
    "where": ({"where": "q > 1"}, r"catalog\.where: no column 'q'"),
    "where is a number": ({"where": "z"}, r"catalog\.where=z: must be a comparison"),
    "where drops all": ({"where": "z > 9"}, r"catalog\.where=z > 9: drops all 40 rows"),
    "weights": ({"weights": "ww"}, r"catalog\.weights: no column 'ww'"),
    "negative weights": ({"weights": "w - 1"}, r"catalog\.weights: \d+ of 40 rows are negative"),
    "zero weights": ({"weights": "0 * w"}, r"catalog\.weights: all 40 rows are 0"),
    "large subsample": ({"subsample": 41}, r"catalog\.subsample=41: must be between 1 and 40"),
    "all are NaN": (
        {"columns": {"g_r": "log(-g)"}, "drop_non_finite": True},
        r"catalog\.drop_non_finite=true: drops all 40",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_key(tmp_path, case):
    options, reason = BAD[case]
    path = write(tmp_path, name=["a"] * ROWS, short=[1, 2, 3], one=np.ones(ROWS))
    config = CatalogConfig(**({"path": path, "columns": {"g_r": "g - r"}} | options))
    with pytest.raises(InputError, match=reason):
        load_catalog(config, required=["g_r", "z"])


def test_messages_carry_the_key_of_the_config(tmp_path):
    config = CatalogConfig(path=write(tmp_path), columns={"g_r": "g - i"})
    with pytest.raises(InputError, match=r"^input\.catalog\.columns\.g_r: "):
        load_catalog(config, required=["g_r"], key="input.catalog")


def test_a_missing_file_names_what_is_there_instead(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"catalog\.path=tabel\.npz: no such file: .*table\.npz"):
        load_catalog(CatalogConfig(path="tabel.npz"), required=["z"])
    with pytest.raises(InputError, match=rf"{tmp_path} holds table\.npz"):
        load_catalog(CatalogConfig(path="folder/that/is/not/there.npz"), required=["z"])
    assert len(load_catalog(CatalogConfig(path="table.npz"), required=["z"])) == ROWS


def test_a_column_in_a_group_is_found_for_the_user(tmp_path):
    with h5py.File(tmp_path / "table.hdf5", "w") as file:
        file["photometry/z"] = TABLE["z"]
        file["shapes/e1"] = TABLE["z"]
    config = CatalogConfig(path=str(tmp_path / "table.hdf5"), columns={"a": "photometry/z + 1"})
    with pytest.raises(InputError, match=r"set catalog\.group=photometry"):
        load_catalog(config, required=["z"])
    with pytest.raises(InputError, match=r"`photometry/z` in backquotes"):
        load_catalog(config, required=["a"])


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("z\n")
    with pytest.raises(InputError, match="has no rows"):
        load_catalog(CatalogConfig(path=str(tmp_path / "empty.csv")), required=["z"])


def test_a_catalog_of_which_nothing_is_used_is_refused(tmp_path):
    with pytest.raises(InputError, match="none of its columns is used"):
        load_catalog(CatalogConfig(path=write(tmp_path)), required=[])


def test_a_catalog_cannot_be_changed():
    catalog = Catalog({"x": np.arange(3.0)}, np.ones(3))
    with pytest.raises(AttributeError):
        catalog.weights = np.zeros(3)  # type: ignore[misc]
