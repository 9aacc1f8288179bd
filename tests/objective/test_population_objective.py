"""What an objective refuses, and what its terms get."""

import contextlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.bins.stacks import stack_bins
from kdescent_dist.bins.windows import soft_tophat
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.block_model import BlockModel
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.terms import Sums, by_group
from support import problems


def test_soft_window_equals_its_formula_and_hard_edges_select():
    x = jnp.linspace(-1.0, 2.0, 31)
    expected = 1 / (1 + np.exp(-25 * np.asarray(x))) / (1 + np.exp(-25 * (1 - np.asarray(x))))
    np.testing.assert_allclose(soft_tophat(x, 0.0, 1.0), expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(soft_tophat(x, 0.0, 1.0, 0), (x >= 0) & (x < 1))


def test_bins_of_a_name_with_different_numbers_of_points_are_refused():
    bins = problems.pretrained({"a": BinsConfig(columns=["red"], edges={"mass": [0, 0.5, 1]})})
    ((stack, _),) = stack_bins(bins, 1.0, np.float32)
    first, second = (replace(stack, bins=(b,), positions=(i,)) for i, b in enumerate(stack.bins))
    sums = [BinSums(np.ones(1), {"kde": np.ones((1, n, 1))}) for n in (3, 4)]
    with pytest.raises(InputError, match=r"bins.a: its bins have different numbers of points"):
        by_group([first, second], sums)


def broken(**changes):
    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        return type(made)({**made.x, **changes}, made.weights)

    return model


def check(model, size=problems.SIZE, catalog=None):
    layout = SampleBlocks.of(size)
    required = ["red", "blue", "mass"]
    block = BlockModel(model, ParameterTree.of_names(problems.NAMES), (), layout)
    block.check(problems.GUESS, catalog or {}, required)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda p, k, n: jnp.ones((n, 3)), "x has 3 columns, but model.columns names 0"),
        (lambda p, k, n: {"red": jnp.ones(n), "blue": jnp.ones(n - 1)}, "'blue' has shape"),
        (lambda p, k, n: {"red": jnp.ones(n + 1)}, "samples for a block of"),
        (lambda p, k, n: {"red": jnp.ones(n), "blu": jnp.ones(n)}, "no column 'blue'.*blu"),
        (lambda p, k, n: {"red": jnp.full(n, p["men"])}, "asks for 'men'"),
        (broken(red=jnp.full(2 * 126, jnp.nan)), "252 of 252 values of 'red' are not finite"),
        (broken(red=jnp.ones(2 * 126, int)), "'red' is int32, it must be floating"),
        (broken(weights=jnp.ones(2 * 126, int)), "'weights' is int32, it must be floating"),
        (lambda p, k, n: ({"red": jnp.ones(n)}, jnp.ones(n + 1)), "'weights' has shape"),
    ],
)
def test_a_model_that_returns_the_wrong_thing_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        check(model)


def test_a_term_that_fails_is_named_before_anything_is_compiled(bins):
    objective = problems.objective(bins, custom=lambda sums, truth, params: params["men"])
    with pytest.raises(InputError, match=r"loss.custom or loss.extra_sums: KeyError: 'men'"):
        objective.check(problems.GUESS)


def test_negative_model_weights_are_refused():
    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        return type(made)(made.x, -made.weights)

    with pytest.raises(InputError, match="negative weights"):
        check(model)


def test_a_good_model_passes_its_check_with_a_catalog_smaller_than_a_block(catalog):
    check(problems.toy, catalog=catalog)
    check(problems.toy, size=1)


def copied(order, weights=lambda weights: weights, **columns):
    """The toy, whose two copies of each row are brought into an order, with further columns."""

    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        x = made.x | {name: function(made.x["mass"]) for name, function in columns.items()}
        return type(made)({name: order(v) for name, v in x.items()}, weights(made.weights))

    return model


def beside(values):
    return values.reshape(2, -1).T.reshape(-1)


