"""Every transformation of JAX goes through the counts, against float64 in plain operations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from kdescent_dist.bins import sparse as sparse_sums
from kdescent_dist.bins.bin_sums import BinArrays, BinSums
from kdescent_dist.bins.sorting import permuted
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CountsConfig
from kdescent_dist.counts import fourier as fourier_sums
from kdescent_dist.counts import kde as kde_sums
from kdescent_dist.counts import sharded as sharded_counts
from kdescent_dist.counts.local import fourier_counts, fourier_errors, kde_counts, kde_errors
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.fitting.dropin import bfgs
from kdescent_dist.numerics.small_matrices import column_sums, repeated, table_product
from kdescent_dist.objective.chain_rule import ChainRule
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer
from support import problems
from support.points import by_name, kernels_and_modes

SIZE, KERNELS, DIMS = 50, 4, 2


def arrays(seed=0):
    """Samples, weights, centers, covariance and modes in float64."""
    rng = np.random.default_rng(seed)
    x, centers = (rng.normal(size=(n, DIMS)) + 2 for n in (SIZE, KERNELS))
    cov = np.array([[0.8, 0.2], [0.2, 0.5]])
    return x, rng.uniform(size=SIZE), centers, cov, rng.normal(size=(KERNELS, DIMS))


def directions():
    x, weights, centers, cov, modes = arrays(1)
    return x - 2, weights - 0.5, centers - 2, cov * [[1, -1], [-1, 0.5]], modes


def expected(x, weights, centers, cov, modes):
    """The counts, real and imaginary parts apart."""
    cov = 0.5 * (cov + cov.T)
    away = x[:, None] - centers
    square = jnp.einsum("nki,ij,nkj->nk", away, jnp.linalg.inv(cov), away)
    kernels = jnp.exp(-0.5 * square) / jnp.sqrt(jnp.linalg.det(2 * jnp.pi * cov))
    phase = x @ modes.T
    return weights @ kernels, weights @ jnp.cos(phase), weights @ jnp.sin(phase)


def expected_errors(x, weights, centers, cov, modes):
    square, (away, phase) = weights**2, (x[:, None] - centers, x @ modes.T)
    distance = jnp.einsum("nki,ij,nkj->nk", away, jnp.linalg.inv(0.5 * (cov + cov.T)), away)
    kde = jnp.sqrt(square @ jnp.exp(-distance) / jnp.linalg.det(2 * jnp.pi * cov))
    return kde, *(jnp.sqrt(square @ wave(phase) ** 2) for wave in (jnp.cos, jnp.sin))


def counted(backend, x, weights, centers, cov, modes):
    wave = fourier_counts(x, weights, modes, backend=backend)
    return kde_counts(x, weights, centers, cov, backend=backend), wave.real, wave.imag


def errors(x, weights, centers, cov, modes):
    wave = fourier_errors(x, weights, modes)
    return kde_errors(x, weights, centers, cov), wave.real, wave.imag


def total(function, *args):
    """A scalar of which no derivative is 0."""
    parts = [jnp.ravel(part) for part in function(*args)]
    return sum(jnp.sum(jnp.sin(a) * jnp.arange(1.0, len(a) + 1)) for a in parts)


def made_of(function):
    """What transformations make of a function of several arrays, by their names."""
    loss = partial(total, function)

    def gradient(point):
        return jax.grad(loss, range(len(point)))(*point)

    def scaled(scale, point):
        return loss(scale * point[0], *point[1:])

    def many(point):
        return jnp.sum(jax.vmap(scaled, (0, None))(jnp.array([1.0, 0.8]), point))

    return {
        "forward": lambda point, direction: jax.jvp(function, point, direction),
        "forward over reverse": lambda point, direction: jax.jvp(gradient, (point,), (direction,)),
        "reverse over reverse": lambda point, direction: jax.vjp(gradient, point)[1](direction),
        "gradients in a batch": lambda point, _: jax.vmap(jax.grad(scaled), (0, None))(
            jnp.array([1.0, 0.8]), point
        ),
        "a batch": lambda point, direction: jax.jvp(jax.grad(many), (point,), (direction,)),
    }


BOTH_MODES = ("forward", "forward over reverse")


def assert_close(values, references, tolerance):
    flat, _ = jax.tree.flatten_with_path(values)
    for (path, value), reference in zip(flat, jax.tree.leaves(references), strict=True):
        scale = np.max(np.abs(reference))
        error = np.max(np.abs(np.asarray(value) - np.asarray(reference)))
        assert error <= tolerance * scale, f"{jax.tree_util.keystr(path)}: {error} of {scale}"


def assert_transformed(function, reference, point=None, direction=None, transformations=BOTH_MODES):
    """The transformations of a function are those of another one, in double precision."""

    def evaluated(function, point, direction):
        made = made_of(function)
        return {name: made[name](point, direction) for name in transformations}

    with jax.enable_x64(True):
        given = [
            jax.tree.map(jnp.asarray, tuple(a))
            for a in (point or arrays(), direction or directions())
        ]
        ours, theirs = (jax.jit(partial(evaluated, f))(*given) for f in (function, reference))
    assert_close(ours, theirs, 1e-9)


def test_counts():
    everything = made_of(None)
    assert_transformed(partial(counted, "tiled"), expected, transformations=everything)


@pytest.mark.parametrize("backend", ["fused", "pallas"])
def test_other_backends_of_the_counts(backend):
    """Forward mode is of one backend alone; the gradient that it differentiates is of each."""
    only = ["forward over reverse"]
    assert_transformed(partial(counted, backend), expected, transformations=only)


def test_the_errors():
    assert_transformed(errors, expected_errors)


def test_jacobians_hessians_and_linearize():
    """In samples, centers and covariance, with and without jit."""
    point = [jnp.asarray(a, jnp.float32) for a in arrays()]
    function = partial(counted, "auto")
    value, linear = jax.linearize(function, *point)
    change = linear(*(jnp.asarray(a, jnp.float32) for a in directions()))

    def matrices(function, *point):
        loss = partial(total, function)
        return [
            jax.jacfwd(function, 3)(*point),
            jax.jacrev(function, 3)(*point),
            jax.hessian(loss, 2)(*point),
        ]

    with jax.enable_x64(True):
        wide = [jnp.asarray(a) for a in arrays()]
        exact = jax.jvp(expected, wide, [jnp.asarray(a) for a in directions()])
        expected_matrices = jax.jit(partial(matrices, expected))(*wide)
    assert_close([value, change], exact, 1e-5)
    assert_close(jax.jit(partial(matrices, function))(*point), expected_matrices, 1e-4)


def test_far_samples_have_derivatives_of_exactly_0():
    x, weights, centers, cov, _ = (jnp.asarray(a, jnp.float32) for a in arrays())
    far = x.at[:2].set(jnp.array([[1e12, -3.0], [1e30, -1e30]]))

    def loss(x, weights, cov):
        return jnp.sum(kde_counts(x, weights, centers, cov))

    gradient, ones = jax.grad(loss, (0, 1)), jnp.ones(SIZE)
    tangents = (jnp.ones_like(x), ones, cov)
    of_samples, of_weights = jax.jvp(gradient, (far, weights, cov), tangents)[1]
    assert jnp.all(of_samples[:2] == 0)
    assert jnp.all(of_weights[:2] == 0)
    near = jax.hessian(loss, 2)(x, weights.at[:2].set(0.0), cov)
    assert_close(jax.hessian(loss, 2)(far, weights, cov), near, 1e-5)


def test_sharded_counts():
    """On a mesh whose axes divide neither samples nor kernels evenly."""
    mesh = make_mesh(2, 2)

    def function(x, weights, centers, cov, modes):
        x, weights = x[:-1], weights[:-1]
        wave = sharded_counts.sharded_fourier_counts(x, weights, modes[:3], mesh)
        kde = sharded_counts.sharded_kde_counts(x, weights, centers[:3], cov, mesh)
        return kde, wave.real, wave.imag

    def reference(x, weights, centers, cov, modes):
        return expected(x[:-1], weights[:-1], centers[:3], cov, modes[:3])

    assert_transformed(function, reference)


def test_counts_within_a_shard_map_that_checks_its_types():
    mesh = make_mesh(2)
    samples, whole = P("samples"), P()

    @partial(
        jax.shard_map, mesh=mesh, in_specs=(samples, samples, whole, whole, whole), out_specs=whole
    )
    def function(*args):
        return jax.lax.psum(counted("tiled", *args), "samples")

    assert_transformed(function, expected)


def of_bins():
    """Two bins of soft windows in a condition, for 600 samples in three blocks."""
    rng = np.random.default_rng(3)
    conditions = np.sort(rng.uniform(size=600))
    point = (rng.normal(size=(DIMS, 600)), conditions, rng.uniform(size=600))
    direction = tuple(rng.normal(size=a.shape) for a in point)
    cov = np.array([[[0.8, 0.2], [0.2, 0.5]], [[0.5, 0.0], [0.0, 0.9]]])
    bins = BinArrays(
        low=np.array([[0.0], [0.2]]),
        high=np.array([[0.2], [1.0]]),
        softness=np.array([[0.04], [0.01]]),
        points=kernels_and_modes(
            centers=rng.normal(size=(2, 3, DIMS)), cov=cov, modes=rng.normal(size=(2, 3, DIMS))
        ),
    )
    return point, direction, bins


def test_sums_of_sparse_bins():
    point, direction, bins = of_bins()

    def function(x, condition, weights):
        given = jax.tree.map(jnp.asarray, bins)
        sums, _ = sparse_sums.sparse_sums(list(x), [condition], weights, given, (False,))
        return tuple(by_name(sums).values())

    def reference(x, condition, weights):
        rows = []
        for b in range(2):
            low, high = bins.low[b, 0], bins.high[b, 0]
            width = bins.softness[b, 0] * (high - low)
            window = jax.nn.sigmoid((condition - low) / width)
            within = window * jax.nn.sigmoid((high - condition) / width) * weights
            kde, waves = bins.points["kde"], bins.points["fourier"]
            kernels = (kde.each["centers"][b], kde.common["cov"][b], waves.each["modes"][b])
            rows.append((jnp.sum(within), *expected(x.T, within, *kernels)))
        return tuple(jnp.stack(parts) for parts in zip(*rows, strict=True))

    both = [*BOTH_MODES, "reverse over reverse"]
    assert_transformed(function, reference, point, direction, both)


def test_small_matrices_and_permutations():
    rng = np.random.default_rng(2)
    order = rng.permutation(100).astype(np.int32)
    point = (rng.normal(size=(100, 3)), rng.normal(size=(3, 2)))
    direction = tuple(rng.normal(size=a.shape) for a in point)

    def function(table, matrix):
        product = table_product(table, matrix)
        rows = product + repeated(100, column_sums(product**2))
        return permuted([rows[:, 0], rows[:, 1] ** 2], jnp.asarray(order))

    def reference(table, matrix):
        product = table @ matrix
        rows = product + jnp.sum(product**2, axis=0)
        return [rows[:, 0][order], rows[:, 1][order] ** 2]

    assert_transformed(function, reference, point, direction)


def training_counts():
    t = np.arange(40.0)
    x = np.stack([np.sin(1.7 * t) + 0.05 * t, 2 * np.cos(0.9 * t)], axis=1).astype(np.float32)
    few = {"num_eval_kernels": 6, "num_eval_fourier_positions": 5}
    return jnp.asarray(x), KPretrainer.from_training_data(x, **few, num_pretrain_kernels=40, seed=5)


def test_kcalc_as_diffopt():
    """On several devices."""
    theirs = pytest.importorskip("diffopt.kdescent")
    x, counts = training_counts()

    def derivatives(calc):
        key = jax.random.key(3)

        def compared(params):
            samples, weights = x * params[:2] + params[2], jnp.exp(params[3] * x[:, 0])
            kde = calc.compare_kde_counts(key, samples, weights)[0]
            wave = calc.compare_fourier_counts(key, samples, weights)[0]
            return kde, wave.real, wave.imag, calc.reduced_chisq_loss(key, samples, weights)

        def loss(params):
            return compared(params)[-1]

        params = jnp.array([1.1, 0.9, 0.2, 0.3])
        return jax.jvp(compared, (params,), (jnp.ones(4),)), jax.hessian(loss)(params)

    ours = KCalc(counts, make_mesh(4))
    reference = derivatives(theirs.KCalc(theirs.KPretrainer(**vars(counts))))
    assert_close(jax.jit(lambda: derivatives(ours))(), reference, 1e-4)


def block_sums(reproducible, side_by_side):
    """The loss of small sums on a mesh of samples and kernels, and the same of whole arrays."""
    mesh, layout = make_mesh(2, 2), SampleBlocks.of(104, 13)
    sums = ChainRule(layout, mesh, 4, reproducible, side_by_side)
    values = np.linspace(0.0, 1.0, 104)
    catalog, shares = {"t": layout.cut(values, mesh)}, sums.shares()

    def make(shared, key):
        def unit(params, block, catalog, kernel_block):
            wave = jnp.sin(params[0] * catalog["t"] + params[1] * (1.0 + kernel_block))
            return shared["scale"] * jnp.sum(wave)

        return unit, lambda params, sums: jnp.mean(sums**2) + params[0] ** 3

    def loss(params, scale=0.1):
        shared, key = {"scale": jnp.asarray(scale)}, jax.random.key(0)
        return sums.value_and_grad(make, params, key, shared, catalog, shares)[0]

    def reference(params):
        waves = jnp.sin(params[0] * values + params[1] * jnp.arange(1.0, 5.0)[:, None])
        return jnp.mean((0.1 * jnp.sum(waves, axis=1)) ** 2) + params[0] ** 3

    return loss, reference


@pytest.mark.parametrize(
    ("reproducible", "side_by_side"),
    [pytest.param(False, False, marks=pytest.mark.nightly), (True, False), (True, True)],
)
def test_a_loss_of_block_sums(reproducible, side_by_side):
    def derivatives(loss, params):
        return [
            jax.value_and_grad(loss)(params),
            jax.jvp(loss, (params,), (params,)),
            jax.jacfwd(loss)(params),
            jax.vmap(jax.grad(loss))(jnp.stack([params, 0.5 * params])),
            jax.hessian(loss)(params),
            jax.jacrev(jax.jacrev(loss))(params),
            jax.jacfwd(jax.hessian(loss))(params),
        ]

    with jax.enable_x64(True):
        ours, theirs = (
            jax.jit(partial(derivatives, f))(jnp.array([0.3, 0.4]))
            for f in block_sums(reproducible, side_by_side)
        )
    assert_close(ours, theirs, 1e-9)


def test_what_a_loss_of_sums_has_no_derivative_of_is_said():
    params, (loss, _) = jnp.array([0.3, 0.4]), block_sums(True, False)
    with pytest.raises(TypeError, match=r"take the third derivative in forward mode, by jax\.jac"):
        jax.eval_shape(jax.jacrev(jax.hessian(loss)), params)
    with pytest.raises(TypeError, match="differentiate in the parameters alone"):
        jax.eval_shape(jax.grad(loss, 1), params, 0.1)


def test_the_loss_of_a_population(bins):
    """The gradient is the one at hand, and the Hessian is its slope: in sparse bins on a mesh."""
    key, params = jax.random.key(1), problems.GUESS.astype(float)
    direction = np.array([1.0, -0.5, 0.3, 0.4])
    sparse = {"counts": CountsConfig(bins="sparse"), "size": 203}
    with jax.enable_x64(True):
        objective = problems.objective(bins[:2], 4, 2, dtype=np.float64, **sparse)
        at_hand = jax.jit(lambda params: objective.value_and_grad(params, key, objective.data))

        def loss(params):
            return objective.value_and_grad(params, key, objective.data)[0]

        up, down = (at_hand(params + step * direction)[1] for step in (1e-4, -1e-4))
        slope = jax.jit(lambda p: jax.jvp(jax.grad(loss), (p,), (jnp.asarray(direction),)))
        assert_close(slope(params), (at_hand(params)[1], (up - down) / 2e-4), 1e-6)


@pytest.mark.nightly
def test_bfgs_takes_the_objective_of_a_population(bins):
    objective = problems.objective(bins[-1:], size=203)

    def loss(params, randkey):
        return objective.value_and_grad(params, randkey, objective.data)[0]

    options = {"maxsteps": 5, "param_bounds": problems.BOUNDS, "randkey": 1, "progress": False}
    params, losses, _ = bfgs(objective, problems.GUESS, **options)
    assert losses[-1] < loss(problems.GUESS, jax.random.key(1))
    of_function, _, _ = bfgs(loss, problems.GUESS, **options)
    np.testing.assert_allclose(params[:2], of_function[:2], rtol=1e-4)
    with pytest.raises(InputError, match="power: an objective takes no other options"):
        bfgs(objective, problems.GUESS, power=2)


@pytest.mark.as_shipped
def test_gradients_are_the_bits_of_the_reverse_pass_by_hand():
    x, weights, centers, cov, modes = (jnp.asarray(a, jnp.float32) for a in arrays())
    cotangent, wave = jnp.arange(1.0, KERNELS + 1), (jnp.ones(KERNELS), jnp.arange(4.0))
    point, _, bins = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), of_bins())
    blocks = tuple(
        [a.reshape(3, 200) for a in part] if i < 2 else part.reshape(3, 200)
        for i, part in enumerate((list(point[0]), [point[1]], point[2]))
    )
    table = (BinSums(jnp.ones(2), {"kde": jnp.ones((2, 3, 1)), "fourier": jnp.ones((2, 3, 2))}),)
    mesh = make_mesh(2)
    cases = [
        (
            kde_sums.kde_sums,
            kde_sums._backward,
            ("tiled",),
            (x, weights, centers, cov),
            cotangent,
        ),
        (fourier_sums.fourier_sums, fourier_sums._backward, ("fused",), (x, weights, modes), wave),
        (
            sharded_counts._sharded,
            sharded_counts._backward,
            (kde_counts, mesh),
            (x, weights, centers, cov),
            cotangent,
        ),
        (sparse_sums._sums, sparse_sums._backward, ((False,), None), (blocks, bins), table),
    ]
    for function, backward, options, args, ct in cases:
        wanted = jax.jit(partial(backward, *options))(args, ct)
        moving = len([g for g in wanted if g is not None])

        @jax.jit
        def gradients(args, ct, function=function, options=options, moving=moving):
            def of_moving(*moved):
                return function(*options, *moved, *args[moving:])

            return jax.vjp(of_moving, *args[:moving])[1](ct)

        for ours, given in zip(
            jax.tree.leaves(gradients(args, ct)), jax.tree.leaves(wanted), strict=True
        ):
            np.testing.assert_array_equal(ours, given)
