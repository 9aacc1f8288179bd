"""What is measured as the problem grows: memory, collectives, time per step; and against KeOps."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from bench_cases import NAMES, TRUTH, Row, count_loss, count_problem, diffopt, line, line_bins
from bench_measure import (
    best_seconds,
    compiled,
    optional,
    peak_bytes,
    size,
    temporary_bytes,
    too_large,
)

import kdescent_dist as ours
from kdescent_dist.bins.pretrained import PretrainedBin

METHODS = ["compare_kde_counts", "compare_fourier_counts"]


def memory(sizes: list[int], kernels: list[int]) -> list[Row]:
    """Temporaries of value and gradient of KDE + Fourier in 3-D, from the compiled programs."""
    return [_temporaries(n, number) for n in sizes for number in kernels]


def _temporaries(n: int, kernels: int) -> Row:
    pretrained, x, w = count_problem(n, 3, kernels)
    libraries = {"ours": (ours, pretrained)}
    if diffopt is not None:
        libraries["diffopt"] = (diffopt, diffopt.KPretrainer(**vars(pretrained)))
    row = {
        f"{name}_bytes": temporary_bytes(
            compiled(count_loss(library.KCalc(trained), METHODS, 1.0), x, w)
        )
        / n
        for name, (library, trained) in libraries.items()
    }
    case = f"temporaries per sample, N = {size(n)}, {kernels} + {kernels}"
    return {"case": case, "samples": n, "kernels": kernels, "targets": (104, 32), **row}


def peak(library: str, n: int, kernels: int) -> list[Row]:
    """Peak memory of a process of its own that computes value and gradient of KDE + Fourier."""
    pretrained, x, w = count_problem(n, 3, kernels)
    case = f"peak of a process, N = {size(n)}, {kernels} + {kernels}"
    if library == "diffopt" and diffopt is None:
        return [{"case": case, "note": "diffopt is not installed"}]
    module = ours if library == "ours" else diffopt
    calc = module.KCalc(module.KPretrainer(**vars(pretrained)))
    program = compiled(count_loss(calc, METHODS, 1.0), x, w)
    if note := too_large(program):
        return [{"case": case, "note": note}]
    jax.block_until_ready(program(x, w))
    return [{"case": case, f"{library}_bytes": peak_bytes()}]


def _objective(n: int, bins: list[PretrainedBin], reproducible: bool = True):
    return ours.PopulationObjective(
        line, NAMES, bins, training_weight=5_000.0, size=n, reproducible=reproducible
    )


def _one_bin() -> list[PretrainedBin]:
    """20 kernels and 20 modes of two columns, on all samples."""
    return line_bins(
        ours.BinsConfig(
            columns=["red", "blue"],
            kernels=20,
            fourier=20,
            pretrain_kernels=500,
            pretrain_fourier=500,
        ),
        5_000,
    )


def scale(n: int) -> list[Row]:
    """One step of a generative model, in a process of its own, and the peak of its memory."""
    objective = _objective(n, _one_bin())
    params, key = jnp.asarray(TRUTH) + 0.1, jax.random.key(0)
    program = compiled(objective.value_and_grad, params, key, objective.data)
    step = best_seconds(lambda: program(params, key, objective.data))
    return [
        {
            "case": f"step of 20 kernels + 20 modes, 2-D, N = {size(n)}",
            "samples": n,
            "ours_s": step,
            "ns_per_sample": 1e9 * step / n,
            "temporary_bytes": temporary_bytes(program),
            "peak_bytes": peak_bytes(),
            "targets": (1e9, 1e8) if n == 100_000_000 else None,
        }
    ]


BITS = {"pred": 8, "s8": 8, "u8": 8, "bf16": 16, "f16": 16, "s32": 32, "u32": 32, "f32": 32}
BITS |= {"s64": 64, "u64": 64, "f64": 64, "c64": 64, "c128": 128}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
# name = result type, kind(arguments); an asynchronous one counts where it starts.
COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({KINDS})(?:-start)?\(", re.MULTILINE)


def collectives_of(text: str) -> tuple[Counter[str], int]:
    """Number of collectives by kind, and the bytes of their results, in the text of a program."""
    kinds, total = Counter(), 0
    for result, kind in COLLECTIVE.findall(text):
        kinds[kind] += 1
        for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result):
            total += BITS[dtype] // 8 * int(np.prod([int(s) for s in shape.split(",") if s]))
    return kinds, total


def collectives(sizes: list[int]) -> list[Row]:
    """Collectives of a step of 20 kernels, 20 modes and 3 parameters, on all devices."""
    params, key, rows = jnp.asarray(TRUTH), jax.random.key(0), []
    bins = _one_bin()
    for n in sizes:
        for reproducible in (True, False):
            objective = _objective(n, bins, reproducible)
            program = compiled(objective.value_and_grad, params, key, objective.data)
            kinds, total = collectives_of(program.as_text())
            name = "reproducible" if reproducible else "psum"
            rows.append(
                {
                    "case": f"{name}, {jax.device_count()} devices, N = {size(n)}",
                    "samples": n,
                    "number": sum(kinds.values()),
                    "kinds": ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
                    "bytes": total,
                }
            )
    return rows


def keops(n: int, dims: int, kernels: int) -> list[Row]:
    """KDE counts of whitened samples with KeOps: counts, then gradients in samples and weights."""
    case = f"KDE, {dims}-D, {kernels} kernels, N = {size(n)}"
    pykeops = optional("pykeops.numpy")
    if pykeops is None:
        return [{"case": case, "note": "pykeops is not installed"}]
    rng = np.random.default_rng(dims)
    x = rng.normal(size=(n, dims)).astype(np.float32)
    w = rng.uniform(size=(n, 1)).astype(np.float32)
    centers = rng.normal(size=(kernels, dims)).astype(np.float32)
    declared = [f"x = Vi({dims})", f"c = Vj({dims})"]
    value = pykeops.Genred("Exp(-SqDist(x, c) * IntInv(2)) * w", [*declared, "w = Vi(1)"], axis=0)
    # The gradient in w, and that in x over w: one pass over the pairs.
    gradient = pykeops.Genred(
        "Concat(Exp(-SqDist(x, c) * IntInv(2)) * g, Exp(-SqDist(x, c) * IntInv(2)) * g * (c - x))",
        [*declared, "g = Vj(1)"],
        axis=1,
    )

    def theirs():
        counts = value(x, centers, w)
        pulled = gradient(x, centers, 2 * counts)
        return pulled[:, :1], pulled[:, 1:] * w

    def loss(x, w):
        return jnp.sum(ours.counts.kde_counts(x, w, centers, jnp.eye(dims)) ** 2)

    samples = jnp.asarray(x), jnp.asarray(w[:, 0])
    program = compiled(jax.value_and_grad(loss, argnums=(0, 1)), *samples)
    row = {"case": case, "samples": n, "ours_s": best_seconds(lambda: program(*samples))}
    return [row | {"keops_s": best_seconds(theirs)}]
