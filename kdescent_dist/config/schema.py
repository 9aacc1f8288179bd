"""Every knob of a run, in dataclasses: the library takes them, and the command line fills them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kdescent_dist.config.knobs import knob

MISSING: Any = "???"  # OmegaConf's mark of a missing mandatory value
DEFAULT_SOFTNESS = 0.04


@dataclass
class ModelConfig:
    """The population model: a function ``model(params, key, catalog, **options)``."""

    _target_: str = MISSING  # dotted path of the function
    columns: list[str] = field(default_factory=list)  # names, if the model returns a plain array
    options: dict[str, Any] = knob(factory=dict, free=True)  # further keyword arguments
    deterministic: bool = knob(False, resumable=True)  # the model ignores its key on purpose


@dataclass
class ParameterConfig:
    """One scalar parameter of the model; a missing bound is null."""

    guess: float = MISSING
    low: float | None = None
    high: float | None = None
    truth: float | None = None  # for the report and for simulated catalogs; the fit does not use it
    label: str | None = None  # text for plots, by default the name
    fixed: bool = False  # held at the guess, without an error
    # Unit in the optimizer; without bounds, a step of Adam is learning_rate x scale. By default by
    # size (high - low, else |guess|): 1 for sizes of 0.01 to 100, else the nearest power of ten
    scale: float | None = knob(above=0)
    # {normal: [mean, sd]}, {lognormal: [mean, sd]} of the natural log, {uniform: [low, high]},
    # {truncated: [mean, sd, low, high]}, or {_target_: dotted path, ...}, an object with a method
    # log_prob(x) or log_pdf(x). Needs loss.kind=chisq or gls
    prior: Any = None


@dataclass
class CatalogConfig:
    """A catalog: a file (``path``), or a function that makes it (``make``)."""

    path: str | None = None  # a file, a folder of Parquet files, or "sample:dc2" (shipped)
    format: str | None = None  # hdf5, parquet, fits, npz, npy, csv; by default by suffix
    group: str | None = None  # group of an HDF5 file, or extension of a FITS file
    # {_target_: dotted path, ...}: a function that returns named columns. Here and for functions
    # below, the type is Any, not dict: the command line could not fill a dict that is null.
    make: Any = knob(target=True, free=True)
    columns: dict[str, str] = knob(factory=dict, expression=True)  # name: expression of columns
    # Columns of the file to the value, or list of values, that means "missing"
    sentinel: dict[str, Any] = field(default_factory=dict)
    # Boolean expression of names and file columns; rows where it is false are dropped
    where: str | None = knob(expression=True)
    weights: str | None = knob(expression=True)  # expression of the weights, by default 1
    # Expression of region numbers, integers: rows of a region are not independent, and errors are
    # those of a jackknife over regions. Of the training catalog only
    regions: str | None = knob(expression=True, resumable=True)
    subsample: int | None = knob(at_least=1)  # number of rows to keep
    # random: rows drawn with the seed of the run; stride: evenly spaced rows, with a random start
    subsample_mode: str = "random"
    # Columns to replace by (x - mean) / standard deviation, for bins and model alike; mean and
    # standard deviation are weighted, over all selected rows
    standardize: list[str] = field(default_factory=list)
    drop_non_finite: bool = False  # drop (and count) rows with NaN or infinities; false: an error


@dataclass
class InputCatalogConfig:
    """The input catalog of the model: the training catalog, or a separate catalog."""

    columns: list[str] = field(default_factory=list)  # columns for the model; none: generative
    catalog: CatalogConfig | None = None  # by default the training catalog


@dataclass
class SamplesConfig:
    """The number of model samples, and the size of their blocks."""

    # Samples per step, by default all rows of the input catalog. Fewer rows are drawn once, with
    # the seed of the run, and their weights are scaled up.
    size: int | None = knob(at_least=1)
    # Samples per block, by default an eighth of the samples, and at most 65,536
    block_size: int | None = knob(at_least=1)
    # On GPUs: bytes of a device for what the gradient needs of the blocks. If all blocks fit, they
    # are kept; else pieces of as many blocks as fit are computed again for the gradient.
    memory: float = knob(4.0e9, at_least=1, resumable=True)


@dataclass
class BinsConfig:
    """A conditional bin, or a grid of bins: kernel and Fourier counts of some columns."""

    columns: list[str] = MISSING  # compared columns
    # A grid. Conditional columns to n + 1 edges; or to {number: n} for n bins of equal width, or
    # {quantiles: n} for equal training weight, with low and high by default from the data.
    edges: dict[str, Any] = field(default_factory=dict)
    # Or single bins: NAME: {column: [low, high], ...}
    windows: dict[str, Any] = field(default_factory=dict)
    # Width of a soft edge in units of the bin, 0 for hard edges; or {column: softness}
    softness: Any = DEFAULT_SOFTNESS
    normalization: str = knob("conditional", one_of=("conditional", "density", "counts"))
    kernels: int | None = knob(at_least=0)  # kernels per step and bin, by default 10 per column
    # Fourier modes per step and bin, by default 10 per column
    fourier: int | None = knob(at_least=0)
    # Kernels and modes to draw from, by default 300 x kernels and 300 x fourier
    pretrain_kernels: int | None = knob(at_least=1)
    pretrain_fourier: int | None = knob(at_least=1)
    # What bandwidths and ranges of modes are units of, in each column: deviation, the standard
    # deviation; or robust, which is the same but for heavy tails: at most the interquartile range
    # x 2 / 1.349 (that of a normal distribution), so that outliers do not set it
    column_width: str = knob("robust", one_of=("robust", "deviation"))
    bandwidth_factor: float = knob(1.0, above=0)
    fourier_range_factor: float = knob(1.0, above=0)
    fourier_half_space: bool = False  # modes in the half-space instead of the positive orthant
    covariant_kernels: bool = False
    inverse_density_weight_power: float = knob(0.0, at_least=0)
    # Further statistics, from other packages: {name: options}, see docs/extending.md
    statistics: dict[str, Any] = field(default_factory=dict)
    number_density: bool = False  # also compare the total weight in each bin
    weight: float = knob(1.0, at_least=0)  # weight of the squared residuals in the loss
    # Least number of training samples between the edges of each bin
    min_training: int = knob(50, at_least=2)
    # Bins with fewer samples are an error, are dropped, or merge with neighbors in the grid
    few_training: str = knob("error", one_of=("error", "drop", "merge"))


@dataclass
class CountsConfig:
    """How counts are computed; all choices agree to rounding (``finufft``: to 1e-6)."""

    # dense: every bin sums over all samples; sparse: over samples that its window reaches
    bins: str = knob("auto", one_of=("auto", "dense", "sparse"))
    # Backend of dense sums: auto | tiled (for CPUs) | fused (for GPUs) | pallas (for NVIDIA GPUs,
    # Hopper or later; fused takes its place where it fails)
    backend: str = "auto"
    # direct: sums over all pairs; finufft: fast transforms for up to 3 columns, if installed
    pretrain: str = knob("auto", one_of=("auto", "direct", "finufft"))
    # Training rows that a process counts at once
    pretrain_block_size: int = knob(262_144, at_least=1)


@dataclass
class LossConfig:
    """Terms of the loss: the mean of all squared residuals, each times its weight."""

    # mse: residuals are plain differences; chisq: differences in units of their errors; gls: as
    # chisq, and the finish takes the full covariance of all residuals
    kind: str = knob("mse", one_of=("mse", "chisq", "gls"))
    # Errors of the numbers of the training catalog, with chisq and gls: training, from its rows
    # (Neyman); model, as the model predicts (Pearson), also right where there are few rows
    errors: str = knob("training", one_of=("training", "model"))
    # With chisq, whether errors include the noise of the model, not only of the training catalog
    model_errors: bool = True
    # Statistics to the weights of their terms, by default 1
    weights: dict[str, float] = knob(factory=dict, at_least=0, free=True)
    number_density: float = knob(1.0, at_least=0)
    # Divides the total weights of model and training catalog in the number-density term
    volume: float = knob(1.0, above=0)
    # {_target_: ...}: term(sums, truth, params) -> scalar
    custom: Any = knob(target=True, free=True)
    # {_target_: ...}: extra_sums(population) -> further sums for the term of custom
    extra_sums: Any = knob(target=True, free=True)

    def __post_init__(self) -> None:
        # A given weight of 1 and a missing weight must be the same problem.
        self.weights = {"kde": 1.0, "fourier": 1.0, **self.weights}

    @property
    def of_steps(self) -> str:
        """What the steps of the optimizer minimize: ``mse`` or ``chisq``."""
        return "mse" if self.kind == "mse" else "chisq"

    @property
    def expects_errors(self) -> bool:
        """Whether the model predicts the errors of the training catalog."""
        return self.of_steps == "chisq" and self.errors == "model"


@dataclass
class OptimizerConfig:
    """An optax optimizer and its learning-rate schedule."""

    name: str = "adam"  # an optimizer of optax, or of an installed package
    # Overrides the name: dotted path of a function that makes an optimizer, such as
    # optax.contrib.prodigy or my_module.my_optimizer
    _target_: str | None = None
    learning_rate: float = knob(0.01, above=0)
    schedule: str = "constant"  # constant | cosine | exponential, or of an installed package
    # Learning rate at the end of the schedule, relative to learning_rate
    final_fraction: float = knob(0.01, above=0)
    schedule_options: dict[str, Any] = knob(factory=dict, free=True)  # such as exponent of cosine
    warmup_steps: int = knob(0, at_least=0)
    decay_steps: int | None = knob(at_least=1)  # by default fit.steps - warmup_steps
    clip_norm: float | None = knob(above=0)  # clip the norm of the gradient
    options: dict[str, Any] = knob(factory=dict, free=True)  # further arguments, such as b1


@dataclass
class StopConfig:
    """When the steps end before ``fit.steps``; what follows them is done all the same."""

    # At the end of a window of as many steps whose mean loss is not below that of the window before
    plateau: int | None = knob(at_least=1, resumable=True)
    # Once the mean loss of ten steps is not above this
    target: float | None = knob(resumable=True)
    # After as many seconds of steps of this start, without their compilation; a further start
    # goes on as long
    seconds: float | None = knob(above=0, resumable=True)


@dataclass
class FitConfig:
    steps: int = knob(600, at_least=0, resumable=True)
    steps_per_call: int = knob(100, at_least=1, resumable=True)  # most steps per dispatch
    # The number of steps per dispatch adapts to this time, so that signals are handled soon
    seconds_per_call: float = knob(1.0, above=0, resumable=True)
    fixed_key: bool = False  # the same random numbers at every step
    # Map of bounded parameters: logit, or arctan, that of diffopt and of earlier versions, in which
    # parameters near a bound hardly move
    bounds: str = knob("logit", one_of=("logit", "arctan"))
    # After the last step: newton goes to the minimum of the loss at fixed points, none stays
    finish: str = knob("newton", one_of=("newton", "none"), resumable=True)
    # Parameters that the steps end with, where the finish begins: last, those of the last step;
    # average, the mean over the last tenth; best, those of the lowest loss for the same random
    # numbers
    answer: str = knob("last", one_of=("last", "average", "best"), resumable=True)
    stop: StopConfig = knob(factory=StopConfig, resumable=True)
    # End with exit code 1 if the parameters are not at the minimum of the loss
    require_converged: bool = knob(False, resumable=True)
    # Short fits from as many guesses, spread within the bounds or about the guess, of which the
    # best one is the guess of the fit; and their steps. A resume compares the guess itself.
    starts: int = knob(1, at_least=1, resumable=True)
    start_steps: int = knob(50, at_least=1, resumable=True)
    # Run directory whose parameters are the guess, in place of parameters.*.guess. A resume
    # compares the guess itself.
    guess_from: str | None = knob(resumable=True)


@dataclass
class PosteriorConfig:
    """Chains of the No-U-Turn Sampler, with ``mode=posterior``."""

    chains: int = knob(4, at_least=1)
    draws: int = knob(1000, at_least=4)  # of each chain, after its warmup
    warmup: int = knob(300, at_least=20)  # draws that set step size and masses
    # Populations of which the model is the mean; by default as many as keep the noise of their
    # random numbers below 0.2 errors of each parameter, and at most 32
    populations: int | None = knob(at_least=1)
    seed: int = knob(0, at_least=0)  # other random numbers of model and chains, beside the seed
    acceptance: float = knob(0.8, above=0)  # mean acceptance at which the step size aims


@dataclass
class CheckpointConfig:
    every_steps: int | None = knob(at_least=1)  # by default saves are due by wall time only
    # Most seconds between saves; less at first, and if saves are cheap. null: not by wall time
    every_seconds: float | None = knob(60.0, above=0)
    keep: int = knob(3, at_least=1)
    # Names of differences that a resume accepts; * matches any text: package.*, code.my_models
    accept: list[str] = field(default_factory=list)


@dataclass
class MeshConfig:
    # Devices along the samples axis, by default as many as fit
    samples: int | None = knob(at_least=1, resumable=True)
    kernels: int = knob(1, at_least=1)  # devices along the kernels axis
    kernel_blocks: int | None = knob(at_least=1)  # kernel parts, by default mesh.kernels
    # reproducible: same bits on any mesh; psum: plain sum, other last bits on other meshes
    reduction: str = knob("reproducible", one_of=("reproducible", "psum"))


@dataclass
class RuntimeConfig:
    """Processes, devices and precision; ``runtime=auto|local|slurm|mpi|jax`` sets started_by."""

    # Launcher of the processes: auto, local, slurm (srun), mpi (mpirun), jax, or of a package
    started_by: str = knob("auto", resumable=True)
    # host:port of the service that connects processes, by default on the first node
    coordinator: str | None = knob(resumable=True)
    # With started_by=local: number of processes started by hand, and number of this process
    processes: int | None = knob(resumable=True)
    process: int | None = knob(resumable=True)
    # Indices of the GPUs of this process, by default an equal share of the GPUs of the node
    local_devices: list[int] | None = knob(resumable=True)
    # Seconds to wait for all processes at the start
    start_timeout: int = knob(300, above=0, resumable=True)
    # Seconds without a heartbeat after which a process counts as lost
    heartbeat_timeout: float = knob(100.0, above=0, resumable=True)
    # Seconds without progress after which a run counts as hanging; null: no limit
    step_timeout: float | None = knob(3600.0, above=0, resumable=True)
    # Each process also logs to logs/process-<number>.txt
    process_logs: bool = knob(False, resumable=True)
    platform: str | None = knob(resumable=True)  # cpu, gpu; by default the choice of JAX
    # Number of devices into which the CPU is split
    cpu_devices: int | None = knob(at_least=1, resumable=True)
    x64: bool = False  # double precision
    # Small matrices of the loss are written out, and random numbers unrolled; false: plain JAX
    written_out: bool = True
    compilation_cache: bool = knob(True, resumable=True)
    # Progress bar, by default only on a terminal
    progress: bool | None = knob(resumable=True)


@dataclass
class ReportConfig:
    enabled: bool = True
    # Most bins in the small multiples; of more bins, the worst are drawn
    max_bins: int = knob(24, at_least=1)
    samples: int = knob(50_000, at_least=1)  # most samples of data and of model in plots
    # Errors of the parameters and their distance to the minimum, also without a report
    errors: bool = True
    # With mode=report: the one bin to draw at full size, by its name, part of the name, or number
    bin: str | None = None


@dataclass
class CoverageConfig:
    """With mode=coverage: fits of simulated catalogs."""

    repeats: int = knob(100, at_least=2)  # number of catalogs
    # [i, n]: this run fits part i of n of the catalogs, with i from 0 or from 1; by default all
    part: list[int] | None = None


@dataclass
class Config:
    """The config of a run. With the catalogs and the model, it determines the trajectory."""

    name: str = "fit"
    question: str = knob("", resumable=True)  # first paragraph of the report
    # fit; posterior: a fit, and then chains of its posterior; inspect: a report before a fit;
    # report: draw the report of a run again; coverage: fit catalogs that are drawn from the model
    # of a finished run, whose config is that of run_dir
    mode: str = knob(
        "fit", one_of=("fit", "posterior", "inspect", "report", "coverage"), resumable=True
    )
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
    posterior: PosteriorConfig = knob(factory=PosteriorConfig, resumable=True)
    checkpoint: CheckpointConfig = knob(factory=CheckpointConfig, resumable=True)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    report: ReportConfig = knob(factory=ReportConfig, resumable=True)
    coverage: CoverageConfig = knob(factory=CoverageConfig, resumable=True)


def softness_by_column(softness: Any, conditions: Iterable[str]) -> tuple[float, ...]:
    """The softness of each conditional column, from one number or a mapping by column."""
    if isinstance(softness, Mapping):
        return tuple(float(softness.get(column, DEFAULT_SOFTNESS)) for column in conditions)
    return tuple(float(softness) for _ in conditions)
