"""Rows that are given as they must not be used: masked, out of range, or integers cut off."""

import jax
import numpy as np
import pytest

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import count_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.catalog import load_catalog, open_catalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, Config, InputCatalogConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.numerics.arrays import check_integers, unmasked
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer
from kdescent_dist.run.catalogs import RunCatalogs
from support import problems

ROWS = 30
X = np.random.default_rng(3).normal(size=ROWS)
BAD = (4, 17)
GRIDS = {"g": BinsConfig(columns=["x"], edges={"x": [-9.0, 9.0]}, kernels=2, fourier=2)}


def hidden(values, rows=BAD):
    """Values, of which those of some rows are masked."""
    return np.ma.array(values, mask=np.isin(np.arange(len(values)), rows))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "?"])
def test_a_masked_number_is_nan(dtype):
    values = np.array([1, 0, 1]).astype(dtype)
    plain = unmasked(np.ma.array(values, mask=[True, False, False]))
    assert type(plain) is np.ndarray
    np.testing.assert_array_equal(plain, [np.nan, 0, 1])
    assert plain.dtype == (dtype if dtype.startswith("f") else plain.dtype)
    whole = unmasked(np.ma.array(values, mask=False))
    assert (type(whole), whole.dtype) == (np.ndarray, values.dtype)
    of_list = unmasked([np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([3.0, 4.0])])
    np.testing.assert_array_equal(of_list, [[1, np.nan], [3, 4]])


def test_masked_training_data_are_refused_or_dropped():
    weights = np.ones(ROWS)
    bin_ = expand_bins(GRIDS)[0]
    with pytest.raises(InputError, match="2 of 30 values of column 'x' are NaN or infinite"):
        pretrain_bin(bin_, {"x": hidden(X)}, weights, 0)
    with pytest.raises(InputError, match="training weights: 2 of 30 values"):
        pretrain_bin(bin_, {"x": X}, hidden(weights), 0)
    with pytest.raises(InputError, match="training weights: 3 of 30 are negative"):
        pretrain_bin(bin_, {"x": X}, np.where(np.arange(ROWS) < 3, -1.0, 1.0), 0)
    grid = {"g": BinsConfig(columns=["x"], edges={"x": {"number": 2}})}
    with pytest.raises(InputError, match="2 of 30 values of column 'x'"):
        resolve_grids(grid, {"x": hidden(X)}, weights)
    assert count_bins([bin_], {"x": hidden(X)}).tolist() == [ROWS - 2]
    assert bin_.count({"x": hidden(X)}) == ROWS - 2


@pytest.mark.slow
def test_a_masked_training_sample_is_that_without_its_rows():
    numbers = {"num_pretrain_kernels": 5, "num_pretrain_fourier_positions": 5}
    weights = np.linspace(1, 2, ROWS)
    with pytest.raises(InputError, match="2 of 30 rows have a NaN"):
        KPretrainer.from_training_data(hidden(X), weights, **numbers)
    with pytest.raises(InputError, match="2 of 30 rows have a NaN"):
        KPretrainer.from_training_data(X, hidden(weights), **numbers)
    dropped = KPretrainer.from_training_data(hidden(X), weights, drop_non_finite=True, **numbers)
    kept = np.delete(X, BAD), np.delete(weights, BAD)
    expected = KPretrainer.from_training_data(*kept, **numbers)
    np.testing.assert_array_equal(dropped.kde_counts, expected.kde_counts)
    calc = KCalc(expected)
    with_nan = np.where(np.isin(np.arange(ROWS), BAD), np.nan, X)
    for x, w in ((hidden(X), None), (X, hidden(weights))):
        counts = calc.compare_kde_counts(jax.random.key(0), x, w)[0]
        assert np.isnan(counts).all()
        assert np.isnan(calc.reduced_chisq_loss(jax.random.key(0), x, w, density=True))
    assert np.isnan(calc.compare_fourier_counts(jax.random.key(0), with_nan)[0]).all()


def masked_columns(rows):
    return {"x": hidden(X[:rows]), "n": hidden(np.arange(rows), [1]), "weights": hidden(X**2, [2])}


def masked_text(rows):
    return {"x": X[:rows], "name": hidden(np.array(["a"] * rows))}


def test_what_a_function_masks_is_missing():
    make = {"_target_": f"{__name__}.masked_columns", "rows": ROWS}
    with pytest.raises(InputError, match=r"4 of 30 rows .*\(x in 2, n in 1, weights in 1\)"):
        load_catalog(CatalogConfig(make=make), required=["x", "n"])
    catalog = load_catalog(CatalogConfig(make=make, drop_non_finite=True), required=["x", "n"])
    reasons = {"x is not finite": 2, "n is not finite": 1, "weights is not finite": 1}
    assert catalog.dropped == reasons
    np.testing.assert_array_equal(catalog.columns["x"], np.delete(X, [*BAD, 1, 2]))
    make = {"_target_": f"{__name__}.masked_text", "rows": ROWS}
    catalog = load_catalog(CatalogConfig(make=make, where="name == 'a'"), required=["x"])
    np.testing.assert_array_equal(catalog.columns["x"], np.delete(X, BAD))


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained({"one": problems.GRIDS["one"]})


