"""The config: what the command line can set, and what is refused, by its key."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.cli import _conf
from kdescent_dist.config import compose as configs
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.problem import fingerprint, problem
from kdescent_dist.config.schema import (
    BinsConfig,
    CatalogConfig,
    Config,
    FitConfig,
    LossConfig,
    ModelConfig,
    ParameterConfig,
    SamplesConfig,
)
from kdescent_dist.config.validation import check_values
from kdescent_dist.objective.terms import check_terms
from kdescent_dist.run.validate import check
from support import problems


def composed(*overrides: str) -> Config:
    """The config of the default experiment with these overrides, as the command makes it."""
    ConfigStore.instance().store(name="schema", node=configs.schema(overrides))
    with initialize_config_dir(str(_conf()), version_base="1.3"):
        config = configs.from_omegaconf(compose("config", list(overrides)))
    check(config)
    return config


def valid() -> Config:
    return Config(
        model=ModelConfig("m.f"),
        parameters={"p": ParameterConfig(0.0)},
        catalog=CatalogConfig(path="x.npz"),
        samples=SamplesConfig(100),
        bins={"all": BinsConfig(["x"])},
    )


def test_a_valid_config_passes():
    check(valid())


OUT_OF_RANGE = [
    ("seed", -1, "seed=-1: must be at least 0"),
    ("loss.weights", {"kde": math.inf}, "loss.weights.kde=inf: must be finite"),
    ("loss.weights", {"kde": "a"}, "loss.weights.kde=a: must be a number"),
    ("loss.weights", {"kdee": 1.0}, "loss.weights.kdee: no bin has such a statistic, see bins."),
    ("loss.volume", math.nan, "loss.volume=nan: must be finite"),
    ("optimizer.learning_rate", math.inf, "optimizer.learning_rate=inf: must be finite"),
    ("optimizer.clip_norm", math.inf, "optimizer.clip_norm=inf: must be finite"),
    ("fit.seconds_per_call", math.inf, "fit.seconds_per_call=inf: must be finite"),
    ("fit.steps", 0, "fit.steps=0: must be at least 1"),
    ("loss.kind", "MSE", "loss.kind=MSE: must be one of mse, chisq"),
    ("loss.custom", {"path": 1}, "loss.custom={'path': 1}: must be {_target_"),
    ("input.catalog", CatalogConfig(where="x > 0"), "input.catalog: set input.catalog.path"),
    ("catalog.columns", {"y": ["a"]}, "catalog.columns.y=['a']: must be an expression of columns"),
    ("input.catalog", CatalogConfig(path="x", make={"_target_": "m.f"}), "input.catalog.make=null"),
]


@pytest.mark.parametrize(("key", "value", "message"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_its_key(key, value, message):
    config = valid()
    group, _, name = key.rpartition(".")
    setattr(getattr(config, group) if group else config, name, value)
    with pytest.raises(InputError) as error:
        check(config)
    assert message in str(error.value)


BAD_BINS = [
    ({"softness": math.inf}, "bins.a.softness=inf: must be finite"),
    ({"kernels": 10**6}, "bins.a: kernels=1000000, pretrain_kernels=300000000: the training"),
    ({"pretrain_fourier": 10**8}, "bins.a: fourier=None, pretrain_fourier=100000000: the training"),
    ({"bandwidth_factor": math.inf}, "bins.a.bandwidth_factor=inf: must be finite"),
    ({"normalization": "Density"}, "bins.a.normalization=Density: must be one of conditional"),
    ({"edges": {"z": [0, math.inf]}}, "bins.a.edges.z: [0, inf] must be finite: write a one-sided"),
    ({"edges": {"z": [False, True]}}, "bins.a.edges.z: [False, True] must be a list of numbers"),
    ({"edges": {"z": "01"}}, "bins.a.edges.z: 01 must be a list of numbers"),
    ({"edges": {"z": [1]}}, "bins.a.edges.z: [1] needs at least two edges"),
]


@pytest.mark.parametrize(("values", "message"), BAD_BINS)
def test_bins_of_the_library_are_checked_like_those_of_the_command_line(values, message):
    with pytest.raises(InputError) as error:
        expand_bins({"a": BinsConfig(["x"], **values)})
    assert message in str(error.value)


def test_edges_may_be_an_array():
    (one,) = expand_bins({"a": BinsConfig(["x"], edges={"z": np.array([0, 1], np.float32)})})
    assert one.window == {"z": (0.0, 1.0)}


def test_a_fit_of_no_steps_is_allowed_to_the_library_alone():
    check_values(FitConfig(steps=0), "fit")
    with pytest.raises(InputError, match=r"fit\.steps=-1"):
        check_values(FitConfig(steps=-1), "fit")


NOTHING = [
    (LossConfig(weights={"kde": 0, "fourier": 0}), BinsConfig(["x"])),
    (LossConfig(weights={"kde": 0}), BinsConfig(["x"], fourier=0)),
    (LossConfig(weights={"fourier": 0}), BinsConfig(["x"], kernels=0)),
    (LossConfig(number_density=0), BinsConfig(["x"], kernels=0, fourier=0, number_density=True)),
    (LossConfig(), BinsConfig(["x"], weight=0)),
]


@pytest.mark.parametrize(("loss", "bins"), NOTHING)
def test_a_loss_without_any_term_is_refused_unless_there_is_one_of_the_users_own(loss, bins):
    check_terms(loss, {"a": bins, "b": BinsConfig(["x"])}, custom=True)
    with pytest.raises(InputError, match="loss: no term is left to fit"):
        check_terms(loss, {"a": bins}, custom=False)


@pytest.mark.slow
def test_a_bin_of_weight_0_leaves_the_loss_as_if_it_were_not_there():
    first, second = problems.GRIDS["grid"], replace(problems.GRIDS["one"], weight=0.0)
    params = jnp.full(len(problems.NAMES), 0.3)
    losses = []
    for grids in ({"a": first}, {"a": first, "b": second}):
        objective = problems.objective(problems.pretrained(grids))
        value = jax.jit(lambda *at, of=objective: of.value_and_grad(*at)[0])
        losses.append(float(value(params, jax.random.key(1), objective.data)))
    assert losses[0] > 0
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def table(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=200) for name in ("color", "mass", "redshift")} | changes


def spoiled(value: float) -> np.ndarray:
    values = np.linspace(-1, 1, 200)
    values[[3, 5]] = value
    return values


BAD_TABLES = [
    ({"color": spoiled(np.nan)}, "bins.a.columns: 2 of 200 values of column 'color'"),
    ({"redshift": spoiled(np.nan)}, "bins.a.edges.redshift: 2 of 200 values"),
    ({"redshift": spoiled(np.inf)}, "bins.a.edges.redshift: 2 of 200 values"),
    ({"mass": np.ones(200)}, "bins.a: bin 'a[redshift -9-9]' of columns color, mass: "),
    ({"mass": np.ones(200)}, "column 'mass' has variance 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_TABLES)
def test_a_column_that_cannot_be_used_is_named_with_its_bin(changes, message):
    (one,) = expand_bins({"a": BinsConfig(["color", "mass"], edges={"redshift": [-9, 9]})})
    with pytest.raises(InputError) as error:
        pretrain_bin(one, table(**changes), np.ones(200), 0)
    assert message in str(error.value)


def test_a_compared_column_that_is_missing_is_named():
    (one,) = expand_bins({"a": BinsConfig(["colr"])})
    with pytest.raises(InputError, match=r"bins\.a\.columns: no column 'colr': did you mean color"):
        pretrain_bin(one, table(), np.ones(200), 0)


def test_a_condition_that_is_no_column_is_named():
    (one,) = expand_bins({"a": BinsConfig(["color"], edges={"redshft": [0, 1]})})
    with pytest.raises(InputError, match=r"bins\.a\.edges\.redshft: no column .* mean redshift"):
        pretrain_bin(one, table(), np.ones(200), 0)


def test_linearly_dependent_columns_are_named():
    columns = table(color=np.arange(200.0), mass=np.arange(200.0))
    (one,) = expand_bins({"a": BinsConfig(["color", "mass"], kernels=2)})
    with pytest.raises(InputError, match=r"bins\.a: bin 'a' of columns color, mass: "):
        pretrain_bin(one, columns, np.ones(200), 0)


TARGET = {"_target_": "m.f"}
SETTABLE = [
    (["loss.custom={_target_: m.f}"], "loss.custom", TARGET),
    (["+loss.custom._target_=m.f"], "loss.custom", TARGET),
    (["loss.custom=null", "+loss.custom._target_=m.f"], "loss.custom", TARGET),
    (["loss.custom=null"], "loss.custom", None),
    ([], "loss.custom", None),
    (["loss.extra_sums={_target_: m.f}"], "loss.extra_sums", TARGET),
    (["loss.weights.kde=0.5"], "loss.weights.kde", 0.5),
    (["loss.weights={fourier: 2}"], "loss.weights", {"kde": 1.0, "fourier": 2.0}),
    (["+input.catalog.path=x.npz"], "input.catalog.path", "x.npz"),
    (["input.catalog.path=x.npz"], "input.catalog.path", "x.npz"),
    (["input.catalog={path: x.npz}"], "input.catalog.path", "x.npz"),
    (["input.catalog={make: {_target_: m.f}}"], "input.catalog.make", TARGET),
    ([], "input.catalog", None),
    (["input.catalog=null"], "input.catalog", None),
    (["catalog.make=null", "catalog.path=x.npz"], "catalog.make", None),
    (["catalog.make=null", "+catalog.make._target_=m.f"], "catalog.make", TARGET),
    (["optimizer.options={b1: 0.8}"], "optimizer.options", {"b1": 0.8}),
    (["bins.all.kernels=40"], "bins.all.kernels", 40),
    (["+bins.x={columns: [g_r]}"], "bins.x.columns", ["g_r"]),
    (["+bins.x.columns=[g_r]", "bins.x.kernels=7"], "bins.x.kernels", 7),
    (["++bins.x={columns: [g_r]}"], "bins.x.softness", 0.04),
    (["+parameters.p={guess: 1}"], "parameters.p.guess", 1.0),
    (["+parameters.p.guess=1", "parameters.p.low=0"], "parameters.p.low", 0.0),
]


@pytest.mark.parametrize(("overrides", "key", "value"), SETTABLE)
def test_every_key_can_be_set_and_unset_on_the_command_line(overrides, key, value):
    found = composed(*overrides)
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value


def test_unset_keys_read_back_and_are_the_same_problem():
    config = composed()
    assert problem(configs.from_yaml(configs.to_yaml(config))) == problem(config)
    # As schema 1 had it: without its number and without a digest.
    lines = configs.to_yaml(config).replace("custom: null", "custom: {}").splitlines()[1:-1]
    text = "\n".join(lines)
    assert fingerprint(configs.from_yaml(text)) == fingerprint(config)


def test_an_added_bin_is_checked_like_any_other():
    with pytest.raises(InputError, match=r"bins\.x\.columns: .*missing"):
        composed("+bins.x.kernels=3")
