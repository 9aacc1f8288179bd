"""The report of a run tells what its files hold, and what they lack."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from kdescent_dist.bins.windows import soft_tophat
from kdescent_dist.config.compose import to_yaml
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, InputCatalogConfig
from kdescent_dist.report import make_report
from kdescent_dist.report.data.labels import number, plain_label, safe
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.data.records import residuals
from kdescent_dist.report.pages.tables import SHARED_ROWS, verdict
from kdescent_dist.report.plots.density import (
    Raster,
    core_width,
    enclosed_levels,
    percentiles,
    robust_limits,
)
from support.pages import Page
from support.run_directories import write_run

EDGES = {"redshift": [0.1, 0.5, 0.9, 1.3]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished fit of twenty parameters in bins of two columns, of one, and without window."""
    directory = tmp_path_factory.mktemp("run")
    groups = {
        "colors": BinsConfig(columns=["g_r", "r_i"], edges=EDGES, number_density=True),
        "magnitude": BinsConfig(
            columns=["mag_i"], edges=EDGES, normalization="density", softness=0, fourier=0
        ),
        "everything": BinsConfig(columns=["g_r", "r_i", "mag_i"]),
    }
    config, result, arrays = write_run(directory, groups)
    before = {p.name for p in directory.iterdir()}
    page = Page(make_report(directory))
    return {
        "directory": directory,
        "config": config,
        "result": result,
        "arrays": arrays,
        "page": page,
        "new": {p.name for p in directory.iterdir()} - before,
    }


@pytest.fixture
def single(tmp_path):
    """A small finished fit in one bin, to take pieces away from."""
    write_run(tmp_path, {"colors": BinsConfig(columns=["g_r", "r_i"])}, parameters=2, size=300)
    return tmp_path


def edit_result(directory, **changes):
    path = directory / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.slow
def test_a_report_adds_its_page_and_its_plots_alone(finished):
    assert finished["new"] == {"report.html", "plots"}


@pytest.mark.slow
def test_plots_are_readable_images_with_something_in_them(finished):
    from matplotlib.image import imread

    plots = sorted((finished["directory"] / "plots").iterdir())
    assert [p.stem for p in plots] == [
        "fit_colors",
        "fit_everything",
        "fit_magnitude",
        "loss",
        "map_colors",
        "map_everything",
        "map_magnitude",
        "numbers",
        "numbers_shares",
        "overview",
        "parameters",
        "residuals",
    ]
    for path in plots:
        height, width, _ = imread(path).shape
        assert 150 < height < 2500, path
        assert 250 < width <= 1000, path
        assert imread(path)[..., :3].std() > 0.02, path


def test_the_page_is_self_contained(finished):
    page = finished["page"]
    assert len(page.images()) == len(list((finished["directory"] / "plots").iterdir()))
    assert all(source.startswith("data:image/png;base64,") for source in page.images())
    assert "http" not in page.source
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert all(a["href"].startswith("#") for tag, a in page.tags if tag == "a")


def test_every_link_of_the_page_leads_to_a_section(finished):
    tags = finished["page"].tags
    targets = {attrs.get("id") for _, attrs in tags}
    assert {attrs["href"][1:] for tag, attrs in tags if tag == "a"} <= targets


def test_the_page_names_question_status_bins_and_parameters(finished):
    text = finished["page"].text
    assert finished["config"].question in text
    assert "The fit is done: 300 of 300 steps." in text
    for described in json.loads(str(finished["arrays"]["bins"])):
        assert described["name"] in text
    for name in finished["config"].parameters:
        assert name in text


def test_the_verdict_gives_the_fall_of_the_loss(finished):
    with np.load(finished["directory"] / "history.npz") as file:
        first = file["loss"][0]
    final = finished["result"]["loss"]
    assert f"The loss fell from {first:.3g} at the guess to {final:.3g}" in finished["page"].text


@pytest.mark.parametrize("separate", [True, False])
def test_the_verdict_tells_what_shared_rows_do_to_chi_square(finished, separate):
    run = read_run(finished["directory"])
    for columns, shared in (([], False), (["redshift"], not separate)):
        catalog = CatalogConfig() if separate else None
        config = replace(run.config, input=InputCatalogConfig(columns, catalog))
        told = verdict(replace(run, config=config))
        assert (SHARED_ROWS in told) == shared


