"""Small matrices written out: against NumPy in float64, in a model, on several devices."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.models.population import Population
from kdescent_dist.numerics.compiled import compiled, compiler_options
from kdescent_dist.numerics.merged import merged
from kdescent_dist.numerics.small_solves import lu, triangular_solve
from kdescent_dist.numerics.without_library import MOST_COLUMNS, without_library_calls
from support import problems

pytestmark = pytest.mark.as_shipped

KEY = jax.random.key(3)
SIZES = [1, 2, 5, MOST_COLUMNS]


def matrices(d, seed=0, n=7):
    return np.random.default_rng(seed).normal(size=(n, d, d)) + 2 * np.eye(d)


@pytest.mark.parametrize("unit_diagonal", [True, False])
@pytest.mark.parametrize("transpose_a", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("left_side", [True, False])
@pytest.mark.parametrize("d", [1, 4])
def test_a_triangular_solve_is_that_of_numpy(d, left_side, lower, transpose_a, unit_diagonal):
    a, b = matrices(d), np.random.default_rng(1).normal(size=(7, d, 3))
    b = b if left_side else np.swapaxes(b, 1, 2)
    triangle = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        triangle = triangle * (1 - np.eye(d)) + np.eye(d)
    matrix = np.swapaxes(triangle, 1, 2) if transpose_a else triangle
    options = {"left_side": left_side, "lower": lower}
    options |= {"transpose_a": transpose_a, "unit_diagonal": unit_diagonal}
    found = triangular_solve(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), **options)
    product = matrix @ found if left_side else found @ matrix
    np.testing.assert_allclose(product, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d", SIZES)
def test_lu_factors_are_those_of_jax(d):
    a = jnp.asarray(np.random.default_rng(d).normal(size=(7, d, d)), jnp.float32)
    factors, pivots, order = lu(a)
    expected, of_jax, permutation = jax.lax.linalg.lu(a)
    np.testing.assert_allclose(factors, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pivots, of_jax)
    np.testing.assert_array_equal(order, permutation)


def test_a_singular_matrix_has_finite_factors_as_with_lapack():
    a = jnp.asarray([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 5.0, 6.0]])
    for found, expected in zip(lu(a), jax.lax.linalg.lu(a), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def of_matrices(a, b):
    """Calls of libraries in a program, in a loop, in a branch and in a function of its own."""
    square = a @ jnp.swapaxes(a, -1, -2) + jnp.eye(a.shape[-1])
    each = jax.lax.map(jnp.linalg.cholesky, square)
    branch = jax.lax.cond(a[0, 0, 0] > 1e9, lambda a: a, jnp.linalg.inv, a)
    return jnp.linalg.cholesky(square), jnp.linalg.solve(a, b), jnp.linalg.slogdet(a), each, branch


def calls_in(function, *arguments):
    text = jax.jit(function).lower(*arguments).as_text()
    return text.count("lapack")


@pytest.mark.parametrize("d", [2, MOST_COLUMNS])
def test_all_calls_are_written_out_wherever_they_are(d):
    a = jnp.asarray(matrices(d), jnp.float32)
    b = jnp.ones((7, d, 1))
    assert calls_in(of_matrices, a, b) > 0
    assert calls_in(without_library_calls(of_matrices), a, b) == 0
    found, expected = jax.jit(without_library_calls(of_matrices))(a, b), of_matrices(a, b)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_other_matrices_keep_their_calls():
    large, few = jnp.eye(MOST_COLUMNS + 1), jnp.eye(3)
    assert calls_in(without_library_calls(jnp.linalg.cholesky), large) == 1
    assert calls_in(without_library_calls(jnp.linalg.cholesky), few.astype(jnp.complex64)) == 1
    assert calls_in(without_library_calls(jnp.linalg.eigh), few) == 1


def test_the_gradient_of_a_model_as_a_document_writes_it():
    """A program is written out after its derivatives: their triangular solves, too."""

    def loss(params):
        cov = jnp.array([[1.0, 0.3], [0.3, 1.0]]) * params[2]
        x = jax.random.multivariate_normal(KEY, params[:2], cov, shape=(500,))
        return jnp.mean(x**2) + jnp.sum(jnp.linalg.solve(cov, params[:2]))

    params = jnp.array([1.0, 2.0, 0.7])
    gradient = jax.value_and_grad(loss)
    assert calls_in(gradient, params) > 0
    assert calls_in(without_library_calls(gradient), params) == 0
    value, slopes = jax.jit(without_library_calls(gradient))(params)
    expected, truth = gradient(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slopes, truth, rtol=1e-4)


def correlated(params, key, catalog):
    """The small problem, with colors that a Cholesky factor correlates."""
    made = problems.toy(params, key, catalog)
    factor = jnp.linalg.cholesky(jnp.array([[1.0, 0.3], [0.3, 1.0]]) + params["slope"] ** 2)
    red, blue = factor @ jnp.stack([made.x["red"], made.x["blue"]])
    return Population({**made.x, "red": red, "blue": blue}, made.weights)


@pytest.mark.slow
def test_written_out_the_bits_are_the_same_on_any_number_of_devices(bins):
    results = []
    for devices in (1, 2, 8):
        objective = problems.objective(bins, devices, kernel_blocks=1, model=correlated)
        arguments = (jnp.asarray(problems.GUESS, jnp.float32), KEY, objective.data)
        written = without_library_calls(objective.value_and_grad)
        assert calls_in(objective.value_and_grad, *arguments) > 0
        assert calls_in(written, *arguments) == 0
        results.append(jax.jit(written)(*arguments))
    plain = jax.jit(objective.value_and_grad)(*arguments)
    for one, other in zip(results[0], plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    for one, two, eight in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, eight)


def test_on_a_cpu_nothing_is_written_out():
    a, b = jnp.asarray(matrices(3), jnp.float32), jnp.ones((7, 3, 1))
    program = compiled(of_matrices, jax.devices()[0], written_out=True)
    assert program.lower(a, b).as_text().count("lapack") == calls_in(merged(of_matrices), a, b) > 0


def test_only_gpus_of_nvidia_get_graphs_of_loops_and_sums_of_a_fixed_order():
    gpu = partial(SimpleNamespace, platform="gpu")
    assert compiler_options(gpu(device_kind="AMD Instinct MI300X")) is None
    options = compiler_options(gpu(device_kind="NVIDIA H100 80GB HBM3"))
    assert "WHILE" in options["xla_gpu_enable_command_buffer"]
    assert options["xla_gpu_deterministic_ops"] is True
    assert options["xla_gpu_autotune_level"] == 0
