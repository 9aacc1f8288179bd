"""Keys by the names that they had in earlier versions, wherever a user or a run may have them."""

import copy
import hashlib
import logging
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from kdescent_dist.cli import _conf
from kdescent_dist.config import compose as configs
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.loader import accept_old_keys, rename_overrides
from kdescent_dist.config.problem import fingerprint, fingerprint_1, identity_of
from kdescent_dist.config.renamed import RENAMED, earlier_name, present_name, rename_keys
from kdescent_dist.config.schema import Config, LossConfig, ModelConfig
from kdescent_dist.identity.fit_identity import FORMAT, FitIdentity, keys_of
from support.command_line import run_told

TARGET = {"_target_": "m.f"}
# Old key, its value; present key, its value.
KEYS = [
    ("counts.form", "blocked", "counts.backend", "tiled"),
    ("counts.form", "fused", "counts.backend", "fused"),
    ("loss.statistic", "chisq", "loss.kind", "chisq"),
    ("loss.kde", 0.0, "loss.weights.kde", 0.0),
    ("loss.fourier", 2.0, "loss.weights.fourier", 2.0),
    ("loss.statistics", TARGET, "loss.extra_sums", TARGET),
    ("runtime.launcher", "local", "runtime.started_by", "local"),
    ("runtime.fast_cpu", False, "runtime.written_out", False),
]


def found(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def text(value: Any) -> str:
    return str(value).replace("'", "")


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """The config of overrides and of an experiment of the user's, and the lines that were told."""
    lines: list[str] = []
    monkeypatch.setattr(hydra_main, "ConfigLoaderImpl", ConfigLoaderImpl)  # to be as it was
    accept_old_keys(lambda line: None if line in lines else lines.append(line))

    def make(*overrides: str, experiment: str = "", runtime: str = "") -> Config:
        for group, body in (("experiment", experiment), ("runtime", runtime)):
            (tmp_path / group).mkdir(exist_ok=True)
            (tmp_path / group / "mine.yaml").write_text(body)
        chosen = [f"{group}=mine" for group, body in
                  (("experiment", experiment), ("runtime", runtime)) if body]  # fmt: skip
        given = [*chosen, *overrides, f"hydra.searchpath=[file://{tmp_path}]"]
        ConfigStore.instance().store(name="schema", node=configs.schema(given))
        with initialize_config_dir(str(_conf()), version_base="1.3"):
            return configs.from_omegaconf(compose("config", given))

    make.lines = lines  # type: ignore[attr-defined]
    yield make
    GlobalHydra.instance().clear()


def line_of(old: str) -> str:
    (new,) = (one.new for one in RENAMED if one.old == old)
    return f"{old} is now {new}: change it in your config"


@pytest.mark.parametrize(("old", "value", "new", "now"), KEYS)
@pytest.mark.parametrize("mark", ["", "+", "++"])
def test_an_old_key_is_taken_on_the_command_line(composed, old, value, new, now, mark):
    config = composed(f"{mark}{old}={text(value)}")
    assert found(config, new) == now
    assert composed.lines == [line_of(old)]


@pytest.mark.parametrize(("old", "value", "new", "now"), KEYS)
def test_an_old_key_is_taken_in_a_file(composed, old, value, new, now):
    section, name = old.split(".")
    body = f"# @package _global_\ndefaults: [quickstart]\n{section}: {{{name}: {text(value)}}}\n"
    assert found(composed(experiment=body), new) == now
    assert composed.lines == [line_of(old)]


@pytest.mark.slow
def test_the_last_of_files_and_command_line_counts_whatever_the_names(composed):
    shipped = "# @package _global_\ndefaults: [{}]\n"  # has loss.kind=chisq
    assert composed(experiment=shipped.format("galaxy_colors")).loss.kind == "chisq"
    file = shipped.format("galaxy_colors") + "loss: {statistic: mse}\n"
    assert composed(experiment=file).loss.kind == "mse"
    assert composed("loss.kind=chisq", experiment=file).loss.kind == "chisq"
    assert composed("experiment=galaxy_colors", "loss.statistic=mse").loss.kind == "mse"
    # A file of a group has keys without their section.
    assert composed(runtime="launcher: slurm\n").runtime.started_by == "slurm"
    assert composed.lines == [line_of("loss.statistic"), line_of("runtime.launcher")]


def test_old_keys_in_mappings_and_single_keys_of_a_function(composed):
    config = composed("loss={kde: 0, statistic: chisq}", "+loss.statistics._target_=m.f")
    assert config.loss.weights == {"kde": 0.0, "fourier": 1.0}
    assert (config.loss.kind, config.loss.extra_sums) == ("chisq", TARGET)
    assert composed("counts={form: blocked, bins: dense}").counts.backend == "tiled"
    told = ("loss.statistic", "loss.kde", "loss.statistics", "counts.form")
    assert sorted(composed.lines) == sorted(map(line_of, told))


def test_old_keys_of_a_sweep_keep_all_values():
    given = ["loss.kde=0,1", "counts.form=blocked,fused", "loss.statistics._target_=m.f", "seed=1"]
    renamed, lines = rename_overrides(given)
    assert renamed == [
        "loss.weights.kde=0,1",
        "counts.backend=tiled,fused",
        "loss.extra_sums._target_=m.f",
        "seed=1",
    ]
    assert lines == [line_of(key) for key in ("loss.kde", "counts.form", "loss.statistics")]


def test_the_old_word_for_a_backend_is_taken_by_both_keys(composed):
    assert composed("counts.backend=blocked").counts.backend == "tiled"
    file = "# @package _global_\ndefaults: [quickstart]\ncounts: {backend: blocked}\n"
    assert composed(experiment=file).counts.backend == "tiled"
    assert composed.lines == [
        "counts.backend=blocked is now counts.backend=tiled: change it in your config"
    ]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"loss": {"kde": 0, "weights": {"kde": 1}}}, "loss.kde=0 and loss.weights.kde=1 are"),
        ({"loss": {"statistic": "mse", "kind": "chisq"}}, "loss.statistic=mse and loss.kind=chisq"),
        ({"counts": {"form": "blocked", "backend": "fused"}}, "counts.form=tiled and counts.back"),
    ],
)
def test_an_old_key_and_the_present_one_must_not_differ(composed, tree, message):
    with pytest.raises(InputError, match=f"^{message}"):
        rename_keys(copy.deepcopy(tree))
    ((section, keys),) = tree.items()
    body = f"# @package _global_\ndefaults: [quickstart]\n{section}: {text(keys)}\n"
    with pytest.raises(InputError, match=f"^{message}"):
        composed(experiment=body)


