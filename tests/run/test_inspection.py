"""Looking before fitting: the numbers are those of a fit."""

import json
import sys

import jax
import numpy as np
import pytest

from kdescent_dist.config.schema import Config
from kdescent_dist.diagnostics import comparison as diagnostics
from kdescent_dist.diagnostics.preview import KEYS, compare_guess, try_steps
from kdescent_dist.numerics.prng import fold_schedule
from kdescent_dist.report.pages.inspection_text import size
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.inspection import _drawn
from support import problems


@pytest.fixture(
    scope="module",
    params=[pytest.param((1, 1), marks=pytest.mark.nightly), (4, 2)],
    ids=["1 device", "2x2 devices"],
)
def objective(request, bins):
    mass = np.linspace(0.0, 1.0, problems.SIZE, dtype=np.float32)
    return problems.objective(bins, *request.param, catalog={"mass": mass}, block_size=300)


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_the_first_steps(objective, bins):
    losses, slopes, cost = try_steps(problems.problem(objective, seed=7))
    expected = jax.jit(objective.value_and_grad)
    for i in range(KEYS):
        key, _ = fold_schedule(jax.random.key(7), np.int32(i))
        loss, slope = expected(problems.GUESS, key, objective.data)
        assert losses[i] == pytest.approx(float(loss), rel=1e-5)
        np.testing.assert_allclose(slopes[i], slope, rtol=1e-4, atol=1e-6)
    assert cost["step_s"] > 0
    assert cost["memory"]["total"] >= sum(x.nbytes for x in jax.tree.leaves(objective.data)) / 4
    if objective.mesh.size == 1:
        same, _, _ = try_steps(problems.problem(objective, seed=7, fixed_key=True))
        assert len(set(same.tolist())) == 1


@pytest.mark.slow
def test_the_guess_is_compared_as_in_the_diagnostics_of_a_fit(objective, bins):
    problem = problems.problem(objective)
    count = compare_guess(problem, samples=5000)
    arrays = count()
    full = diagnostics.diagnose(problem, problems.GUESS, samples=5000)
    described = json.loads(str(arrays["bins"]))
    for i, expected in enumerate(json.loads(str(full["bins"]))):
        assert described[i]["sum_guess"] == pytest.approx(expected["sum_guess"], rel=1e-5)
        for name in ("kde_truth", "kde_guess", "kde_err", "fourier_guess", "fourier_err"):
            reference = full[f"bin{i}/{name}"]
            assert arrays[f"bin{i}/{name}"] == pytest.approx(reference, rel=1e-4, abs=1e-5)
    assert np.array_equal(np.sort(arrays["input/mass"]), np.linspace(0, 1, 1003, dtype=np.float32))
    ecf = arrays["bin0/ecf"]
    conditional = full["bin0/fourier_truth"]
    np.testing.assert_allclose(ecf, conditional, rtol=1e-6)


@pytest.mark.slow
def test_of_many_samples_some_are_counted_and_stand_for_all(objective, bins):
    problem = problems.problem(objective)
    arrays = compare_guess(problem, samples=200, counted=400)()
    full = diagnostics.diagnose(problem, problems.GUESS, samples=5000)
    assert len(arrays["guess/weights"]) == len(arrays["data/weights"]) == 200
    assert arrays["guess/weights"].sum() == pytest.approx(problems.SIZE, rel=0.01)
    got, expected = (json.loads(str(a["bins"])) for a in (arrays, full))
    for a, b in zip(got, expected, strict=True):
        assert a["sum_guess"] == pytest.approx(b["sum_guess"], rel=0.2)
    offset = arrays["bin2/kde_guess"] - full["bin2/kde_guess"]
    assert np.mean((offset / arrays["bin2/kde_err"]) ** 2) < 3


def test_without_the_plots_it_tells_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _drawn(RunDirectory(tmp_path), Config()) == (
        "no plots: matplotlib is not installed: pip install kdescent-dist[plots]"
    )


@pytest.mark.parametrize(
    ("amount", "text"), [(12, "12 B"), (3.4e4, "34 kB"), (5.6e9, "5.6 GB"), (7e13, "70 TB")]
)
def test_bytes_are_told_in_units_that_suit_them(amount, text):
    assert size(amount) == text
