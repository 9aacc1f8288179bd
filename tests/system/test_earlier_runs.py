"""Run directories of earlier versions are continued to what these versions would have reached."""

import json
import re
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from kdescent_dist.config.compose import from_yaml, to_yaml
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.problem import (
    CHANGES,
    SCHEMA,
    Change,
    add_implied,
    bins_of_schema_1,
    fingerprint,
    fingerprint_1,
    identity_of,
    problem,
)
from kdescent_dist.config.renamed import present_name
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, Config, ParameterConfig
from kdescent_dist.identity.fit_identity import FORMAT, FitIdentity, keys_of
from support.command_line import call
from support.process_groups import environment

pytestmark = pytest.mark.as_shipped

EARLIER = Path(__file__).parents[1] / "earlier_runs"


def made_by(schema: int, folder: Path) -> Path:
    """Runs of 20 steps by an earlier version, in a folder with all that they were made from.

    ``shipped`` has a model of this package, ``own`` one beside the config, with an option; since
    schema 2, ``library`` is a fit from Python. They were also carried out to step 40 by the
    version that made them: ``expected.npz``.
    """
    with tarfile.open(EARLIER / f"schema_{schema}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def folder(tmp_path):
    return made_by(1, tmp_path)


@pytest.fixture
def fit(monkeypatch, capfd):
    """Call the command in this process: its exit code, and what it told."""

    def call_in(folder, *overrides, bounds="arctan", width="deviation"):
        monkeypatch.chdir(folder)
        sys.modules.pop("own_models", None)
        capfd.readouterr()
        # The tests also run with other versions of packages than the runs were made with.
        accept = "checkpoint.accept=[package.*]"
        bins = "all" if "experiment=shipped" in overrides else "by_mass"
        earlier = [f"fit.bounds={bounds}", f"bins.{bins}.column_width={width}"]
        given = (accept, "fit.finish=none", "report.errors=false", *earlier, *overrides)
        code = call(monkeypatch, "--config-dir", "conf", *given)
        return code, capfd.readouterr().err

    yield call_in
    sys.modules.pop("own_models", None)


@pytest.mark.nightly
def test_a_fit_from_python_of_schema_2_is_continued_to_the_parameters_of_its_version(tmp_path):
    folder = made_by(2, tmp_path)
    program = [sys.executable, "library.py", "40"]
    done = subprocess.run(
        program, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found, expected = np.load(folder / "library.npz"), np.load(folder / "expected.npz")
    for what in ("params", "loss"):
        values, wanted = found[what], expected[f"library_{what}"]
        np.testing.assert_array_equal(values[:20], wanted[:20])
        np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schema", [1, pytest.param(2, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", [pytest.param("shipped", marks=pytest.mark.nightly), "own"])
def test_an_earlier_run_is_continued_to_the_parameters_of_its_version(tmp_path, name, schema, fit):
    folder, accept = made_by(schema, tmp_path), []
    if name == "own":  # a fit to chi-square, of which the errors are others now
        code, err = fit(folder, f"experiment={name}", "fit.steps=40")
        assert code == 2
        assert "is of another fit:\n  errors: default -> of normalized counts\nUndo" in err
        accept = ["checkpoint.accept=[package.*,errors]"]
    code, err = fit(folder, f"experiment={name}", "fit.steps=40", *accept)
    assert code == 0, err
    assert "continuing from the checkpoint of step 20" in err
    (run,) = (folder / "runs").glob(f"{name}-*")
    found = np.load(run / "history.npz")
    expected = np.load(folder / "expected.npz")
    for what in ("params", "loss"):
        values, wanted = found[what], expected[f"{name}_{what}"]
        np.testing.assert_array_equal(values[:20], wanted[:20])
        if not accept:
            # Processors of other kinds add in another order.
            np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6)
    # The state that was saved since then is of the present form, and is continued as well.
    code, err = fit(folder, f"experiment={name}", "fit.steps=42")
    assert code == 0, err
    assert "continuing from the checkpoint of step 40" in err


