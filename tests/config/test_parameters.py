"""The parameters of a fit: from a config, a vector or a tree, and what is known of each."""

from dataclasses import replace

import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import ParameterConfig

CONFIGS = {
    "slope": ParameterConfig(guess=0.1, low=-1.0, high=1.0, truth=0.25, label=r"$\alpha$"),
    "age": ParameterConfig(guess=3.0, low=0.0),
    "held": ParameterConfig(guess=-2.0, high=-2.0, fixed=True),
    "small": ParameterConfig(guess=1e-3, scale=1e-3),
    "large": ParameterConfig(guess=3e6),
}
TREE = {"galaxies": {"slope": 0.1, "knots": [1.0, 2.0]}, "weights": np.array([0.2, 0.3])}


def test_a_config_gives_its_parameters_and_gets_them_back():
    parameters = Parameters.of_config(CONFIGS)
    assert parameters.names == tuple(CONFIGS)
    np.testing.assert_array_equal(parameters.low, [-1.0, 0.0, -np.inf, -np.inf, -np.inf])
    np.testing.assert_array_equal(parameters.high, [1.0, np.inf, -2.0, np.inf, np.inf])
    np.testing.assert_array_equal(parameters.truth, [0.25, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(parameters.fixed, [False, False, True, False, False])
    np.testing.assert_array_equal(parameters.scale, [1, 1, 1, 1e-3, 1e6])
    scales = zip(CONFIGS.items(), parameters.scale, strict=True)
    assert parameters.by_name() == {n: replace(c, scale=scale) for (n, c), scale in scales}
    assert Parameters.of_config(CONFIGS, np.float32).guess.dtype == np.float32


def test_values_are_named_as_plain_numbers():
    named = Parameters.of_config(CONFIGS).named(np.array([1, 2, 3, 4, 5], np.float32))
    assert named == {"slope": 1.0, "age": 2.0, "held": 3.0, "small": 4.0, "large": 5.0}
    assert all(type(value) is float for value in named.values())


def test_bounds_that_values_have_run_into_are_told():
    ends = Parameters.of_config(CONFIGS).near_bounds([0.999, 0.001, -2.0, np.nan, 0])
    assert ends == ("high", "low", "", "", "")


def test_paths_of_a_tree_set_what_is_below_them():
    parameters = Parameters.of_tree(
        TREE,
        bounds={"galaxies": (-5, 5), "galaxies.slope": (0, None), "weights[1]": (0, 1)},
        truth={"galaxies": {"slope": 0.5, "knots": [1.5, 2.5]}, "weights": [0.4, 0.6]},
        labels={"galaxies.slope": "slope"},
        fixed=["galaxies.knots"],
        scale={"weights": 0.1, "weights[1]": 2},
    )
    assert parameters.names == (
        "galaxies.slope",
        "galaxies.knots[0]",
        "galaxies.knots[1]",
        "weights[0]",
        "weights[1]",
    )
    np.testing.assert_array_equal(parameters.low, [0, -5, -5, -np.inf, 0])
    np.testing.assert_array_equal(parameters.high, [np.inf, 5, 5, np.inf, 1])
    np.testing.assert_array_equal(parameters.truth, [0.5, 1.5, 2.5, 0.4, 0.6])
    assert parameters.labels == ("slope", None, None, None, None)
    np.testing.assert_array_equal(parameters.fixed, [False, True, True, False, False])
    np.testing.assert_array_equal(parameters.scale, [1, 1, 1, 0.1, 2])
    np.testing.assert_array_equal(parameters.guess, [0.1, 1.0, 2.0, 0.2, 0.3])


def test_integers_of_a_guess_become_floating_point_numbers():
    assert Parameters.of_vector([1, 2]).guess.dtype == float
    assert Parameters.of_tree({"a": 1, "b": np.array([2, 3])}).guess.dtype == float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bounds": {"galaxy": (0, 1)}}, "bounds: galaxy: no such parameter"),
        ({"labels": {"weights[2]": "w"}}, r"labels: weights\[2\]: no such parameter"),
        ({"fixed": ["knots"]}, "fixed: knots: no such parameter"),
        ({"fixed": "weights"}, "fixed: 'weights' must be a list of paths"),
        ({"scale": {"weights": 0.0}}, "scale: weights=0.0: must be greater than 0"),
        ({"truth": {"galaxies": {"slope": 1.0}}}, "truth: .*: is missing"),
    ],
)
def test_what_does_not_belong_to_the_tree_is_named(given, message):
    with pytest.raises(InputError, match=message):
        Parameters.of_tree(TREE, **given)


def test_a_guess_outside_its_bounds_is_named_with_its_key():
    configs = {"a": ParameterConfig(guess=2.0, high=1.0)}
    message = r"parameters.a: guess 2 is outside its bounds \(-inf, 1\)"
    with pytest.raises(InputError, match=message):
        Parameters.of_config(configs).check("parameters.")


def test_a_fixed_parameter_may_lie_on_a_bound_and_not_beyond():
    def check(guess, fixed):
        other = ParameterConfig(guess=0.0)
        configs = {"a": ParameterConfig(guess=guess, high=0.3, fixed=fixed), "b": other}
        Parameters.of_config(configs, np.float32).check("parameters.")

    check(0.3, fixed=True)
    with pytest.raises(InputError, match=r"parameters.a: guess 0.3 is outside its bounds"):
        check(0.3, fixed=False)
    with pytest.raises(InputError, match=r"parameters.a: guess 0.4 is outside its bounds"):
        check(0.4, fixed=True)


def test_not_all_parameters_can_be_fixed():
    parameters = Parameters.of_vector([1.0, 2.0], fixed=["p0", "p1"])
    with pytest.raises(InputError, match="all of them are fixed: there is nothing to fit"):
        parameters.check()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_guess_on_its_bound_is_moved_inside(kind):
    """By a thousandth of the width of the bounds, or of the scale if there is one bound."""
    configs = {
        "two": ParameterConfig(guess=3.0, low=1.0, high=3.0),
        "one": ParameterConfig(guess=0.0, low=0.0),
        "small": ParameterConfig(guess=-1e-6, high=-1e-6),
        "far": ParameterConfig(guess=0.0, low=0.0, high=1e30),
        "rounded": ParameterConfig(guess=1e8, low=1e8, scale=1.0),
        "held": ParameterConfig(guess=0.0, low=0.0, fixed=True),
        "within": ParameterConfig(guess=0.1, low=0.0),
    }
    parameters = Parameters.of_config(configs, kind)
    inside = parameters.inside()
    inside.check()
    assert inside.guess.dtype == kind
    expected = [2.998, 1e-3, -1.001e-6, 1e-3, 1e8, 0.0, 0.1]
    np.testing.assert_allclose(inside.guess, expected, rtol=2e-7)
    assert inside.guess[4] > 1e8
    np.testing.assert_array_equal(inside.guess[5:], parameters.guess[5:])