@pytest.mark.parametrize("name", ["p00", "p01", "p04", "p19"])
def test_the_table_of_parameters_holds_the_numbers_of_the_run(finished, name):
    parameter, result = finished["config"].parameters[name], finished["result"]
    fit, truth = result["params"][name], parameter.truth
    error, offset = result["errors"][name], None if truth is None else fit - truth
    expected = [parameter.guess, fit, error, result["scatter"][name], parameter.low]
    expected += [parameter.high, truth, offset]
    cells = finished["page"].row(name)[2:10]
    for cell, value in zip(cells, expected, strict=True):
        if value is None:
            assert cell == "\N{EN DASH}"
        else:
            assert float(cell) == pytest.approx(value, rel=0.05, abs=1e-12)
    assert float(cells[1]) == pytest.approx(fit, rel=1e-4)
    in_errors = finished["page"].row(name)[10]
    if offset is None or error is None:
        assert in_errors == "\N{EN DASH}"
    else:
        assert float(in_errors) == pytest.approx(offset / error, abs=0.051)
    assert "Errors: noise of the training catalog; held by" in finished["page"].text


def test_a_parameter_at_its_bound_is_flagged(finished):
    assert finished["page"].row("p00")[-1] == "at its high bound"
    assert finished["page"].row("p01")[-1] == ""
    assert "1 parameter ends within 1% of a bound: p00." in finished["page"].text


def test_reduced_chi_squares_are_mean_squares_over_kernels_and_parts_of_modes(finished):
    arrays = finished["arrays"]
    for i, described in enumerate(json.loads(str(arrays["bins"]))):
        cells = finished["page"].row(described["name"])
        kde = {
            which: np.mean(
                (
                    (arrays[f"bin{i}/kde_{which}"] - arrays[f"bin{i}/kde_truth"])
                    / arrays[f"bin{i}/kde_err"]
                )
                ** 2
            )
            for which in ("guess", "fit")
        }
        assert cells[4] == f"{kde['fit']:.2f}"
        if kde["guess"] > 1e4:
            assert cells[3] == "> 10,000"
        else:
            assert float(cells[3]) == pytest.approx(kde["guess"], abs=0.005, rel=0.005)
        if described["group"] == "magnitude":
            assert cells[7] == "\N{EN DASH}"
            continue
        offset = arrays[f"bin{i}/fourier_fit"] - arrays[f"bin{i}/fourier_truth"]
        error = arrays[f"bin{i}/fourier_err"]
        parts = np.mean((offset.real / error.real) ** 2), np.mean((offset.imag / error.imag) ** 2)
        assert cells[7] == f"{np.mean(parts):.2f}"


def test_bins_are_listed_worst_first(finished):
    worst = [
        max(float(v) for v in (row[5], row[8]) if v != "\N{EN DASH}")
        for row in finished["page"].rows
        if row[8:] and row[1].startswith(("colors", "magnitude", "everything"))
    ]
    assert len(worst) == 7
    assert worst == sorted(worst, reverse=True)


def test_counts_without_an_error_are_left_out_of_the_residuals():
    z = residuals(np.array([1.0, 2.0, np.nan]), np.zeros(3), np.array([2.0, 0.0, 1.0]))
    np.testing.assert_array_equal(z, [0.5, np.nan, np.nan])


def test_the_real_part_of_a_complex_error_scales_the_real_residual():
    z = residuals(np.array([1 + 6j]), np.array([0j]), np.array([2 + 3j]))
    np.testing.assert_allclose(z, [0.5, 2.0])


def test_numbers_are_compared_as_the_loss_knows_them(finished):
    arrays, page = finished["arrays"], finished["page"]
    described = json.loads(str(arrays["bins"]))
    total = described[0]
    assert page.row(total["name"])[-1] == f"{total['sum_fit'] / total['sum_training']:.3f}"
    share = described[3]
    ratio = share["sum_fit"] / share["sum_training"]
    ratio *= arrays["data/weights"].sum() / arrays["fit/weights"].sum()
    assert page.row(share["name"])[-1] == f"{ratio:.3f}"
    assert page.row("everything")[-1] == "\N{EN DASH}"


def test_the_facts_of_the_run_are_told(finished):
    page = finished["page"]
    assert page.row("seed")[1] == "7"
    assert page.row("wall time")[1] == "1 min 23 s"
    assert page.row("rows dropped")[1] == "not detected: 714, redshift < 1.5: 388"
    assert page.row("versions")[1] == "kdescent-dist: 0.1.0, jax: 0.10.2"
    assert to_yaml(finished["config"]) in page.text


