"""Widths of columns: the standard deviations, but for outliers; the same for any processes."""

import numpy as np
import pytest
from scipy import stats

from kdescent_dist import KPretrainer
from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.narrow_columns import describe_narrow
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.pretraining.column_widths import NORMAL_RANGE, WIDEST, ColumnWidths
from kdescent_dist.pretraining.draws import KernelDensity
from kdescent_dist.pretraining.sample import TrainingSample
from support.thread_processes import in_threads

ROWS = 2000


def sample_of(*columns, weights=None):
    return TrainingSample.whole(np.stack(columns, axis=1).astype(np.float32), weights)


def normal(seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, ROWS)


@pytest.mark.parametrize("kind", ["norm", "uniform", "expon", "logistic", "laplace"])
def test_a_column_without_outliers_has_its_standard_deviation_to_the_last_bit(kind):
    values = getattr(stats, kind).rvs(size=ROWS, random_state=1)
    sample = sample_of(values, normal())
    found = ColumnWidths.of(sample)
    assert not found.narrow.any()
    assert found.covariance(sample) is sample.moments.covariance
    robust = KernelDensity(sample, robust=True)
    np.testing.assert_array_equal(robust.kernel_cov, KernelDensity(sample).kernel_cov)
    np.testing.assert_array_equal(robust.spread(), sample.spread())


def test_the_width_is_twice_that_of_the_quartiles_at_most():
    values = stats.cauchy.rvs(size=ROWS, random_state=2)
    found = ColumnWidths.of(sample_of(values))
    expected = WIDEST * stats.iqr(values) / NORMAL_RANGE
    assert found.width[0] == pytest.approx(expected, rel=0.01)  # of rows, not between rows
    assert found.deviation[0] == pytest.approx(values.std(ddof=1), rel=1e-5)


def test_the_width_is_continuous_where_the_tails_begin_to_count():
    values, widths = normal(), []
    for tail in np.geomspace(1.0, 100.0, 400):
        values[0] = 3.0 + tail * 2.0
        widths.append(ColumnWidths.of(sample_of(values)).width[0])
    assert np.max(np.abs(np.diff(widths))) < 0.1
    assert widths[-1] == widths[-2] < 2.1 * widths[0]


def test_rows_count_with_their_weights_or_not():
    values = np.concatenate([normal(), np.full(ROWS, 1e4)])
    weights = np.concatenate([np.ones(ROWS), np.full(ROWS, 1e-3)]).astype(np.float32)
    sample = sample_of(values, weights=weights)
    assert 3.0 < ColumnWidths.of(sample).width[0] < 5.0
    assert ColumnWidths.of(sample, weighted=False).width[0] > 1000.0


def test_a_column_whose_quartiles_agree_has_its_standard_deviation():
    values = np.zeros(ROWS)
    values[::5] = 7.0
    found = ColumnWidths.of(sample_of(values))
    assert found.width[0] == found.deviation[0] > 0


def test_an_outlier_sets_neither_widths_nor_correlations():
    x = normal()
    y = 0.6 * x + 0.8 * normal(1)
    clean = np.cov(x, y)
    x[7] = y[7] = 1e4
    sample = sample_of(x, y)
    found = KernelDensity(sample, robust=True).covariance
    assert np.corrcoef(x, y)[0, 1] > 0.99
    assert found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) == pytest.approx(
        clean[0, 1] / np.sqrt(clean[0, 0] * clean[1, 1]), abs=0.03
    )
    assert np.all(np.diagonal(found) < 2.1**2 * np.diagonal(clean))
    np.testing.assert_array_equal(np.diagonal(found), ColumnWidths.of(sample).width ** 2)


def test_a_bin_has_kernels_of_these_widths_and_the_counter_of_diffopt_has_not():
    """Before, one outlier in 2,000 rows made a bandwidth of 136 standard deviations."""
    x = np.random.default_rng(0).normal(size=ROWS)
    x[7] = 1e4
    small = {"columns": ["x"], "pretrain_kernels": 50, "pretrain_fourier": 50}
    counted = {}
    for width in ("robust", "deviation"):
        (bin_,) = expand_bins({"a": BinsConfig(**small, column_width=width)})
        counted[width] = pretrain_bin(bin_, {"x": x})
    robust, deviation = counted.values()
    assert np.sqrt(robust.kernel_cov[0, 0]) < 1.4
    assert np.sqrt(deviation.kernel_cov[0, 0]) > 100
    assert np.mean(robust.counts.kde_counts > 1) > 0.9
    assert robust.narrow.keys() == {"x"}
    assert not deviation.narrow
    (line,) = describe_narrow([(robust.bin, robust.narrow)])
    assert line.startswith("bins.a: kernels and modes are set by a width of 2.0")
    options = {"num_pretrain_kernels": 50, "num_pretrain_fourier_positions": 50}
    plain = KPretrainer.from_training_data(x, **options)
    for name in ("kernelcov", "kernel_centers", "fourier_positions"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(deviation.counts, name))


def test_any_number_of_processes_finds_the_same_bits():
    rng = np.random.default_rng(3)
    columns = {"x": rng.standard_t(1.5, 1130).astype(np.float32), "y": rng.normal(size=1130)}
    columns["y"] = columns["y"].astype(np.float32)

    def found(processes):
        rows = RowBlocks(1130, 100, processes)
        mine = slice(*rows.rows)
        training = TrainingCatalog.of({n: v[mine] for n, v in columns.items()}, None, rows)
        x = np.stack(list(training.columns.values()), axis=1)
        blocks = [(x[block], None) for block in rows.slices]
        one = TrainingSample(blocks, rows.own[0], rows.count, 2, x.dtype, processes)
        density = KernelDensity(one, robust=True)
        return density.covariance, density.spread()

    expected = found(Processes(()))
    for per_process in in_threads(3, found):
        for one, other in zip(per_process, expected, strict=True):
            np.testing.assert_array_equal(one, other)
