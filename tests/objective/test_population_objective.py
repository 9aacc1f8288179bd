"""The loss of the sums and its gradient: against NumPy in float64, and 8 devices against 1."""

import contextlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.bins.stacks import stack_bins
from kdescent_dist.bins.sums import draw_points
from kdescent_dist.bins.windows import soft_tophat
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.config.schema import BinsConfig, CountsConfig, LossConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.block_model import BlockModel
from kdescent_dist.numerics.prng import block_key, draw_key
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.terms import Sums, by_group
from support import problems

KEY = jax.random.key(11)


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained()


@pytest.fixture(scope="module")
def catalog():
    rng = np.random.default_rng(2)
    return {"mass": rng.uniform(size=problems.SIZE).astype(np.float32)}


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
    """Weight, kernel and Fourier counts in one bin, and the sums of the squares of their terms."""
    w = window_float64(bin_, columns) * weights
    x = np.stack([columns[c] for c in bin_.columns], axis=1)
    away = x[None] - centers[:, None]
    square = np.einsum("kni,ij,knj->kn", away, np.linalg.inv(cov), away)
    kernel = np.exp(-square / 2) / np.sqrt(np.linalg.det(2 * np.pi * cov))
    phase = modes @ x.T
    of_waves = np.cos(phase) ** 2 @ w**2, np.sin(phase) ** 2 @ w**2
    counts = w.sum(), kernel @ w, np.exp(1j * phase) @ w
    return counts, (np.sum(w**2), kernel**2 @ w**2, *of_waves)


def drawn(draw, j, dims):
    """Kernels, modes, what the training catalog has there and its errors, of the j-th bin."""
    points, truth, errors = [], [], []
    for name, where, parts in (("kde", "centers", 1), ("fourier", "modes", 2)):
        known = name in draw.points
        at = draw.points[name].each[where][0, j] if known else np.zeros((0, dims))
        points.append(np.asarray(at, float))
        for found, values in ((truth, draw.truth.counts), (errors, draw.errors)):
            found.append(np.asarray(values[name][j] if known else np.zeros((0, parts)), float))
    return points, truth[0][:, 0], truth[1] @ [1, 1j], errors[0][:, 0], errors[1]


def loss_float64(objective, bins, columns, weights, config, noise=None):
    """The document's formula, term by term, at the kernels that the step draws.

    The errors of the model are those of the columns and weights ``noise``, if it is given.
    """
    squares, training_weight = [], float(problems.training()[1].sum())
    by_bin = {b.bin.name: b for b in bins}
    shared = objective.data["shared"]
    draws = draw_points(objective.stacks, shared["stacks"], draw_key(KEY), 1)
    noise_columns, noise_weights = noise or (columns, weights)
    for stack, draw in zip(objective.stacks, draws, strict=True):
        for j, bin_ in enumerate(stack.bins):
            cov = np.atleast_2d(np.asarray(by_bin[bin_.name].counts.kernelcov, float))
            points, in_kernels, in_waves, kde_err, fourier_err = drawn(draw, j, len(bin_.columns))
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
            errors = [
                by_bin[bin_.name].number_err / config.volume,
                kde_err / n_truth,
                *(fourier_err.T / n_truth),
            ]
            if config.model_errors:
                (weight, _, _), of_model = counts_float64(
                    bin_, cov, *points, noise_columns, noise_weights
                )
                norm = noise_weights.sum() if density else weight
                norms = [config.volume, norm, norm, norm]
                errors = [
                    np.hypot(error, np.sqrt(more) / norm)
                    for error, more, norm in zip(errors, of_model, norms, strict=True)
                ]
            differences = [number_diff, kde_diff, fourier_diff.real, fourier_diff.imag]
            ratios = [d / e for d, e in zip(differences, errors, strict=True)]
            counted = ratios if bin_.config.number_density else ratios[1:]
            squares += [by * ratio**2 for ratio in counted]
    return np.mean(np.concatenate(squares))


