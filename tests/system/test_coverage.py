"""The mode coverage: repeats are kept, parts share a folder, and the report has the outcome."""

import json
import shutil

import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.diagnostics.refits import fit_catalogs
from kdescent_dist.models.gaussian import training_catalog
from kdescent_dist.run.refits import refits_of
from support.command_line import run_told
from support.pages import Page
from support.process_groups import SMALL, result

pytestmark = pytest.mark.as_shipped

REPEATS = 2
# Compiled programs are those of all tests.
COVERAGE = (
    "mode=coverage",
    f"coverage.repeats={REPEATS}",
    "report.enabled=false",
    "runtime.compilation_cache=false",
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a finished fit, which began at the best of two starts."""
    folder = tmp_path_factory.mktemp("coverage")
    starts = ("fit.starts=2", "fit.start_steps=5", "fit.steps=100")
    given = (*SMALL, *starts, "report.enabled=false", "runtime.compilation_cache=false")
    code, _, err = run_told(*given, f"run_dir={folder / 'run'}", cwd=folder)
    assert code == 0, err
    return folder


def repeats(run):
    """The results of the repeats, without their times."""
    files = sorted((run / "phases/coverage").glob("*.json"))
    found = {file.stem: json.loads(file.read_text())["result"] for file in files}
    return {name: {**one, "seconds": None} for name, one in found.items()}


@pytest.fixture(scope="module")
def in_parts(fitted):
    """Two parts, one after the other; what each of them says."""
    run = fitted / "run"
    before = (run / "result.json").read_bytes()
    said = []
    for part in ("[1,2]", "[2,2]"):
        given = (*COVERAGE, f"coverage.part={part}", f"run_dir={run}")
        code, _, err = run_told(*given, cwd=fitted)
        assert code == 0, err
        said.append(err)
        assert (run / "coverage.json").exists() == (len(said) == 2)
    assert (run / "result.json").read_bytes() == before
    return said


@pytest.mark.slow
def test_the_last_part_makes_the_table(fitted, in_parts):
    run, (first, second) = fitted / "run", in_parts
    assert "coverage: 1 of 2 repeats are done; other parts do the rest" in first
    assert "coverage, repeat 2 of 2: " in first
    assert "coverage, repeat 1 of 2: " in second
    known = json.loads((run / "coverage.json").read_text())
    assert (known["fits"], known["failed"], len(known["repeats"])) == (2, 0, 2)
    fit = result(run)
    for name, one in known["parameters"].items():
        assert one["truth"] == fit["params"][name]
        assert 0.4 < one["stated"] / fit["errors"][name] < 2.5
        assert abs(one["bias"][0]) < 4 * one["stated"]
    assert "coverage: 2 fits: " in second
    assert "mean_1" in second
    assert known["truth"] == fit["params"]
    of = json.loads((run / "phases/coverage/0000.json").read_text())["of"]
    assert of["guess"] == list(fit["setup"]["guess"].values())
    starts = json.loads((run / "starts.json").read_text())
    assert of["guess"] == starts["starts"][starts["best"]]["params"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_a_start_goes_on_at_the_missing_repeat_with_the_same_bits(fitted, in_parts, devices):
    run = fitted / f"again-{devices}"
    shutil.copytree(fitted / "run", run)
    # Neither checkpoints nor the file of the starts are needed, though a start was stopped since.
    shutil.rmtree(run / "checkpoints")
    (run / "starts.json").unlink()
    stopped = {**result(run), "continued": {"status": "preempted", "step": 150}}
    (run / "result.json").write_text(json.dumps(stopped))
    known = repeats(run)
    assert len({str(one["params"]) for one in known.values()}) == REPEATS
    (run / "phases/coverage/0001.json").write_text("{")
    given = (*COVERAGE, f"run_dir={run}")
    if devices == 4:
        given += ("report.enabled=true",)
    code, _, err = run_told(*given, cwd=fitted, devices=devices)
    assert code == 0, err
    assert "coverage: 1 of 2 repeats were done before" in err
    assert repeats(run) == known
    if devices == 4:
        assert "2 catalogs: " in " ".join(Page(run / "report.html").text.split())


@pytest.mark.slow
def test_any_catalogs_are_fitted_from_python_with_the_setup_of_a_run(fitted):
    truth = {name: float(value) for name, value in result(fitted / "run")["params"].items()}
    catalogs = ((training_catalog(truth, 1000, seed), None) for seed in (7, 8))
    one, other = fit_catalogs(refits_of(fitted / "run"), catalogs)
    for found in (one, other):
        away = [abs(found["params"][n] - truth[n]) / found["errors"][n] for n in truth]
        assert max(away) < 8  # without a finish, by the noise of the last steps
    assert one["params"] != other["params"]
    with pytest.raises(InputError, match=r"it holds no config\.yaml"):
        refits_of(fitted / "nothing")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("run_dir=none",), "run_dir=none: no finished fit is there"),
        (("run_dir=run", "coverage.part=[3,2]"), "coverage.part=[3, 2]: must be [i, n]"),
        (("run_dir=run", "coverage.repeats=1"), "coverage.repeats=1: must be at least 2"),
    ],
)
def test_what_cannot_be_covered_is_told(tmp_path, given, message):
    code, _, err = run_told("mode=coverage", *given, cwd=tmp_path)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
