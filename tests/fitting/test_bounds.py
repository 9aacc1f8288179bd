"""Bounded parameters: both maps, their derivatives at extremes, and bad bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.fitting.arctan_map import ArctanMap
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.logit_map import LogitMap

PAIRS = [None, (None, None), (-1.0, None), (-np.inf, 3.0), (-0.5, 2.0), (0.0, 1.0), (0.0, 1.0)]
PARAMS = np.array([0.7, -3.0, 4.0, -2.0, 1.3, 0.02, 0.9])
LOW = np.array([-0.5, 0.0, 0.0])
WIDTH = np.array([2.5, 1.0, 1.0])
BOUNDS = Bounds.from_pairs(PAIRS, len(PAIRS))


@pytest.fixture(params=[ArctanMap, LogitMap])
def map_(request):
    return request.param(BOUNDS)


def test_each_kind_of_bound_follows_the_formula_of_diffopt():
    scale, middle = WIDTH / np.pi, LOW + WIDTH / 2
    expected = [
        PARAMS[0],
        PARAMS[1],
        PARAMS[2] + 1 + 1 / (-1 - PARAMS[2]),
        PARAMS[3] - 3 + 1 / (3 - PARAMS[3]),
        *(scale * np.tan((PARAMS[4:] - middle) / scale)),
    ]
    np.testing.assert_allclose(ArctanMap(BOUNDS).to_unbounded(PARAMS), expected, rtol=2e-6)


def test_each_kind_of_bound_follows_the_formula_of_the_logit_map():
    part = (PARAMS[4:] - LOW) / WIDTH
    expected = [
        PARAMS[0],
        PARAMS[1],
        -1 + np.log(np.expm1(PARAMS[2] + 1)),
        3 - np.log(np.expm1(3 - PARAMS[3])),
        *(WIDTH / 4 * np.log(part / (1 - part))),
    ]
    np.testing.assert_allclose(LogitMap(BOUNDS).to_unbounded(PARAMS), expected, rtol=2e-6)
    u = jnp.asarray(expected)
    np.testing.assert_allclose(LogitMap(BOUNDS).to_bounded(u), PARAMS, rtol=2e-6)


def test_round_trip_gives_the_parameters_back(map_):
    back = map_.to_bounded(map_.to_unbounded(jnp.asarray(PARAMS)))
    np.testing.assert_allclose(back, PARAMS, rtol=3e-6)


def test_derivative_equals_finite_differences_and_is_finite_at_extremes(map_):
    u = jnp.asarray([0.3, -2.0, 1.5, -0.4, 0.8, -5.0, 0.1])
    jacobian = np.diag(jax.jacobian(map_.to_bounded)(u))
    step = 1e-2
    differences = (map_.to_bounded(u + step) - map_.to_bounded(u - step)) / (2 * step)
    np.testing.assert_allclose(jacobian, differences, rtol=1e-3, atol=1e-4)
    for extreme in (-1e6, 1e6):
        at = jnp.full(len(PAIRS), extreme)
        assert np.all(np.isfinite(jax.jacobian(map_.to_bounded)(at)))


def test_many_sets_of_parameters_are_mapped_at_once(map_):
    table = np.stack([PARAMS, PARAMS])
    np.testing.assert_allclose(
        map_.to_unbounded(jnp.asarray(table))[1],
        map_.to_unbounded(jnp.asarray(PARAMS)),
        rtol=1e-6,
    )


# --- the logit map near bounds ---------------------------------------------------------------

SIDES = {
    "two, low": ((0.0, 1.0), 1.0),
    "two, high": ((-1.0, 0.0), -1.0),
    "two, small": ((0.0, 1e-5), 1e-5),
    "two, large": ((0.0, 1e7), 1e7),
    "only low": ((0.0, None), 1.0),
    "only high": ((None, 0.0), -1.0),
}


def near(side, x64):
    """The map of a bound at 0, and values at distances over many decades, up to 0.9 units."""
    pair, unit = SIDES[side]
    kind = np.float64 if x64 else np.float32
    distances = np.logspace(-200 if x64 else -30, np.log10(0.9), 400)
    return LogitMap(Bounds.from_pairs([pair], 1)), (unit * distances).astype(kind)[:, None]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("side", SIDES)
def test_near_a_bound_distances_come_back_over_many_decades(side, x64):
    with jax.enable_x64(x64):
        map_, params = near(side, x64)
        moved = map_.to_unbounded(params)
        back = map_.to_bounded(moved)
    assert back.dtype == moved.dtype == params.dtype
    # A logarithm of x, rounded, gives x back to x times its rounding.
    rounding = np.finfo(params.dtype).eps * (500 if x64 else 70)
    np.testing.assert_allclose(back, params, rtol=2 * rounding)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("side", SIDES)
def test_the_slope_falls_no_faster_than_the_distance_to_the_bound(side, x64):
    with jax.enable_x64(x64):
        map_, params = near(side, x64)
        slope = np.asarray(jax.grad(lambda u: map_.to_bounded(u).sum())(map_.to_unbounded(params)))
    distance = params / SIDES[side][1]
    ratio = slope / distance
    two = side.startswith("two")
    expected = 4 * (1 - distance) if two else -np.expm1(-distance) / distance
    np.testing.assert_allclose(ratio, expected, rtol=1e-4)
    # That of diffopt falls with the square.
    other = ArctanMap(map_.bounds)
    with jax.enable_x64(x64):
        start = other.to_unbounded(1e-3 * params[-1:])
        squared = float(jax.grad(lambda u: other.to_bounded(u).sum())(start)[0, 0])
    assert squared < 1e-4


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("pair", [(0.0, 1.0), (-3.0, 1e4), (0.5, None), (None, -2.0), (-1e6, None)])
def test_values_and_slopes_are_finite_and_in_order_everywhere(pair, x64):
    largest = 300 if x64 else 37
    half = np.concatenate([np.logspace(-largest, 2, 300), np.logspace(2, largest, 300)])
    with jax.enable_x64(x64):
        map_ = LogitMap(Bounds.from_pairs([pair], 1))
        u = np.concatenate([-half[::-1], [0.0], half]).astype(np.float64 if x64 else np.float32)
        u = jnp.asarray(u)[:, None]
        values = np.asarray(map_.to_bounded(u))
        slopes = np.asarray(jax.grad(lambda u: map_.to_bounded(u).sum())(u))
    rounding = 4 * np.finfo(values.dtype).eps
    assert np.all(np.isfinite(values))
    assert np.all((slopes >= 0) & (slopes <= 1 + rounding))
    assert np.all(np.diff(values, axis=0) >= -rounding * np.abs(values[1:]))


def test_far_from_a_bound_nothing_is_lost_in_rounding():
    """The variable is then the parameter itself, or its distance from the middle."""
    map_ = LogitMap(Bounds.from_pairs([(-1e6, None), (None, 1e6), (-1e6, 1e6)], 3))
    params = np.array([0.123456, 0.123456, 0.123456], np.float32)
    np.testing.assert_allclose(map_.to_unbounded(params), params, rtol=1e-6)
    np.testing.assert_allclose(map_.to_bounded(jnp.asarray(params)), params, rtol=1e-6)


# --- bad bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "guess", "message"),
    [
        ([(2.0, 1.0)], [1.5], "p: lower bound 2 is not below upper bound 1"),
        ([(0.0, 1.0)], [1.5], r"p: guess 1.5 is outside its bounds \(0, 1\)"),
        ([(0.0, 1.0)], [0.0], "p: guess 0 is outside its bounds"),
        ([None], [np.nan], "p: guess nan is not a finite number"),
    ],
)
def test_bad_bounds_and_guesses_are_named(pairs, guess, message):
    with pytest.raises(InputError, match=message):
        Bounds.from_pairs(pairs, 1).check(np.array(guess), ["p"])


def test_wrong_number_of_bounds_is_refused():
    with pytest.raises(InputError, match="2 entries for 3 parameters"):
        Bounds.from_pairs([None, None], 3)
