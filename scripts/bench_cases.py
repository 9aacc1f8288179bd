"""What is measured against diffopt: counts, fits, pretraining and bins. Rows of ``bench.json``."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench_measure import against, optional, seconds_of, size

import kdescent_dist as ours
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.fitting.callbacks import Event, StopFit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import tutorials as t

diffopt = optional("diffopt.kdescent")

Row = dict[str, Any]  # of bench.json

COMPARED = {
    "KDE": ["compare_kde_counts"],
    "Fourier": ["compare_fourier_counts"],
    "KDE + Fourier": ["compare_kde_counts", "compare_fourier_counts"],
}
# (least, aim) of the ratio, by what is counted and the number of samples.
COUNT_TARGETS = {
    ("KDE", 100_000): (30, 60),
    ("Fourier", 100_000): (20, 40),
    ("KDE + Fourier", 8_000): (10, 20),
}


def count_loss(calc: Any, methods: list[str], scale: float) -> Callable:
    """A mean squared difference of counts, as in the tutorials, of samples and weights."""

    def loss(x, w):
        pairs = [getattr(calc, method)(jax.random.key(1), x, w) for method in methods]
        return sum(jnp.mean(jnp.abs(model - scale * truth) ** 2) for model, truth in pairs)

    return jax.value_and_grad(loss, argnums=(0, 1))


def count_problem(n: int, dims: int, kernels: int) -> tuple[ours.KPretrainer, jax.Array, jax.Array]:
    """Training counts, and n model samples with weights."""
    rng = np.random.default_rng(dims)
    counts = ours.KPretrainer.from_training_data(
        rng.normal(size=(5_000, dims)).astype(np.float32),
        num_eval_kernels=kernels,
        num_eval_fourier_positions=kernels,
        num_pretrain_kernels=10 * kernels,
        num_pretrain_fourier_positions=10 * kernels,
    )
    x = jnp.asarray(rng.normal(0.3, 1.2, (n, dims)), jnp.float32)
    return counts, x, jnp.asarray(rng.uniform(size=n), jnp.float32)


def counts(n: int, dims: int, kernels: int) -> list[Row]:
    """Value and gradient in samples and weights."""
    pretrained, x, w = count_problem(n, dims, kernels)
    rows = []
    for name, methods in COMPARED.items():
        theirs = None
        if diffopt is not None:
            calc = diffopt.KCalc(diffopt.KPretrainer(**vars(pretrained)))
            theirs = count_loss(calc, methods, n / 5_000)
        row = against(count_loss(ours.KCalc(pretrained), methods, n / 5_000), theirs, x, w)
        pairs = n * kernels * len(methods)
        row |= {"samples": n, "ns_per_pair": 1e9 * row["ours_s"] / pairs}
        case = f"{name}, {dims}-D, {kernels} each, N = {size(n)}"
        rows.append({"case": case, "targets": COUNT_TARGETS.get((name, n)), **row})
    return rows


def _calc(library: Any, x: jax.Array, **options: Any) -> Any:
    pretrained = ours.KPretrainer.from_training_data(x, **options)
    return library.KCalc(library.KPretrainer(**vars(pretrained)))


def tutorial(number: int, library: Any) -> dict[str, Any]:
    """The arguments of ``adam`` in a tutorial, with the comparisons of either library."""
    if number == 1:
        truth = jnp.array([1.6, 2.9, 0.8, 1.25, -0.2])
        x = t.tutorial_1_model(truth, jax.random.key(42), 10_000)
        kde = _calc(library, x, num_eval_kernels=20)

        def loss_1(params, randkey):
            key_model, key_kernels = jax.random.split(randkey)
            x = t.tutorial_1_model(params, key_model)
            model, training = kde.compare_kde_counts(key_kernels, x)
            return jnp.mean((model / 5_000 - training / 10_000) ** 2)

        guess = jnp.array([0.0, 0.0, 1.0, 1.0, 0.0])
        return {
            "lossfunc": loss_1,
            "guess": guess,
            "param_bounds": t.BOUNDS_1,
            "learning_rate": 1.0,
        }

    truth_at_low = [1.4, 1.1, 0.7, 0.4, 0.3, 0.2, -0.1, 1.6, 0.3]
    truth_at_high = [2.0, 1.6, 0.5, 0.5, 0.75, 0.95, -0.6, 1.2, 1.1]
    truth, key = jnp.array([9.0, 3.0, *truth_at_low, *truth_at_high]), jax.random.key(43)
    x, weights = t.tutorial_2_model(truth, key, undersample=True, nsample=10_000)
    kept = jax.random.uniform(jax.random.split(key)[0], weights.shape) < weights
    return tutorial_2(library, x[kept], [float((weights * within).sum()) for within in cuts(x)])


def cuts(x: jax.Array) -> list[jax.Array]:
    """Whether each row (n,) of tutorial 2 is in each of its cuts of mass."""
    return [(low < x[:, 2]) & (x[:, 2] < high) for low, high in t.CUTS]


def tutorial_2(library: Any, x: jax.Array, totals: list[float]) -> dict[str, Any]:
    """As ``tutorial``, for tutorial 2 with training rows (n, 3) and their numbers in the cuts."""
    options = {"bandwidth_factor": 0.3, "fourier_range_factor": 3.0}
    kcalcs = [_calc(library, x[inside, :2], **options) for inside in cuts(x)]

    @jax.jit
    def loss_2(params, randkey):
        key_model, *keys = jax.random.split(randkey, 7)
        model_x, model_w = t.tutorial_2_model(params, key_model)
        squares = []
        for i, (kcalc, cut, total) in enumerate(zip(kcalcs, t.CUTS, totals, strict=True)):
            w = t.soft_tophat(model_x[:, 2], *cut) * model_w
            model, training = kcalc.compare_kde_counts(keys[i], model_x[:, :2], w)
            squares.append((model / (w.sum() + 1e-10) - training / total) ** 2)
            model, training = kcalc.compare_fourier_counts(keys[3 + i], model_x[:, :2], w)
            squares.append(jnp.abs(model / (w.sum() + 1e-10) - training / total) ** 2)
        squares.append(((w.sum() - totals[-1]) / 100.0)[None] ** 2)
        return jnp.mean(jnp.concatenate(squares))

    guess = jnp.array([9.25, 2.5, *[0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0] * 2])
    positive = [0.001, jnp.inf]
    end = [None, None, positive, positive, [-0.999, 0.999], [0.0, 1.0], None, positive, positive]
    bounds = [None, positive, *end, *end]
    return {"lossfunc": loss_2, "guess": guess, "param_bounds": bounds, "learning_rate": 0.05}


def fit(number: int, library: str, steps: int, whole: int) -> list[Row]:
    """A tutorial's fit in a process of its own: the first call with compile, and later steps.

    The time of a step is that of the fastest window of 50 consecutive steps (10 with ``--quick``).
    For steps without compiling, both libraries run such windows until they have taken 3 seconds.
    The later steps of a first call to diffopt, which compile, are those of that one call.

    Args:
        number: the tutorial.
        library: which one is measured, ``ours`` or ``diffopt``.
        steps: updates that are run; the time of the ``whole`` fit is extrapolated from fewer.
    """
    names = (f"first call of {whole} steps", "step of a first call", "step without compiling")
    targets = {(2, names[0]): (8, 20), (1, names[2]): (15, 25)}
    rows = [
        {"case": f"tutorial {number}, {name}", "targets": targets.get((number, name))}
        for name in names
    ]
    if library == "diffopt" and diffopt is None:
        return [row | {"note": "diffopt is not installed"} for row in rows]
    options = tutorial(number, ours if library == "ours" else diffopt)
    timed = _time_ours if library == "ours" else _time_diffopt
    first, later, warm = timed(options, steps)
    if steps < whole:
        rows[0]["note"] = f"{library} extrapolated from {steps} steps"
    seconds = (first + (whole - steps) * later, later, warm)
    return [row | {f"{library}_s": value} for row, value in zip(rows, seconds, strict=True)]


STEPPING = 3.0  # seconds of steps that are looked at


def window_of(steps: int) -> int:
    """Steps between two looks at the clock: 50, as long as a call has more."""
    return 50 if steps > 50 else 10


def _time_ours(options: dict[str, Any], steps: int) -> tuple[float, float, float]:
    """Only the first step of a call compiles anything: all later ones are alike."""
    first = seconds_of(lambda: ours.adam(**options, nsteps=steps, randkey=1, progress=False))
    window = window_of(steps)
    windows: list[float] = []

    def watch(event: Event) -> None:
        if len(event.history) == window:  # the first few dispatches are shorter
            windows.append(event.seconds)
        if sum(windows) > STEPPING:
            raise StopFit

    ours.fit(
        ours.LossObjective(options["lossfunc"]),
        options["guess"],
        optax.adam(options["learning_rate"]),
        bounds=options["param_bounds"],
        config=ours.FitConfig(steps=100_000, steps_per_call=window, seconds_per_call=1e3),
        callbacks=[watch],
    )
    step = min(windows) / window
    return first, step, step


def _time_diffopt(options: dict[str, Any], steps: int) -> tuple[float, float, float]:
    """It compiles the bias correction anew at each step of a first call, not at those repeated."""
    from diffopt.kdescent import descent

    window = window_of(steps)
    stamps: list[float] = []

    # The progress bar is the one place where a step can be told from the next.
    def trange(count: int, **_: Any):
        for i in range(count):
            if i % window == 1:  # the step before, the first of the call, compiles the loss
                jax.block_until_ready(jax.live_arrays())
                stamps.append(time.perf_counter())
            yield i

    def call() -> tuple[float, list[float]]:
        stamps.clear()
        seconds = seconds_of(lambda: diffopt.adam(**options, nsteps=steps, randkey=1))
        return seconds, np.diff(stamps).tolist()

    descent.tqdm = SimpleNamespace(trange=trange)
    first, compiling = call()
    windows: list[float] = []
    while sum(windows) < STEPPING:
        windows += call()[1]
    return first, min(compiling) / window, min(windows) / window


def pretrain(library: str, n: int, kernels: int) -> list[Row]:
    """Training counts of a two-dimensional sample, in a process of its own."""
    x = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    case = f"{kernels} + {kernels} on N = {size(n)}"
    targets = (10, 100) if (n, kernels) == (100_000, 6_000) else None
    rows = [
        {"case": f"{case}, first call", "targets": targets, "samples": n},
        {"case": f"{case}, later calls", "samples": n},
        {"case": f"{case}, pair by pair, first call", "samples": n},
        {"case": f"{case}, pair by pair, later calls", "samples": n},
    ]
    if library == "diffopt" and diffopt is None:
        return [row | {"note": "diffopt is not installed"} for row in rows]
    pretrainer = ours.KPretrainer if library == "ours" else diffopt.KPretrainer
    options = {"num_pretrain_kernels": kernels, "num_pretrain_fourier_positions": kernels}

    def measured(**method: str) -> tuple[float, float]:
        def call():
            return pretrainer.from_training_data(jnp.asarray(x), **options, **method).kde_counts

        first = seconds_of(call)
        return first, min(seconds_of(call) for _ in range(2 if first > 5 else 5))

    if library == "diffopt":
        seconds = 2 * measured()
    else:
        seconds = measured()
        jax.clear_caches()  # the second method, too, compiles in its first call
        seconds += measured(method="direct")
    return [row | {f"{library}_s": value} for row, value in zip(rows, seconds, strict=True)]


NAMES = ("mean", "slope", "scatter")
TRUTH = np.array([0.4, 1.0, 0.5], np.float32)


def line(params: Any, key: jax.Array, catalog: Any) -> ours.Population:
    """Two colors with a mean linear in a third column; that and the noise may be a catalog's."""
    if isinstance(catalog, dict):
        mass, red, blue = catalog["mass"], catalog["red"], catalog["blue"]
    else:
        key_mass, key_color = jax.random.split(key)
        mass = jax.random.uniform(key_mass, (catalog,))
        red, blue = jax.random.normal(key_color, (2, catalog))
    center = params["mean"] + params["slope"] * mass
    red, blue = center + params["scatter"] * red, center - params["scatter"] * blue
    return ours.Population({"red": red, "blue": blue, "mass": mass})


