"""A report shows every statistic of a bin by its name, and the errors that go with given counts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.report import make_bin_page, make_report
from kdescent_dist.report.data.comparison import Comparison
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.pages.inspection_text import _bins
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.overview import plot_distribution, plot_grid
from kdescent_dist.report.plots.populations import plot_bins
from kdescent_dist.report.plots.weights import plot_numbers
from support.pages import Page
from support.run_directories import write_run

DASH = "\N{EN DASH}"
RNG = np.random.default_rng(3)
EDGES = {"redshift": np.linspace(0.0, 1.5, 7).tolist()}
CELLS = 50


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six bins of kernels and a histogram, and one of a histogram alone, whose counts are given."""
    directory = tmp_path_factory.mktemp("run")
    groups = {
        "grid": BinsConfig(columns=["mag_i"], edges=EDGES, fourier=0),
        "cells": BinsConfig(columns=["g_r"], kernels=0, fourier=0, normalization="counts"),
    }
    _, _, arrays = write_run(directory, groups, parameters=2, size=600, kernels=10, modes=5)
    entries = json.loads(str(arrays["bins"]))
    for i, entry in enumerate(entries):
        truth, err = RNG.uniform(5, 9, (CELLS, 1)), np.full((CELLS, 1), 0.5)
        off = {"guess": 3.0, "fit": 1.0}
        models = {w: truth + s * err * RNG.normal(size=truth.shape) for w, s in off.items()}
        for which, values in {"truth": truth, "err": err, **models}.items():
            arrays[f"bin{i}/histogram/{which}"] = values
        if entry["group"] == "cells":
            entry |= {"n_training": 0, "sum_training_err": 0.1 * entry["sum_training"]}
    np.savez(directory / "diagnostics.npz", **arrays | {"bins": np.array(json.dumps(entries))})
    return directory


def squares(run, i, which):
    with np.load(run / "diagnostics.npz") as file:
        values, truth, err = (file[f"bin{i}/histogram/{w}"] for w in (which, "truth", "err"))
    return np.mean(((values - truth) / err) ** 2)


@pytest.mark.slow
def test_the_table_has_columns_of_the_statistics_that_there_are(run):
    page = Page(make_report(run))
    heads = next(row for row in page.rows if row[:2] == ["#", "bin"])
    assert heads[4:6] == ["kernel counts (KDE)", "counts of histogram"]
    assert "Fourier counts" not in page.text
    first = page.row("grid[redshift 0-0.25]")
    assert float(first[4]) > 0
    assert first[6:8] == [f"{squares(run, 0, which):.2f}" for which in ("guess", "fit")]
    lone = page.row("cells")
    assert lone[2:6] == [DASH] * 4  # neither training samples nor kernels
    assert lone[6:8] == [f"{squares(run, 6, which):.2f}" for which in ("guess", "fit")]


def test_the_page_of_a_bin_has_a_row_for_each_of_its_statistics(run):
    page = Page(make_bin_page(run, "cells"))
    rows = [
        row[0] for row in page.rows if row[0].endswith(("(KDE)", "histogram", "Fourier counts"))
    ]
    assert rows == ["counts of histogram"]
    assert page.row("counts of histogram")[2] == f"{squares(run, 6, 'fit'):.2f}"
    assert len(page.images()) == 2  # the fit, and the residuals of the histogram
    page = Page(make_bin_page(run, "1"))
    assert page.row("kernel counts (KDE)")


def test_the_overview_draws_every_statistic(run):
    bins = read_run(run).bins
    (plot,) = plot_distribution("overview", bins)
    (legend,) = plot.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:2] == ["kernel counts (KDE)", "counts of histogram"]
    against = plot.figure.axes[1].lines
    points = {line.get_color(): len(line.get_xdata()) for line in against}
    assert points[style.KDE] == points[style.FURTHER[0]] == 6
    (grid,) = plot_grid("overview_grid", [b for b in bins if b.group == "grid"])
    texts = [t.get_text() for t in grid.figure.axes[0].get_legend().get_texts()]
    assert texts == ["kernel counts (KDE)", "counts of histogram"]


def test_an_overview_without_training_samples_has_no_axis_of_them(run):
    bins = [replace(b, n_training=0) for b in read_run(run).bins]
    (plot,) = plot_distribution("overview", bins)
    assert len(plot.figure.axes) == 1
    assert "training samples" not in plot.caption


@pytest.mark.parametrize(
    ("changes", "relative", "caption"),
    [
        ({}, 0.1, "Bars: the error that is given with the data."),
        ({"weight_err": 0.0}, 0.0, "to the data (right)."),
        ({"weight_err": None, "n_training": 25}, 0.2, "Bars: Poisson noise of the data."),
    ],
)
def test_bars_are_the_errors_that_are_given_and_poisson_noise_else(run, changes, relative, caption):
    bin_ = replace(read_run(run).bins[-1], **changes)
    (plot,) = plot_numbers("numbers", [bin_])
    assert plot.caption.endswith(caption)
    total, ratio = (ax.containers[0][2][0].get_segments()[0] for ax in plot.figure.axes)
    half = relative * bin_.sums["data"]
    assert total[:, 0] - bin_.sums["data"] == pytest.approx([-half, half])
    assert ratio[:, 0] - 1 == pytest.approx([-relative, relative])


def test_an_error_that_is_given_is_read_as_it_was_written(run):
    with np.load(run / "diagnostics.npz") as file:
        first = Comparison.from_arrays(dict(file))
    again = Comparison.from_arrays(first.to_arrays())
    for comparison in (first, again):
        *counted, given = comparison.bins
        assert all(record.weight_err is None for record in counted)
        assert given.weight_err == pytest.approx(0.1 * given.data.weight)


@pytest.mark.parametrize("group", ["cells", "pair"])
def test_a_bin_without_training_samples_is_drawn_without_data(run, group):
    """As a histogram of one column, and as contours of two."""
    found = read_run(run)
    columns = ["g_r"] if group == "cells" else ["g_r", "r_i"]
    bin_ = replace(found.bins[-1], columns=columns)
    models = {name: found.samples[name] for name in ("guess", "fit")}
    for samples, data in ((models, False), (found.samples, True)):
        (plot,) = plot_bins("fit", [bin_], samples)
        (legend,) = plot.figure.legends
        names = [text.get_text().split(" (")[0] for text in legend.get_texts()]
        assert names == ["data"] * data + ["model, fitted", "model at the guess"]
        assert ("the data" in plot.caption) == data
        assert plot.figure.axes[0].get_title("left") == "all samples"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0], "1, 1 of given counts"),
        ([8], "1, of 8 training samples"),
        ([0, 8, 8], "3, 1 of given counts; training samples from 8 to 8, median 8"),
    ],
)
def test_an_inspection_tells_which_bins_have_training_samples(run, numbers, expected):
    bin_ = read_run(run).bins[-1]
    assert _bins([replace(bin_, n_training=number) for number in numbers]) == expected
