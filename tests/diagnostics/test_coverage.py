"""Simulated catalogs, their fits, and the table of coverage."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optax
import pytest

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.diagnostics.coverage import notes_of, summarize, table, warnings
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.diagnostics.refits import Refits, fit_catalogs
from kdescent_dist.diagnostics.simulated import Simulation
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.models.population import Population
from kdescent_dist.objective.log_prior import LogPrior
from kdescent_dist.objective.population_objective import PopulationObjective
from support import problems
from support.fits import fit_once_compiled
from support.minima import CHISQ

ADAM = optax.adam(0.05)
FEW = FitConfig(steps=5, finish="none")
ONE = {"one": problems.GRIDS["one"]}


def with_input(weighted, size=2500, devices=1, model=problems.toy, grids=ONE, **options):
    """A fit whose input catalog is the training catalog, or some of its rows."""
    rng = np.random.default_rng(2)
    mass = rng.uniform(size=2500).astype(np.float32)
    weights = rng.uniform(0.5, 2, 2500).astype(np.float32) if weighted else np.ones(2500, "f4")
    colors = (mass + rng.normal(size=(2, 2500))).astype(np.float32)
    columns = {"mass": mass, "red": colors[0], "blue": colors[1]}
    mesh = make_mesh(devices, 1)
    bins = [pretrain_bin(b, columns, weights, 3, make_mesh(1)) for b in expand_bins(grids)]
    rows = np.sort(rng.choice(2500, size, replace=False)) if size < 2500 else range(2500)
    training = TrainingCatalog.of(columns, weights)
    chosen = np.asarray(rows)
    objective = PopulationObjective(
        model,
        problems.NAMES,
        bins,
        training_weight=training.weight,
        catalog={"mass": mass[chosen]},
        catalog_weights=weights[chosen] * np.float32(2500 / size) if weighted else None,
        mesh=mesh,
        **options,
    )
    parameters = Parameters.of_vector(problems.GUESS, problems.NAMES, problems.BOUNDS)
    return Problem(objective, training, parameters, 3, input_rows=rows)


def generative(devices=1, **options):
    return problems.problem(problems.objective(problems.pretrained(), devices, **options))


def test_rows_of_a_generative_model_are_draws_of_its_weighted_samples():
    """Of the two galaxies of a mass, one is red with the probability that its weight is."""
    catalog = Simulation(generative(), problems.TRUTH).catalog(1)
    real = catalog.weights > 0
    red, blue, mass = (catalog.columns[name][real] for name in ("red", "blue", "mass"))
    assert len(np.unique(red)) == len(red)
    away = red - 0.4 - 0.6 * mass
    # A mixture of N(0, 0.5) and N(1, 0.5), of which 30% are in the second.
    n = len(red)
    assert abs(away.mean() - 0.3) < 4 * np.sqrt((0.25 + 0.21) / n)
    assert abs(away.var() - 0.46) < 0.05
    assert abs(np.mean(mass) - 0.5) < 4 * np.sqrt(1 / 12 / n)
    assert not np.array_equal(red, blue)


def test_the_number_of_rows_is_poisson_where_the_loss_depends_on_it():
    """The model's weights add up to 1003, and a row of the catalog weighs 0.5 in the mean."""
    simulation = Simulation(generative(), problems.TRUTH)
    numbers = [np.sum(simulation.catalog(seed).weights > 0) for seed in range(8)]
    assert len({len(simulation.catalog(seed).weights) for seed in range(2)}) == 1
    expected = problems.SIZE / 0.5
    assert abs(np.mean(numbers) - expected) < 4 * np.sqrt(expected / 8)
    assert len(set(numbers)) > 1


def test_rows_that_are_the_input_are_drawn_with_their_weights():
    given = with_input(weighted=True)
    catalog = Simulation(given, problems.TRUTH).catalog(1)
    known = dict(zip(given.training.columns["mass"], given.training.weights, strict=True))
    assert len(catalog.weights) == 2500
    assert [known[m] for m in catalog.inputs["mass"]] == catalog.weights.tolist()
    assert np.array_equal(catalog.input_weights, catalog.weights)
    distinct = len(np.unique(catalog.inputs["mass"]))
    assert abs(distinct / 2500 - (1 - np.exp(-1))) < 0.04
    away = catalog.columns["red"] - 0.4 - 0.6 * catalog.inputs["mass"]
    assert abs(away.mean() - 0.3) < 4 * np.sqrt(0.46 / 2500)
    assert abs(away.var() - 0.46) < 0.05


