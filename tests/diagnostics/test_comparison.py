"""Diagnostics of a fit: their counts against float64 NumPy, what they keep, what they hold."""

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import multivariate_normal

from kdescent_dist.bins.training_errors import training_errors
from kdescent_dist.counts.statistics.kernels import GaussianKernels
from kdescent_dist.diagnostics import comparison as diagnostics
from kdescent_dist.diagnostics import population_sums
from kdescent_dist.response import points
from support import problems

SEED = 2**70 + 1  # more bits than a random key has
MASS = np.random.default_rng(8).permutation(np.linspace(0.0, 1.0, problems.SIZE, dtype=np.float32))
BLOCK_SIZE = 300  # 1003 masses: the last of 4 blocks is short


def diagnose(bins, devices=1, kernels=1, *, samples, seed=SEED, mass=MASS):
    objective = problems.objective(
        bins, devices, kernels, size=len(mass), catalog={"mass": mass}, block_size=BLOCK_SIZE
    )
    problem = problems.problem(objective, seed=seed)
    return diagnostics.diagnose(problem, problems.TRUTH, samples=samples)


@pytest.fixture(scope="module", params=[(1, 1), (4, 2)], ids=["1 device", "2x2 devices"])
def whole(request, bins):
    """Diagnostics that keep the whole population, and so hold what the reference is made of."""
    return diagnose(bins, *request.param, samples=100_000)


@pytest.mark.slow
def test_a_population_smaller_than_the_limit_is_kept_whole_without_padding(whole):
    assert np.array_equal(np.sort(whole["guess/mass"]), np.sort(np.tile(MASS, 2)))
    assert np.sum(whole["guess/weights"], dtype=float) == pytest.approx(len(MASS))


def sums(arrays, label, bin_, cov):
    """Window sum, counts, and errors of normalized counts, in double precision."""
    x = np.stack([arrays[f"{label}/{name}"] for name in bin_["columns"]], axis=1).astype(float)
    weights = everywhere = arrays[f"{label}/weights"].astype(float)
    for name, (low, high) in bin_["window"].items():
        values = arrays[f"{label}/{name}"].astype(float)
        width = bin_["softness"][name] * (high - low)
        weights = weights * expit((values - low) / width) * expit((high - values) / width)
    i = bin_["index"]
    centers, modes = arrays[f"bin{i}/kernel_centers"], arrays[f"bin{i}/fourier_positions"]
    pdfs = np.array([multivariate_normal(c, cov).pdf(x) for c in centers])
    waves = np.exp(1j * modes.astype(float) @ x.T)
    of_norm = weights if bin_["normalization"] == "conditional" else everywhere

    def error(values):
        apart = values * weights - (values @ weights / of_norm.sum())[:, None] * of_norm
        return np.sqrt(np.sum(apart**2, axis=1)) / of_norm.sum()

    errors = error(waves.real) + 1j * error(waves.imag)
    return weights.sum(), pdfs @ weights, waves @ weights, error(pdfs), errors


def described(arrays):
    return [{**b, "index": i} for i, b in enumerate(json.loads(str(arrays["bins"])))]


@pytest.mark.slow
@pytest.mark.parametrize("label", ["guess", "fit"])
def test_counts_are_those_of_the_whole_population(bins, whole, label):
    for bin_, pretrained in zip(described(whole), bins, strict=True):
        total, kde, fourier, _, _ = sums(whole, label, bin_, pretrained.counts.kernelcov)
        everything = np.sum(whole[f"{label}/weights"], dtype=float)
        norm = {"conditional": total, "density": everything}[bin_["normalization"]]
        prefix = f"bin{bin_['index']}"
        assert bin_[f"sum_{label}"] == pytest.approx(total, rel=1e-6)
        np.testing.assert_allclose(whole[f"{prefix}/kde_{label}"], kde / norm, 1e-4, 1e-7)
        np.testing.assert_allclose(whole[f"{prefix}/fourier_{label}"], fourier / norm, 0, 3e-6)


