"""Errors of normalized training counts, against float64 NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.bins.training_errors import training_errors
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.row_blocks import RowBlocks

SIZE, LOW, HIGH = 1500, -0.5, 1.0


def catalog(weighted):
    rng = np.random.default_rng(4)
    columns = {name: rng.normal(size=SIZE).astype(np.float32) for name in ("x", "y", "z")}
    weights = rng.uniform(0.2, 2.0, size=SIZE) if weighted else np.ones(SIZE)
    return columns, weights.astype(np.float32)


def pretrained(kind, softness, weighted, block_size=SIZE, **options):
    config = BinsConfig(
        columns=["x", "y"],
        edges={"z": [LOW, HIGH]},
        softness=softness,
        normalization=kind,
        kernels=5,
        fourier=5,
        pretrain_kernels=30,
        pretrain_fourier=30,
    )
    (bin_,) = expand_bins({"b": config})
    columns, weights = catalog(weighted)
    rows = RowBlocks(SIZE, block_size)
    return pretrain_bin(bin_, TrainingCatalog.of(columns, weights, rows), **options)


def errors_float64(one, weighted):
    columns, weights = catalog(weighted)
    weights, z = weights.astype(float), columns["z"].astype(float)
    kind, (softness,) = one.bin.config.normalization, one.bin.softness
    if softness == 0:
        window = (z >= LOW) & (z < HIGH)
    else:
        width = softness * (HIGH - LOW)
        window = expit((z - LOW) / width) * expit((HIGH - z) / width)
    inside = weights * window
    x = np.stack([columns["x"], columns["y"]], axis=1).astype(float)
    away = x - one.counts.kernel_centers[:, None].astype(float)
    cov = one.counts.kernelcov.astype(float)
    square = np.einsum("kni,ij,knj->kn", away, np.linalg.inv(cov), away)
    kernels = np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2 * np.pi * cov))
    phases = one.counts.fourier_positions.astype(float) @ x.T
    of_norm = {"conditional": inside, "density": weights, "counts": 0 * weights}[kind]
    norm = of_norm.sum() if kind != "counts" else 1.0

    def error(values):
        return np.sqrt(np.sum((values * inside - _ratio(values) * of_norm) ** 2, axis=1)) / norm

    def _ratio(values):
        return (values @ inside)[:, None] / norm

    return {
        "kde": error(kernels)[:, None],
        "fourier": np.stack([error(np.cos(phases)), error(np.sin(phases))], axis=1),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("softness", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["conditional", "density", "counts"])
def test_errors_are_those_of_float64(kind, softness, weighted):
    one = pretrained(kind, softness, weighted)
    total = float(catalog(weighted)[1].sum(dtype=float))
    found, expected = training_errors(one, total, np.float64), errors_float64(one, weighted)
    # Without weights and soft edges, or without a norm, the products are the counts.
    free = kind == "counts" or not (weighted or (softness > 0 and kind == "conditional"))
    assert (not one.cross) == free
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=3e-3)
        assert np.median(np.abs(found[name] / values - 1)) < 1e-5


def test_errors_have_the_same_bits_whoever_holds_the_rows():
    """Blocks of the same size; and known sums are taken, others are counted."""
    one = pretrained("conditional", 0.1, True, block_size=400)
    known = {"kde": 2 * one.cross["kde"]}
    other = pretrained("conditional", 0.1, True, block_size=400, cross=known)
    assert other.cross["fourier"].tobytes() == one.cross["fourier"].tobytes()
    np.testing.assert_array_equal(other.cross["kde"], known["kde"])
    damaged = {"kde": one.cross["kde"][:3]}
    other = pretrained("conditional", 0.1, True, block_size=400, cross=damaged)
    assert other.cross["kde"].tobytes() == one.cross["kde"].tobytes()


def test_what_does_not_vary_beyond_rounding_has_an_infinite_error():
    """The real part of a wave of no frequency is 1 for every row, the imaginary part is 0."""
    one = pretrained("conditional", 0.1, True)
    counts = replace(one.counts, fourier_positions=0 * one.counts.fourier_positions)
    norm, square = one.training_sum, one.norm_square
    size = len(counts.fourier_positions)
    counts.fourier_counts = np.full(size, norm, np.complex64)
    counts.fourier_err = np.full(size, np.sqrt(square) * (1 + 1e-7), np.complex64)
    cross = {**one.cross, "fourier": np.tile([square * (1 - 1e-7), 0.0], (size, 1))}
    errors = training_errors(replace(one, counts=counts, cross=cross), 1.0, np.float32)["fourier"]
    assert errors.dtype == np.float32
    assert np.all(np.isinf(errors[:, 0]))
    np.testing.assert_array_equal(errors[:, 1], 0)