def test_rows_are_drawn_in_proportion_to_what_the_model_makes_of_them():
    def more_of_high_mass(params, key, catalog):
        population = problems.toy(params, key, catalog)
        return Population(population.x, population.weights * population.x["mass"])

    given = with_input(weighted=False, model=more_of_high_mass)
    catalog = Simulation(given, problems.TRUTH).catalog(1)
    # The density of the masses is 2 m.
    assert abs(np.mean(catalog.inputs["mass"]) - 2 / 3) < 4 * np.sqrt(1 / 18 / 2500) + 0.01


def test_some_rows_as_input_stand_for_all():
    given = with_input(weighted=True, size=600)
    catalog = Simulation(given, problems.TRUTH).catalog(1)
    assert len(catalog.weights) == 2500
    assert len(catalog.input_weights) == 600
    rows = catalog.input_rows
    known = dict(zip(given.training.columns["mass"], given.training.weights, strict=True))
    assert [known[m] for m in catalog.inputs["mass"]] == catalog.weights[rows].tolist()
    assert np.allclose(catalog.input_weights, catalog.weights[rows] * 2500 / 600, rtol=1e-6)


@pytest.mark.parametrize("given", [generative, lambda devices: with_input(True, devices=devices)])
def test_catalogs_are_the_same_on_any_mesh(given):
    one, four = (Simulation(given(devices), problems.TRUTH).catalog(5) for devices in (1, 4))
    for name, values in one.columns.items():
        assert values.tobytes() == four.columns[name].tobytes()
    assert one.weights.tobytes() == four.weights.tobytes()
    other = Simulation(given(1), problems.TRUTH).catalog(6)
    assert not np.array_equal(one.columns["red"], other.columns["red"])


def test_a_fit_of_another_catalog_compiles_nothing_and_has_the_bits_of_a_fit_from_scratch():
    given = with_input(weighted=True)
    catalog = Simulation(given, problems.TRUTH).catalog(7)
    refits = Refits(given, ADAM, FEW)
    compiled = len(given.objective.programs._made)
    other = refits.problem_of(catalog, 7)
    fresh = PopulationObjective(
        problems.toy,
        problems.NAMES,
        other.bins,
        training_weight=other.training.weight,
        catalog=catalog.inputs,
        catalog_weights=catalog.input_weights,
        mesh=make_mesh(1),
    )
    assert other.objective.programs is given.objective.programs
    assert other.objective.identity == fresh.identity
    assert other.objective.identity != given.objective.identity
    options = {"config": FEW, "seed": 7}
    fit_once_compiled(given.objective, given.parameters, ADAM, **options)
    made = len(given.objective.programs._made)
    one = fit_once_compiled(other.objective, other.parameters, ADAM, **options)
    assert len(given.objective.programs._made) == made > compiled
    two = fit_once_compiled(fresh, other.parameters, ADAM, **options)
    assert one.params.tobytes() == two.params.tobytes()
    assert one.losses.tobytes() == two.losses.tobytes()


def test_another_catalog_must_fit_into_the_problem():
    given = with_input(weighted=True)
    refits = Refits(given, ADAM, FEW)
    columns = dict(given.training.columns)
    with pytest.raises(InputError, match="catalog 0: it lacks the columns red"):
        next(fit_catalogs(refits, [({"mass": columns["mass"]}, None)]))
    short = {name: values[:-1] for name, values in columns.items()}
    with pytest.raises(InputError, match="catalog 0: it has 2499 rows, but the model has 2500"):
        next(fit_catalogs(refits, [(short, None)]))
    bins = problems.pretrained({"grid": problems.GRIDS["grid"]})
    with pytest.raises(InputError, match="in the same bins"):
        given.objective.with_catalogs(bins, 1.0)
    with pytest.raises(InputError, match=r"it has the columns \['mass'\]"):
        given.objective.with_catalogs(given.bins, 1.0, catalog={"mass": columns["mass"]})
    plain = with_input(weighted=False)
    with pytest.raises(InputError, match="input catalog: mass must have 2500 rows"):
        plain.objective.with_catalogs(plain.bins, 1.0, catalog={"mass": short["mass"]})


def test_a_catalog_that_cannot_be_counted_is_a_failed_fit():
    given = problems.problem(problems.objective(problems.pretrained()))
    columns, weights = problems.training()
    same = {name: np.zeros_like(values) for name, values in columns.items()}
    (found,) = fit_catalogs(Refits(given, ADAM, FEW), [(same, weights)])
    assert found["failed"].startswith("InputError: bins.")


def of_normal(number, ratio=1.0, bias=0.0):
    """Fits of two parameters with errors of 0.1 and 2, of which the second has no error in half."""
    rng = np.random.default_rng(0)
    fits = []
    for i, (a, b) in enumerate(rng.normal(size=(number, 2))):
        fits.append(
            {
                "params": {"a": 1 + 0.1 * (ratio * a + bias), "b": -5 + 2 * b},
                "errors": {"a": 0.1, "b": 2.0 if i % 2 else None},
                "converged": i % 4 > 0,
                "acceptable": True,
            }
        )
    return fits


