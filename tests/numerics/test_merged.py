"""Programs without equations that do the same, and without equations that a loop repeats."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core
from jax.sharding import PartitionSpec

from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.numerics.merged import merged

X = np.linspace(0.5, 1.5, 6, dtype=np.float32)


def program_of(function, *arguments) -> core.Jaxpr:
    return jax.make_jaxpr(merged(function))(*arguments).jaxpr


def all_of(program: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """The equations of a program, and of the programs in it."""
    for equation in program.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from all_of(inner)


def names(program: core.Jaxpr) -> list[str]:
    return [equation.primitive.name for equation in all_of(program)]


@jax.custom_vjp
def cubed(x):
    return x**3


cubed.defvjp(lambda x: (cubed(x), x), lambda x, g: (3 * g * jnp.square(x),))


def of_many_kinds(x, key):
    """Loops within loops, branches, calls, random numbers, and derivatives of a function."""
    noise = jax.random.normal(key, x.shape)

    def step(total, row):
        inner = lax.fori_loop(0, 3, lambda i, a: a + jnp.sin(x[i]) * row + jnp.eye(3).sum(), total)
        return inner + jax.nn.relu(row), jnp.cumsum(x * row)

    @jax.checkpoint
    def loss(x):
        total, rows = lax.scan(step, jnp.float32(0), x)
        _, single = lax.scan(lambda c, r: (c, r * x[0]), 0, x[None])
        some = lax.cond(x[0] > 0, lambda: cubed(x).sum(), lambda: x.sum())
        return total + rows.sum() + single.sum() + some + jnp.linalg.norm(x + noise)

    return jax.value_and_grad(loss)(x), lax.while_loop(lambda a: a < 9, lambda a: a + x[1], x[0])


def test_the_numbers_are_those_of_the_function():
    key = jax.random.key(1)
    expected = jax.jit(of_many_kinds)(X, key)
    found = jax.jit(merged(of_many_kinds))(X, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), found, expected)


def test_what_is_computed_twice_is_computed_once_also_across_calls():
    def twice(x):
        half = jax.jit(lambda x: jnp.sin(x) / 2)
        return half(x) + cubed(x), jnp.sin(x) * 3 - cubed(x)

    found = names(program_of(twice, X))
    assert found.count("sin") == found.count("integer_pow") == 1
    assert "jit" not in found


def test_loops_that_do_the_same_run_once():
    def sums(x):
        return lax.fori_loop(0, 4, lambda i, a: a + x[i], 0.0)

    assert names(program_of(lambda x: sums(x) + 2 * sums(x), X)).count("scan") == 1


def test_operands_are_broadcast_once():
    def ratios(x):
        table = jnp.outer(x, x)
        return (table + 1) / x[:, None], (table + 2) / x[:, None]

    program = program_of(ratios, X)
    divisors = [e.invars[1] for e in all_of(program) if e.primitive.name == "div"]
    assert len(divisors) == 2
    assert divisors[0] is divisors[1]


@pytest.mark.parametrize("loop", ["scan", "while"])
def test_what_does_not_change_in_a_loop_is_computed_before_the_loop(loop):
    def repeated(x, number):
        # Two loops: the sine leaves both.
        def inner(j, a):
            return a + jnp.sin(x).sum() * j

        most = 5 if loop == "scan" else number
        return lax.fori_loop(0, most, lambda i, a: lax.fori_loop(0, 3, inner, a * i), 1.0)

    program = program_of(repeated, X, 5)
    assert [e.primitive.name for e in program.eqns].count("sin") == 1
    assert names(program).count("sin") == 1
    assert jax.jit(merged(repeated))(X, 5) == jax.jit(repeated)(X, 5)


def test_a_result_that_is_larger_than_what_it_is_made_of_stays_in_the_loop():
    def outer(x):
        return lax.fori_loop(0, 5, lambda i, a: a + (x[:, None] * x * i).sum(), 0.0)

    many = np.resize(X, 2000)
    assert "mul" not in [e.primitive.name for e in program_of(outer, many).eqns]


def test_a_loop_of_one_step_is_no_loop():
    def once(x):
        return lax.scan(lambda c, row: (c + row, 2 * row), jnp.zeros(6), x[None])

    assert "scan" not in names(program_of(once, X))
    found, expected = merged(once)(X), once(X)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_zero_is_not_minus_zero_and_one_is_not_true():
    def quotients(x):
        return x / jnp.float32(0.0), x / jnp.float32(-0.0)

    found = merged(quotients)(X)
    np.testing.assert_array_equal(found[0], np.full(6, np.inf))
    np.testing.assert_array_equal(found[1], np.full(6, -np.inf))

    def sums(x):
        return x.astype(jnp.int32) + 1, x.astype(jnp.int32) + jnp.int32(True), x + 1

    for one, other in zip(merged(sums)(X), sums(X), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_what_is_told_twice_is_told_twice(capfd):
    def told(x):
        jax.debug.print("here")
        jax.debug.print("here")
        return x

    jax.block_until_ready(jax.jit(merged(told))(X))
    jax.effects_barrier()
    assert capfd.readouterr().out.split() == ["here", "here"]


def test_constants_in_loops_and_on_devices():
    table = np.arange(6, dtype=np.float32)

    def local(x):
        own = jax.jit(lambda x: jnp.sin(jnp.asarray(table)) + x)
        return lax.scan(lambda c, _: (c + own(x) * lax.axis_index("samples"), None), x, length=3)[0]

    specs = {"in_specs": PartitionSpec(), "out_specs": PartitionSpec("samples")}
    spread = jax.shard_map(local, mesh=make_mesh(2), check_vma=False, **specs)
    function = jax.jit(lambda x: spread(x) + spread(x))
    expected = np.concatenate([X, X + 3 * (np.sin(table) + X)]) * 2
    np.testing.assert_allclose(jax.jit(merged(function))(X), expected, rtol=1e-6)
    assert names(program_of(function, X)).count("shard_map") == 1