def line_bins(config: ours.BinsConfig, size: int) -> list[PretrainedBin]:
    """The bins of a grid, pretrained on ``size`` samples at the true parameters."""
    made = line(dict(zip(NAMES, TRUTH, strict=True)), jax.random.key(5), size)
    columns = {name: np.asarray(values) for name, values in made.x.items()}
    weights = np.ones(size, np.float32)
    return [ours.pretrain_bin(b, columns, weights, 3) for b in ours.expand_bins({"grid": config})]


def bins(n: int, number: int, kernels: int) -> list[Row]:
    """Bins with soft edges: the loss of a catalog's samples and its gradient in the parameters."""
    config = ours.BinsConfig(
        columns=["red", "blue"],
        edges={"mass": np.linspace(0.0, 1.0, number + 1).tolist()},
        kernels=kernels,
        fourier=0,
        pretrain_kernels=10 * kernels,
        pretrain_fourier=1,
    )
    training = 1_000 * number
    pretrained = line_bins(config, training)
    rng = np.random.default_rng(1)
    catalog = {"mass": rng.uniform(size=n), "red": rng.normal(size=n), "blue": rng.normal(size=n)}
    catalog = {name: values.astype(np.float32) for name, values in catalog.items()}
    objective = ours.PopulationObjective(
        line, NAMES, pretrained, training_weight=float(training), catalog=catalog
    )

    # All data are arguments: what depends on constants alone would be computed in compilation.
    def ours_loss(params, key, data, catalog):
        return objective.value_and_grad(params, key, data)

    def one_by_one(params, key, data, catalog):
        columns = line(dict(zip(NAMES, params, strict=True)), key, catalog).x
        x = jnp.stack([columns["red"], columns["blue"]], axis=1)
        keys, squares = jax.random.split(key, number), []
        for bin_key, calc, trained in zip(keys, calcs, pretrained, strict=True):
            w = trained.bin.weights(columns)
            model, truth = calc.compare_kde_counts(bin_key, x, w)
            squares.append((model / w.sum() - truth / calc.training_sum_of_weights) ** 2)
        return jnp.mean(jnp.concatenate(squares))

    theirs = None
    if diffopt is not None:
        calcs = [diffopt.KCalc(diffopt.KPretrainer(**vars(b.counts))) for b in pretrained]
        theirs = jax.value_and_grad(one_by_one)
    arguments = (jnp.asarray(TRUTH) + 0.1, jax.random.key(0), objective.data, catalog)
    row = against(ours_loss, theirs, *arguments)
    return [
        {
            "case": f"{number} bins of {kernels} kernels, N = {size(n)}",
            "targets": (100, 300) if (number, kernels, n) == (50, 20, 100_000) else None,
            "samples": n,
            "ns_per_pair": 1e9 * row["ours_s"] / (n * number * kernels),
            **row,
        }
    ]
