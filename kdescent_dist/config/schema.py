"""Every knob of a run, as dataclasses: the library takes them, and the command line fills them."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """The population model: a function ``model(params, key, catalog, **options)``."""

    _target_: str = MISSING  # dotted path of the function
    columns: list[str] = field(default_factory=list)  # names, if the model returns a plain array
    options: dict[str, Any] = field(default_factory=dict)  # further keyword arguments of it


@dataclass
class ParameterConfig:
    """One scalar parameter of the model; a missing bound is null."""

    guess: float = MISSING
    low: float | None = None
    high: float | None = None
    truth: float | None = None  # only drawn in the report, or used to simulate a catalog
    label: str | None = None


@dataclass
class CatalogConfig:
    """A catalog: a file (``path``), or a function that makes it (``make``)."""

    path: str | None = None  # a file, or a folder of Parquet; "sample:dc2" is the shipped sample
    format: str | None = None  # hdf5, parquet, fits, npz, npy, csv; by default from the suffix
    group: str | None = None  # group of an HDF5 file, or extension of a FITS file
    # {_target_: dotted path, ...}: returns named columns. Typed as a dict, OmegaConf could not fill
    # it on the command line once it is null; so too for the functions below.
    make: Any = None
    columns: dict[str, str] = field(default_factory=dict)  # name: expression of file columns
    # File column: value for "missing", or a list of such values
    sentinel: dict[str, Any] = field(default_factory=dict)
    where: str | None = None  # boolean expression of names and file columns; false rows go
    weights: str | None = None  # expression of the weights, by default 1
    subsample: int | None = None  # keep so many rows
    # random: drawn with the seed of the run; stride: at equal distances, from a start so drawn
    subsample_mode: str = "random"
    # Columns to be given as distances from their mean in units of their standard deviation, both of
    # all selected rows; bins and the model see them so
    standardize: list[str] = field(default_factory=list)
    drop_non_finite: bool = False  # drop (and count) rows with NaN or infinities, else refuse


@dataclass
class InputCatalogConfig:
    """The input catalog of the model: rows of the training catalog, or a file of its own."""

    columns: list[str] = field(default_factory=list)  # names handed to the model; none: generative
    catalog: CatalogConfig | None = None  # by default the training catalog


@dataclass
class SamplesConfig:
    """Model samples, and the blocks in which they are made."""

    # Samples per step; by default the rows of the input catalog. A part of them is drawn at random,
    # and each of these stands for more.
    size: int | None = None
    block_size: int | None = None  # samples per block; by default at least 8 blocks


@dataclass
class BinsConfig:
    """A conditional bin, or a grid of bins: kernel and Fourier counts of some columns."""

    columns: list[str] = MISSING  # columns that are compared
    # A grid: of each conditional column n + 1 edges, or {number: n} for n bins of equal width, or
    # {quantiles: n} for equal training weight, with low and high unless they follow from the data.
    edges: dict[str, Any] = field(default_factory=dict)
    # Or explicit bins: NAME: {column: [low, high], ...}
    windows: dict[str, Any] = field(default_factory=dict)
    # Width of a soft edge in units of the bin, 0: hard edges; or {column: softness}
    softness: Any = 0.04
    normalization: str = "conditional"  # conditional | density | counts
    kernels: int | None = None  # kernels per step and bin, by default 10 per column
    fourier: int | None = None  # Fourier modes per step and bin, by default 10 per column
    pretrain_kernels: int | None = None  # kernels to draw from, by default 300 x kernels
    pretrain_fourier: int | None = None
    bandwidth_factor: float = 1.0
    fourier_range_factor: float = 1.0
    fourier_half_space: bool = False  # modes in the half-space instead of the positive orthant
    covariant_kernels: bool = False
    inverse_density_weight_power: float = 0.0
    number_density: bool = False  # also constrain the number of galaxies in each bin
    weight: float = 1.0  # weight of the squared residuals in the loss
    min_training: int = 50  # training samples that each bin needs within its edges
    few_training: str = (
        "error"  # bins with fewer: error | drop | merge (with neighbors in the grid)
    )


@dataclass
class CountsConfig:
    """How counts are computed, which changes them by no more than rounding."""

    bins: str = "auto"  # dense: every bin sums over all samples; sparse: over those in its reach
    # Of bins that sum over all samples: blocked (for CPUs) | fused (for GPUs) | pallas (a kernel
    # for NVIDIA GPUs, Hopper or later)
    form: str = "auto"
    pretrain: str = "auto"  # direct | finufft (up to 3 columns, if it is installed)
    pretrain_block_size: int = 262_144  # training rows that a process counts at a time


@dataclass
class LossConfig:
    """Terms of the loss: the mean of all squared residuals, each times its weight."""

    statistic: str = "mse"  # mse: plain differences; chisq: in units of their errors
    # Errors of chisq: of the training catalog and of the model, or of the training catalog alone.
    model_errors: bool = True
    kde: float = 1.0
    fourier: float = 1.0
    number_density: float = 1.0
    volume: float = 1.0  # divides the model and training numbers of the number-density term
    custom: Any = None  # {_target_: ...}: term(sums, truth, params) -> scalar
    statistics: Any = None  # {_target_: ...}: statistics(population) -> sums


@dataclass
class OptimizerConfig:
    """An optax optimizer and its learning-rate schedule."""

    name: str = "adam"  # any optimizer of optax that takes a learning rate
    learning_rate: float = 0.01
    schedule: str = "constant"  # constant | cosine | exponential
    final_fraction: float = 0.01  # learning rate at the end of the schedule, relative
    warmup_steps: int = 0
    decay_steps: int | None = None  # by default the steps of the fit
    clip_norm: float | None = None  # clip the norm of the gradient
    options: dict[str, Any] = field(default_factory=dict)  # further arguments, such as b1


@dataclass
class FitConfig:
    steps: int = 600
    steps_per_call: int = 100  # at most, in one dispatch
    seconds_per_call: float = 1.0  # steps per dispatch adapt to this, so that signals are heard
    fixed_key: bool = False  # the same random numbers at every step
    # Run directory whose parameters are the guess, instead of those of parameters.*.guess.
    guess_from: str | None = None


@dataclass
class CheckpointConfig:
    every_steps: int | None = None  # by default by wall time alone
    # At most; sooner at first, and where a save costs little. null: not by wall time
    every_seconds: float | None = 60.0
    keep: int = 3
    # Names of differences that a resume accepts, with * for any: package.*, code.my_models
    accept: list[str] = field(default_factory=list)


@dataclass
class MeshConfig:
    samples: int | None = None  # devices along the samples axis, by default all that remain
    kernels: int = 1  # devices along the kernels axis
    kernel_blocks: int | None = None  # units of kernel work, by default mesh.kernels
    reduction: str = "reproducible"  # reproducible: same bits on any mesh; psum: plain


@dataclass
class RuntimeConfig:
    """Processes, devices and precision. ``runtime=auto|local|slurm|mpi`` sets the launcher."""

    launcher: str = "auto"  # what started the processes: local, slurm (srun) or mpi (mpirun)
    coordinator: str | None = None  # host:port where processes meet, by default on the first node
    processes: int | None = None  # with launcher=local: how many are started by hand,
    process: int | None = None  # and which one this is
    local_devices: list[int] | None = None  # GPUs of this process, by default its share of a node's
    start_timeout: int = 300  # seconds to wait for all processes at the start
    heartbeat_timeout: float = 100.0  # seconds without a sign of life: a process is lost
    step_timeout: float | None = 3600.0  # seconds without progress: the run hangs
    process_logs: bool = False  # each process also logs to logs/process-<number>.txt
    platform: str | None = None  # cpu, gpu; by default what JAX finds
    cpu_devices: int | None = None  # split the CPU into so many devices
    x64: bool = False  # double precision
    compilation_cache: bool = True
    progress: bool | None = None  # progress bar, by default only on a terminal


@dataclass
class ReportConfig:
    enabled: bool = True
    max_bins: int = 24  # bins drawn in the small multiples; the worst first when there are more
    samples: int = 50_000  # most samples of data and model kept for the plots
    errors: bool = True  # errors of the parameters, for result.json and the report
    # With mode=report, draw this one bin at full size: its name, a part of it, or its number.
    bin: str | None = None


@dataclass
class Config:
    """A run: ``(config, catalogs, seed) -> trajectory``."""

    name: str = "fit"
    question: str = ""  # first sentence of the report
    mode: str = "fit"  # fit | inspect (look before fitting) | report (draw it again)
    seed: int = 0
    run_dir: str | None = None  # by default runs/<name>-<fingerprint of the problem>
    model: ModelConfig = field(default_factory=ModelConfig)
    parameters: dict[str, ParameterConfig] = field(default_factory=dict)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    input: InputCatalogConfig = field(default_factory=InputCatalogConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    bins: dict[str, BinsConfig] = field(default_factory=dict)
    counts: CountsConfig = field(default_factory=CountsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
