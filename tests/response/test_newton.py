"""Newton steps to the minimum of a loss at fixed points."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.distance import Populations, distance_to_minimum, is_converged
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.goodness import goodness_of_fit
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.response.newton import Newton, NewtonState
from kdescent_dist.response.population_totals import mean_totals
from support import problems
from support.minima import CHISQ, SIZE, carried_out

pytestmark = pytest.mark.usefixtures("few_populations")


def linearizer(bins, fixed_key=False, **options):
    parameters = Parameters.of_vector(problems.GUESS, problems.NAMES, problems.BOUNDS)
    objective = problems.objective(bins, size=SIZE, **{"loss": CHISQ, **options})
    return Linearizer(FixedLoss(objective, parameters, 3, fixed_key))


@pytest.fixture(scope="module")
def given(few_points):
    return linearizer(few_points)


@pytest.fixture(scope="module")
def finished(given):
    """All states from a few errors beside the truth."""
    return carried_out(Newton(given), 1.1 * problems.TRUTH)


@pytest.mark.slow
def test_the_steps_end_at_the_minimum_and_each_lowers_the_loss(given, finished):
    end = finished[-1]
    assert end.message == "at the minimum"
    assert 1 <= end.steps <= 4
    assert all(after < before for before, after in end.losses)
    at = given.at(end.params)
    errors = at.rough_errors()
    found = distance_to_minimum(at, errors)
    away, noise = found.in_errors(errors)
    assert np.all(np.abs(away) < 0.25)  # the random numbers are those of the steps
    assert np.all(noise < 0.45)
    assert np.all(is_converged(away, noise))
    assert np.all(np.abs(end.params - problems.TRUTH) < 4 * errors)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_displacement_is_the_way_back_to_the_minimum(given, finished, sign):
    """From two errors away, in all parameters."""
    errors = given.at(finished[-1].params).rough_errors()
    there = given.at(finished[-1].params + 2 * sign * errors * [1, -1, 1, -1])
    away, noise = distance_to_minimum(there, errors).in_errors(errors)
    back = -2 * sign * np.array([1, -1, 1, -1])
    assert np.all(np.abs(away - back) < 0.3 + 3 * noise)
    assert not is_converged(away, noise).any()


@pytest.mark.nightly
@pytest.mark.slow
def test_the_steps_from_afar_end_at_the_same_minimum(given, finished):
    """The guess is tens of errors away: the first steps are damped."""
    errors = given.at(finished[-1].params).rough_errors()
    end = carried_out(Newton(given), problems.GUESS)[-1]
    assert end.message == "at the minimum"
    assert np.all(np.abs(end.params - finished[-1].params) < 0.4 * errors)


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.nightly), -2])
def test_a_saved_state_continues_with_the_same_bits(given, finished, number):
    """Also after a step that has drawn more populations than the first."""
    assert finished[-2].drawn > finished[1].drawn
    begun = NewtonState.of_json(finished[number].to_json(), np.float32)
    newton, state = Newton(given), begun
    while not state.ended:
        state = newton.step(state)
    assert state.params.tobytes() == finished[-1].params.tobytes()
    assert state.losses == finished[-1].losses


def test_no_step_is_begun_after_the_most_populations(given, finished):
    state = finished[1]
    end = Newton(given, most=state.populations).step(state)
    assert end == replace(state, message=f"as many as {state.populations} populations were drawn")
    assert Newton(given, most=state.populations + 1).step(state).message != end.message


def sums_of_colors(population):
    """Beside a sum, a number of galaxies, which has no derivative."""
    red = population.x["red"]
    return {"red": jnp.sum(population.weights * red), "number": jnp.sum(red > 0.5)}


def term_of_colors(sums, truth, params):
    own = sums.extra_sums
    in_bins = jnp.sum(sums.bins["grid"].counts["kde"]) / sums.weight
    return 30 * (own["red"] / sums.weight - 1.0) ** 2 + 0.01 * in_bins + params["slope"] ** 2


@pytest.fixture(scope="module")
def with_term(few_points):
    return linearizer(few_points, custom=term_of_colors, extra_sums=sums_of_colors)


@pytest.mark.slow
def test_gradients_of_the_same_function_are_kept(given, monkeypatch):
    """The finish and the errors ask for them again, of more populations."""
    at = given.at(problems.TRUTH)
    here = Populations(given.whole, problems.TRUTH, 4)
    cotangent, _ = at.cotangent(mean_totals(here.sums), problems.TRUTH)
    drawn = []
    original = type(given.whole).gradient

    def gradient(whole, params, key, of):
        drawn.append(key)
        return original(whole, params, key, of)

    monkeypatch.setattr(type(given.whole), "gradient", gradient)
    few = here.gradients(2, cotangent)
    many = here.gradients(4, cotangent)
    assert np.array_equal(here.gradients(3, cotangent), many[:3])
    assert np.array_equal(few, many[:2])
    assert len(drawn) == 4
    other, _ = at.cotangent(mean_totals(here.sums[:2]), problems.TRUTH)
    assert not np.array_equal(here.gradients(2, other), few)
    assert len(drawn) == 6


@pytest.mark.slow
def test_the_scatter_of_the_gradient_includes_a_term_of_the_users_own(with_term):
    at = with_term.at(problems.TRUTH, noise=1.0)
    sums = Populations(at.whole, problems.TRUTH, 4).sums
    with_it = at.changes(sums, mean_totals(sums))
    without = replace(at, pull=None).changes(sums, mean_totals(sums))
    assert np.all(np.std(with_it - without, axis=0)[:3] > 0)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["given", "with_term"])
def test_the_gradient_is_that_of_the_loss_of_the_same_populations(which, request):
    """Against differences of the loss, as a mean over populations in both."""
    given = request.getfixturevalue(which)
    params = problems.TRUTH * np.float32(1.02)
    at = given.at(params)
    here = Populations(given.whole, params, 6)
    cotangent, direct = at.cotangent(mean_totals(here.sums), params)
    gradient = np.mean(here.gradients(6, cotangent), axis=0) + direct

    def value(moved):
        return at.value(mean_totals(Populations(given.whole, moved, 6).sums), moved)

    for i, step in enumerate([0.01, 0.01, 0.01, 0.01]):
        ends = [(params + sign * step * np.eye(4)[i]).astype(np.float32) for sign in (-1, 1)]
        slope = (value(ends[1]) - value(ends[0])) / (ends[1][i] - ends[0][i])
        np.testing.assert_allclose(2 * gradient[i], slope, rtol=0.02, atol=0.01 * at.squares)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_bound_beyond_which_the_minimum_lies_holds_its_parameter(given, finished):
    """The others are best with it there."""
    free = finished[-1].params
    at = given.at(free)
    errors = at.rough_errors()
    pairs = [None, None, (0.05, None), (0.0, float(free[3] - errors[3]))]
    parameters = Parameters.of_vector(problems.GUESS, problems.NAMES, pairs)
    bound = Linearizer.__new__(Linearizer)
    bound.__dict__ |= {**given.__dict__, "loss": replace(given.loss, parameters=parameters)}
    start = free - 3 * errors * np.eye(4)[3]
    end = carried_out(Newton(bound), start)[-1]
    assert end.held == ("fraction",)
    assert 0 < (parameters.high[3] - end.params[3]) / errors[3] < 0.01
    # With the last parameter one error too low, the others move by their conditional means.
    shift = np.linalg.solve(at.curvature[:3, :3], at.curvature[:3, 3]) * errors[3]
    np.testing.assert_allclose((end.params - free)[:3] / errors[:3], shift / errors[:3], atol=0.4)


@pytest.mark.slow
def test_of_a_fit_with_one_key_there_is_no_noise(few_points):
    fixed = linearizer(few_points, fixed_key=True)
    end = carried_out(Newton(fixed), problems.TRUTH)[-1]
    assert end.message in ("at the minimum", "no step lowers the loss")
    at = fixed.at(end.params)
    found = distance_to_minimum(at, at.rough_errors())
    assert found.populations == (1, 1)
    assert not found.noise.any()
    assert np.all(np.abs(found.in_errors(at.rough_errors())[0]) < 0.1)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_term_of_the_users_own_moves_the_minimum(few_points):
    """A narrow normal prior, as -2 log of its density per square."""

    def prior(sums, truth, params):
        return 1e6 * (params["mean"] - 0.1) ** 2

    of_prior = linearizer(few_points, custom=prior)
    end = carried_out(Newton(of_prior), problems.TRUTH)[-1]
    assert end.message == "at the minimum"
    np.testing.assert_allclose(end.params[0], 0.1, atol=2e-3)


@pytest.fixture(scope="module")
def gls(few_points):
    loss = replace(CHISQ, kind="gls")
    objective = problems.objective(few_points, size=SIZE, loss=loss)
    return problems.problem(objective)


@pytest.mark.slow
def test_the_minimum_of_generalized_least_squares_is_within_the_errors_of_the_other(gls, finished):
    """Its weights are the inverse of the covariance, so its errors are those of the curvature."""
    end = carried_out(Newton(gls.linearizer), problems.TRUTH)[-1]
    assert end.message == "at the minimum"
    at = gls.linearizer.at(end.params)
    errors = np.sqrt(np.diagonal(parameter_covariance(at)))
    np.testing.assert_allclose(errors, at.rough_errors(), rtol=0.05)
    assert np.all(np.abs(end.params - problems.TRUTH) < 4 * errors)
    assert np.all(np.abs(end.params - finished[-1].params) < 3 * errors)
    goodness = goodness_of_fit(at, Populations(at.whole, end.params, 50))
    assert goodness.acceptable
    assert 0.4 < goodness.chi_square / goodness.degrees < 2
