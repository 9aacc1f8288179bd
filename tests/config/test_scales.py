"""The unit of a parameter in the optimizer, by its size."""

import math

import numpy as np
import pytest

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.problem import identity_of
from kdescent_dist.config.scales import without_far
from kdescent_dist.config.schema import Config, ParameterConfig

CASES = [
    # Sizes from 0.01 to 100 keep the unit 1.
    ({"guess": 0.0}, 1.0),
    ({"guess": 0.01}, 1.0),
    ({"guess": -100.0}, 1.0),
    ({"guess": 0.0099}, 0.01),
    ({"guess": -3e6}, 1e6),
    ({"guess": 1e-6, "low": 0.0}, 1e-6),
    # Two bounds tell the size better than the guess.
    ({"guess": 1e-6, "low": 0.0, "high": 1.0}, 1.0),
    ({"guess": 0.0, "low": -3e6, "high": 3e6}, 1e7),
    ({"guess": 5e3, "low": 4999.9, "high": 5000.1}, 1.0),
    # Bounds that stand for none do not.
    ({"guess": 0.5, "low": -1e38, "high": 1e38}, 1.0),
    ({"guess": 0.0, "low": 0.0, "high": 1e30}, 1.0),
    ({"guess": 0.0, "high": math.inf}, 1.0),
    # A unit is a number of single precision.
    ({"guess": 1e38, "low": -3e38, "high": 3e38}, 1e37),
    ({"guess": 1e-45}, 1e-37),
    ({"guess": 3e6, "scale": 1.0}, 1.0),
    ({"guess": 0.5, "scale": 3.0}, 3.0),
    ({"guess": 3e6, "fixed": True}, 1.0),
]


@pytest.mark.parametrize(("given", "scale"), CASES)
def test_a_scale_is_given_or_follows_from_the_size(given, scale):
    configs = {"a": ParameterConfig(**given)}
    assert Parameters.of_config(configs).scale.tolist() == [scale]
    assert Parameters.of_config(configs, np.float32).scale.tolist() == [scale]
    bounds = {"a": (given.get("low"), given.get("high"))}
    fixed, own = ["a"] if given.get("fixed") else [], given.get("scale")
    scales = {} if own is None else {"a": own}
    options = {"fixed": fixed, "scale": scales}
    of_tree = Parameters.of_tree({"a": given["guess"]}, bounds=bounds, **options)
    of_vector = Parameters.of_vector([given["guess"]], ["a"], [bounds["a"]], **options)
    assert of_tree.scale.tolist() == of_vector.scale.tolist() == [scale]


@pytest.mark.parametrize(("given", "scale"), CASES)
def test_the_identity_of_a_config_has_the_scale_unless_it_is_1(given, scale):
    known = identity_of(Config(parameters={"a": ParameterConfig(**given)}))
    assert known.get("parameters.a.scale", 1.0) == scale
    assert ("parameters.a.scale" in known) == (scale != 1)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, False),
        ({"low": 0.0}, True),
        ({"high": 2.0}, True),
        ({"low": 0.0, "fixed": True}, False),
        ({"low": -math.inf}, False),
    ],
)
def test_the_map_of_bounds_is_in_the_identity_where_a_free_parameter_has_bounds(given, named):
    config = Config(parameters={"a": ParameterConfig(guess=1.0, **given)})
    assert ("fit.bounds" in identity_of(config)) == named
    config.fit.bounds = "arctan"  # that of earlier versions
    assert "fit.bounds" not in identity_of(config)


def test_bounds_are_far_at_1e8_times_the_parameter_or_its_scale():
    low = np.array([-1e8, -1e8, -1e8, -1e-3, 0.0])
    guess, scale = np.array([1.0, 10.0, 1.0, 1e-12, 0.0]), np.array([1.0, 1.0, 10.0, 1e-12, 1.0])
    near, none = without_far(low, np.full(5, np.inf), guess, scale)
    np.testing.assert_array_equal(near, [-np.inf, *low[1:]])
    assert np.all(np.isinf(none))
    # In units of the scale, this bound would not be a number of single precision.
    high = without_far(np.array([0.0]), np.array([1e7]), np.array([0.0]), np.array([1e-35]))[1]
    np.testing.assert_array_equal(high, [np.inf])
