"""What JAX makes of the package: its programs, what they hold, and how often it compiles them.

All tests that read these texts are here, as another version of JAX may write them otherwise.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compiler
from jax.extend.core import subjaxprs

from kdescent_dist.config.schema import BinsConfig, CountsConfig, FitConfig
from kdescent_dist.counts.local import fourier_counts, kde_counts
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.fitting.dropin import adam
from kdescent_dist.fitting.loop import fit
from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.prng import unrolled
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.counting import count_kernels, count_modes
from kdescent_dist.pretraining.sample import TrainingSample
from support import fits, losses, problems
from support.every_rank import quick_compiler

pytestmark = pytest.mark.as_shipped

KEY = jax.random.key(3)

# --- random numbers and small matrices ------------------------------------------------------


def names_of(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name, [atom.aval.shape for atom in equation.invars]
        if equation.primitive.name == "jit":
            yield from names_of(equation.params["jaxpr"].jaxpr)


def test_a_loss_has_no_call_for_each_matrix():
    params = jnp.array([0.2, -0.4, 0.7])
    ours = jax.value_and_grad(lambda p: written_out(losses.correlated)(p, randkey=KEY, extra=2.0))
    theirs = jax.value_and_grad(lambda p: losses.correlated(p, KEY, extra=2.0))
    replaced = ("cholesky", [(500, 2, 2)])
    assert replaced in list(names_of(jax.make_jaxpr(theirs)(params).jaxpr))
    names = list(names_of(jax.make_jaxpr(ours)(params).jaxpr))
    assert replaced not in names  # a single one is left in the loop, which is not looked into
    assert ("dot_general", [(500, 2), (2, 2)]) not in names


def test_random_numbers_are_made_once():
    """Made again for each use, they would cost more than all else of a simple model."""

    def loss(params, randkey):
        x = jax.random.multivariate_normal(randkey, params, jnp.eye(2), shape=(4_000,))
        return jnp.mean((x - 1.0) ** 2)

    def logarithms(function):
        grad = jax.jit(jax.grad(lambda p, key: function(p, randkey=unrolled(key))))
        text = grad.lower(jnp.ones(2), KEY).compile().as_text()
        return sum("log-plus-one(" in line for line in text.splitlines())

    assert logarithms(written_out(loss)) == 1


def test_numbers_that_are_used_twice_are_drawn_once():
    """And no loop is left of the 20 rounds."""

    def twice(key):
        x = jax.random.bits(unrolled(key), (1000,))
        return jnp.sort(x), x[::2] + 1, jnp.sum(x)

    text = jax.jit(twice).lower(jax.random.key(0)).compile().as_text()
    assert text is not None
    assert text.count(" while(") == 0
    # 20 rotations to the left are 20 of the shifts; whoever drew again would add as many.
    assert text.count(" shift-left(") == 20


# --- counts ---------------------------------------------------------------------------------

SIZE, KERNELS, DIMS = 4500, 11, 2  # divides no block and no chunk


def single():
    rng = np.random.default_rng(5)
    shapes = ((SIZE, DIMS), (SIZE,), (KERNELS, DIMS), (KERNELS, DIMS))
    x, weights, centers, modes = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return x, weights, centers, jnp.eye(DIMS), modes


def loss(backend, x, weights, centers, cov, modes):
    """A loss that needs every sum of the counts, and its gradients all of those of the backward."""
    kde = kde_counts(x, weights, centers, cov, backend=backend)
    wave = fourier_counts(x, weights, modes, backend=backend)
    value = jnp.sum(kde**2) + jnp.sum(wave.real * jnp.arange(KERNELS)) + jnp.sum(wave.imag**2)
    return value, (kde, wave)


def test_auto_is_the_program_of_the_tiled_backend_on_a_cpu():
    """The same but for names: the other backend costs nothing."""

    def program(backend):
        lowered = jax.jit(jax.grad(loss, 1, has_aux=True), static_argnums=0).lower(
            backend, *single()
        )
        text = lowered.compile().as_text().split("ENTRY")[1]
        return re.sub(r"%[\w.\-]+", "%", re.sub(r", metadata={[^}]*}", "", text))

    assert program("auto") == program("tiled")


def lowered_for_cuda(backend, *, backward):
    function = jax.grad(loss, (1, 2), has_aux=True) if backward else loss
    traced = jax.jit(function, static_argnums=0).trace(backend, *single())
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("backward", [False, True])
def test_auto_is_the_fused_form_on_a_gpu(backward):
    """Seen without a GPU: no matrix product of samples, and no loop over blocks of samples."""
    text = lowered_for_cuda("auto", backward=backward)
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert not [line for line in products if str(SIZE) in line]
    assert f"tensor<5x{KERNELS}x1024xf32>" in text
    assert "dot_general" in lowered_for_cuda("tiled", backward=backward)
    # The table of a chunk of kernels is no array: in sums over kernels they are written out.
    assert f"tensor<{KERNELS}x{SIZE}xf32>" not in text


@pytest.mark.parametrize("dims", [1, 6])
def test_the_pallas_kernels_are_lowered_for_a_gpu_without_one(dims):
    """Both passes in a batch of bins; the forward pass of the Fourier counts is not needed."""
    x, weights, kernels = jnp.zeros((3000, dims)), jnp.zeros(3000), jnp.zeros((2, 20, dims))

    def gradient(kernels):
        def total(x, weights):
            kde = kde_counts(x, weights, kernels, jnp.eye(dims), backend="pallas")
            return jnp.sum(kde**2) + jnp.sum(
                fourier_counts(x, weights, kernels, backend="pallas").imag
            )

        return jax.grad(total, (0, 1))(x, weights)

    lowered = jax.jit(jax.vmap(gradient)).trace(kernels).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("custom_call @mosaic_gpu") == 3


@pytest.mark.parametrize("sizes", [(1100, 1999, 2048)])
def test_samples_of_similar_size_share_their_programs(sizes, caplog):
    """Hundreds of bins, each with another number of samples, compile once."""
    rng, direct = np.random.default_rng(2), Counting("direct", mesh=make_mesh(1))
    for i, size in enumerate(sizes):
        x, weights = rng.normal(size=(size, 2)).astype(np.float32), np.ones(size, np.float32)
        rows, points = TrainingSample.whole(x, weights), rng.normal(size=(90, 2)).astype(np.float32)
        with jax.log_compiles(i > 0):
            count_kernels(rows, points, np.eye(2, dtype=np.float32), direct)
            count_modes(rows, points, direct)
    assert "ompil" not in caplog.text


# --- a step ---------------------------------------------------------------------------------


def mapped_shapes(jaxpr) -> list[tuple[int, ...]]:
    """Shapes of all arrays over whose rows a loop of a program goes."""
    shapes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            carried = equation.params["num_consts"] + equation.params["num_carry"]
            shapes += [variable.aval.shape for variable in equation.invars[carried:]]
    for inner in subjaxprs(jaxpr):
        shapes += mapped_shapes(inner)
    return shapes


@pytest.mark.parametrize("sums", ["dense", "sparse"])
def test_no_loop_maps_over_an_array_without_elements(sums):
    """jaxlib 0.11.2 dies of one on several devices (SIGSEGV): edges of bins without conditions."""
    objective = problems.objective(problems.pretrained(), 2, counts=CountsConfig(bins=sums))
    program = jax.make_jaxpr(objective.value_and_grad)(problems.GUESS, KEY, objective.data)
    shapes = mapped_shapes(program.jaxpr)
    assert shapes
    assert not [shape for shape in shapes if 0 in shape]


@pytest.mark.parametrize("reproducible", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_step_has_one_collective_each_way_whatever_the_number_of_samples(reproducible):
    config = BinsConfig(
        columns=["red"], kernels=3, fourier=2, pretrain_kernels=10, pretrain_fourier=10
    )
    bins = problems.pretrained({"one": config})
    found = []
    for size in (800, 80_000):
        objective = problems.objective(
            bins, 8, size=size, block_size=100, reproducible=reproducible
        )
        arguments = (problems.GUESS, jax.random.key(0), objective.data)
        text = jax.jit(objective.value_and_grad).lower(*arguments).compile().as_text()
        kinds = r"= (\S+) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)\("
        found.append(re.findall(kinds, text))
    few, many = found
    assert len(few) == 2
    assert [kind for _, kind in few] == [kind for _, kind in many]

    def elements(results):
        shapes = [re.search(r"\[([\d,]*)\]", shape)[1].split(",") for shape, _ in results]
        return sum(int(np.prod([int(n) for n in shape])) for shape in shapes)

    # One row per node: 1 on each of 8 devices, and 13 where 100 blocks each are cut into eights.
    assert elements(many) <= (13 if reproducible else 1) * elements(few)


def test_a_condition_that_a_parameter_changes_is_sorted_in_each_step_and_no_other():
    """The mass of the toy comes from the catalog, its blue color from parameters, too."""
    small = {"kernels": 4, "fourier": 0, "pretrain_kernels": 40, "pretrain_fourier": 1}
    mass = np.random.default_rng(2).uniform(size=problems.SIZE).astype(np.float32)

    def sorts(**edges):
        of = problems.pretrained({"one": BinsConfig(columns=["red"], edges=edges, **small)})
        counts = CountsConfig("sparse")
        objective = problems.objective(of, counts=counts, catalog={"mass": mass})
        arguments = (problems.GUESS, jax.random.key(0), objective.data)
        text = jax.jit(objective.value_and_grad).lower(*arguments).as_text()
        return text.count(f"tensor<{2 * objective.layout.block_size}xui32>") > 0

    assert not sorts(mass=np.linspace(0.0, 1.0, 9).tolist())
    assert sorts(mass=[0.0, 0.3, 1.0], blue=[-1.0, 0.3, 0.9, 3.0])


def test_a_fit_compiles_its_step_once(caplog):
    """Whatever the lengths of its dispatches, and the last evaluation included."""
    lengths = []
    with jax.log_compiles(True):
        fit(
            LossObjective(fits.quadratic),
            [0.0],
            fits.ADAM,
            config=FitConfig(finish="none", steps=40, steps_per_call=16),
            callbacks=[lambda event: lengths.append(len(event.history))],
        )
    assert len(set(lengths)) > 2
    compiled = [m for m in caplog.messages if m.startswith("Finished XLA compilation of jit(run)")]
    assert len(compiled) == 1


def programs(monkeypatch, call):
    """The texts of the programs that a fit compiles for its steps."""
    texts, make = [], jax.jit

    def recorded(function, **options):
        made = make(function, **options)
        if function.__name__ != "run":
            return made

        def run(*args):
            texts.append(made.lower(*args).as_text())
            compiled = made.lower(*args).compile()
            memory = compiled.memory_analysis()
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(jax.tree.map(raw, args[0])))
            assert memory.alias_size_in_bytes >= size > 0  # the state is donated, all of it
            return made(*args)

        return run

    monkeypatch.setattr(jax, "jit", recorded)
    call()
    return set(texts)


def raw(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def test_the_number_of_steps_the_guess_and_the_seed_are_not_part_of_the_program(monkeypatch):
    """A compilation cache holds one program for all of them; and the state is not copied."""

    def call(steps, guess, seed):
        adam(fits.quadratic, jnp.array([guess]), steps, [(-9, 9)], 0.1, seed, progress=False)

    assert len(programs(monkeypatch, lambda: (call(3, 0.0, 1), call(5, 2.0, 8)))) == 1


# --- the tests themselves -------------------------------------------------------------------


def test_what_the_tests_of_several_processes_change_in_jax_is_there():
    """Else each start of each of them would compile its programs again."""
    names = inspect.signature(compiler._cache_write).parameters
    assert "host_callbacks" in names
    assert "distributed" in compiler._cache_write.__code__.co_names


def test_tests_are_compiled_quickly_unless_they_are_marked():
    """In half the time, which would be lost if JAX named its function otherwise."""
    before = quick_compiler.is_quick()
    square = jnp.arange(4.0)
    found = []
    for quick in (True, False):
        quick_compiler.set_quick(quick)
        options = compiler.get_compile_options(1, 1)
        level = options.executable_build_options.debug_options.xla_backend_optimization_level
        found.append((level == 0, options.env_option_overrides))
        np.testing.assert_array_equal(jax.jit(lambda x: x**2)(square), [0.0, 1.0, 4.0, 9.0])
    quick_compiler.set_quick(before)
    assert not before
    assert found == [(True, quick_compiler.QUICK), (False, [])]
