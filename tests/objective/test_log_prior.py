"""The prior in the loss of a step: against NumPy in float64, and 4 devices against 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import FitConfig, LossConfig
from kdescent_dist.fitting.loop import fit
from kdescent_dist.objective.loss_function import LossObjective
from support import fits, problems

KEY = jax.random.key(11)
CHISQ = LossConfig(kind="chisq")
# Squares in the mean: kernels, both parts of modes and a number of two bins, and kernels of one.
SQUARES = 2 * (7 + 2 * 5 + 1) + 6


class Laplace:
    """A distribution of another library, of which another argument makes another one."""

    def __init__(self, width=0.5):
        self.width = width

    def log_prob(self, x):
        return -jnp.abs(x - 0.2) / self.width


PRIORS = {
    "mean": {"normal": [0.3, 0.05]},
    "slope": Laplace(),
    "scatter": {"lognormal": [-0.7, 0.4]},
    "fraction": {"uniform": [0.0, 1.0]},
}
GUESS = np.array([0.1, 0.6, 0.9, 0.5], np.float32)


def parameters(priors=PRIORS, **options):
    tree = dict(zip(problems.NAMES, GUESS, strict=True))
    return Parameters.of_tree(tree, priors=priors, **options)


def with_priors(bins, given, devices=1, loss=CHISQ, **options):
    return problems.objective(bins, devices, names=given, loss=loss, **options)


def evaluate(objective):
    run = jax.jit(objective.value_and_grad)
    return [np.asarray(a) for a in run(GUESS.astype(objective.dtype), KEY, objective.data)]


def log_p(params):
    mean, slope, scatter, _ = np.asarray(params, float)
    of_mean = stats.norm(0.3, 0.05).logpdf(mean)
    return of_mean - abs(slope - 0.2) / 0.5 + stats.lognorm(0.4, scale=np.exp(-0.7)).logpdf(scatter)


def gradient(params):
    steps = 1e-6 * np.eye(4)
    apart = [log_p(params + step) - log_p(params - step) for step in steps]
    return np.array(apart) / 2e-6


@pytest.mark.slow
def test_it_adds_minus_twice_its_logarithm_over_the_number_of_squares(bins):
    with jax.enable_x64(True):  # differences of large losses
        plain = evaluate(problems.objective(bins, loss=CHISQ, dtype=np.float64))
        found = evaluate(with_priors(bins, parameters(), dtype=np.float64))
    # Constants are left out: of a normal and of a lognormal density.
    constant = stats.norm(0.3, 0.05).logpdf(0.3) + stats.norm(-0.7, 0.4).logpdf(-0.7)
    added = -2 * (log_p(GUESS) - constant) / SQUARES
    np.testing.assert_allclose(found[0] - plain[0], added, rtol=1e-7)
    slopes = -2 * gradient(GUESS.astype(float)) / SQUARES
    np.testing.assert_allclose(found[1] - plain[1], slopes, rtol=1e-7, atol=1e-7)


@pytest.mark.as_shipped
@pytest.mark.slow
def test_the_bits_are_the_same_on_one_and_on_four_devices():
    given = parameters()
    one, four = (evaluate(with_priors(fits.bins(), given, devices)) for devices in (1, 4))
    assert [a.tobytes() for a in one] == [a.tobytes() for a in four]


def test_the_objective_has_it_for_samplers():
    objective = with_priors(fits.bins(), parameters())
    many = jnp.asarray(GUESS) + 0.01 * jnp.arange(3)[:, None]
    found = jax.jit(jax.vmap(objective.log_prior))(many)
    expected = [log_p(one) for one in np.asarray(many)]
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=2e-4)
    slopes = jax.grad(objective.log_prior)(jnp.asarray(GUESS))
    np.testing.assert_allclose(slopes, gradient(GUESS.astype(float)), rtol=1e-4)
    assert fits.objective(1).log_prior(jnp.asarray(GUESS)) == 0


def test_a_fixed_parameter_has_no_part_in_it():
    held = with_priors(fits.bins(), parameters(fixed=["mean", "scatter"]))
    alone = {name: PRIORS[name] for name in ("slope", "fraction")}
    assert held.prior.told() == with_priors(fits.bins(), parameters(alone)).prior.told()


def test_what_the_loss_and_the_fit_cannot_take_is_refused():
    bins = fits.bins()
    given = parameters({"mean": {"normal": [0, 1]}})
    with pytest.raises(InputError, match=r"parameters.mean.prior: needs loss.kind=chisq or"):
        with_priors(bins, given, loss=LossConfig())

    class Nowhere:
        def log_prob(self, x):
            return jnp.where(x < 0, 0.0, -jnp.inf)

    with pytest.raises(InputError, match=r"parameters.mean.prior: .* is -inf at the guess 0.1"):
        with_priors(bins, parameters({"mean": Nowhere()}))
    with pytest.raises(InputError, match="the objective and of the fit differ: give Population"):
        fit(with_priors(bins, given), GUESS, fits.ADAM, names=problems.NAMES)
    with pytest.raises(InputError, match="priors: a LossObjective has none"):
        fit(LossObjective(lambda tree: 0.0, parameters=given), given, fits.ADAM)


def test_another_prior_is_another_fit(tmp_path):
    def run(prior, steps):
        given = parameters({"mean": prior})
        config = FitConfig(finish="none", steps=steps)
        objective = with_priors(fits.bins(), given)
        return fit(objective, given, fits.ADAM, config=config, checkpoints=tmp_path)

    run({"normal": [0.3, 0.05]}, 2)
    assert len(run({"normal": [0.3, 0.05]}, 3).losses) == 4
    with pytest.raises(InputError, match=r"priors.mean.normal: \[0.3, 0.05\] -> \[0.3, 0.06\]"):
        run({"normal": [0.3, 0.06]}, 4)
    with pytest.raises(InputError, match=r"parameters.mean.prior: default -> "):
        run(Laplace(), 4)
