"""Counts, errors and every gradient against float64 NumPy, over all that may vary.

Each tolerance is a multiple of what rounding the coordinates, in kernel widths or in radians, does
to the terms of the sum: it holds for any offset, bandwidth, correlation and range of weights.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdescent_dist.counts.local import fourier_counts, fourier_errors, kde_counts, kde_errors

pytestmark = pytest.mark.as_shipped

# Samples, dimensions, kernels. A program depends on these alone: few, so that it compiles rarely.
SHAPES = (
    (1, 1, 1),
    (31, 2, 130),
    (4097, 4, 20),
)
MORE_SHAPES = ((2, 9, 5), (33, 6, 20), (4095, 5, 1), (8193, 3, 9))
ROUNDINGS = 10.0  # units in the last place: those of a sum over one block, too

few = settings(
    max_examples=min(24, settings().max_examples),
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Case:
    """What a problem is drawn from; short enough to be printed when a test fails."""

    shape: tuple[int, int, int]
    offset: float
    bandwidth: float
    correlated: bool
    weights: str
    seed: int

    def problem(self):
        size, dims, kernels = self.shape
        rng = np.random.default_rng(self.seed)
        x = rng.normal(size=(size, dims)) + self.offset * rng.uniform(0.5, 1.0, size=dims)
        weights = rng.uniform(size=size)
        if self.weights == "with zeros":
            weights *= rng.uniform(size=size) > 0.5
        elif self.weights == "zero":
            weights *= 0.0
        elif self.weights == "huge range":
            weights *= 10.0 ** rng.uniform(-8, 8, size=size)
        # Axes of widths that differ 3 times, and a correlation matrix of a condition up to 1000.
        widths = self.bandwidth * 10.0 ** rng.uniform(-0.25, 0.25, size=dims)
        rotation = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
        eigenvalues = 10.0 ** rng.uniform(-1.5 * self.correlated, 1.5 * self.correlated, dims)
        matrix = rotation * eigenvalues @ rotation.T
        norm = np.sqrt(np.diagonal(matrix))
        cov = matrix / np.outer(norm, norm) * np.outer(widths, widths)
        # Kernels on top of samples, as fits have them: narrow ones are then not all empty.
        centers = x[rng.integers(size, size=kernels)] + widths * rng.normal(size=(kernels, dims))
        modes = rng.normal(size=(kernels, dims)) * 3.0
        cotangent = rng.normal(size=(2, kernels))
        arrays = (x, weights, centers, 0.5 * (cov + cov.T), modes, cotangent)
        return Problem(*(a.astype(np.float32).astype(np.float64) for a in arrays))


def cases(shapes=SHAPES):
    return st.builds(
        Case,
        shape=st.sampled_from(shapes),
        offset=st.sampled_from([0.0, -30.0, 1e3, 1e6]),
        bandwidth=st.sampled_from([0.01, 0.1, 1.0, 10.0, 100.0]),
        correlated=st.booleans(),
        weights=st.sampled_from(["any", "with zeros", "zero", "huge range"]),
        seed=st.integers(0, 2**32 - 1),
    )


@dataclass(frozen=True)
class Problem:
    """Numbers of a lower precision held in float64."""

    x: np.ndarray
    weights: np.ndarray
    centers: np.ndarray
    cov: np.ndarray
    modes: np.ndarray
    cotangent: np.ndarray

    def rounded(self, *names):
        return [jnp.asarray(getattr(self, name), result_dtype()) for name in names]


def result_dtype():
    return jnp.float64 if jax.config.jax_enable_x64 else jnp.float32


def unit_roundoff():
    return float(jnp.finfo(result_dtype()).eps)


def assert_within(value, reference, bound):
    """|value - reference| <= bound, and finite; the bound is that of the rounding errors."""
    assert np.shape(value) == np.shape(reference)
    assert np.all(np.isfinite(value))
    # What underflows may be lost.
    excess = np.abs(np.asarray(value, np.float64) - reference) - bound - 1e-30
    assert np.max(excess, initial=-1.0) <= 0.0, f"{excess.max()} over {bound.max()}"


class Kernels:
    """Reference values of all pairs, and how uncertain rounding makes each."""

    def __init__(self, problem):
        x, centers, cov = problem.x, problem.centers, problem.cov
        inverse = np.linalg.inv(np.linalg.cholesky(cov))
        difference = x[:, None] - centers[None]
        white = difference @ inverse.T
        self.value = np.exp(-0.5 * np.sum(white**2, axis=-1))
        self.peak = np.prod(np.diagonal(inverse)) / (2 * np.pi) ** (0.5 * len(cov))
        self.value *= self.peak
        self.scaled = white @ inverse  # cov^-1 (x - c)
        self.precision = inverse.T @ inverse
        # Coordinates in kernel widths, from the middle of the centers, and their rounding.
        spread = np.abs(x - np.median(centers, axis=0)) @ np.abs(inverse.T)
        width = np.sqrt(np.diagonal(cov))
        condition = np.linalg.cond(cov / np.outer(width, width))
        far = np.linalg.norm(white, axis=-1)
        units = condition + spread.max(axis=1)[:, None] + far
        self.far = 1.0 + far
        self.rounding = ROUNDINGS * unit_roundoff() * units * self.far * self.value
        # The exponential of a far pair underflows; what multiplies it may be large.
        self.rounding += float(jnp.finfo(result_dtype()).tiny) * self.peak
        self.slope = np.sum(np.abs(inverse), axis=0)  # of white coordinates, per unit of x


@jax.jit
def kde_value_and_gradients(cotangent, *arrays):
    value, pull = jax.vjp(kde_counts, *arrays)
    return value, pull(cotangent)


def check_kde(problem):
    names = ("x", "weights", "centers", "cov")
    cotangent = jnp.asarray(problem.cotangent[0], result_dtype())
    value, gradients = kde_value_and_gradients(cotangent, *problem.rounded(*names))
    assert value.dtype == result_dtype()
    pairs, w, g = Kernels(problem), problem.weights[:, None], problem.cotangent[0]
    assert_within(value, problem.weights @ pairs.value, problem.weights @ pairs.rounding)
    mass, rounding = w * g * pairs.value, w * np.abs(g) * pairs.rounding
    # A factor of the distance in widths more for each power of cov^-1 (x - c).
    first = rounding * pairs.far
    second = np.sum(first * pairs.far) * np.outer(pairs.slope, pairs.slope)
    outer = np.einsum("nk,nki,nkj->ij", mass, pairs.scaled, pairs.scaled)
    expected = (
        (-np.einsum("nk,nki->ni", mass, pairs.scaled), first.sum(1)[:, None] * pairs.slope),
        (pairs.value @ g, pairs.rounding @ np.abs(g)),
        (np.einsum("nk,nki->ki", mass, pairs.scaled), first.sum(0)[:, None] * pairs.slope),
        (0.5 * (outer - mass.sum() * pairs.precision), second),
    )
    for gradient, (reference, bound) in zip(gradients, expected, strict=True):
        assert_within(gradient, reference, bound)
    if not np.any(problem.weights):
        assert not np.any(value)
        assert not np.any(gradients[0])


@jax.jit
def fourier_value_and_gradients(real, imag, *arrays):
    def parts(*arrays):
        counts = fourier_counts(*arrays)
        return counts.real, counts.imag

    value, pull = jax.vjp(parts, *arrays)
    return jax.lax.complex(*value), pull((real, imag))


def waves(problem):
    """Reference waves (n, K); far from the origin, float64 would round their phase."""
    phase = problem.x.astype(np.longdouble) @ problem.modes.T.astype(np.longdouble)
    return np.exp(1j * phase).astype(np.complex128)


def phase_rounding(problem):
    """Error of the phase (n, K), in radians, which is taken from an origin near the samples."""
    origin = np.median(problem.x, axis=0)
    reach = np.abs(problem.x - origin) + 2.0**-11 * np.abs(origin)
    return ROUNDINGS * unit_roundoff() * (1.0 + reach @ np.abs(problem.modes.T))


def check_fourier(problem):
    x, w, modes = problem.x, problem.weights[:, None], problem.modes
    real, imag = problem.cotangent
    cotangents = problem.rounded("cotangent")[0]
    arrays = problem.rounded("x", "weights", "modes")
    value, gradients = fourier_value_and_gradients(*cotangents, *arrays)
    assert value.real.dtype == result_dtype()
    wave = waves(problem)
    rounding = phase_rounding(problem)
    size = np.abs(real) + np.abs(imag)
    slope = w * (wave.real * imag - wave.imag * real)
    expected = (
        (slope @ modes, (w * rounding * size) @ np.abs(modes)),
        (wave.real @ real + wave.imag @ imag, rounding @ size),
        (slope.T @ x, (w * rounding * size).T @ np.abs(x)),
    )
    for part in (np.real, np.imag):
        assert_within(part(value), part(problem.weights @ wave), problem.weights @ rounding)
    for gradient, (reference, bound) in zip(gradients, expected, strict=True):
        assert_within(gradient, reference, bound)


@few
@given(cases())
def test_kde_counts_and_gradients_match_float64(case):
    """sum_n w_n N(x_n; c_k, cov), and its derivatives in x, w, c and cov, in closed form."""
    check_kde(case.problem())


@few
@given(cases())
def test_fourier_counts_and_gradients_match_float64(case):
    """sum_n w_n exp(i k.x_n), and its derivatives in x, w and k."""
    check_fourier(case.problem())


@pytest.mark.nightly
@few
@given(cases(MORE_SHAPES))
def test_counts_and_gradients_of_more_shapes_match_float64(case):
    check_kde(case.problem())
    check_fourier(case.problem())


@pytest.mark.nightly
@settings(few, max_examples=6)
@given(cases(shapes=((33, 6, 20), (4097, 2, 10))))
def test_double_precision_reaches_its_own_rounding(case):
    """With float64 inputs the same bounds hold, with the unit roundoff of float64."""
    with jax.enable_x64(True):
        check_kde(case.problem())
        check_fourier(case.problem())


@settings(few, max_examples=12)
@given(cases(shapes=((1, 2, 7), (4097, 2, 7), (8193, 3, 7))))
def test_errors_match_float64(case):
    """sqrt(sum_n w_n^2 N^2), and the same of the cosine and the sine."""
    problem = case.problem()
    pairs, weights = Kernels(problem), problem.weights
    value = kde_errors(*problem.rounded("x", "weights", "centers", "cov"))
    # The square root of a sum is as uncertain as the largest of its terms, or less.
    bound = np.sqrt(weights**2 @ pairs.rounding**2) + 1e-6 * np.sqrt(weights**2 @ pairs.value**2)
    bound += 1.1e-19 * pairs.peak * np.linalg.norm(weights)  # squares underflow there
    assert_within(value, np.sqrt(weights**2 @ pairs.value**2), bound)
    wave = waves(problem)
    value = fourier_errors(*problem.rounded("x", "weights", "modes"))
    bound = np.sqrt(weights**2 @ phase_rounding(problem) ** 2) + 1e-6 * np.linalg.norm(weights)
    for part in (np.real, np.imag):
        assert_within(part(value), np.sqrt(weights**2 @ part(wave) ** 2), bound)


@pytest.mark.parametrize("far", [1e3, 1e15, 1e30])
@pytest.mark.parametrize("shape", [(33, 6, 20), (4097, 4, 20)])
def test_a_model_far_from_all_kernels_gives_zeros_and_finite_gradients(shape, far):
    size, dims, kernels = shape
    signs = np.where(np.arange(dims) % 2, -1.0, 1.0)
    problem = Problem(
        x=np.full((size, dims), far) * signs,
        weights=np.linspace(0.0, 2.0, size),
        centers=np.random.default_rng(0).normal(size=(kernels, dims)),
        cov=0.5 * np.eye(dims) + 0.4,
        modes=np.random.default_rng(1).normal(size=(kernels, dims)),
        cotangent=np.ones((2, kernels)),
    )
    cotangents = problem.rounded("cotangent")[0]
    arrays = problem.rounded("x", "weights", "centers", "cov")
    value, gradients = kde_value_and_gradients(cotangents[0], *arrays)
    for array in (value, *gradients):
        assert not np.any(array)  # NaN is not zero, either
    arrays = problem.rounded("x", "weights", "modes")
    value, gradients = fourier_value_and_gradients(*cotangents, *arrays)
    for array in (value, *gradients):
        assert np.all(np.isfinite(array))
