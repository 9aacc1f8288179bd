"""A training catalog of which each process holds some rows: the counts of the whole of it."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import multivariate_normal

from kdescent_dist import KPretrainer
from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.numerics.exact_sums import exact_total
from support.thread_processes import in_threads

pytestmark = pytest.mark.as_shipped

ROWS, BLOCK = 1130, 100
RNG = np.random.default_rng(5)
MASS = np.sort(RNG.uniform(size=ROWS)).astype(np.float32)  # so that blocks are unlike
COLUMNS = {
    "red": (MASS + RNG.normal(size=ROWS)).astype(np.float32),
    "blue": (30.0 + RNG.normal(size=ROWS)).astype(np.float32),
    "mass": MASS,
}
WEIGHTS = RNG.uniform(0.0, 2.0, ROWS).astype(np.float32)
WEIGHTS[200:300] = 0.0  # a whole block
CONFIG = BinsConfig(
    columns=["red", "blue"],
    kernels=6,
    fourier=4,
    pretrain_kernels=40,
    pretrain_fourier=30,
    covariant_kernels=True,
)
BIN = Bin("high", "bins", {"mass": (0.35, 0.9)}, CONFIG)


def shared(processes, bin_=BIN, method="direct", block_size=BLOCK):
    """The bin, pretrained by processes that hold some blocks of rows each."""
    rows = RowBlocks(ROWS, block_size, processes)
    mine = slice(*rows.rows)
    columns = {name: values[mine] for name, values in COLUMNS.items()}
    mesh = make_mesh(devices=jax.devices()[:1])
    training = TrainingCatalog.of(columns, WEIGHTS[mine], rows)
    return pretrain_bin(bin_, training, None, 3, mesh, None, method)


def leaves(pretrained):
    fields = dataclasses.asdict(dataclasses.replace(pretrained, bin=None))
    return {**fields.pop("counts"), **fields.pop("cross"), **fields}


def assert_same(one, other):
    for (name, a), b in zip(leaves(one).items(), leaves(other).values(), strict=True):
        assert np.array_equal(a, b), name


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3, 13])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_any_number_of_processes_gives_the_same_bits(number, power):
    """Of 13 processes one has no rows at all."""
    bin_ = dataclasses.replace(
        BIN, config=dataclasses.replace(CONFIG, inverse_density_weight_power=power)
    )
    alone = shared(Processes.of(None), bin_)
    for one in in_threads(number, lambda processes: shared(processes, bin_)):
        assert_same(one, alone)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["direct", "finufft"])
def test_counts_are_those_of_float64_sums_over_all_rows(method):
    if method == "finufft":
        pytest.importorskip("finufft")
    pretrained = in_threads(3, lambda processes: shared(processes, method=method))[1]
    mass = MASS.astype(float)
    width = CONFIG.softness * 0.55
    window = WEIGHTS * expit((mass - 0.35) / width) * expit((0.9 - mass) / width)
    x = np.stack([COLUMNS["red"], COLUMNS["blue"]], axis=1).astype(float)
    counts = pretrained.counts
    assert pretrained.training_count == np.count_nonzero((MASS >= 0.35) & (MASS < 0.9))
    assert pretrained.number_err == pytest.approx(np.sqrt(np.sum(window**2)), rel=1e-5)
    assert counts.training_sum_of_weights == pytest.approx(window.sum(), rel=1e-5)
    bandwidth = 6 ** (-1 / 6)
    cov = np.cov(x, rowvar=False, aweights=window) * bandwidth**2
    np.testing.assert_allclose(counts.kernelcov, cov, rtol=1e-5)
    kernels = np.array(
        [multivariate_normal(c, counts.kernelcov).pdf(x) for c in counts.kernel_centers]
    )
    np.testing.assert_allclose(counts.kde_counts, kernels @ window, rtol=2e-5)
    np.testing.assert_allclose(counts.kde_err, np.sqrt(kernels**2 @ window**2), rtol=2e-5)
    waves = np.exp(1j * counts.fourier_positions.astype(float) @ x.T)
    atol = 1e-6 * window.sum()
    np.testing.assert_allclose(counts.fourier_counts, waves @ window, atol=atol)
    errors = np.sqrt(waves.real**2 @ window**2) + 1j * np.sqrt(waves.imag**2 @ window**2)
    np.testing.assert_allclose(counts.fourier_err, errors, atol=atol)


@pytest.mark.slow
def test_kernels_are_drawn_from_rows_of_every_block_by_their_weights():
    """Kernels of next to no width lie on rows; of each block as many as it weighs."""
    config = dataclasses.replace(CONFIG, covariant_kernels=False, pretrain_kernels=20_000)
    bin_ = Bin("all", "bins", {}, config)
    centers = in_threads(2, lambda processes: shared(processes, bin_))[0].counts.kernel_centers
    # Scott's kernels widen the distribution by 1 + effective^(-2 / 6).
    x = np.stack([COLUMNS["red"], COLUMNS["blue"]], axis=1).astype(float)
    mean, cov = np.average(x, axis=0, weights=WEIGHTS), np.cov(x, rowvar=False, aweights=WEIGHTS)
    effective = WEIGHTS.sum(dtype=float) ** 2 / np.sum(WEIGHTS.astype(float) ** 2)
    wide = cov * (1 + effective ** (-1 / 3))
    error = np.sqrt(np.diagonal(wide) / len(centers))
    assert np.all(np.abs(centers.mean(axis=0) - mean) < 4 * error)
    np.testing.assert_allclose(np.cov(centers, rowvar=False), wide, atol=0.05)


def test_one_block_gives_the_counts_of_the_pretrainer():
    """Of all rows at once, as a script without bins counts them."""
    bin_ = Bin("all", "bins", {}, CONFIG)
    ours = in_threads(2, lambda processes: shared(processes, bin_, block_size=ROWS))[1].counts
    keep = WEIGHTS > 0
    x = np.stack([COLUMNS["red"], COLUMNS["blue"]], axis=1)[keep]
    theirs = KPretrainer.from_training_data(
        x,
        WEIGHTS[keep],
        num_eval_kernels=6,
        num_eval_fourier_positions=4,
        num_pretrain_kernels=40,
        num_pretrain_fourier_positions=30,
        covariant_kernels=True,
        seed=3,
        mesh=make_mesh(devices=jax.devices()[:1]),
        method="direct",
    )
    for name in ("kernel_centers", "kde_counts", "fourier_positions", "fourier_counts"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_all_processes_refuse_a_bin_by_what_the_whole_catalog_has():
    few = Bin("few", "bins", {"mass": (0.999, 1.0)}, CONFIG)
    bad = {name: values.copy() for name, values in COLUMNS.items()}
    bad["red"][-1] = np.nan

    def refused(processes, bin_, columns):
        rows = RowBlocks(ROWS, BLOCK, processes)
        mine = {name: values[slice(*rows.rows)] for name, values in columns.items()}
        training = TrainingCatalog.of(mine, WEIGHTS[slice(*rows.rows)], rows)
        with pytest.raises(InputError) as raised:
            pretrain_bin(bin_, training, seed=3)
        return str(raised.value)

    told = in_threads(3, lambda processes: refused(processes, few, COLUMNS))
    assert len(set(told)) == 1
    assert "fewer than min_training=50" in told[0]
    told = in_threads(3, lambda processes: refused(processes, BIN, bad))
    assert len(set(told)) == 1
    assert "1 of 1130 values of column 'red' are NaN or infinite" in told[0]


def test_rows_of_all_processes_are_picked_and_digested():
    chosen = np.array([0, 99, 100, 500, 501, 1129])

    def work(processes):
        rows = RowBlocks(ROWS, BLOCK, processes)
        mine = slice(*rows.rows)
        part = {name: values[mine] for name, values in COLUMNS.items()}
        return rows.pick(part, chosen), rows.digest(part), rows.sum(WEIGHTS[mine])

    expected = RowBlocks(ROWS, BLOCK)
    total = expected.sum(WEIGHTS)
    assert total == pytest.approx(WEIGHTS.sum(dtype=float), rel=1e-14)
    for number in (2, 5):
        for picked, digest, added in in_threads(number, work):
            for name, values in COLUMNS.items():
                assert np.array_equal(picked[name], values[chosen])
            assert digest == expected.digest(COLUMNS)
            assert added == total
    changed = {**COLUMNS, "red": COLUMNS["red"] + 1}
    assert expected.digest(changed) != expected.digest(COLUMNS)


def test_sums_do_not_depend_on_their_order_and_are_right_to_the_last_digits():
    parts = list(RNG.normal(size=(60, 4)) * np.exp(RNG.normal(size=(60, 4)) * 20))
    parts[7][:] = [0.0, 1e-300, 1e300, -0.0]
    alone = Processes.of(None)
    expected = exact_total(parts, (4,), 60, alone)
    largest = np.max(np.abs(parts), axis=0)
    assert np.all(np.abs(expected - np.sum(parts, axis=0)) <= 1e-12 * largest)
    assert np.array_equal(exact_total(parts[::-1], (4,), 60, alone), expected)

    def work(processes):
        return exact_total(parts[processes.index :: processes.count], (4,), 60, processes)

    for total in in_threads(7, work):
        assert np.array_equal(total, expected)
    assert np.array_equal(exact_total([], (2, 3), 1, alone), np.zeros((2, 3)))
    assert exact_total([np.float64(np.inf), np.float64(1.0)], (), 2, alone) == np.inf
