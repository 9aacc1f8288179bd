"""A report of many bins: a summary of all of them first, and any one of them on demand."""

import re

import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.report import make_bin_page, make_report
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.pages.pick import pick
from kdescent_dist.report.plots.grid import Field, conditions, plot_cells
from support.command_line import call
from support.pages import Page
from support.run_directories import write_run

MASSES = [20.0, 22.0, 23.0, 24.0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three by three bins of two colors, six of a magnitude, and a lone one."""
    directory = tmp_path_factory.mktemp("run")
    groups = {
        "gr_ri": BinsConfig(
            columns=["g_r", "r_i"],
            edges={"redshift": [0.1, 0.5, 0.9, 1.3], "mag_i": MASSES},
            number_density=True,
        ),
        "mag": BinsConfig(
            columns=["mag_i"], edges={"redshift": np.linspace(0, 1.5, 7).tolist()}, fourier=0
        ),
        "r-i": BinsConfig(columns=["r_i"]),
        "r,i": BinsConfig(columns=["r_i"]),
    }
    write_run(directory, groups, parameters=2, size=1500, kernels=15, modes=10)
    return directory


@pytest.mark.slow
def test_a_summary_of_all_bins_comes_before_the_bins(run):
    page = Page(make_report(run))
    assert page.source.index('id="bins"') < page.source.index('id="fit"')
    plots = {p.stem for p in (run / "plots").glob("overview*.png")}
    assert plots == {"overview", "overview_gr-ri", "overview_mag"}
    assert "report.bin=" in page.text
    assert len([row for row in page.rows if row[1:] and re.match(r"gr_ri|mag|r.i$", row[1])]) == 17


def test_a_page_of_one_bin_is_written_with_its_plots_alone(run):
    before = set((run / "plots").glob("*"))
    path = make_bin_page(run, "gr_ri[redshift 0.5-0.9, mag_i 23-24]")
    assert path == run / "plots/bins/gr-ri-redshift-0.5-0.9-mag-i-23-24.html"
    page = Page(path)
    assert len(page.images()) == 4
    assert len(page.images()) == len(list(path.parent.glob(f"{path.stem}_*.png")))
    assert set((run / "plots").glob("*")) - before <= {run / "plots/bins"}
    numbers = [float(v) for v in page.rows[-1]]
    assert len(numbers) == 4  # two columns of the center, and two residuals


def test_bins_whose_names_differ_in_signs_alone_get_files_of_their_own(run):
    assert make_bin_page(run, "r-i") != make_bin_page(run, "r,i")


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("r-i", "r-i"),
        ("2", "gr_ri[redshift 0.1-0.5, mag_i 22-23]"),
        ("MAG[redshift 0.25-", "mag[redshift 0.25-0.5]"),
    ],
)
def test_a_bin_is_known_by_its_name_its_number_or_a_part_that_no_other_has(run, wanted, name):
    assert pick(read_run(run).bins, wanted).name == name


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("gr_ri[redshift 0.5-0.9]", "gr_ri[redshift 0.5-0.9, mag_i 23-24]?"),
        ("xyz", "there are 17 bins: gr_ri"),
        ("mag[", "6 bins have this in their names"),
        ("18", "numbers from 1 to 17"),
        ("0", "numbers from 1 to 17"),
    ],
)
def test_a_bin_that_is_not_meant_clearly_is_refused_with_names_that_are(run, wanted, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_bin_page(run, wanted)


def test_a_run_without_diagnostics_has_no_bin_to_draw(tmp_path):
    write_run(tmp_path, {"all": BinsConfig(columns=["g_r"])}, parameters=2, size=200)
    (tmp_path / "diagnostics.npz").unlink()
    with pytest.raises(InputError, match=r"diagnostics\.npz has not been written"):
        make_bin_page(tmp_path, "all")


def test_the_command_takes_the_name_of_a_bin_as_it_is(run, monkeypatch, capsys):
    name = "gr_ri[redshift 0.9-1.3, mag_i 20-22]"
    assert call(monkeypatch, "mode=report", f"run_dir={run}", f"report.bin={name}") == 0
    assert "gr-ri-redshift-0.9-1.3-mag-i-20-22.html" in capsys.readouterr().out


def test_bins_of_any_number_of_conditions_are_drawn_where_they_are(run):
    bins = read_run(run).bins
    grid, line, lone = bins[:9], bins[9:15], bins[15:]
    assert [len(conditions(group)) for group in (grid, line, lone, bins)] == [2, 1, 0, 0]
    for group in (grid, line, lone, bins):
        values = np.linspace(1.0, 2.0, len(group))
        values[0] = np.nan
        figure = plot_cells("x", group, [Field("n", {"n": values})], "").figure
        figure.canvas.draw()
        assert figure.axes[0].has_data()
