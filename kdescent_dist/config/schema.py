"""Every knob of a run, as dataclasses: the library takes them, and the command line fills them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kdescent_dist.config.knobs import knob

MISSING: Any = "???"  # OmegaConf's mark of a value that must be given
DEFAULT_SOFTNESS = 0.04


@dataclass
class ModelConfig:
    """The population model: a function ``model(params, key, catalog, **options)``."""

    _target_: str = MISSING  # dotted path of the function
    columns: list[str] = field(default_factory=list)  # names, if the model returns a plain array
    options: dict[str, Any] = knob(factory=dict, free=True)  # further keyword arguments of it


@dataclass
class ParameterConfig:
    """One scalar parameter of the model; a missing bound is null."""

    guess: float = MISSING
    low: float | None = None
    high: float | None = None
    truth: float | None = None  # only drawn in the report, or used to simulate a catalog
    label: str | None = None  # text for plots, by default the name
    fixed: bool = False  # held at the guess: the fit does not move it, and it has no error
    # Length by which the optimizer measures it: a step of Adam is learning_rate x scale
    scale: float | None = knob(above=0)


@dataclass
class CatalogConfig:
    """A catalog: a file (``path``), or a function that makes it (``make``)."""

    path: str | None = None  # a file, or a folder of Parquet; "sample:dc2" is the shipped sample
    format: str | None = None  # hdf5, parquet, fits, npz, npy, csv; by default from the suffix
    group: str | None = None  # group of an HDF5 file, or extension of a FITS file
    # {_target_: dotted path, ...}: returns named columns. Typed as a dict, OmegaConf could not fill
    # it on the command line once it is null; so too for the functions below.
    make: Any = knob(target=True, free=True)
    columns: dict[str, str] = knob(factory=dict, expression=True)  # name: expression of columns
    # File column: value for "missing", or a list of such values
    sentinel: dict[str, Any] = field(default_factory=dict)
    # Boolean expression of names and file columns; false rows go
    where: str | None = knob(expression=True)
    weights: str | None = knob(expression=True)  # expression of the weights, by default 1
    subsample: int | None = knob(at_least=1)  # keep so many rows
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
    size: int | None = knob(at_least=1)
    block_size: int | None = knob(at_least=1)  # samples per block; by default at least 8 blocks


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
    softness: Any = DEFAULT_SOFTNESS
    normalization: str = knob("conditional", one_of=("conditional", "density", "counts"))
    kernels: int | None = knob(at_least=0)  # kernels per step and bin, by default 10 per column
    # Fourier modes per step and bin, by default 10 per column
    fourier: int | None = knob(at_least=0)
    # Kernels to draw from, by default 300 x kernels
    pretrain_kernels: int | None = knob(at_least=1)
    pretrain_fourier: int | None = knob(at_least=1)
    bandwidth_factor: float = knob(1.0, above=0)
    fourier_range_factor: float = knob(1.0, above=0)
    fourier_half_space: bool = False  # modes in the half-space instead of the positive orthant
    covariant_kernels: bool = False
    inverse_density_weight_power: float = knob(0.0, at_least=0)
    # Further statistics that other packages add: {name: options}, see docs/extending.md
    statistics: dict[str, Any] = field(default_factory=dict)
    number_density: bool = False  # also constrain the number of galaxies in each bin
    weight: float = knob(1.0, at_least=0)  # weight of the squared residuals in the loss
    # Training samples that each bin needs within its edges
    min_training: int = knob(50, at_least=2)
    # Bins with fewer: an error, left out, or merged with neighbors in the grid
    few_training: str = knob("error", one_of=("error", "drop", "merge"))


@dataclass
class CountsConfig:
    """How counts are computed, which changes them by no more than rounding."""

    # dense: every bin sums over all samples; sparse: over the samples in its reach
    bins: str = knob("auto", one_of=("auto", "dense", "sparse"))
    # Of bins that sum over all samples: tiled (for CPUs) | fused (for GPUs) | pallas (a kernel
    # for NVIDIA GPUs, Hopper or later)
    backend: str = "auto"
    # finufft: for up to 3 columns, if finufft is installed
    pretrain: str = knob("auto", one_of=("auto", "direct", "finufft"))
    # Training rows that a process counts at a time
    pretrain_block_size: int = knob(262_144, at_least=1)


@dataclass
class LossConfig:
    """Terms of the loss: the mean of all squared residuals, each times its weight."""

    # mse: plain differences; chisq: in units of their errors
    kind: str = knob("mse", one_of=("mse", "chisq"))
    # Errors of chisq: of the training catalog and of the model, or of the training catalog alone.
    model_errors: bool = True
    # Of the counts of each statistic, by name; 1 where it is not given
    weights: dict[str, float] = knob(factory=dict, at_least=0, free=True)
    number_density: float = knob(1.0, at_least=0)
    # Divides the model and training numbers of the number-density term
    volume: float = knob(1.0, above=0)
    # {_target_: ...}: term(sums, truth, params) -> scalar
    custom: Any = knob(target=True, free=True)
    # {_target_: ...}: extra_sums(population) -> further sums that the term of custom gets
    extra_sums: Any = knob(target=True, free=True)

    def __post_init__(self) -> None:
        # The same problem, whether a weight of 1 is given or not.
        self.weights = {"kde": 1.0, "fourier": 1.0, **self.weights}


@dataclass
class OptimizerConfig:
    """An optax optimizer and its learning-rate schedule."""

    name: str = "adam"  # any optimizer of optax that takes a learning rate
    # In place of the name, the dotted path of a function that makes an optimizer:
    # optax.contrib.prodigy, my_module.my_optimizer
    _target_: str | None = None
    learning_rate: float = knob(0.01, above=0)
    schedule: str = "constant"  # constant | cosine | exponential
    # Learning rate at the end of the schedule, relative
    final_fraction: float = knob(0.01, above=0)
    schedule_options: dict[str, Any] = knob(factory=dict, free=True)  # such as exponent of cosine
    warmup_steps: int = knob(0, at_least=0)
    decay_steps: int | None = knob(at_least=1)  # by default the steps of the fit
    clip_norm: float | None = knob(above=0)  # clip the norm of the gradient
    options: dict[str, Any] = knob(factory=dict, free=True)  # further arguments, such as b1


@dataclass
class FitConfig:
    steps: int = knob(600, at_least=0, resumable=True)
    steps_per_call: int = knob(100, at_least=1, resumable=True)  # at most, in one dispatch
    # Steps per dispatch adapt to this time, so that signals are heard
    seconds_per_call: float = knob(1.0, above=0, resumable=True)
    fixed_key: bool = False  # the same random numbers at every step
    # Run directory whose parameters are the guess, instead of those of parameters.*.guess.
    guess_from: str | None = knob(resumable=True)  # the guess itself is compared


@dataclass
class CheckpointConfig:
    every_steps: int | None = knob(at_least=1)  # by default by wall time alone
    # At most; sooner at first, and where a save costs little. null: not by wall time
    every_seconds: float | None = knob(60.0, above=0)
    keep: int = knob(3, at_least=1)
    # Names of differences that a resume accepts, with * for any: package.*, code.my_models
    accept: list[str] = field(default_factory=list)


@dataclass
class MeshConfig:
    # Devices along the samples axis, by default all that remain
    samples: int | None = knob(at_least=1, resumable=True)
    kernels: int = knob(1, at_least=1)  # devices along the kernels axis
    kernel_blocks: int | None = knob(at_least=1)  # units of kernel work, by default mesh.kernels
    # reproducible: same bits on any mesh; psum: plain
    reduction: str = knob("reproducible", one_of=("reproducible", "psum"))


@dataclass
class RuntimeConfig:
    """Processes, devices and precision. ``runtime=auto|local|slurm|mpi|jax`` sets the first."""

    # What started the processes: local, slurm (srun) or mpi (mpirun)
    started_by: str = knob("auto", resumable=True)
    # host:port where processes meet, by default on the first node
    coordinator: str | None = knob(resumable=True)
    # With started_by=local: how many processes are started by hand, and which one this is
    processes: int | None = knob(resumable=True)
    process: int | None = knob(resumable=True)
    # GPUs of this process, by default its share of the GPUs of a node
    local_devices: list[int] | None = knob(resumable=True)
    # Seconds to wait for all processes at the start
    start_timeout: int = knob(300, above=0, resumable=True)
    # Seconds without a sign of life after which a process is lost
    heartbeat_timeout: float = knob(100.0, above=0, resumable=True)
    # Seconds without progress after which a run hangs
    step_timeout: float | None = knob(3600.0, above=0, resumable=True)
    # Each process also logs to logs/process-<number>.txt
    process_logs: bool = knob(False, resumable=True)
    platform: str | None = knob(resumable=True)  # cpu, gpu; by default what JAX finds
    # Split the CPU into so many devices
    cpu_devices: int | None = knob(at_least=1, resumable=True)
    x64: bool = False  # double precision
    # On CPUs, forms of the loss that look inside JAX for speed; false: plain JAX
    fast_cpu: bool = True
    compilation_cache: bool = knob(True, resumable=True)
    # Progress bar, by default only on a terminal
    progress: bool | None = knob(resumable=True)


@dataclass
class ReportConfig:
    enabled: bool = True
    # Bins drawn in the small multiples; the worst first when there are more
    max_bins: int = knob(24, at_least=1)
    samples: int = knob(50_000, at_least=1)  # most samples of data and model kept for the plots
    errors: bool = True  # errors of the parameters, for result.json and the report
    # With mode=report, draw this one bin at full size: its name, a part of it, or its number.
    bin: str | None = None


@dataclass
class Config:
    """A run: ``(config, catalogs, seed) -> trajectory``."""

    name: str = "fit"
    question: str = knob("", resumable=True)  # first sentence of the report
    # inspect: look before fitting; report: draw the report again
    mode: str = knob("fit", one_of=("fit", "inspect", "report"), resumable=True)
    seed: int = knob(0, at_least=0)
    # By default runs/<name>-<fingerprint of the problem>
    run_dir: str | None = knob(resumable=True)
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
    checkpoint: CheckpointConfig = knob(factory=CheckpointConfig, resumable=True)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    report: ReportConfig = knob(factory=ReportConfig, resumable=True)


def softness_by_column(softness: Any, conditions: Iterable[str]) -> tuple[float, ...]:
    """The softness in each conditional column, of a config that gives one number or several."""
    if isinstance(softness, Mapping):
        return tuple(float(softness.get(column, DEFAULT_SOFTNESS)) for column in conditions)
    return tuple(float(softness) for _ in conditions)
