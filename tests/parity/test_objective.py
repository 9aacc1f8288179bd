"""The loss of the sums and its gradient: against NumPy in float64, and 8 devices against 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.sums import draw_points
from kdescent_dist.config.schema import BinsConfig, CountsConfig, LossConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.numerics.prng import block_key, draw_key
from kdescent_dist.objective.population_objective import PopulationObjective
from support import problems

KEY = jax.random.key(11)


@pytest.fixture(scope="module")
def plain(bins):
    """Loss and gradient on one device, at parameters."""
    objective = problems.objective(bins)
    run = jax.jit(objective.value_and_grad)
    return lambda params: jax.device_get(run(params, KEY, objective.data))


def evaluate(objective, params=problems.GUESS, key=KEY):
    loss, grad = jax.jit(objective.value_and_grad)(params, key, objective.data)
    return np.asarray(loss), np.asarray(grad)


def population_float64(objective, catalog=None, at=problems.GUESS):
    """All samples at the given parameters, made block by block, in float64."""
    layout = objective.layout
    columns, weights = {}, []
    params = dict(zip(problems.NAMES, jnp.asarray(at), strict=True))
    for block in range(layout.count):
        given = layout.block_size
        real = np.arange(layout.block_size) + block * layout.block_size < layout.size
        if catalog is not None:
            rows = np.arange(layout.block_size) + block * layout.block_size
            given = {"mass": jnp.asarray(catalog["mass"][np.minimum(rows, layout.size - 1)])}
        made = problems.toy(params, block_key(KEY, block), given)
        for name, values in made.x.items():
            columns.setdefault(name, []).append(np.asarray(values, float))
        weights.append(np.asarray(made.weights, float) * np.tile(real, 2))
    return {k: np.concatenate(v) for k, v in columns.items()}, np.concatenate(weights)


def window_float64(bin_, columns):
    weights = np.ones(len(columns["mass"]))
    for name, (low, high) in bin_.window.items():
        width = bin_.config.softness * (high - low)
        rising = 1 / (1 + np.exp(-(columns[name] - low) / width))
        weights *= rising / (1 + np.exp(-(high - columns[name]) / width))
    return weights


def counts_float64(bin_, cov, centers, modes, columns, weights):
    """Weight, kernel and Fourier counts in one bin, and the errors of the normalized counts.

    The errors are of the weight, of kernels and of both parts of the modes.
    """
    w = window_float64(bin_, columns) * weights
    x = np.stack([columns[c] for c in bin_.columns], axis=1)
    away = x[None] - centers[:, None]
    square = np.einsum("kni,ij,knj->kn", away, np.linalg.inv(cov), away)
    kernel = np.exp(-square / 2) / np.sqrt(np.linalg.det(2 * np.pi * cov))
    phase = modes @ x.T
    of_norm = weights if bin_.config.normalization == "density" else w
    norm = of_norm.sum()

    def error(values):
        ratio = values @ w / norm
        return np.sqrt(np.sum((values * w - ratio[:, None] * of_norm) ** 2, axis=1)) / norm

    counts = w.sum(), kernel @ w, np.exp(1j * phase) @ w
    errors = [error(values) for values in (kernel, np.cos(phase), np.sin(phase))]
    return counts, (np.sqrt(np.sum(w**2)), *errors)


def expected_float64(bin_, cov, centers, modes, columns, weights):
    """Errors of weight, kernels and both parts of the modes of a catalog drawn from a model.

    The catalog has as many galaxies as the training catalog, of the same weights on average.
    """
    training, of_training = jax.tree.map(lambda a: np.asarray(a, float), problems.training())
    density = bin_.config.normalization == "density"
    window, in_bin = window_float64(bin_, columns), window_float64(bin_, training) * of_training
    norm = of_training if density else in_bin
    of_row = np.sum(norm**2) / norm.sum() ** 2
    of_norm = np.ones_like(window) if density else window
    x = np.stack([columns[c] for c in bin_.columns], axis=1)
    away = x[None] - centers[:, None]
    square = np.einsum("kni,ij,knj->kn", away, np.linalg.inv(cov), away)
    kernel = np.exp(-square / 2) / np.sqrt(np.linalg.det(2 * np.pi * cov))
    phase = modes @ x.T

    def variance(values):
        ratio = values * window @ weights / (of_norm @ weights)
        squares = (values * window - ratio[:, None] * of_norm) ** 2 @ weights
        return of_row * squares / (of_norm**2 @ weights)

    one = np.max((kernel * window) ** 2 @ weights / (kernel * window @ weights), initial=0.0)
    of_number = np.sum(in_bin**2) / in_bin.sum()
    number = of_number * (window @ weights) + of_number**2
    kernels, *waves = (variance(values) for values in (kernel, np.cos(phase), np.sin(phase)))
    return tuple(map(np.sqrt, (number, kernels + (of_row * one) ** 2, *waves)))


def drawn(draw, j, dims):
    """Kernels, modes and what the training catalog has there, of the j-th bin."""
    points, truth = [], []
    for name, where, parts in (("kde", "centers", 1), ("fourier", "modes", 2)):
        known = name in draw.points
        at = draw.points[name].each[where][0, j] if known else np.zeros((0, dims))
        points.append(np.asarray(at, float))
        values = draw.truth.counts[name][j] if known else np.zeros((0, parts))
        truth.append(np.asarray(values, float))
    return points, truth[0][:, 0], truth[1] @ [1, 1j]


def loss_float64(objective, bins, columns, weights, config, noise=None):
    """The document's formula, term by term, at the kernels that the step draws.

    The errors of the model are those of the columns and weights ``noise``, if it is given.
    """
    squares, training_weight = [], float(problems.training()[1].sum())
    by_bin = {b.bin.name: b for b in bins}
    shared = objective.data["shared"]
    draws = draw_points(objective.stacks, shared["stacks"], draw_key(KEY), 1)
    noise_columns, noise_weights = noise or (columns, weights)
    training = jax.tree.map(lambda a: np.asarray(a, float), problems.training())
    for stack, draw in zip(objective.stacks, draws, strict=True):
        for j, bin_ in enumerate(stack.bins):
            cov = np.atleast_2d(np.asarray(by_bin[bin_.name].counts.kernelcov, float))
            points, in_kernels, in_waves = drawn(draw, j, len(bin_.columns))
            (weight, kde, fourier), _ = counts_float64(bin_, cov, *points, columns, weights)
            in_bin = float(draw.truth.weight[j])
            density = bin_.config.normalization == "density"
            n_model = weights.sum() if density else weight
            n_truth = training_weight if density else in_bin
            kde_diff = kde / n_model - in_kernels / n_truth
            fourier_diff = fourier / n_model - in_waves / n_truth
            number_diff = np.array([weight - in_bin]) / config.volume
            by = bin_.config.weight
            if config.kind == "mse":
                squares += [by * kde_diff**2, by * abs(fourier_diff) ** 2]
                if bin_.config.number_density:
                    squares.append(by * number_diff**2)
                continue
            _, errors = counts_float64(bin_, cov, *points, *training)
            if config.errors == "model":
                given = noise_columns, noise_weights
                errors = expected_float64(bin_, cov, *points, *given)
            if config.model_errors:
                _, of_model = counts_float64(bin_, cov, *points, noise_columns, noise_weights)
                errors = list(map(np.hypot, errors, of_model))
            errors = [errors[0] / config.volume, *errors[1:]]
            differences = [number_diff, kde_diff, fourier_diff.real, fourier_diff.imag]
            ratios = [d / e for d, e in zip(differences, errors, strict=True)]
            counted = ratios if bin_.config.number_density else ratios[1:]
            squares += [by * ratio**2 for ratio in counted]
    return np.mean(np.concatenate(squares))


@pytest.mark.parametrize("sums", ["dense", "sparse"])
def test_chi_square_without_errors_of_the_model_equals_the_formula_in_float64(bins, sums):
    config = LossConfig(kind="chisq", model_errors=False, volume=800.0)
    objective = problems.objective(bins, loss=config, counts=CountsConfig(bins=sums))
    expected = loss_float64(objective, bins, *population_float64(objective), config)
    loss, _ = evaluate(objective)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)


def test_loss_with_an_input_catalog_equals_the_formula_in_float64(bins, catalog):
    config = LossConfig()
    objective = problems.objective(bins, devices=8, loss=config, catalog=catalog, size=None)
    columns, weights = population_float64(objective, catalog)
    assert weights.sum() == pytest.approx(problems.SIZE)
    expected = loss_float64(objective, bins, columns, weights, config)
    np.testing.assert_allclose(evaluate(objective)[0], expected, rtol=2e-5)


@pytest.mark.parametrize("sums", ["dense", "sparse"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mse", {}),
        ("chisq", {}),
        ("chisq", {"errors": "model", "model_errors": False}),
        pytest.param("chisq", {"errors": "model"}, marks=pytest.mark.nightly),
    ],
)
def test_loss_and_gradient_equal_the_formula_in_float64_and_its_differences(
    bins, kind, options, sums
):
    """With errors that follow from the model held constant: it must not gain by being noisy."""
    config = LossConfig(kind=kind, volume=800.0, **options)
    objective = problems.objective(bins, loss=config, counts=CountsConfig(bins=sums))
    loss, grad = evaluate(objective)
    noise = population_float64(objective)
    np.testing.assert_allclose(loss, loss_float64(objective, bins, *noise, config), rtol=2e-5)
    differences, step = [], 1e-2
    for shift in step * np.eye(len(grad), dtype=np.float32):
        below, above = (
            loss_float64(objective, bins, *population_float64(objective, at=at), config, noise)
            for at in (problems.GUESS - shift, problems.GUESS + shift)
        )
        differences.append((above - below) / (2 * step))
    np.testing.assert_allclose(grad, differences, rtol=5e-3, atol=1e-3 * np.abs(grad).max())


@pytest.mark.as_shipped
@pytest.mark.parametrize("errors", ["training", pytest.param("model", marks=pytest.mark.nightly)])
def test_bits_are_the_same_on_every_mesh(bins, catalog, errors):
    """Also along the kernels axis, and where a device has fewer blocks than another, or none."""
    # Of five blocks, four devices have two, two, one and none.
    options = {"catalog": catalog, "size": None, "block_size": 240}
    options["loss"] = LossConfig(kind="chisq", errors=errors)
    (loss, grad), (other_loss, other_grad) = (
        evaluate(problems.objective(bins, *mesh, **options)) for mesh in ((1, 1), (8, 2))
    )
    assert other_loss.tobytes() == loss.tobytes()
    assert other_grad.tobytes() == grad.tobytes()


def at_truth(bins, size, loss, weights=None):
    """Losses at the true parameters, of several steps, for so many masses in the input."""
    mass = np.random.default_rng(size).uniform(size=size)
    options = {"catalog": {"mass": mass}, "catalog_weights": weights, "size": None}
    objective = problems.objective(bins, loss=loss, **options)
    run = jax.jit(objective.value_and_grad)
    keys = jax.random.split(jax.random.key(1), 12)
    return np.array([run(problems.TRUTH, key, objective.data)[0] for key in keys])


@pytest.mark.nightly
@pytest.mark.parametrize("size", [600, 12_000])
def test_with_the_errors_of_the_model_chisq_at_the_truth_does_not_grow_with_its_noise(bins, size):
    """The training catalog has 3000 masses, for each of which a mass of the input stands."""
    weights = np.full(size, 3000 / size)
    both = at_truth(bins, size, LossConfig(kind="chisq"), weights).mean()
    assert 0.25 < both < 1.2
    if size < 3000:  # where the model has most of the noise
        alone = LossConfig(kind="chisq", model_errors=False)
        assert at_truth(bins, size, alone, weights).mean() > 3 * both


@pytest.mark.nightly
def test_fewer_samples_with_larger_weights_have_the_same_counts_and_loss(bins):
    """One sample with four times the weight instead of four equal samples."""

    def model(params, key, catalog):
        scatter = params["scatter"] * (catalog["mass"] - 0.5)
        center = params["mean"] + params["slope"] * catalog["mass"]
        x = {"red": center + scatter, "blue": center - scatter, "mass": catalog["mass"]}
        return x, params["fraction"] * jnp.ones_like(center)

    mass = np.random.default_rng(3).uniform(size=800)
    loss = LossConfig(kind="chisq", model_errors=False, volume=50.0)
    losses = [
        evaluate(
            PopulationObjective(
                model,
                problems.NAMES,
                bins,
                training_weight=3000.0,
                catalog={"mass": masses},
                catalog_weights=weights,
                loss=loss,
                mesh=make_mesh(1),
            )
        )
        for masses, weights in ((np.repeat(mass, 4), None), (mass, np.full(800, 4.0)))
    ]
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-4)
    scale = np.abs(losses[0][1]).max()
    np.testing.assert_allclose(losses[0][1], losses[1][1], rtol=1e-3, atol=1e-4 * scale)


def test_psum_reduction_agrees_to_rounding(bins, plain):
    expected = plain(problems.GUESS)
    loss, grad = evaluate(problems.objective(bins, 8, 2, reproducible=False))
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-4, atol=1e-5)


def test_custom_term_sees_the_sums_and_the_parameters(bins):
    def moments(population):
        return {"red": jnp.sum(population.weights * population.x["red"])}

    def term(sums, truth, params):
        mean = sums.extra_sums["red"] / sums.weight
        grid = jnp.sum(sums.bins["grid"].weight) + jnp.sum(truth.bins["grid"].weight)
        return mean**2 + 1e-6 * grid + params["slope"] ** 2

    config = LossConfig(number_density=0.0)  # whose size would drown the term in rounding
    plain = evaluate(problems.objective(bins, loss=config))
    objective = problems.objective(bins, loss=config, custom=term, extra_sums=moments)
    loss, grad = evaluate(objective)
    columns, weights = population_float64(objective)
    in_grid = sum(
        (window_float64(b.bin, columns) * weights).sum() + b.counts.training_sum_of_weights
        for b in bins
        if b.bin.group == "grid"
    )
    mean = np.average(columns["red"], weights=weights)
    slope = float(problems.GUESS[1])
    np.testing.assert_allclose(loss - plain[0], mean**2 + 1e-6 * in_grid + slope**2, rtol=1e-4)
    # d mean / d mean is 1, and the prior adds 2 x slope to its own gradient.
    np.testing.assert_allclose((grad - plain[1])[0], 2 * mean, rtol=1e-3)


def test_custom_term_sees_all_bins_of_a_name_in_their_order():
    """Also where their windows are of different columns, so that they are computed apart."""
    windows = {"low": {"mass": [0.0, 0.4]}, "red": {"red": [0.0, 1.0]}, "high": {"mass": [0.4, 1]}}
    config = BinsConfig(columns=["blue"], windows=windows, kernels=3, fourier=0)
    bins = problems.pretrained({"all": config, "other": problems.GRIDS["one"]})
    given = []

    def term(sums, truth, params):
        given.append({name: one.kde.shape for name, one in sums.bins.items()})
        ranks = jnp.array([1.0, 10.0, 100.0])
        return sums.bins["all"].weight @ ranks + truth.bins["all"].weight @ ranks

    options = {"loss": LossConfig(weights={"kde": 0.0, "fourier": 0.0})}
    objective = problems.objective(bins, custom=term, **options)
    loss, _ = evaluate(objective)
    columns, weights = population_float64(objective)
    expected = sum(
        rank * ((window_float64(b.bin, columns) * weights).sum() + b.training_sum)
        for rank, b in zip([1, 10, 100], bins, strict=False)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert given[0] == {"all": (3, 3), "other": (1, 6)}


def test_a_model_far_from_all_bins_has_a_finite_loss_and_gradient(plain):
    loss, grad = plain(np.array([1e6, 0.2, 0.9, 0.5], np.float32))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(grad))


@pytest.mark.as_shipped
@pytest.mark.parametrize("with_catalog", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_memory_is_bounded_by_a_block(bins, with_catalog):
    """Ten times the samples in blocks of the same size need the same temporary memory."""

    def temporaries(size):
        mass = {"mass": np.linspace(0.0, 1.0, size, dtype=np.float32)} if with_catalog else None
        objective = problems.objective(bins[:1], size=size, block_size=2000, catalog=mass)
        lowered = jax.jit(objective.value_and_grad).lower(problems.GUESS, KEY, objective.data)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small, large = temporaries(20_000), temporaries(200_000)
    # What may differ is the number of nodes, 21 at most, whose sums are some hundred bytes each.
    assert large - small < 10_000