MASS = np.random.default_rng(2).uniform(size=problems.SIZE)


@pytest.mark.parametrize(
    ("column", "weights", "message"),
    [
        (hidden(MASS), None, r"'mass': 2 of 1003 values are NaN or infinite in float32"),
        (MASS, hidden(MASS), r"'weights of the input catalog': 2 of 1003 values are NaN"),
        (np.append(MASS[1:], 1e39), None, "'mass': 1 of 1003 values are NaN or infinite in float"),
        (2**24 + np.arange(problems.SIZE), None, "integer 16777217, .* rounds to 16777216"),
    ],
)
def test_an_input_catalog_with_values_that_cannot_be_used_is_refused(
    bins, column, weights, message
):
    with pytest.raises(InputError, match=f"input catalog: column .*{message}"):
        problems.objective(bins, catalog={"mass": column}, catalog_weights=weights)


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8"])
@pytest.mark.parametrize(("to", "digits"), [(np.float32, 24), (np.float64, 53)])
def test_integers_are_refused_where_a_type_rounds_them(dtype, to, digits):
    info = np.iinfo(dtype)
    edges = [2**p + d for p in (0, 8, 23, 24, 25, 31, 52, 53, 54, 63) for d in (-1, 0, 1, 2)]
    edges = [v for e in edges for v in (e, -e) if info.min <= v <= info.max]
    for value in (*edges, info.min, info.max):
        if int(to(value)) == value:
            check_integers(np.array([0, value], dtype), to, "x", "")
        else:
            with pytest.raises(InputError, match=f"x holds the integer {value}, which float"):
                check_integers(np.array([0, value], dtype), to, "x", "")


@pytest.mark.parametrize("own", [True, False])
def test_identifiers_that_are_handed_to_the_model_keep_their_digits(tmp_path, own):
    ids = 2**24 + np.arange(ROWS)
    np.savez(tmp_path / "t.npz", x=X, id=ids)
    source = CatalogConfig(path=str(tmp_path / "t.npz"))
    key = "input.catalog" if own else "catalog"

    def opened(columns=("id",), **options):
        source.columns = options
        config = Config(
            catalog=CatalogConfig(path=source.path) if own else source,
            input=InputCatalogConfig(columns=list(columns), catalog=source if own else None),
            bins=GRIDS,
        )
        catalogs = RunCatalogs(config, Processes(()))
        catalogs.training()
        given = catalogs.input(problems.make_mesh(1))[2]
        assert given is not None
        return given.columns

    with pytest.raises(InputError, match=rf"{key}: column 'id' .* 16777217, .* runtime\.x64=true"):
        opened()
    assert opened(id="id - 16777216")["id"].tolist() == list(range(ROWS))
    assert opened(id="1.0*id")["id"].tolist() == ids.astype(np.float32).tolist()
    assert len(opened(["x"])["x"]) == ROWS  # what the model does not see may be anything


def test_values_beyond_the_precision_of_the_fit_are_not_finite(tmp_path):
    far, w = X.copy(), np.ones(ROWS)
    far[3], far[8], w[5] = 1e39, -1e300, 3.5e38
    np.savez(tmp_path / "t.npz", x=far, w=w)
    config = CatalogConfig(path=str(tmp_path / "t.npz"), weights="w")
    message = r"3 of 30 rows .*\(x in 2, weights in 1\): .*float32 holds values up to 3\.4e\+38"
    with pytest.raises(InputError, match=message):
        open_catalog(config, required=["x"], dtype=np.float32)
    config.drop_non_finite = True
    catalog = open_catalog(config, required=["x"], dtype=np.float32).rows()
    assert catalog.dropped == {"x is not finite": 2, "weights is not finite": 1}
    np.testing.assert_array_equal(catalog.columns["x"], np.delete(X, [3, 5, 8]).astype("f4"))
    assert len(load_catalog(config, required=["x"])) == ROWS
    with pytest.raises(InputError, match=r"2 of 30 values of column 'x' .* in float32"):
        pretrain_bin(expand_bins(GRIDS)[0], {"x": far}, np.ones(ROWS), 0)
    with pytest.raises(InputError, match=r"training weights: 1 of 30 values .* in float32"):
        pretrain_bin(expand_bins(GRIDS)[0], {"x": X}, w, 0)