def test_the_same_on_the_command_line():
    with pytest.raises(InputError, match=r"^loss.kde=0 and loss.weights.kde=1 are one key"):
        rename_overrides(["loss.kde=0", "loss.weights.kde=1"])
    with pytest.raises(InputError, match=r"^loss.kind=mse and \+loss.statistic=chisq are one key"):
        rename_overrides(["loss.kind=mse", "+loss.statistic=chisq"])
    same = ["loss.kde=1", "loss.weights.kde=1", "loss.kind=mse", "loss.kind=chisq"]
    assert rename_overrides(same)[1] == [line_of("loss.kde")]


def test_of_values_for_one_key_the_last_counts_whatever_they_were_called():
    found, lines = rename_overrides(["counts.backend=blocked", "counts.backend=fused"])
    assert found == ["counts.backend=tiled", "counts.backend=fused"]
    assert len(lines) == 1


@pytest.mark.parametrize(("old", "value", "new", "now"), KEYS)
@pytest.mark.parametrize("schema", [1, 2, 3])
def test_an_old_key_is_taken_in_the_config_of_a_run(schema, old, value, new, now, caplog):
    """In silence: the user has not written it."""
    section, name = old.split(".")
    whole: Any = OmegaConf.create(configs.to_yaml(Config(model=ModelConfig("m.f"))))
    del whole.schema_version
    whole[section] = {name: value}
    body = f"schema_version: {schema}\n{OmegaConf.to_yaml(whole)}"
    digest = hashlib.sha256(body.encode()).hexdigest()
    config = configs.from_yaml(f"{body}# sha256 of the lines above: {digest}\n")
    assert found(config, new) == now
    assert not caplog.records
    again = configs.to_yaml(config)
    assert name not in OmegaConf.create(again)[section]
    assert found(configs.from_yaml(again), new) == now


@pytest.mark.parametrize(("old", "value", "new", "now"), KEYS)
def test_a_recorded_identity_of_old_names_is_the_same_fit(old, value, new, now, composed):
    assert present_name(old, value) == (new, now)
    assert earlier_name(new, now) == (old, value)
    config = composed(f"{old}={text(value)}")
    config.checkpoint.accept = []
    known = keys_of(config)
    saved = {name: one for name, one in known.items() if not name.startswith(f"config.{new}")}
    for name, one in known.items():
        if name.startswith(f"config.{new}"):
            saved[name.replace(new, old)] = value if one == now else one
    assert FitIdentity.of_config(config).differences({"format": FORMAT, **saved}) == []


