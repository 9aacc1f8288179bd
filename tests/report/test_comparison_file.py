"""The files that a comparison is written to, and the files of earlier versions."""

import json
from dataclasses import fields

import numpy as np
import pytest

from kdescent_dist.report.data.comparison import BinRecord, Comparison, Counts, Samples
from kdescent_dist.report.data.records import bins_of

RNG = np.random.default_rng(0)


def counts(weight):
    return Counts(weight, RNG.random(3), RNG.random(2) + 1j * RNG.random(2))


def record(**changes):
    known = {
        "name": "colors[redshift 0.1-0.5]",
        "group": "colors",
        "columns": ["g_r", "r_i"],
        "window": {"redshift": (0.1, 0.5)},
        "softness": {"redshift": 0.04},
        "normalization": "density",
        "number_density": False,
        "n_training": 42,
        "centers": RNG.random((3, 2)),
        "kernel_cov": np.eye(2),
        "modes": RNG.random((2, 2)),
        "data": counts(20.0),
        "guess": counts(30.0),
        "fit": counts(10.0),
        "kde_err": RNG.random(3) + 1,
        "fourier_err": RNG.random(2) + 1 + 1j,
    }
    return BinRecord(**known | changes)


def samples(*which):
    return {name: Samples({"g_r": RNG.random(4)}, np.full(4, 25.0)) for name in which}


FITTED = Comparison(
    [record(), record(name="second", window={}, softness={})], samples("data", "guess", "fit")
)
INSPECTED = Comparison(
    [record(fit=None, ecf=RNG.random(2) + 1j, ecf_err=RNG.random(2) + 1j, min_training=50)],
    samples("data", "guess", "input"),
)


def assert_equal(one, two):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, Counts):
            assert_equal(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("comparison", [FITTED, INSPECTED], ids=["fit", "inspection"])
def test_a_comparison_is_read_as_it_was_written(tmp_path, comparison):
    np.savez(tmp_path / "file.npz", **comparison.to_arrays())
    with np.load(tmp_path / "file.npz") as file:
        read = Comparison.from_arrays({key: file[key] for key in file.files})
    assert read.samples.keys() == comparison.samples.keys()
    for which, expected in comparison.samples.items():
        np.testing.assert_array_equal(read.samples[which].weights, expected.weights)
        np.testing.assert_array_equal(read.samples[which].x["g_r"], expected.x["g_r"])
    for one, expected in zip(read.bins, comparison.bins, strict=True):
        assert_equal(one, expected)


def test_the_names_in_the_files_stay():
    """Other versions, and scripts of users, read the files."""

    def of_samples(*which):
        return {f"{name}/{column}" for name in which for column in ("g_r", "weights")}

    names = {"kernel_centers", "kernel_cov", "fourier_positions", "kde_err", "fourier_err"}
    names |= {"kde_truth", "fourier_truth", "kde_guess", "fourier_guess"}
    fitted, inspected = FITTED.to_arrays(), INSPECTED.to_arrays()
    assert fitted.keys() == of_samples("data", "guess", "fit") | {"bins"} | {
        f"bin{i}/{name}" for i in (0, 1) for name in (*names, "kde_fit", "fourier_fit")
    }
    assert inspected.keys() == of_samples("data", "guess", "input") | {"bins"} | {
        f"bin0/{name}" for name in (*names, "ecf", "ecf_err")
    }
    described = {"name", "group", "columns", "window", "softness", "normalization"}
    described |= {"number_density", "n_training", "sum_training", "sum_guess"}
    assert json.loads(str(fitted["bins"]))[0].keys() == described | {"sum_fit"}
    assert json.loads(str(inspected["bins"]))[0].keys() == described | {"min_training"}


def test_files_of_early_versions_are_read():
    """These have one softness for all columns, and no covariance of the kernels."""
    arrays = FITTED.to_arrays()
    del arrays["bin0/kernel_cov"]
    entries = json.loads(str(arrays["bins"]))
    entries[0]["softness"] = 0.1
    read = Comparison.from_arrays(arrays | {"bins": np.array(json.dumps(entries))}).bins[0]
    assert read.softness == {"redshift": 0.1}
    assert read.kernel_cov is None


def test_a_file_without_the_counts_of_a_bin_is_refused():
    arrays = FITTED.to_arrays()
    del arrays["bin1/kde_err"]
    with pytest.raises(KeyError, match="kde_err"):
        Comparison.from_arrays(arrays)


def test_before_a_fit_there_are_no_residuals_of_a_fit():
    (bin_,) = bins_of(INSPECTED)
    assert bin_.kde.fit is None
    assert np.isnan(bin_.kde.chisq("fit"))
    assert bin_.worst == max(bin_.kde.chisq("guess"), bin_.fourier.chisq("guess"))
    assert bin_.sums == {"data": 0.2, "guess": 0.3}
    assert np.isnan(bin_.ratio)


def test_a_share_is_a_fraction_of_the_weight_of_all_samples():
    first, second = bins_of(FITTED)
    assert first.sums == {"data": 0.2, "guess": 0.3, "fit": 0.1}
    assert first.ratio == pytest.approx(0.5)
    assert (first.number, second.number) == (1, 2)