def test_the_window_of_the_plots_is_that_of_the_counts(finished):
    run = read_run(finished["directory"])
    samples = run.samples["data"]
    redshift = samples.x["redshift"].astype(np.float32)
    for bin_ in run.bins[:6]:
        (softness,), (edges,) = bin_.softness.values(), bin_.window.values()
        expected = np.asarray(soft_tophat(redshift, *edges, softness)) * samples.weights
        x, weights = bin_.select(samples)
        keep = expected > 1e-6 * samples.weights.max()
        assert abs(len(x) - keep.sum()) <= 2
        assert np.sort(weights)[-100:] == pytest.approx(np.sort(expected)[-100:], abs=1e-5)
        assert weights.sum() == pytest.approx(expected.sum(), rel=1e-4)


@pytest.mark.slow
def test_a_second_report_replaces_the_plots_of_the_first_and_no_other_file(single):
    make_report(single)
    own = single / "plots" / "my_own.png"
    stale = single / "plots" / "fit_colors_2.png"
    own.write_bytes(b"mine")
    stale.write_bytes(b"of an earlier report")
    make_report(single)
    assert own.exists()
    assert not stale.exists()


@pytest.mark.slow
def test_the_worst_of_too_many_bins_are_drawn_and_the_others_counted(tmp_path):
    edges = {"redshift": list(np.round(np.linspace(0.1, 1.4, 41), 4).tolist())}
    groups = {"grid": BinsConfig(columns=["g_r", "r_i"], edges=edges, fourier=0)}
    config, _, _ = write_run(tmp_path, groups, parameters=3, size=3000, kernels=20)
    config.report.max_bins = 3
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    page = Page(make_report(tmp_path))
    assert "The 3 bins with the largest reduced chi-square are drawn" in page.text
    assert "37 better ones are not shown" in page.text
    assert len([row for row in page.rows if row[1:] and row[1].startswith("grid")]) == 40


@pytest.mark.slow
def test_lone_bins_of_equal_columns_share_a_figure(tmp_path):
    groups = {
        name: BinsConfig(columns=["g_r", "r_i"], edges={"redshift": edges})
        for name, edges in {"near": [0.1, 0.4], "far": [0.9, 1.3]}.items()
    }
    write_run(tmp_path, groups, parameters=2, size=400)
    make_report(tmp_path)
    assert [p.name for p in (tmp_path / "plots").glob("fit_*")] == ["fit_near-far.png"]


def test_a_share_of_all_weight_says_nothing_without_a_window(tmp_path):
    groups = {"all": BinsConfig(columns=["g_r"], normalization="density", fourier=0)}
    write_run(tmp_path, groups, parameters=2, size=300)
    assert "Numbers in the bins" not in Page(make_report(tmp_path)).text


@pytest.mark.parametrize("missing", ["diagnostics.npz", "history.npz", "result.json"])
def test_a_missing_file_is_named_and_costs_its_sections_alone(single, missing):
    (single / missing).unlink()
    page = Page(make_report(single))
    assert f"{missing} has not been written" in page.text
    assert ("Fit against the data" in page.text) == (missing != "diagnostics.npz")
    assert ("Parameter traces" in page.text) == (missing != "history.npz")
    assert "p00" in page.text


def test_a_damaged_file_is_named_with_the_reason(single):
    path = single / "diagnostics.npz"
    path.write_bytes(path.read_bytes()[:1000])
    page = Page(make_report(single))
    assert "diagnostics.npz cannot be read (BadZipFile" in page.text


def test_a_fit_that_failed_early_is_reported_with_its_message(single):
    (single / "diagnostics.npz").unlink()
    edit_result(single, status="failed", step=2, loss=float("nan"), message="loss is not finite")
    page = Page(make_report(single))
    assert "The fit failed at step 2 of 300: loss is not finite." in page.text
    assert "The last loss is nan." in page.text


def test_a_preempted_fit_says_how_to_continue(single):
    edit_result(single, status="preempted", step=120)
    assert verdict(read_run(single))[0] == (
        "The fit was stopped at step 120 of 300 and is saved: start the run again to continue it."
    )