@pytest.mark.parametrize("schema", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_an_earlier_run_with_bounds_is_not_continued_with_another_map_of_them(
    tmp_path, schema, fit
):
    folder = made_by(schema, tmp_path)
    (run,) = (folder / "runs").glob("own-*")
    code, err = fit(folder, "experiment=own", f"run_dir={run}", bounds="logit")
    assert code == 2
    assert "config.fit.bounds: arctan -> logit\n" in err
    assert "To continue it as an earlier version would, set fit.bounds=arctan." in err
    # By its name, the directory of the present problem is another one.
    code, err = fit(folder, "experiment=own", bounds="logit")
    assert code == 0, err
    assert len(list((folder / "runs").glob("own-*"))) == 2
    assert f"runs/{run.name} was begun by an earlier version" in err
    assert "to continue that one, set fit.bounds=arctan" in err
    code, err = fit(folder, "experiment=own", "fit.steps=22", bounds="logit")
    assert code == 0, err
    assert "was begun by an earlier version" not in err


def test_an_earlier_run_is_not_continued_with_other_widths(folder, fit):
    (run,) = (folder / "runs").glob("own-*")
    code, err = fit(folder, "experiment=own", f"run_dir={run}", width="robust")
    assert code == 2
    assert "config.bins.by_mass.column_width: deviation -> robust\n" in err
    hint = "To continue it as an earlier version would, set bins.by_mass.column_width=deviation."
    assert hint in err


def test_a_run_of_the_first_schema_refuses_another_model(folder, fit):
    file = folder / "own_models.py"
    file.write_text(file.read_text().replace("0.05 * noise", "0.06 * noise"))
    code, err = fit(folder, "experiment=own", "fit.steps=40")
    assert code == 2
    assert re.search(r"is of another fit:\n  errors: .*\n  model: \w+ -> \w+", err)


@pytest.mark.nightly
def test_a_shipped_model_is_taken_for_the_same_where_only_its_text_can_be_compared(folder, fit):
    """Later versions may write the file of a shipped model otherwise."""
    (meta,) = folder.glob("runs/shipped-*/checkpoints/20/meta/metadata")
    known = json.loads(meta.read_text())
    known["identity"]["model"] = "0123456789abcdef"
    meta.write_text(json.dumps(known))
    code, err = fit(folder, "experiment=shipped", "fit.steps=40")
    assert code == 0, err
    assert "the digests of model cannot be compared, and are taken for equal" in err
    code, err = fit(folder, "experiment=shipped", "fit.steps=41")
    assert code == 0, err
    assert "cannot be compared" not in err


def small():
    return Config(
        parameters={"a": ParameterConfig(guess=1.0)},
        bins={"one": BinsConfig(columns=["x"], weight=2.0)},
    )


def everything() -> Config:
    config = Config(parameters={"*": ParameterConfig()}, bins={"*": BinsConfig()})
    config.input.catalog = CatalogConfig()
    return config


def test_every_key_since_the_first_schema_is_listed_with_what_earlier_runs_mean():
    """Else a new key, or a new default, changes the problem of runs that exist."""
    text = (EARLIER / "schema_1.json").read_text()
    known = dict(present_name(key, value) for key, value in json.loads(text).items())
    now = problem(everything())
    added = {change.key for change in CHANGES if change.added}
    changed = {change.key for change in CHANGES if not change.added}
    assert now.keys() - known.keys() == added
    assert {key for key in known if now.get(key, known[key]) != known[key]} == changed
    assert max((change.schema for change in CHANGES), default=1) <= SCHEMA


def test_what_is_at_its_default_has_no_part_in_the_fingerprint():
    assert identity_of(small()) == {
        "parameters.a.guess": 1.0,
        "bins.one.columns": ["x"],
        "bins.one.column_width": "robust",
        "bins.one.weight": 2.0,
    }
    key = Change(3, "bins.*.weight", 2.0, added=True)
    assert fingerprint(small(), [key]) != fingerprint(small())
    with_new_key = small()
    with_new_key.bins["one"].weight = 1.0
    # Had the key not been there, or had it had another default, the problem would be the same.
    without = list(identity_of(small(), [key]))
    assert without == ["parameters.a.guess", "bins.one.columns"]
    assert identity_of(with_new_key, [key])["bins.one.weight"] == 1.0


def test_the_fingerprint_of_the_first_schema_has_no_part_of_keys_that_came_later():
    later = small()
    later.bins["one"].weight = 7.0
    key = Change(3, "bins.*.weight", 7.0, added=True)
    other = Change(3, "bins.*.weight", 1.0, added=True)
    assert fingerprint_1(later, [key]) is not None
    assert fingerprint_1(later, [key]) != fingerprint_1(later)
    assert fingerprint_1(later, [other]) is None  # the first schema had no such problem


def test_training_counts_are_found_by_the_keys_that_they_were_saved_under():
    added = [Change(3, "bins.*.weight", 2.0, added=True), Change(3, "loss.volume", 1.0, added=True)]
    bins = replace(small().bins["one"], column_width="deviation")
    later = ("statistics", "column_width")
    known = {name: value for name, value in asdict(bins).items() if name not in later}
    assert bins_of_schema_1(bins) == known  # of later keys, those that are set
    assert bins_of_schema_1(replace(bins, statistics={"near": {}})).keys() - known == {"statistics"}
    assert bins_of_schema_1(bins, added) == {
        name: value for name, value in asdict(bins).items() if name != "weight"
    }
    bins.weight = 1.0
    assert bins_of_schema_1(bins, added) == asdict(bins)


def test_a_missing_key_means_what_its_version_did_without_it():
    changes = [
        Change(2, "loss.volume", 3.0, added=False),
        Change(3, "bins.*.weight", 5.0, added=True),
    ]
    tree = {"loss": {}, "bins": {"one": {}, "two": {"weight": 1.0}}}
    assert add_implied(tree, 1, changes) == {
        "loss": {"volume": 3.0},
        "bins": {"one": {"weight": 5.0}, "two": {"weight": 1.0}},
    }
    assert add_implied({"loss": {}, "bins": {}}, 2, changes) == {"loss": {}, "bins": {}}


def test_a_scale_that_is_null_meant_1_before_scales_followed_from_sizes():
    parameters = {"a": ParameterConfig(guess=3e6), "b": ParameterConfig(guess=3e6, scale=2.0)}
    text = to_yaml(replace(everything_set(), parameters=parameters))
    body = text.replace(f"schema_version: {SCHEMA}", "schema_version: 4").rpartition("# ")[0]
    earlier = add_implied(yaml.safe_load(body), 4)["parameters"]
    assert [earlier[name]["scale"] for name in "ab"] == [1.0, 2.0]
    now = identity_of(from_yaml(text))
    assert [now[f"parameters.{name}.scale"] for name in "ab"] == [1e6, 2.0]


def test_what_differs_from_an_earlier_run_by_its_scale_is_continued_with_1():
    large = replace(small(), parameters={"a": ParameterConfig(guess=3e6)})
    plain = replace(small(), parameters={"a": ParameterConfig(guess=3e6, scale=1.0)})
    saved = {"format": FORMAT, **keys_of(plain)}
    assert "config.parameters.a.scale" not in saved
    earlier = {**saved, "config.parameters.a.scale": 1.0}  # as versions before schema 5 saved it
    for one in (saved, earlier):
        assert FitIdentity.of_config(plain).differences(one) == []
        with pytest.raises(InputError) as refused:
            FitIdentity.of_config(large).check("the run", one)
        assert "\n  config.parameters.a.scale: 1.0 -> 1000000.0\n" in str(refused.value)
    assert "To continue it as an earlier version would, set parameters.a.scale=1." in str(
        refused.value
    )


def test_config_yaml_tells_its_schema_and_reads_back():
    text = to_yaml(everything_set())
    assert text.startswith(f"schema_version: {SCHEMA}\n")
    saved = {"format": FORMAT, **keys_of(from_yaml(text))}
    assert FitIdentity.of_config(everything_set()).differences(saved) == []
    later = text.replace(f"schema_version: {SCHEMA}", f"schema_version: {SCHEMA + 1}")
    with pytest.raises(ValueError, match="written by a later version"):
        from_yaml(later)


def everything_set() -> Config:
    config = small()
    config.model._target_ = "my.model"
    config.catalog.path = "a.npz"
    config.catalog.sentinel = {"x": float("nan")}
    config.samples.size = 10
    return config
