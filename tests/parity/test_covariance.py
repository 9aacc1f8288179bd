"""Errors of parameters: against float64 NumPy, and against the scatter of repeated fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import BinsConfig, LossConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.models.population import Population
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response import covariance as errors_module
from kdescent_dist.response import population_blocks, population_derivatives
from kdescent_dist.response.bin_samples import at_rows
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.influence import BinSamples, sum_derivatives
from support.points import by_name, kernels_and_modes
from support.thread_processes import in_threads

NAMES = ("mean", "scatter", "number")
TRUTH = np.array([0.3, 1.2, 0.9], np.float32)
ROWS, SIZE = 900, 40_000
SCALE = ROWS / SIZE  # rows that a sample of the model stands for
WINDOW = (-0.5, 1.5)


def model(params, key, catalog, scale=SCALE):
    """Normal values, of known quantiles rather than random, in two correlated columns."""
    if isinstance(catalog, dict):
        z, size = catalog["z"], len(catalog["z"])
    else:
        z, size = jax.random.normal(key, (catalog,)), catalog
    x = params["mean"] + params["scatter"] * z
    return Population({"x": x, "y": 0.5 * x}, params["number"] * scale * jnp.ones(size))


def sample(seed, size=ROWS):
    rng = np.random.default_rng(seed)
    x = 0.3 + 1.2 * rng.normal(size=rng.poisson(0.9 * size))
    columns = {"x": x.astype(np.float32), "y": (0.5 * x).astype(np.float32)}
    return columns, rng.uniform(0.5, 1.5, len(x)).astype(np.float32)


def config(**options):
    few = {"kernels": 8, "fourier": 6, "pretrain_kernels": 8, "pretrain_fourier": 6}
    return BinsConfig(columns=["x"], **{**few, **options})


GRIDS = {
    "conditional": config(edges={"y": list(WINDOW)}, number_density=True),
    "density": config(normalization="density", weight=2.0),
    "counts": config(normalization="counts", edges={"y": [0.0, 1.0]}, softness=0.0),
}


def problem(grids=GRIDS, kind="chisq", seed=1, names=NAMES, function=model, **options):
    columns, weights = sample(seed)
    bins = [pretrain_bin(b, columns, weights, 3, make_mesh(1)) for b in expand_bins(grids)]
    options = {"size": SIZE, **options}
    objective = PopulationObjective(
        function,
        names,
        bins,
        training_weight=float(weights.sum(dtype=float)),
        loss=LossConfig(kind=kind, volume=50.0, weights={"kde": 0.7}, model_errors=False),
        mesh=make_mesh(2),
        **options,
    )
    return objective, bins, columns, weights


def errors(objective, bins, columns, weights, params=TRUTH, *, rows=None, free=None, **options):
    """The covariance of a problem of which this process has some rows."""
    training = TrainingCatalog.of(columns, weights, rows)
    parameters = Parameters.of_vector(params, objective.names)
    given = Problem(objective, training, parameters, 5, **options)
    return parameter_covariance(given.linearizer.at(params, free))


def compared(x, weights, bins):
    """What is compared, in float64, and its influences (n, R) by rows."""
    values, rows = [], []
    for pretrained in bins:
        bin_, counts = pretrained.bin, pretrained.counts
        y = 0.5 * x
        w = weights.astype(float)
        for low, high in bin_.window.values():
            if bin_.softness == (0,):
                w = w * ((y >= low) & (y < high))
            else:
                width = bin_.softness[0] * (high - low)
                w = w * expit((y - low) / width) * expit((high - y) / width)
        variance = float(np.squeeze(counts.kernelcov))
        near = np.exp(-0.5 * (x[:, None] - counts.kernel_centers[:, 0]) ** 2 / variance)
        waves = x[:, None] * counts.fourier_positions[:, 0]
        table = [near / np.sqrt(2 * np.pi * variance), np.cos(waves), np.sin(waves)]
        table = np.concatenate(table, axis=1)
        kind = bin_.config.normalization
        of_norm = {"conditional": w, "density": weights, "counts": 0 * w}[kind]
        norm = of_norm.sum() if kind != "counts" else 1.0
        counted = w @ table / norm
        values += [counted, [w.sum() / 50.0]]
        rows += [(w[:, None] * table - of_norm[:, None] * counted) / norm, w[:, None] / 50.0]
    return np.concatenate(values), np.concatenate(rows, axis=1)


def reference(bins, columns, weights, kind, z):
    """The response of the parameters to residuals, from differences of the sums."""

    def sums(params):
        mean, scatter, number = params
        return compared(mean + scatter * z, np.full(len(z), number * ROWS / len(z)), bins)[0]

    step = 1e-4
    jacobian = np.transpose(
        [(sums(TRUTH + step * e) - sums(TRUTH - step * e)) / (2 * step) for e in np.eye(3)]
    )
    weight = np.concatenate(
        [
            p.bin.config.weight
            * np.array([0.7] * 8 + [1.0] * 12 + [float(p.bin.config.number_density)])
            for p in bins
        ]
    )
    if kind == "chisq":
        _, rows = compared(columns["x"].astype(float), weights.astype(float), bins)
        weight = weight / np.sum(rows**2, axis=0)
    return np.linalg.solve(jacobian.T @ (weight[:, None] * jacobian), jacobian.T * weight)


@pytest.mark.parametrize("kind", ["chisq", "mse"])
def test_errors_are_those_of_the_sandwich_formula_in_float64(kind):
    """Of weighted rows, a soft and no window, all normalizations and a number density.

    The hard window moves no sample of the model: the reference would see samples cross it.
    """
    grids = {name: GRIDS[name] for name in ("conditional", "density")}
    z = np.random.default_rng(4).permutation(quantiles(SIZE)).astype(np.float32)
    objective, bins, columns, weights = problem(grids, kind, catalog={"z": z})
    found = errors(objective, bins, columns, weights)
    response = reference(bins, columns, weights, kind, z.astype(float))
    _, rows = compared(columns["x"].astype(float), weights.astype(float), bins)
    training = response @ (rows.T @ rows) @ response.T
    x = TRUTH[0] + TRUTH[1] * z.astype(float)
    _, of_model = compared(x, np.full(SIZE, TRUTH[2] * SCALE), bins)
    expected = training + response @ (of_model.T @ of_model) @ response.T
    scale = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-3 * scale.max())


def quantiles(size):
    from scipy.special import ndtri

    return ndtri((np.arange(size) + 0.5) / size)


def test_errors_are_the_scatter_of_fits_to_other_training_catalogs():
    """Of a model of one known distribution, whose fits are Newton steps in double precision."""
    grids = {"density": GRIDS["density"], "conditional": GRIDS["conditional"]}
    objective, bins, columns, weights = problem(grids)
    covariance = errors(objective, bins, columns, weights)
    z = quantiles(4000)
    response = reference(bins, columns, weights, "chisq", z)
    estimates = []
    for seed in range(400):
        other, of_other = sample(1000 + seed)
        truth, _ = compared(other["x"].astype(float), of_other.astype(float), bins)
        estimates.append(response @ truth)
    scatter = np.std(estimates, axis=0)
    # 400 catalogs tell the scatter to 3.5 %, and one catalog the errors to a few percent.
    np.testing.assert_allclose(np.sqrt(np.diagonal(covariance)), scatter, rtol=0.15)


@pytest.mark.nightly
@pytest.mark.as_shipped
def test_the_same_bits_for_any_number_of_processes():
    objective, bins, columns, weights = problem()

    def work(processes):
        rows = RowBlocks(len(weights), 100, processes)
        mine = slice(*rows.rows)
        part = {name: values[mine] for name, values in columns.items()}
        return errors(objective, bins, part, weights[mine], rows=rows)

    alone = errors(objective, bins, columns, weights, rows=RowBlocks(len(weights), 100))
    assert np.all(np.diagonal(alone) > 0)
    for found in in_threads(3, work):
        assert np.array_equal(found, alone)


def followed(columns, weights, every, **options):
    """A model that moves rows of the training catalog: it has the training catalog's noise."""
    z = ((columns["x"] - 0.3) / 1.2)[::every]
    function = jax.tree_util.Partial(model, scale=float(every))
    return {"catalog": {"z": z}, "catalog_weights": weights[::every], "size": len(z), **options}, (
        function
    )