MODELS = {
    "beside": copied(beside, beside),
    "beside, with a column that depends on all": copied(beside, beside, all=lambda m: m / m.mean()),
    "beside, but for the weights": copied(beside),
    "one after another": copied(lambda values: values),
    "backwards": copied(lambda values: values[::-1]),
    "sorted": copied(jnp.sort),
    "centered": copied(lambda values: values - jnp.mean(values)),
    "once": lambda p, k, c: dict.fromkeys(("red", "blue", "mass"), c["mass"] * p["slope"]),
}


@pytest.mark.parametrize("size", [problems.SIZE, 16, 40])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_copies_of_a_row_side_by_side_is_refused(catalog, name, size):
    refused = pytest.raises(InputError, match=r"the 2 copies of each row side by side, .*jnp\.tile")
    with refused if name.startswith("beside") else contextlib.nullcontext():
        check(MODELS[name], size, {"mass": catalog["mass"][:size]})


def moved(params, key, catalog):
    """No column is as it is in the catalog."""
    made = MODELS["beside"](params, key, catalog)
    return type(made)({n: v + params["mean"] for n, v in made.x.items()}, made.weights)


@pytest.mark.parametrize("model", [MODELS["beside"], moved])
def test_an_objective_of_a_model_with_copies_side_by_side_is_refused(bins, catalog, model):
    with pytest.raises(InputError, match="the 2 copies of each row side by side"):
        PopulationObjective(model, problems.NAMES, bins, training_weight=1.0, catalog=catalog)


def traits_of(bins, model, parameters=problems.NAMES, **options):
    PopulationObjective(model, parameters, bins, training_weight=1.0, size=problems.SIZE, **options)


def test_an_objective_whose_random_numbers_do_not_follow_from_its_key_is_refused(bins):
    def model(params, key, size):
        noise = np.random.default_rng().normal(size=2 * size)
        made = problems.toy(params, key, size)
        return type(made)(made.x | {"red": made.x["red"] + noise}, made.weights)

    with pytest.raises(InputError, match=r"do not follow from key: .*numpy\.random"):
        traits_of(bins, model)


def test_an_objective_of_a_model_that_ignores_its_key_tells_so(bins, caplog):
    def model(params, key, size):
        return problems.toy(params, jax.random.key(0), size)

    traits_of(bins, model, deterministic=True)
    assert not caplog.records
    traits_of(bins, model)
    (record,) = caplog.records
    assert "the population does not depend on key" in record.message


@pytest.mark.parametrize("fixed", [(), ("fraction",)])
def test_an_objective_tells_of_parameters_without_a_gradient_but_not_of_fixed_ones(
    bins, caplog, fixed
):
    def model(params, key, size):
        return problems.toy(params | {"fraction": jnp.round(params["fraction"], 1)}, key, size)

    guess = dict(zip(problems.NAMES, problems.GUESS, strict=True))
    traits_of(bins, model, Parameters.of_tree(guess, fixed=fixed))
    assert len(caplog.records) == 1 - len(fixed)
    assert all("depends on fraction, but has no gradient" in r.message for r in caplog.records)


def test_an_objective_of_a_model_that_fails_is_refused(bins, catalog):
    with pytest.raises(InputError, match="model: it asks for 'men'"):
        PopulationObjective(
            lambda p, k, c: {"red": c["mass"] + p["men"]},
            problems.NAMES,
            bins,
            training_weight=1.0,
            catalog=catalog,
        )


def test_rows_that_are_all_alike_tell_nothing_of_the_order_of_copies():
    check(MODELS["beside"], catalog={"mass": np.full(problems.SIZE, 0.5, np.float32)})


def test_an_empty_or_nearly_empty_bin_is_named():
    grid = BinsConfig(columns=["red"], edges={"mass": [0.0, 1.0, 1.5]})
    with pytest.raises(InputError, match=r"bin 'grid\[mass 1-1.5\]' holds 0 training samples"):
        problems.pretrained({"grid": grid})


def test_a_term_of_the_users_own_may_have_the_earlier_name_of_the_extra_sums():
    with pytest.warns(FutureWarning, match=r"sums\.statistics is now sums\.extra_sums"):
        assert Sums(1.0, {}, {"red": 2.0}).statistics == {"red": 2.0}