def test_errors_add_the_noise_of_the_fit_to_that_of_the_training_catalog(bins, whole):
    weight = problems.training()[1].sum(dtype=float)
    for bin_, pretrained in zip(described(whole), bins, strict=True):
        counts = pretrained.counts
        *_, kde, fourier = sums(whole, "fit", bin_, counts.kernelcov)
        of_data = training_errors(pretrained, weight, float)
        prefix = f"bin{bin_['index']}"
        expected = np.hypot(kde, of_data["kde"][:, 0])
        np.testing.assert_allclose(whole[f"{prefix}/kde_err"], expected, 1e-4, 1e-9)
        for i, part in enumerate((np.real, np.imag) if "fourier" in of_data else ()):
            expected = np.hypot(part(fourier), of_data["fourier"][:, i])
            found = part(whole[f"{prefix}/fourier_err"])
            # A small variance is a difference of sums, which are rounded.
            rounding = 2e-6 * np.max(expected**2)
            np.testing.assert_allclose(found**2, expected**2, 2e-4, rounding)


@pytest.mark.parametrize("samples", [3, 100])
def test_a_subsample_has_the_size_asked_for_and_weights_that_stand_for_all(bins, samples):
    arrays = diagnose(bins[2:], samples=samples)
    for label, params in (("guess", problems.GUESS), ("fit", problems.TRUTH)):
        scale = 2 * len(MASS) / samples
        fraction = dict(zip(problems.NAMES, params, strict=True))["fraction"]
        weights = arrays[f"{label}/weights"]
        assert weights.shape == arrays[f"{label}/red"].shape == (samples,)
        either = np.isclose(weights, fraction * scale) | np.isclose(weights, (1 - fraction) * scale)
        assert either.all()
    assert arrays["data/weights"].shape == (samples,)


@pytest.mark.slow
def test_every_real_sample_is_kept_equally_often():
    """Of 4 blocks and two copies, the short last block among them; no padded row at all."""
    layout = population_sums.SampleBlocks.of(11, 3)
    kept = np.zeros((4, 6))
    for seed in range(3000):
        rows = population_sums._KeptRows(layout, 2, seed, 5)
        table, numbers = rows.of_blocks(range(4))
        assert sum(numbers) == 5
        for block, (chosen, number) in enumerate(zip(table, numbers, strict=True)):
            assert len(set(chosen[:number])) == number
            kept[block, chosen[:number]] += 1
    padded = np.zeros((4, 6), bool)
    padded[3, [2, 5]] = True
    assert not kept[padded].any()
    # 3000 trials of probability 5 / 22, within 5 standard deviations.
    np.testing.assert_allclose(kept[~padded] / 3000, 5 / 22, atol=5 * 0.0077)


@pytest.mark.slow
def test_a_bin_is_compared_at_a_limited_number_of_kernels(bins, monkeypatch):
    monkeypatch.setattr(points, "LARGEST_SET", 20)
    arrays, counts = diagnose(bins[:1], samples=10), bins[0].counts
    assert arrays["bin0/kde_fit"].shape == arrays["bin0/fourier_fit"].shape == (20,)
    truth = dict(zip(map(tuple, counts.kernel_centers), counts.kde_counts, strict=True))
    expected = [
        truth[tuple(c)] / counts.training_sum_of_weights for c in arrays["bin0/kernel_centers"]
    ]
    np.testing.assert_allclose(arrays["bin0/kde_truth"], expected, 1e-6)


@pytest.mark.parametrize("size", [500, 5000])
def test_one_block_at_a_time_is_counted_by_one_program_for_bins_of_equal_shape(
    bins, monkeypatch, size
):
    """Memory is bounded by a block, however many samples there are."""
    shapes = []

    def spy(self, x, *others):
        shapes.append(x.shape)
        return counts(self, x, *others)

    counts = GaussianKernels.counts
    monkeypatch.setattr(GaussianKernels, "counts", spy)
    mass = np.linspace(0, 1, size, dtype=np.float32)
    arrays = diagnose(bins, samples=50, mass=mass)
    # Traced once for both bins of the grid, for the guess and the fit; and again for errors.
    assert shapes == 2 * [(2 * BLOCK_SIZE, 2), (2 * BLOCK_SIZE, 1)]
    assert max(a.size for name, a in arrays.items() if name.startswith("fit/")) == 50