@pytest.mark.parametrize(("every", "expected"), [(1, 0.0), (2, 1.0)])
def test_rows_that_are_both_training_and_input_count_once(every, expected):
    """All rows: their noise is that of the model, too. Every other: it counts twice, less once."""
    grids = {name: GRIDS[name] for name in ("conditional", "density")}
    columns, weights = sample(1)
    options, function = followed(columns, weights, every)
    names = ("mean", "scatter")
    objective, bins, columns, weights = problem(
        grids, names=(*names, "number"), function=function, block_size=100, **options
    )
    truth = np.array([0.3, 1.2, 1.0], np.float32)
    given = (objective, bins, columns, weights, truth)
    rows = range(len(weights)) if every == 1 else np.arange(0, len(weights), every)
    same = errors(*given, input_rows=rows)
    other = errors(*given)
    # As many rows of another catalog: their noise adds up.
    ratio = np.diagonal(same) / np.diagonal(other) * (1 + every)
    np.testing.assert_allclose(ratio, expected, atol=1e-3 if every == 1 else 0.15)


@pytest.mark.nightly
def test_random_numbers_count_where_they_are_the_same_in_every_step():
    function = jax.tree_util.Partial(model, scale=0.5)
    objective, bins, columns, weights = problem(size=2 * ROWS, function=function)
    given = (objective, bins, columns, weights, TRUTH)
    averaged = errors(*given)
    fixed = errors(*given, fixed_key=True)
    ratio = np.diagonal(fixed) / np.diagonal(averaged)
    # Samples of half the weight have half the noise, a bit less as their weights do not vary;
    # and as their number does not, less of it in the numbers.
    np.testing.assert_allclose(ratio[:2], 1.45, atol=0.1)
    assert 1.05 < ratio[2] < 1.4


