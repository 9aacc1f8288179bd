"""Training counts by direct sums and by fast transforms, against float64 NumPy."""

import os

import jax
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.pretraining import chunks as chunked_counts
from kdescent_dist.pretraining import counting as training_counts
from kdescent_dist.pretraining import nufft
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.counting import count_kernels, count_modes
from kdescent_dist.pretraining.sample import TrainingSample

KERNELS = 90

needs_finufft = pytest.mark.skipif(
    not nufft.installed() and os.environ.get("CI") != "true",
    reason="finufft is missing: pip install finufft",
)


@pytest.fixture(scope="module")
def direct():
    return Counting("direct", mesh=make_mesh(devices=jax.devices()[:1]))


FAST = Counting("finufft")


def problem(dims, offset=0.0, bandwidth=0.5, weighted=True, size=700, seed=0):
    """Samples, some twice, weights with zeros over many orders of magnitude, kernels and modes."""
    rng = np.random.default_rng([dims, seed])
    x = rng.normal(size=(size, dims)) + offset
    x[:50] = x[50:100]
    weights = 1e-6 * rng.uniform(size=size) ** 4 * (rng.uniform(size=size) > 0.3)
    centers = x[rng.integers(size, size=KERNELS)] + bandwidth * rng.normal(size=(KERNELS, dims))
    root = rng.normal(size=(dims, dims))
    cov = bandwidth**2 * (0.3 * root @ root.T + 0.5 * np.eye(dims))
    modes = 2.0 * rng.uniform(size=(KERNELS, dims))
    arrays = [a.astype(np.float32) for a in (x, weights, centers, cov, modes)]
    if not weighted:
        arrays[1] = None
    return arrays


def references(x, weights, centers, cov, modes):
    """Counts, their errors, Fourier counts, and the errors of their real and imaginary parts."""
    x, centers, cov, modes = (a.astype(float) for a in (x, centers, cov, modes))
    w = np.ones(len(x)) if weights is None else weights.astype(float)
    white = np.linalg.solve(np.linalg.cholesky(cov), (x[:, None] - centers)[..., None])
    kernels = np.exp(-0.5 * np.sum(white**2, axis=(2, 3)))
    kernels /= np.sqrt(np.linalg.det(2 * np.pi * cov))
    phase = x @ modes.T
    return (
        w @ kernels,
        np.sqrt(w**2 @ kernels**2),
        w @ np.exp(1j * phase),
        np.sqrt(w**2 @ np.cos(phase) ** 2),
        np.sqrt(w**2 @ np.sin(phase) ** 2),
        w.sum(),
    )


def kde_of(x, weights, centers, cov, options):
    return count_kernels(TrainingSample.whole(x, weights), centers, cov, options)


def waves_of(x, weights, modes, options):
    return count_modes(TrainingSample.whole(x, weights), modes, options)


def assert_right(arrays, options, kernel_tolerance, wave_tolerance):
    x, weights, centers, cov, modes = arrays
    counts, errors, fourier, cos, sin, total = references(*arrays)
    kde, kde_err = kde_of(x, weights, centers, cov, options)
    waves, wave_err = waves_of(x, weights, modes, options)
    assert kde.dtype == kde_err.dtype == np.float32
    assert waves.dtype == wave_err.dtype == np.complex64
    # Relative to each count by itself, but for kernels that are next to empty.
    np.testing.assert_allclose(kde, counts, rtol=kernel_tolerance, atol=1e-10 * counts.max())
    np.testing.assert_allclose(kde_err, errors, rtol=kernel_tolerance, atol=1e-10 * errors.max())
    np.testing.assert_allclose(waves, fourier, rtol=0, atol=wave_tolerance * total)
    scale = np.sqrt(cos**2 + sin**2)
    np.testing.assert_allclose(wave_err.real / scale, cos / scale, rtol=0, atol=wave_tolerance)
    np.testing.assert_allclose(wave_err.imag / scale, sin / scale, rtol=0, atol=wave_tolerance)


@pytest.mark.parametrize("dims", [1, 2, 3, 4, 5, 6])
def test_direct_sums_match_float64(dims, direct):
    """At any offset, with wide and narrow kernels, with weights and without."""
    for offset, bandwidth, weighted in [(0.0, 0.5, True), (-30.0, 2.0, False), (1e3, 0.1, True)]:
        arrays = problem(dims, offset, bandwidth, weighted)
        # Narrow kernels: coordinates of 50 kernel widths are rounded to 3e-6 of a width.
        assert_right(arrays, direct, 3e-5 if bandwidth == 0.1 else 5e-6, 1e-6)


@needs_finufft
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_fast_transforms_match_float64(dims, monkeypatch):
    """To the rounding of the result, also of small counts and narrow kernels."""
    monkeypatch.setattr(training_counts.direct_counts, "chunked_sums", None)
    narrow = 0.6 if dims == 3 else 0.3
    for offset, bandwidth, weighted in [(0.0, 0.8, True), (-30.0, 2.0, False), (1e3, narrow, True)]:
        assert_right(problem(dims, offset, bandwidth, weighted), FAST, 1e-6, 1e-7)