def test_names_of_a_fit_from_python_are_translated_too():
    now = {"loss.kind": "chisq", "loss.weights.kde": 2.0, "loss.extra_sums": "2:a"}
    now["counts"] = "tiled, sparse: [False, True]"
    saved = {"loss.statistic": "chisq", "loss.kde": 2.0, "loss.statistics": "2:a"}
    saved["counts"] = "blocked, sparse: [False, True]"
    assert FitIdentity(now).differences({"format": FORMAT, **saved}) == []
    before = {name: now[name] for name in ("loss.extra_sums", "counts")}
    assert FitIdentity({}, before).differences({"format": 2, **saved}) == []
    saved["loss.kde"] = 3.0
    assert FitIdentity(now).differences({"format": FORMAT, **saved}) == [
        "loss.weights.kde: 3.0 -> 2.0"
    ]


@pytest.mark.parametrize(
    "accept", ["config.loss.kde", "config.loss.k*", "config.loss.weights.kde", "*.kde"]
)
def test_a_difference_is_accepted_by_both_names(accept, caplog):
    caplog.set_level(logging.WARNING)
    saved = {"format": FORMAT, "config.loss.kde": 3.0}
    now = {"config.loss.weights.kde": 2.0}
    assert FitIdentity(now, accept=["config.loss.fourier"]).differences(saved)
    assert FitIdentity(now, accept=[accept]).differences(saved) == []
    assert "accepted by checkpoint.accept: config.loss.weights.kde: 3.0 -> 2.0" in caplog.text


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("loss.kdee=0", "did you mean weights.kde"),
        ("+loss.fourrier=0", "did you mean weights.fourier"),
        ("runtime.lancher=slurm", "did you mean started_by"),
    ],
)
def test_an_unknown_key_like_an_old_one_is_refused_with_the_present_name(tmp_path, override, hint):
    code, _, err = run_told(override, cwd=tmp_path)
    assert code == 2
    assert f"there is no such key; {hint}" in err


# Of the last version with the old names.
FINGERPRINTS = [
    ([], "54ae70ea54", "e3cf69bace"),
    (["loss.kde=0"], "52ae1a619d", "7af82902be"),
    (["loss.kde=1.0"], "54ae70ea54", "e3cf69bace"),
    (["loss.statistic=chisq"], "49eff00e5c", "ee1ea104fa"),
    (["counts.form=blocked"], "fc4a8bf3c5", "2ca018f5ba"),
    (["loss.statistics={_target_: m.f, a: 1}"], "7c5ae86938", "8c0e042063"),
    (["runtime.launcher=slurm"], "54ae70ea54", "e3cf69bace"),
    (["+loss.weights.near=1", "loss.kde=3"], "750e1fc7fc", "9942e58a82"),
]


@pytest.mark.parametrize(("overrides", "name", "name_1"), FINGERPRINTS)
def test_a_run_finds_the_directory_that_it_had(composed, overrides, name, name_1):
    earlier = ["fit.bounds=arctan", "bins.all.column_width=deviation", "bins.all.fourier=0"]
    earlier += ["bins.all.fourier_half_space=false"]
    earlier += [] if "loss.statistic=chisq" in overrides else ["loss.kind=mse"]
    config = composed(*earlier, *overrides)
    assert (fingerprint(config), fingerprint_1(config)) == (name, name_1)
    assert fingerprint(composed(*overrides)) != name  # quickstart has bounds


def test_a_weight_of_1_is_the_same_given_or_not():
    assert LossConfig(weights={"kde": 1.0}) == LossConfig()
    assert identity_of(Config(loss=LossConfig(weights={"kde": 1.0}))) == {}


def test_the_command_tells_each_old_key_once(tmp_path):
    """Also of several jobs; and it refuses with a line where both names are given."""
    body = "# @package _global_\ndefaults: [quickstart]\nloss: {statistic: chsq, kde: 2}\n"
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(body)
    given = ("--config-dir=conf", "experiment=mine", "runtime.launcher=local")
    code, _, err = run_told("-m", *given, "loss.fourier=0,1", cwd=tmp_path)
    assert code == 2
    told = [line for line in err.splitlines() if "is now" in line]
    keys = ("runtime.launcher", "loss.fourier", "loss.statistic", "loss.kde")
    assert sorted(told) == sorted(f"kdescent-dist: {line_of(key)}" for key in keys)
    assert err.count("loss.kind=chsq: must be one of mse, chisq") == 2
    code, _, err = run_told(*given, "runtime.started_by=mpi", cwd=tmp_path)
    assert code == 2
    (complaint,) = err.splitlines()
    assert "runtime.launcher=local and runtime.started_by=mpi are one key" in complaint