@pytest.mark.parametrize("sums", ["dense", "sparse"])
@pytest.mark.parametrize(
    "terms",
    [{"kind": "mse"}, {"kind": "chisq", "model_errors": False}, {"kind": "chisq"}],
)
def test_loss_equals_the_formula_in_float64(bins, terms, sums):
    config = LossConfig(**terms, volume=800.0)
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
@pytest.mark.parametrize("kind", ["mse", "chisq"])
def test_gradient_equals_finite_differences_of_the_float64_formula(bins, kind, sums):
    """With the errors of the model held constant: it must not gain by being noisy."""
    config = LossConfig(kind=kind, volume=800.0)
    objective = problems.objective(bins, loss=config, counts=CountsConfig(bins=sums))
    _, grad = evaluate(objective)
    differences, step = [], 1e-2
    noise = population_float64(objective)
    for shift in step * np.eye(len(grad), dtype=np.float32):
        below, above = (
            loss_float64(objective, bins, *population_float64(objective, at=at), config, noise)
            for at in (problems.GUESS - shift, problems.GUESS + shift)
        )
        differences.append((above - below) / (2 * step))
    np.testing.assert_allclose(grad, differences, rtol=5e-3, atol=1e-3 * np.abs(grad).max())


@pytest.mark.as_shipped
def test_bits_are_the_same_on_every_mesh(bins, catalog):
    """Also along the kernels axis, and where a device has fewer blocks than another, or none."""
    # Of five blocks, four devices have two, two, one and none.
    options = {"catalog": catalog, "size": None, "block_size": 240}
    options["loss"] = LossConfig(kind="chisq")
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


@pytest.mark.parametrize("size", [600, 12_000])
def test_with_the_errors_of_the_model_chisq_at_the_truth_does_not_grow_with_its_noise(bins, size):
    """The training catalog has 3000 masses, for each of which a mass of the input stands.

    Below 1, because a normalized count varies less than the count.
    """
    weights = np.full(size, 3000 / size)
    both = at_truth(bins, size, LossConfig(kind="chisq"), weights).mean()
    assert 0.25 < both < 1.2
    if size < 3000:  # where the model has most of the noise
        alone = LossConfig(kind="chisq", model_errors=False)
        assert at_truth(bins, size, alone, weights).mean() > 3 * both


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


def test_bins_of_a_name_with_different_numbers_of_points_are_refused():
    bins = problems.pretrained({"a": BinsConfig(columns=["red"], edges={"mass": [0, 0.5, 1]})})
    ((stack, _),) = stack_bins(bins, np.float32)
    first, second = (replace(stack, bins=(b,), positions=(i,)) for i, b in enumerate(stack.bins))
    sums = [BinSums(np.ones(1), {"kde": np.ones((1, n, 1))}) for n in (3, 4)]
    with pytest.raises(InputError, match=r"bins.a: its bins have different numbers of points"):
        by_group([first, second], sums)


def test_a_model_far_from_all_bins_has_a_finite_loss_and_gradient(plain):
    loss, grad = plain(np.array([1e6, 0.2, 0.9, 0.5], np.float32))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(grad))


@pytest.mark.as_shipped
@pytest.mark.parametrize("with_catalog", [False, True])
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


def test_soft_window_equals_its_formula_and_hard_edges_select():
    x = jnp.linspace(-1.0, 2.0, 31)
    expected = 1 / (1 + np.exp(-25 * np.asarray(x))) / (1 + np.exp(-25 * (1 - np.asarray(x))))
    np.testing.assert_allclose(soft_tophat(x, 0.0, 1.0), expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(soft_tophat(x, 0.0, 1.0, 0), (x >= 0) & (x < 1))


def broken(**changes):
    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        return type(made)({**made.x, **changes}, made.weights)

    return model


def check(model, size=problems.SIZE, catalog=None):
    layout = SampleBlocks.of(size)
    required = ["red", "blue", "mass"]
    block = BlockModel(model, ParameterTree.of_names(problems.NAMES), (), layout)
    block.check(problems.GUESS, catalog or {}, required)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda p, k, n: jnp.ones((n, 3)), "x has 3 columns, but model.columns names 0"),
        (lambda p, k, n: {"red": jnp.ones(n), "blue": jnp.ones(n - 1)}, "'blue' has shape"),
        (lambda p, k, n: {"red": jnp.ones(n + 1)}, "samples for a block of"),
        (lambda p, k, n: {"red": jnp.ones(n), "blu": jnp.ones(n)}, "no column 'blue'.*blu"),
        (lambda p, k, n: {"red": jnp.full(n, p["men"])}, "asks for 'men'"),
        (broken(red=jnp.full(2 * 126, jnp.nan)), "252 of 252 values of 'red' are not finite"),
        (broken(red=jnp.ones(2 * 126, int)), "'red' is int32, it must be floating"),
        (broken(weights=jnp.ones(2 * 126, int)), "'weights' is int32, it must be floating"),
        (lambda p, k, n: ({"red": jnp.ones(n)}, jnp.ones(n + 1)), "'weights' has shape"),
    ],
)
def test_a_model_that_returns_the_wrong_thing_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        check(model)