def test_the_table_finds_honest_errors_honest():
    summary = summarize({"a": 1.0, "b": -5.0}, [*of_normal(400), {"failed": "no"}])
    counts = {name: summary[name] for name in ("fits", "failed", "converged", "acceptable")}
    assert counts == {"fits": 401, "failed": 1, "converged": 300, "acceptable": 400}
    a, b = summary["parameters"]["a"], summary["parameters"]["b"]
    assert (a["fits"], b["fits"]) == (400, 200)
    for value, noise, truth in (
        (*a["bias"], 0.0),
        (*a["scatter"], 0.1),
        (*b["scatter_over_stated"], 1.0),
        (*b["within_68"], 0.6827),
        (*a["within_95"], 0.95),
        (*summary["pooled"]["within_68"], 0.6827),
        (*summary["pooled"]["converged_within_68"], 0.6827),
    ):
        assert noise > 0
        assert abs(value - truth) < 3 * noise
    assert a["bias"][1] == pytest.approx(0.1 / 20, rel=0.1)
    assert a["within_68"][1] == pytest.approx(np.sqrt(0.68 * 0.32 / 400), rel=0.1)
    assert warnings(summary) == []
    assert table(summary)[0] == "401 fits: 300 converged, 400 acceptable, 1 failed"
    assert [line.split()[0] for line in table(summary)[2:]] == ["a", "b", "all"]


def test_the_table_tells_of_errors_that_are_wrong():
    small, biased = (
        warnings(summarize({"a": 1.0, "b": -5.0}, of_normal(200, **wrong)))
        for wrong in ({"ratio": 2.0}, {"bias": 1.0})
    )
    assert small[0].startswith("the errors of a are too small: the scatter is 1.96 +- ")
    assert "a is biased by +" in biased[0]
    assert "stated errors" in biased[0]


def test_parameters_with_a_prior_are_not_judged():
    summary = summarize({"a": 1.0, "b": -5.0}, of_normal(200, ratio=0.1, bias=3.0), ["a"])
    assert warnings(summary) == []
    assert {n: one["prior"] for n, one in summary["parameters"].items()} == {"a": True, "b": False}
    assert table(summary)[2].startswith("a (prior)  ")
    b = summary["parameters"]["b"]
    assert summary["pooled"]["within_68"][0] == b["within_68"][0]


def test_what_a_coverage_does_not_measure_is_told():
    """A uniform prior acts as bounds, and is no measurement."""
    priors = {"offset": {"normal": [0.4, 0.1]}, "slope": {"uniform": [0.0, 2.0]}}
    priors = dict(zip(problems.NAMES, priors.values(), strict=False))
    parameters = Parameters.of_vector(problems.GUESS, problems.NAMES, priors=priors)
    prior, rows = LogPrior.of(parameters), TrainingCatalog.of({"x": np.zeros(2)})
    plain = SimpleNamespace(objective=SimpleNamespace(prior=prior), parameters=parameters)
    plain.training = rows
    (of_prior,) = notes_of(plain)
    assert of_prior.startswith(f"parameters with a prior ({problems.NAMES[0]}) are not judged")
    plain.training = replace(rows, regions=object())
    of_regions, _ = notes_of(plain)
    assert "errors of independent rows" in of_regions


def test_a_table_of_too_few_fits_has_no_numbers():
    summary = summarize({"a": 1.0, "b": -5.0}, [{"failed": "no"}])
    assert summary["parameters"] == {}
    assert summary["pooled"]["within_68"] is None
    assert len(table(summary)) == 3


def in_chisq(bins, **options):
    return problems.problem(problems.objective(bins, size=4003, loss=CHISQ, **options))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_stated_errors_cover_the_truth_over_simulated_catalogs(few_points, shared):
    """In 30 catalogs, generated or with the rows of the input; pooled over four parameters."""
    given = in_chisq(few_points)
    if shared:
        grids = {"grid": few_points[0].bin.config}
        given = with_input(weighted=True, grids=grids, loss=CHISQ)
    simulation = Simulation(given, problems.TRUTH)
    refits = Refits(given, ADAM, FitConfig(steps=30))
    fits = [refits.fit(simulation.catalog(1000 + i), i) for i in range(30)]
    truth = dict(zip(problems.NAMES, problems.TRUTH.tolist(), strict=True))
    summary = summarize(truth, fits)
    assert summary["converged"] >= 27
    cover, noise = summary["pooled"]["within_68"]
    assert abs(cover - 0.6827) < 3 * noise + 0.03
    for one in summary["parameters"].values():
        ratio, noise = one["scatter_over_stated"]
        assert abs(ratio - 1) < 3.5 * noise