def test_a_folder_without_a_config_is_no_run_directory(tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        make_report(tmp_path)


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_names_the_extra(single, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*kdescent-dist\[plots\]"):
        make_report(single)


def test_names_from_the_config_cannot_inject_markup(tmp_path):
    groups = {"a<b>&$x": BinsConfig(columns=["g_r"])}
    write_run(tmp_path, groups, parameters=2, size=200, message="<script>alert(1)</script>")
    page = Page(make_report(tmp_path))
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert "a<b>&$x" in page.text


@pytest.mark.slow
def test_extreme_samples_draw_without_a_warning(tmp_path):
    """A constant column, outliers, empty windows, NaN samples and few steps still give plots."""
    groups = {
        "colors": BinsConfig(columns=["g_r", "r_i"], edges=EDGES),
        "one": BinsConfig(columns=["mag_i"], edges=EDGES, normalization="counts"),
        "three": BinsConfig(columns=["g_r", "r_i", "mag_i"], kernels=0),
    }
    _, _, arrays = write_run(tmp_path, groups, parameters=2, size=200)
    arrays["data/r_i"] = np.full(200, 0.3)
    arrays["fit/g_r"][:5] = [np.nan, np.inf, 1e30, -1e30, 0.0]
    arrays["guess/weights"][:] = 0.0
    arrays["data/redshift"][arrays["data/redshift"] > 0.8] = 0.8
    arrays["bin0/kde_err"][:] = 0.0
    arrays["bin1/kde_fit"][0] = np.nan
    np.savez(tmp_path / "diagnostics.npz", **arrays)
    with np.load(tmp_path / "history.npz") as file:
        history = {key: file[key] for key in file.files}
    for key in ("step", "loss", "grad_norm", "params"):
        history[key] = history[key][:1]
    np.savez(tmp_path / "history.npz", **history)
    page = Page(make_report(tmp_path))
    assert len(page.images()) >= 8
    assert "could not be drawn" not in page.text


def test_a_history_without_steps_is_left_out(single):
    np.savez(
        single / "history.npz",
        **{key: np.empty(0) for key in ("step", "loss", "grad_norm")},
        params=np.empty((0, 2)),
        names=np.array(["p00", "p01"]),
    )
    assert "Parameter traces" not in Page(make_report(single)).text


def test_contour_levels_enclose_their_fractions_of_a_normal_distribution():
    x, y = np.meshgrid(*[np.linspace(-6, 6, 241)] * 2)
    density = norm.pdf(x) * norm.pdf(y) * 0.05**2
    expected = [0.05**2 / (2 * np.pi) * (1 - fraction) for fraction in (0.95, 0.68, 0.30)]
    np.testing.assert_allclose(enclosed_levels(density), expected, rtol=0.02)


def test_contours_that_reach_beyond_the_grid_are_left_out():
    assert len(enclosed_levels(np.full((10, 10), 0.005))) == 1


def test_a_raster_treats_weighted_and_repeated_samples_alike():
    x = np.random.default_rng(0).normal(size=(200, 2))
    raster = Raster.around(x, np.ones(200), 200, [(-4, 4), (-4, 4)])
    weights = np.repeat([1.0, 2.0], 100)
    repeated = np.concatenate([x, x[100:]])
    np.testing.assert_allclose(
        raster.density(x, weights), raster.density(repeated, np.ones(300)), atol=1e-15
    )


def test_weighted_percentiles_agree_with_the_normal_distribution():
    x = np.random.default_rng(0).uniform(-6, 6, 200_000)
    q = (2.5, 16, 50, 84, 97.5)
    np.testing.assert_allclose(
        percentiles(x, norm.pdf(x), q), norm.ppf(np.array(q) / 100), atol=0.02
    )


def test_the_smoothing_follows_the_narrowest_population():
    x = np.linspace(-8, 8, 20_001)
    assert core_width(x, norm.pdf(x)) == pytest.approx(1.0, abs=0.01)
    two = 0.5 * norm.pdf(x, -4, 2.0) + 0.5 * norm.pdf(x, 4, 0.2)
    assert 0.2 < core_width(x, two) < 0.5


def test_limits_follow_the_data_rather_than_outliers_or_a_distant_guess():
    rng = np.random.default_rng(0)
    data = np.append(rng.normal(size=2000), [1e6, -1e6])
    ones = np.ones(data.size)
    low, high = robust_limits([(data, ones)], [(data, ones)], [(data + 1e3, ones)])
    assert -5 < low < -2.5
    assert 2.5 < high < 7


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "\N{EN DASH}"),
        (0.123456789, "0.12346"),
        (123456.0, "123456"),
        (1.5e-7, "1.5e-7"),
        (2.5e12, "2.5e12"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_short_and_lose_no_leading_digit(value, expected):
    assert number(value) == expected


def test_labels_with_mathematics_become_text():
    assert plain_label(r"$\mu_{g-r}$, red") == "μ g\N{MINUS SIGN}r, red"
    assert plain_label(r"$\log M_\ast$") == "log M *"
    assert plain_label("cost in $") == "cost in $"


def test_a_label_that_is_no_mathematics_is_drawn_as_it_is():
    assert safe(r"$\mu_r$") == r"$\mu_r$"
    assert safe(r"$\nosuchcommand$") == r"\$\nosuchcommand\$"
    assert safe("5 $") == r"5 \$"


def test_the_report_of_many_bins_stays_small(finished):
    assert len(re.findall("<img", finished["page"].source)) == 12
    assert len(finished["page"].source) < 2_000_000