def test_a_term_that_fails_is_named_before_anything_is_compiled(bins):
    objective = problems.objective(bins, custom=lambda sums, truth, params: params["men"])
    with pytest.raises(InputError, match=r"loss.custom or loss.extra_sums: KeyError: 'men'"):
        objective.check(problems.GUESS)


def test_negative_model_weights_are_refused():
    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        return type(made)(made.x, -made.weights)

    with pytest.raises(InputError, match="negative weights"):
        check(model)


def test_a_good_model_passes_its_check_with_a_catalog_smaller_than_a_block(catalog):
    check(problems.toy, catalog=catalog)
    check(problems.toy, size=1)


def copied(order, weights=lambda weights: weights, **columns):
    """The toy, whose two copies of each row are brought into an order, with further columns."""

    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        x = made.x | {name: function(made.x["mass"]) for name, function in columns.items()}
        return type(made)({name: order(v) for name, v in x.items()}, weights(made.weights))

    return model


def beside(values):
    return values.reshape(2, -1).T.reshape(-1)


MODELS = {
    "beside": copied(beside, beside),
    "beside, with a column that depends on all": copied(beside, beside, all=lambda m: m / m.mean()),
    "beside, but for the weights": copied(beside),
    "one after another": copied(lambda values: values),
    "backwards": copied(lambda values: values[::-1]),
    "sorted": copied(jnp.sort),
    "centered": copied(lambda values: values - jnp.mean(values)),
    "once": lambda p, k, c: dict.fromkeys(("red", "blue", "mass"), c["mass"] * p["slope"]),
}


@pytest.mark.parametrize("size", [problems.SIZE, 16, 40])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_copies_of_a_row_side_by_side_is_refused(catalog, name, size):
    refused = pytest.raises(InputError, match=r"the 2 copies of each row side by side, .*jnp\.tile")
    with refused if name.startswith("beside") else contextlib.nullcontext():
        check(MODELS[name], size, {"mass": catalog["mass"][:size]})


def moved(params, key, catalog):
    """No column is as it is in the catalog."""
    made = MODELS["beside"](params, key, catalog)
    return type(made)({n: v + params["mean"] for n, v in made.x.items()}, made.weights)


@pytest.mark.parametrize("model", [MODELS["beside"], moved])
def test_an_objective_of_a_model_with_copies_side_by_side_is_refused(bins, catalog, model):
    with pytest.raises(InputError, match="the 2 copies of each row side by side"):
        PopulationObjective(model, problems.NAMES, bins, training_weight=1.0, catalog=catalog)


def test_an_objective_of_a_model_that_fails_is_refused(bins, catalog):
    with pytest.raises(InputError, match="model: it asks for 'men'"):
        PopulationObjective(
            lambda p, k, c: {"red": c["mass"] + p["men"]},
            problems.NAMES,
            bins,
            training_weight=1.0,
            catalog=catalog,
        )


def test_rows_that_are_all_alike_tell_nothing_of_the_order_of_copies():
    check(MODELS["beside"], catalog={"mass": np.full(problems.SIZE, 0.5, np.float32)})


def test_an_empty_or_nearly_empty_bin_is_named():
    grid = BinsConfig(columns=["red"], edges={"mass": [0.0, 1.0, 1.5]})
    with pytest.raises(InputError, match=r"bin 'grid\[mass 1-1.5\]' holds 0 training samples"):
        problems.pretrained({"grid": grid})


def test_a_term_of_the_users_own_may_have_the_earlier_name_of_the_extra_sums():
    with pytest.warns(FutureWarning, match=r"sums\.statistics is now sums\.extra_sums"):
        assert Sums(1.0, {}, {"red": 2.0}).statistics == {"red": 2.0}