@pytest.mark.nightly
def test_a_parameter_that_the_loss_does_not_determine_has_an_infinite_error():
    """Two that act together, one that does not act at all, and one that is held by its bound."""

    def degenerate(params, key, size):
        shifted = {**params, "mean": params["mean"] + 2 * params["shift"]}
        return model(shifted, key, size)

    names = ("mean", "shift", "unused", "scatter", "number")
    objective, bins, columns, weights = problem(names=names, function=degenerate)
    params = np.array([0.1, 0.1, 5.0, 1.2, 0.9], np.float32)
    given = (objective, bins, columns, weights, params)
    covariance = errors(*given)
    assert np.isinf(np.diagonal(covariance)).tolist() == [True, True, True, False, False]
    assert not np.isnan(covariance).any()
    free = np.array([True, False, True, True, True])
    held = errors(*given, free=free)
    assert np.isinf(np.diagonal(held)).tolist() == [False, True, True, False, False]
    plain = errors(*problem())
    kept = [0, 3, 4]
    np.testing.assert_allclose(held[np.ix_(kept, kept)], plain, rtol=1e-3, atol=1e-9)


def test_a_custom_term_that_restates_a_term_of_the_loss_has_its_errors():
    """Of rows that are both training and input: the term acts through both catalogs."""
    columns, weights = sample(1)
    grids = {"conditional": GRIDS["conditional"]}
    squares = 8 + 6  # in the mean of the loss without the number density

    def number(sums, truth, params):
        apart = sums.bins["conditional"].weight - truth.bins["conditional"].weight
        return jnp.sum(apart / 50.0) ** 2 / squares

    def covariance(**options):
        objective, bins, *_ = problem(
            grids, "mse", size=len(weights), catalog={"z": (columns["x"] - 0.3) / 1.2}, **options
        )
        rows = range(len(weights))
        return errors(objective, bins, columns, weights, input_rows=rows, fixed_key=True)

    expected = covariance()
    grids["conditional"] = config(edges={"y": list(WINDOW)})
    np.testing.assert_allclose(covariance(custom=number), expected, rtol=2e-3, atol=1e-9)


def linearized(**options):
    objective, *_, columns, weights = problem(**options)
    parameters = Parameters.of_vector(TRUTH, objective.names)
    given = Problem(objective, TrainingCatalog.of(columns, weights), parameters, 5)
    return given.linearizer.at(TRUTH)


