"""Priors of parameters: their forms in a config and from Python, densities, bounds and identity."""

import numpy as np
import pytest
from scipy import stats

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.priors import prior_of
from kdescent_dist.config.problem import fingerprint, fingerprint_1, identity_of
from kdescent_dist.config.schema import Config, ParameterConfig

INFINITE = float("inf")
# Forms of the config, the ends of their supports, and the same distribution of SciPy.
KINDS = [
    ({"normal": [0.3, 0.1]}, (-INFINITE, INFINITE), stats.norm(0.3, 0.1)),
    ({"lognormal": [0.5, 0.2]}, (0.0, INFINITE), stats.lognorm(0.2, scale=np.exp(0.5))),
    ({"uniform": [0.2, 2.0]}, (0.2, 2.0), stats.uniform(0.2, 1.8)),
    ({"truncated": [0, 2, 0.1, 3]}, (0.1, 3.0), stats.truncnorm(0.05, 1.5, 0.0, 2.0)),
]


class Own:
    """A distribution of another library."""

    def log_pdf(self, x):
        return -abs(x)


@pytest.mark.parametrize(("given", "support", "known"), KINDS, ids=lambda one: str(one)[:9])
def test_a_density_is_that_of_scipy_but_for_a_constant(given, support, known):
    prior = prior_of(given, "key")
    x = np.array([0.25, 0.4, 0.9, 1.9])
    apart = np.array([prior.log_prob(one, np) for one in x]) - known.logpdf(x)
    np.testing.assert_allclose(apart, apart[0], rtol=1e-12)
    assert prior.support == support
    assert prior_of(prior.to_config(), "key") == prior


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normal": [0.3]}, "missing 1 required .* must be ``normal: \\[mean, sd\\]``"),
        ({"normal": [0.3, 0.1, 2]}, "must be ``normal: \\[mean, sd\\]``"),
        ({"normal": [0.3, 0]}, "the standard deviation 0 must be above 0 and finite"),
        ({"normal": 0.3}, "must be ``normal"),
        ({"normal": [0.3, None]}, "must be ``normal"),
        ({"normal": [np.nan, 1]}, "all numbers must be finite"),
        ({"uniform": [2, 1]}, "the lower end 2 is not below the upper end 1"),
        ({"truncated": [0, 1, 3, 3]}, "the lower end 3 is not below the upper end 3"),
        ({"gaussian": [0, 1]}, "must be one of normal, lognormal, uniform, truncated"),
        ({"normal": [0, 1], "uniform": [0, 1]}, "must be {NAME: "),
        ([0.3, 0.1], "must be {NAME: "),
        (object(), "must be {NAME: "),
    ],
)
def test_another_form_is_refused_by_its_key(given, message):
    with pytest.raises(InputError, match=rf"parameters\.a\.prior=.*{message}"):
        Parameters.of_config({"a": ParameterConfig(guess=1.0, prior=given)})


def test_the_ends_of_a_prior_are_bounds_beside_those_that_are_given():
    parameters = Parameters.of_config(
        {
            "narrower": ParameterConfig(guess=0.5, low=0.0, high=3.0, prior={"uniform": [-1, 2]}),
            "above_0": ParameterConfig(guess=0.5, prior={"lognormal": [0, 1]}),
            "free": ParameterConfig(guess=0.5, prior={"normal": [0, 1]}),
            "plain": ParameterConfig(guess=0.5, low=0.1),
        }
    )
    np.testing.assert_array_equal(parameters.low, [0.0, 0.0, -np.inf, 0.1])
    np.testing.assert_array_equal(parameters.high, [2.0, np.inf, np.inf, np.inf])
    with pytest.raises(InputError, match=r"narrower: guess 2.5 is outside its bounds \(0, 2\)"):
        parameters.with_guess(np.array([2.5, 0.5, 0.5, 0.5])).check()
    shown = parameters.by_name()
    assert shown["narrower"].prior == {"uniform": [-1.0, 2.0]}
    assert shown["plain"].prior is None


def test_paths_of_a_tree_and_names_of_a_vector_have_priors_in_the_same_form():
    own = Own()
    parameters = Parameters.of_tree(
        {"galaxies": {"slope": 0.1, "knots": [1.0, 2.0]}},
        priors={"galaxies": {"normal": [0, 1]}, "galaxies.slope": own},
    )
    assert parameters.priors[0].log_prob(2.0, np) == -2.0
    assert parameters.priors[1] == parameters.priors[2] == prior_of({"normal": [0, 1]}, "")
    vector = Parameters.of_vector([0.5, 0.5], ["a", "b"], priors={"b": {"uniform": [0, 1]}})
    assert vector.priors[0] is None
    assert (vector.low[1], vector.high[1]) == (0.0, 1.0)
    with pytest.raises(InputError, match="priors: c: no such parameter"):
        Parameters.of_vector([0.5], ["a"], priors={"c": {"uniform": [0, 1]}})


def test_an_object_of_another_library_is_made_at_its_first_use():
    prior = prior_of({"_target_": "scipy.stats.norm", "loc": 0.3}, "parameters.a.prior")
    assert prior.to_config() == {"_target_": "scipy.stats.norm", "loc": 0.3}
    with pytest.raises(InputError, match=r"prior: .* has no method log_prob or log_pdf"):
        prior.log_prob(0.3, np)
    missing = prior_of({"_target_": "no_such_library.Normal"}, "parameters.a.prior")
    with pytest.raises(InputError, match="there is no module no_such_library"):
        missing.log_prob(0.3, np)
    wrong = prior_of({"_target_": "fractions.Fraction", "numerator": "x"}, "parameters.a.prior")
    with pytest.raises(InputError, match=r"parameters\.a\.prior: ValueError"):
        wrong.log_prob(0.3, np)


def test_another_package_adds_a_prior(plugin):
    source = """
from dataclasses import dataclass
from kdescent_dist.config.priors.prior import Prior

@dataclass(frozen=True)
class Exponential(Prior):
    rate: float
    name = "exponential"
    support = (0.0, float("inf"))

    def log_prob(self, x, xp):
        return -self.rate * x
"""
    plugin("kdescent_dist.priors", source, "Exponential")
    prior = prior_of({"exponential": [2]}, "key")
    assert prior.log_prob(1.5, np) == -3.0
    assert prior.to_config() == {"exponential": [2.0]}


def problem_with(prior):
    return Config(parameters={"a": ParameterConfig(guess=0.5, prior=prior)})


def test_a_prior_is_part_of_the_problem_and_no_prior_is_as_before():
    """A config without a prior keeps its fingerprints, also those of the first schema."""
    plain = problem_with(None)
    assert not any("prior" in key for key in identity_of(plain))
    assert fingerprint_1(plain) is not None
    assert identity_of(problem_with({"normal": [0, 1]}))["parameters.a.prior.normal"] == [0, 1]
    every = [None, {"normal": [0, 1]}, {"normal": [0, 2]}, {"uniform": [0, 1]}]
    assert len({fingerprint(problem_with(prior)) for prior in every}) == len(every)
