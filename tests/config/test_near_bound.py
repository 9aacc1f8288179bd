"""A parameter that has run into a bound."""

import math

import pytest

from kdescent_dist.config.near_bound import near_bound


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.005, 0.0, 1.0, "low"),
        (0.995, 0.0, 1.0, "high"),
        (0.02, 0.0, 1.0, ""),
        (0.004, 0.0, None, "low"),
        (0.02, 0.0, None, ""),
        (0.996, None, 1.0, "high"),
        (1e9, None, None, ""),
        (float("nan"), 0.0, 1.0, ""),
        (None, 0.0, 1.0, ""),
        (0.004, 0.0, math.inf, "low"),
        (0.996, -math.inf, 1.0, "high"),
        (1.1, 0.0, 1.0, "high"),
    ],
)
def test_near_a_bound_is_within_a_hundredth_of_the_range(value, low, high, expected):
    assert near_bound(value, low, high, guess=0.5) == expected