@pytest.mark.nightly
def test_a_custom_term_that_is_a_prior_narrows_the_errors_by_the_formula_of_a_prior():
    """The term states no noise: (H + K)^-1 M (H + K)^-1, where the errors without are H^-1 M H^-1.

    Its width is that of the errors, so that they become nearly half.
    """
    plain = linearized()
    covariance = parameter_covariance(plain)
    width = np.sqrt(plain.inverse[0, 0])

    def prior(sums, truth, params):
        return ((params["mean"] - 0.25) / width) ** 2 / plain.squares

    found = parameter_covariance(linearized(custom=prior))
    noise = plain.curvature @ covariance @ plain.curvature
    inverse = np.linalg.inv(plain.curvature + np.diag([width**-2, 0.0, 0.0]))
    np.testing.assert_allclose(found, inverse @ noise @ inverse, rtol=1e-4, atol=1e-9)
    assert np.sqrt(found[0, 0] / covariance[0, 0]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.nightly
def test_extra_sums_of_the_users_own_act_as_the_sums_that_they_restate():
    def of_weight(sums, truth, params):
        return 1e-4 * (sums.weight - truth.weight) ** 2

    def of_extra_sums(sums, truth, params):
        return 1e-4 * (sums.extra_sums["weight"] - truth.weight) ** 2

    def covariance(**options):
        catalog = {"z": np.random.default_rng(0).normal(size=SIZE // 8).astype(np.float32)}
        given = problem(size=SIZE // 8, catalog=catalog, **options)
        return errors(*given, fixed_key=True)

    expected = covariance(custom=of_weight)
    plain = covariance()
    found = covariance(
        custom=of_extra_sums, extra_sums=lambda population: {"weight": jnp.sum(population.weights)}
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-9)
    assert not np.allclose(found, plain, rtol=0.05)


@pytest.mark.parametrize("rows", [300, 5000])
def test_derivatives_of_sums_are_those_of_float64_sums(rows):
    """Of two correlated columns and as many parameters as a model of galaxies has."""
    rng = np.random.default_rng(3)
    x, dx = 0.3 + 0.1 * rng.normal(size=(rows, 2)), rng.normal(size=(2, 14, rows))
    weights, dweights = rng.uniform(size=rows), rng.normal(size=(14, rows))
    cov = np.array([[1.4e-3, 2e-4], [2e-4, 4e-4]])
    centers, modes = 0.3 + 0.1 * rng.normal(size=(60, 2)), 9 * rng.normal(size=(30, 2))
    offset = centers - x[:, None]
    pulled = offset @ np.linalg.inv(cov)
    kernels = np.exp(-0.5 * np.sum(offset * pulled, axis=2))
    kernels /= np.sqrt(np.linalg.det(2 * np.pi * cov))
    phase = x @ modes.T
    table = np.concatenate([kernels, np.cos(phase), np.sin(phase), np.ones((rows, 1))], axis=1)
    by_x = []
    for j in range(2):
        waves = [-modes[:, j] * np.sin(phase), modes[:, j] * np.cos(phase)]
        by_x.append(
            np.concatenate([kernels * pulled[:, :, j], *waves, np.zeros((rows, 1))], axis=1)
        )
    slopes = dweights @ table + sum(
        (weights * d) @ of_column for d, of_column in zip(dx, by_x, strict=True)
    )
    given = [np.asarray(a, np.float32) for a in (x, weights, dx, dweights)]
    points = kernels_and_modes(*(np.asarray(a, np.float32) for a in (centers, cov, modes)))

    # Of three times as many samples, the others are in no bin.
    chosen = np.repeat(np.arange(3) == 1, rows)
    columns, weights, dx, dweights = (
        np.concatenate([np.full_like(a, 7), a, np.full_like(a, 9)], axis=-1)
        for a in (given[0].T, *given[1:])
    )

    @jax.jit
    def derivatives(columns, weights, dx, dweights):
        def samples(picked):
            of_bin = at_rows((list(columns), weights, list(dx), dweights), picked)
            return BinSamples(*of_bin, 2 * of_bin[1], (of_bin[1], of_bin[1]))

        return sum_derivatives(columns.T, chosen, samples, points)

    found = derivatives(columns, weights, dx, dweights)
    weights = given[1]
    expected = {"sums": weights @ table, "squares": weights**2 @ table**2, "slopes": slopes}
    for name, values in expected.items():
        of_kind = by_name(getattr(found, name))
        parts = [of_kind["kde"], of_kind["cos"], of_kind["sin"], of_kind["weight"][..., None]]
        error = np.abs(np.concatenate(parts, axis=-1) - values)
        assert np.max(error / np.max(np.abs(values), axis=-1, keepdims=True)) < 1e-3, name
    assert found.squares.norm == pytest.approx(4 * np.sum(weights.astype(float) ** 2), rel=1e-5)
    cross = found.squares.cross
    cross = np.concatenate([cross["kde"][:, 0], *cross["fourier"].T])
    wanted = 2 * weights**2 @ table[:, :-1]
    np.testing.assert_allclose(cross, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.nightly
def test_many_parameters_and_rows_are_taken_in_parts(monkeypatch):
    """One direction, or 100 rows, at a time; then one turn of blocks, and half of the rows."""
    given = (*problem(block_size=SIZE // 8), TRUTH)
    expected = errors(*given)
    monkeypatch.setattr(population_derivatives, "AT_ONCE", 1)
    monkeypatch.setattr(errors_module, "AT_ONCE", 300)
    np.testing.assert_allclose(errors(*given), expected, rtol=1e-5, atol=1e-12)
    points = 3 * (8 + 6)
    for module in (population_blocks, population_derivatives):
        monkeypatch.setattr(module, "PAIRS", points * SIZE // 4)
    monkeypatch.setattr(errors_module, "PAIRS", points * ROWS // 2)
    some = np.sqrt(np.diagonal(errors(*given)))
    np.testing.assert_allclose(some, np.sqrt(np.diagonal(expected)), rtol=0.15)
