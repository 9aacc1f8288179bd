"""Counts of the GPU check: are value and gradient right, and how long do both take?"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from bench_measure import compiled, microseconds, repeated_seconds, temporary_bytes
from gpu_sections import NEEDS_GPU, Row

from kdescent_dist.counts.local import fourier_counts, kde_counts

TOLERANCE = 1e-5  # of single precision, relative to the largest number of an array
CHUNK = 65_536  # samples whose table is held in double precision


def problem(samples: int, kernels: int, dims: int) -> list[np.ndarray]:
    """Samples, weights, centers (or modes) and a covariance."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(samples, dims)), rng.uniform(size=samples)
    centers = rng.normal(size=(kernels, dims))
    return [a.astype(np.float32) for a in (x, w, centers, 0.3 * np.eye(dims) + 0.05)]


def loss_of(counts: str, backend: str) -> Callable:
    """The sum of the squares of counts: ``kde``, ``fourier`` or ``both``."""

    def loss(x, w, centers, cov):
        total = 0.0
        if counts in ("kde", "both"):
            total += jnp.sum(kde_counts(x, w, centers, cov, backend=backend) ** 2)
        if counts in ("fourier", "both"):
            total += jnp.sum(jnp.abs(fourier_counts(x, w, centers, backend=backend)) ** 2)
        return total

    return loss


def reference(counts: str, *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The loss and the gradients in samples and weights, in double precision by NumPy."""
    x, w, centers, cov = (a.astype(float) for a in arrays)
    inverse, norm = np.linalg.inv(cov), 1 / np.sqrt(np.linalg.det(2 * np.pi * cov))
    parts = [slice(first, first + CHUNK) for first in range(0, len(x), CHUNK)]

    def table(part: slice) -> np.ndarray:
        if counts == "fourier":
            return np.exp(1j * x[part] @ centers.T)
        away = x[part, None] - centers
        return norm * np.exp(-0.5 * np.einsum("nki,ij,nkj->nk", away, inverse, away))

    sums = sum(w[part] @ table(part) for part in parts)
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(w)
    for part in parts:
        pulled = 2 * table(part) * np.conj(sums)
        grad_w[part] = pulled.real.sum(axis=1)
        if counts == "fourier":
            slope = -pulled.imag @ centers
        else:
            slope = (pulled @ centers - pulled.sum(axis=1)[:, None] * x[part]) @ inverse
        grad_x[part] = w[part, None] * slope
    return np.sum(np.abs(sums) ** 2), grad_x, grad_w


def parity(backend: str, shapes: Sequence[tuple[int, int, int]]) -> Iterator[Row]:
    """Errors against double precision, and whether a second call has the same bits."""
    for counts, (samples, kernels, dims) in itertools.product(("kde", "fourier"), shapes):
        arrays = problem(samples, kernels, dims)
        begun = time.perf_counter()
        program = compiled(jax.value_and_grad(loss_of(counts, backend), (0, 1)), *arrays)
        compile_s = time.perf_counter() - begun
        found, again = (jax.tree.leaves(program(*arrays)) for _ in range(2))
        errors = {
            name: float(np.max(np.abs(np.asarray(mine, float) - exact)) / np.max(np.abs(exact)))
            for name, mine, exact in zip(
                ("value_error", "grad_x_error", "grad_w_error"),
                found,
                reference(counts, *arrays),
                strict=True,
            )
        }
        same = all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
        yield {
            "backend": backend,
            "counts": counts,
            "samples": samples,
            "kernels": kernels,
            "dims": dims,
            **errors,
            "same_bits_again": same,
            "ok": same and all(error < TOLERANCE for error in errors.values()),
            "compile_s": round(compile_s, 1),
        }


def timing(cases: Sequence[Row], seconds: float = 0.4) -> Iterator[Row]:
    """Times of the loss with the gradients in samples and weights, and of the loss alone.

    Args:
        cases: ``backend``, ``counts``, ``samples``, ``kernels`` and ``dims`` of each case.
        seconds: how long to repeat a call.
    """
    for case in cases:
        if case["backend"] == "pallas" and jax.default_backend() != "gpu":
            yield {**case, "note": f"{NEEDS_GPU}: a CPU interprets the kernels"}
            continue
        samples, kernels = case["samples"], case["kernels"]
        arrays = [jax.device_put(a) for a in problem(samples, kernels, case["dims"])]
        loss = loss_of(case["counts"], case["backend"])
        program = compiled(jax.value_and_grad(loss, (0, 1)), *arrays)
        both = repeated_seconds(partial(program, *arrays), seconds, most=100)
        alone = repeated_seconds(partial(compiled(loss, *arrays), *arrays), seconds, most=100)
        pairs = samples * kernels * (2 if case["counts"] == "both" else 1)
        yield {
            **case,
            "minimum_us": microseconds(min(both)),
            "median_us": microseconds(np.median(both)),
            "forward_minimum_us": microseconds(min(alone)),
            "forward_median_us": microseconds(np.median(alone)),
            "pairs_per_s": float(f"{pairs / min(both):.3g}"),
            "temporary_mb": temporary_bytes(program) / 1e6,
        }