@needs_finufft
def test_counts_too_small_for_a_transform_are_summed_one_by_one(monkeypatch):
    """A kernel far from all samples and a mode of nearly no phase, to their own last digits."""
    monkeypatch.setattr(training_counts.direct_counts, "chunked_sums", None)
    x, _, centers, cov, modes = problem(2, bandwidth=1.0, weighted=False)
    centers, modes = np.tile(centers, (2, 1)), np.tile(modes, (2, 1))
    centers[7] = x[0] + [20.0, 0.0]
    modes[[3, 5]] = [[1e-6, 0.0], [0.0, 0.0]]
    counts, errors, _, _, sin, _ = references(x, None, centers, cov, modes)
    assert 0 < counts[7] < 1e-20 * counts.max()
    kde, kde_err = kde_of(x, None, centers, cov, FAST)
    np.testing.assert_allclose(kde, counts, rtol=1e-6)
    np.testing.assert_allclose(kde_err, errors, rtol=1e-6)
    imag = waves_of(x, None, modes, FAST)[1].imag
    np.testing.assert_allclose(imag, sin, rtol=1e-6)
    assert imag[5] == 0.0


@pytest.mark.as_shipped
@needs_finufft
def test_many_nearly_empty_kernels_are_left_to_direct_sums(direct, caplog):
    """Which is logged, as it may take long."""
    caplog.set_level("INFO", "kdescent_dist")
    x, weights, centers, cov, _ = problem(2, bandwidth=0.02, weighted=False)
    centers = centers + np.float32(0.2)
    fast, sums = (kde_of(x, weights, centers, cov, o) for o in (FAST, direct))
    assert np.array_equal(fast, sums)
    assert f"of {KERNELS} training counts are too small for fast transforms" in caplog.text


@needs_finufft
def test_fast_transforms_are_the_same_bits_with_any_number_of_cores(monkeypatch):
    """Batches of samples run side by side, and are added up in their order."""
    monkeypatch.setattr(nufft, "_BATCH", 64)
    x, weights, centers, cov, modes = problem(2, size=4000)
    results = []
    for cores in (1, 3, 8):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False)
        results.append(
            [
                *kde_of(x, weights, centers[:5], cov, FAST),
                *waves_of(x, weights, modes[:5], FAST),
            ]
        )
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.slow
@needs_finufft
def test_the_method_follows_from_the_size(monkeypatch):
    """Transforms for many pairs, direct sums for few, for double precision and beyond 3-D."""
    used = []
    for transform in (nufft.KernelTransform, nufft.WaveTransform):
        whole = transform.sums
        monkeypatch.setattr(
            transform, "sums", lambda self, w, whole=whole: used.append(1) or whole(self, w)
        )

    def transforms(dims, size, number, dtype=np.float32):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(size, dims)).astype(dtype)
        used.clear()
        options = Counting(mesh=make_mesh(devices=jax.devices()[:1]))
        kde_of(x, None, x[:number], np.eye(dims, dtype=dtype), options)
        waves_of(x, None, x[:number], options)
        return len(used)

    assert transforms(2, 20_000, 1_500) == 2
    assert transforms(2, 700, 90) == 0
    assert transforms(4, 20_000, 1_500) == 0
    with jax.enable_x64(True):
        assert transforms(2, 20_000, 1_500, np.float64) == 0
    monkeypatch.setattr(nufft, "installed", lambda: False)
    assert transforms(2, 20_000, 1_500) == 0


def test_a_method_that_cannot_be_had_is_refused(monkeypatch):
    arrays = problem(4)
    monkeypatch.setattr(nufft, "installed", lambda: True)
    with pytest.raises(InputError, match=r"method='finufft': training_x has 4 columns"):
        waves_of(arrays[0], None, arrays[4], FAST)
    x, _, centers, cov, _ = problem(3, bandwidth=0.01)
    with pytest.raises(InputError, match="spans so many kernel widths"):
        kde_of(x, None, centers, cov, FAST)
    monkeypatch.setattr(nufft, "installed", lambda: False)
    with pytest.raises(InputError, match="pip install 'kdescent-dist\\[finufft\\]'"):
        kde_of(x, None, centers, cov, FAST)


def test_double_precision_is_kept(direct):
    with jax.enable_x64(True):
        x, weights, centers, cov, modes = (a.astype(float) for a in problem(2, offset=3.0))
        counts, errors, fourier, cos, sin, total = references(x, weights, centers, cov, modes)
        for value, expected in zip(
            kde_of(x, weights, centers, cov, direct),
            (counts, errors),
            strict=True,
        ):
            np.testing.assert_allclose(value, expected, rtol=1e-11)
        waves, wave_err = waves_of(x, weights, modes, direct)
        np.testing.assert_allclose(waves, fourier, rtol=0, atol=1e-13 * total)
        np.testing.assert_allclose(wave_err, cos + 1j * sin, rtol=1e-10)


def test_the_tiles_of_other_devices_give_the_same(monkeypatch, direct):
    """Larger chunks and blocks, as a GPU has them."""
    x, weights, centers, cov, modes = problem(2, size=5000)
    small = (
        *kde_of(x, weights, centers, cov, direct),
        *waves_of(x, None, modes, direct),
    )
    monkeypatch.setattr(chunked_counts, "_TILES", {})
    large = (
        *kde_of(x, weights, centers, cov, direct),
        *waves_of(x, None, modes, direct),
    )
    for one, two in zip(small, large, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.as_shipped
def test_memory_is_that_of_a_block_and_a_chunk(direct):
    """Not samples x kernels, which would take 1 GiB here."""
    shapes = ((2, 65_536), (65_536,), (64, 2, 64))
    arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    for body in (
        training_counts.direct_counts._kernel_body,
        training_counts.direct_counts._wave_body,
    ):
        program = chunked_counts._compiled(body, direct.mesh, 1024)
        temporary = program.lower(*arrays).compile().memory_analysis().temp_size_in_bytes
        assert temporary < 4 << 20
