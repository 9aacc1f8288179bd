"""How many populations the distance to a minimum draws, with a loss of known noise."""

from types import SimpleNamespace

import numpy as np
import pytest

from kdescent_dist.response import distance
from kdescent_dist.response.distance import distance_to_minimum, far_from_minimum, is_converged

ERRORS = np.array([1.0, 2.0])


class Drawn:
    """Populations whose sums are numbers, with gradients of a known scatter."""

    def __init__(self, mean, of_sums, of_slopes, most=512):
        rng = np.random.default_rng(7)
        self.params, self.most, self.sums = np.zeros(2), most, []
        self._mean, self._of_slopes = np.array(mean), of_slopes
        self._sums = of_sums * rng.normal(size=(most, 2))
        self._slopes = of_slopes * rng.normal(size=(most, 2))

    def extend(self, number):
        self.sums = list(self._sums[: max(number, len(self.sums))])

    def gradients(self, number, cotangent):
        return -self._mean + self._slopes[:number]

    def agreed(self, value):
        return value


@pytest.fixture(autouse=True)
def sums_are_numbers(monkeypatch):
    monkeypatch.setattr(distance, "mean_totals", lambda sums: np.mean(sums, axis=0))


AT = SimpleNamespace(
    inverse=np.eye(2),
    determined=np.ones(2, bool),
    without_noise=np.ones(2),
    cotangent=lambda mean, params: (mean, np.zeros(2)),
    changes=lambda sums, mean: np.array(sums) - mean,
)


def found(mean, of_sums, of_slopes, share=0.0, **options):
    return distance_to_minimum(AT, ERRORS, Drawn(mean, of_sums, of_slopes, **options), share=share)


def test_quiet_populations_are_few():
    one = found([0.0, 0.0], 0.05, 0.02)
    assert one.populations == (distance.FEWEST, distance.FEWEST)
    assert np.all(np.abs(one.displacement) < 0.1)


@pytest.mark.parametrize(("of_sums", "of_slopes"), [(1.0, 0.02), (0.02, 0.8), (1.0, 0.8)])
def test_the_noise_is_a_tenth_of_the_errors_whichever_it_comes_from(of_sums, of_slopes):
    one = found([0.0, 0.0], of_sums, of_slopes)
    assert np.all(one.noise / ERRORS < 1.2 * distance.NOISE)
    assert one.populations[1] <= one.populations[0] < 512
    assert (one.populations[0] > 50) == (max(of_sums, of_slopes) > 0.5)
    assert (one.populations[1] > 50) == (of_slopes > 0.5)


def test_far_from_the_minimum_a_tenth_of_the_distance_is_enough():
    one = found([30.0, 0.0], 1.0, 0.5)
    assert one.populations[0] < 10
    assert one.displacement[0] == pytest.approx(30, abs=1)


def test_few_populations_tell_that_a_parameter_is_surely_far():
    """3 / sqrt(64) is below an error; a tenth of an error would need 1,400 populations."""
    one = found([2.5, 0.0], 3.0, 0.1, most=4000)
    assert one.populations[0] == distance.FEW
    assert one.in_errors(ERRORS)[0][0] == pytest.approx(2.5, abs=1)


@pytest.mark.parametrize("mean", [[1.0, 0.0], [0.6, 1.6], [8.0, 0.0]])
def test_the_noise_of_a_step_is_a_share_of_its_length(mean):
    """However the step lies between the parameters."""
    one = found(mean, 1.0, 0.5, share=0.3)
    length = np.sum((mean / ERRORS) ** 2)
    assert np.sum((one.noise / ERRORS) ** 2) < 1.3 * 0.3**2 * length
    of_each = found(mean, 1.0, 0.5).populations[0]
    assert one.populations[0] < of_each or of_each <= distance.FEWEST


def test_a_step_of_nothing_but_noise_needs_a_tenth_of_the_errors():
    one = found([0.0, 0.0], 1.0, 0.5, share=0.3)
    assert one.populations[0] > 50
    assert np.all(one.noise / ERRORS < 1.2 * distance.NOISE)


def test_there_are_no_more_populations_than_keys():
    one = found([0.0, 0.0], 20.0, 20.0, most=16)
    assert one.populations == (16, 16)
    assert not is_converged(*one.in_errors(ERRORS)).any()


def test_where_all_populations_would_leave_far_too_much_noise_few_are_drawn():
    """20 / sqrt(512) is nine times a tenth of an error; 3 / sqrt(512) is not twice as much."""
    assert found([0.0, 0.0], 20.0, 20.0).populations == (distance.FEW, distance.FEW)
    assert found([0.0, 0.0], 3.0, 3.0).populations == (512, 512)


def test_the_covariance_of_the_displacement_is_that_of_a_mean_of_its_populations():
    of_sums, of_slopes = np.random.default_rng(7).normal(size=(2, 512, 2)) * [[[0.5]], [[0.3]]]
    one = found([0.0, 0.0], 0.5, 0.3)
    sums, pulled = one.populations
    parts = np.cov(of_sums[:sums].T) / sums, np.cov(of_slopes[:pulled].T) / pulled
    np.testing.assert_allclose(one.covariance, sum(parts), rtol=1e-12)
    np.testing.assert_allclose(one.noise, np.sqrt(np.diagonal(one.covariance)))


def test_noisy_derivatives_shorten_the_way_which_is_corrected(monkeypatch):
    """As much information from the noise as from the derivatives: both are half of the truth."""
    before = found([0.4, 0.4], 0.05, 0.02)
    monkeypatch.setattr(AT, "without_noise", np.array([1.0, 2.0]))
    after = found([0.4, 0.4], 0.05, 0.02)
    np.testing.assert_allclose(after.displacement, before.displacement * [1, 2])
    np.testing.assert_allclose(after.noise, before.noise * [1, 2])


def test_a_gradient_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError):
        found([np.nan, 0.0], 0.1, 0.1)


def test_the_worst_parameters_are_named_first():
    told = far_from_minimum(["a", "b", "c"], np.array([0.5, -9.0, np.nan]), np.array([0.1, 1, 1]))
    assert (
        told
        == "expected moves to the minimum of the loss, in errors: b by -9 +- 1, a by +0.5 +- 0.1"
    )
    assert far_from_minimum(["a"], np.array([0.05]), np.array([0.1])) == ""
