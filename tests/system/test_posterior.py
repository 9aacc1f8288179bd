"""A run with a posterior: its result, its file of draws, its report; and what is refused."""

import sys

import h5py
import numpy as np
import pytest

from support.command_line import run_told
from support.pages import Page
from support.process_groups import SMALL, result

pytestmark = pytest.mark.as_shipped

FEW = [
    *SMALL,
    "mode=posterior",
    "fit.steps=60",
    "optimizer.learning_rate=0.2",
    "report.samples=500",
    "posterior.chains=2",
    "posterior.draws=40",
    "posterior.warmup=30",
    "posterior.populations=1",
]


@pytest.fixture(scope="module")
def done(folder):
    """The folder of a run with a posterior, and its log."""
    code, _, err = run_told(*FEW, "fit.finish=newton", f"run_dir={folder / 'run'}", cwd=folder)
    assert code == 0, err
    return folder, err


@pytest.mark.slow
def test_the_result_has_numbers_of_each_parameter(done):
    folder, err = done
    known = result(folder / "run")
    posterior = known["posterior"]
    assert (posterior["chains"], posterior["draws"], posterior["warmup"]) == (2, 40, 30)
    assert posterior["populations"] == 1
    assert list(posterior["params"]) == list(known["params"])
    for name, one in posterior["params"].items():
        assert one["low"] < one["mean"] < one["high"]
        assert abs(one["mean"] - known["params"][name]) < 6 * one["sd"]
        assert 0.4 < one["sd"] / known["errors"][name] < 3
    record = known["phases"]["posterior"]
    assert (record["status"], record["done"], record["parts"]) == ("done", 140, 140)
    assert any("fewer than 100 effective draws" in text for text in posterior["warnings"])
    assert "posterior: fewer than 100 effective draws" in err


@pytest.mark.slow
def test_the_file_of_draws_has_the_layout_of_inference_data(done):
    folder, _ = done
    with h5py.File(folder / "run/posterior.nc") as file:
        assert list(file) == ["posterior", "sample_stats"]
        for group in file.values():
            for name, values in group.items():
                if name not in ("chain", "draw"):
                    assert values.shape == (2, 40)
                    assert [one.label or one[0].name for one in values.dims]
                    assert [one[0].name.rsplit("/")[-1] for one in values.dims] == ["chain", "draw"]
        assert file["sample_stats/diverging"].attrs["dtype"] == "bool"
        draws = file["posterior/mean_1"][:]
    known = result(folder / "run")["posterior"]["params"]["mean_1"]
    assert np.mean(draws, dtype=float) == pytest.approx(known["mean"])


@pytest.mark.slow
def test_the_report_has_a_panel_and_a_sentence(done):
    folder, _ = done
    page = Page(folder / "run/report.html")
    assert 'id="posterior"' in page.source
    assert "The posterior has 2 chains of 40 draws" in " ".join(page.text.split())
    assert (folder / "run/plots/posterior.png").is_file()


@pytest.mark.nightly
def test_more_draws_continue_the_chains_and_a_fit_keeps_the_posterior(done):
    folder, _ = done

    def draws():
        with h5py.File(folder / "run/posterior.nc") as file:
            return file["posterior/mean_1"][:]

    before = draws()
    plain = ("fit.finish=newton", "report.enabled=false", f"run_dir={folder / 'run'}")
    code, _, err = run_told(*FEW, *plain, "posterior.draws=60", cwd=folder)
    assert code == 0, err
    assert "posterior: chain 0 continues after draw 70" in err
    assert draws().shape == (2, 60)
    assert np.array_equal(draws()[:, :40], before)
    code, _, err = run_told(*FEW, *plain, "mode=fit", cwd=folder)
    assert code == 0, err
    assert result(folder / "run")["posterior"]["draws"] == 60


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("posterior.chains=0", "posterior.chains=0: must be at least 1"),
        ("posterior.acceptance=1", "posterior.acceptance=1.0: must be below 1"),
        ("loss.custom={_target_: math.sin}", "mode=posterior: a posterior has no loss.custom"),
    ],
)
def test_what_has_no_posterior_is_refused_before_the_fit(tmp_path, override, message):
    code, _, err = run_told(*FEW, override, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_missing_blackjax_is_told_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    code, _, err = run_told(*FEW, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert code == 2
    assert "mode=posterior: needs blackjax: pip install 'kdescent-dist[posterior]'" in err
