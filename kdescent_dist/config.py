"""Every knob of a run, as dataclasses with range checks: the only contact with OmegaConf.

The library takes these dataclasses as they are; the command line fills them from YAML files and
overrides, so that unknown keys and wrong types are rejected before anything runs.
"""

import difflib
import hashlib
import itertools
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from kdescent_dist.errors import InputError

NORMALIZATIONS = ("conditional", "density", "counts")
STATISTICS = ("mse", "chisq")
REDUCTIONS = ("reproducible", "psum")
SCHEDULES = ("constant", "cosine", "exponential")
MODES = ("fit", "report")


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

    path: str | None = None  # HDF5, Parquet, FITS, NPZ or CSV; "sample:dc2" is the shipped sample
    format: str | None = None  # hdf5, parquet, fits, npz, csv; by default from the suffix
    group: str | None = None  # group of an HDF5 file, or extension of a FITS file
    # {_target_: dotted path, ...}: returns named columns. Typed as a dict, OmegaConf could not fill
    # it on the command line once it is null; so too for the functions below.
    make: Any = None
    columns: dict[str, str] = field(default_factory=dict)  # name: expression of file columns
    sentinel: dict[str, float] = field(default_factory=dict)  # file column: value for "missing"
    where: str | None = None  # boolean expression of names and file columns; false rows go
    weights: str | None = None  # expression of the weights, by default 1
    subsample: int | None = None  # keep so many rows, drawn at random with the seed of the run
    drop_non_finite: bool = False  # drop (and count) rows with NaN or infinities, else refuse


@dataclass
class InputCatalogConfig:
    """The input catalog of the model: rows of the training catalog, or a file of its own."""

    columns: list[str] = field(default_factory=list)  # names handed to the model; none: generative
    catalog: CatalogConfig | None = None  # by default the training catalog


@dataclass
class SamplesConfig:
    """Model samples, and the blocks in which they are made."""

    size: int | None = None  # samples per step; by default the rows of the input catalog
    block_size: int | None = None  # samples per block; by default at least 8 blocks


@dataclass
class BinsConfig:
    """A conditional bin, or a grid of bins: kernel and Fourier counts of some columns."""

    columns: list[str] = MISSING  # columns that are compared
    edges: dict[str, Any] = field(default_factory=dict)  # n + 1 edges: n bins per column
    softness: float = 0.04  # width of a soft edge in units of the bin; 0: hard edges
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
    min_training: int = 50  # fewer training samples than this in a bin is an error


@dataclass
class LossConfig:
    """Terms of the loss: the mean of all squared residuals, each times its weight."""

    statistic: str = "mse"  # mse: plain differences; chisq: in units of the training errors
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


@dataclass
class CheckpointConfig:
    every_steps: int | None = None  # by default by wall time alone
    every_seconds: float | None = 60.0
    keep: int = 3


@dataclass
class MeshConfig:
    samples: int | None = None  # devices along the samples axis, by default all that remain
    kernels: int = 1  # devices along the kernels axis
    kernel_blocks: int | None = None  # units of kernel work, by default mesh.kernels
    reduction: str = "reproducible"  # reproducible: same bits on any mesh; psum: plain


@dataclass
class RuntimeConfig:
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


@dataclass
class Config:
    """A run: ``(config, catalogs, seed) -> trajectory``."""

    name: str = "fit"
    question: str = ""  # first sentence of the report
    mode: str = "fit"  # fit | report (redraw the report of a run directory)
    seed: int = 0
    run_dir: str | None = None  # by default runs/<name>-<fingerprint of the problem>
    model: ModelConfig = field(default_factory=ModelConfig)
    parameters: dict[str, ParameterConfig] = field(default_factory=dict)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    input: InputCatalogConfig = field(default_factory=InputCatalogConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    bins: dict[str, BinsConfig] = field(default_factory=dict)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


# Keys that change how fast or how long a fit runs and what is told of it, never its trajectory.
RESUMABLE: tuple[str, ...] = (
    "question",
    "mode",
    "run_dir",
    "fit.steps",
    "fit.steps_per_call",
    "fit.seconds_per_call",
    "checkpoint",
    "mesh.samples",
    "runtime.platform",
    "runtime.cpu_devices",
    "runtime.compilation_cache",
    "runtime.progress",
    "report",
)


# Free-form keys, which the command line may fill with and without a plus sign.
FREE: tuple[str, ...] = (
    "model.options",
    "catalog.make",
    "input.catalog.make",
    "loss.custom",
    "loss.statistics",
    "optimizer.options",
)


def schema(overrides: Iterable[str] = ()) -> DictConfig:
    """The typed defaults that the files and overrides of the command line are merged into.

    Args:
        overrides: the command line. OmegaConf cannot add an entry to a dict of dataclasses, so the
            bins and parameters that it adds (``+bins.NAME...``) are in the defaults already.

    Returns:
        The defaults, in which what is unset is empty rather than null, so that single keys of it
        can be set; ``from_omegaconf`` makes it None again.
    """
    config = Config()
    config.catalog.make, config.loss.custom, config.loss.statistics = {}, {}, {}
    config.input.catalog = CatalogConfig(make={})
    for override in overrides:
        if added := re.match(r"\+\+?(bins|parameters)\.([^.=]+)[.=]", override):
            group, name = added.groups()
            if group == "bins":
                config.bins[name] = BinsConfig()
            else:
                config.parameters[name] = ParameterConfig()
    node = OmegaConf.structured(config)
    for key in FREE:
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    return node


def from_omegaconf(node: Any) -> Config:
    """Resolve a composed OmegaConf node into a checked ``Config``.

    Raises:
        InputError: an unknown key, a wrong type, a missing value or one out of range.
    """
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), node))
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from error
    assert isinstance(config, Config)
    _empty_to_none(config)
    check(config)
    return config


def _empty_to_none(config: Config) -> None:
    config.loss.custom = config.loss.custom or None
    config.loss.statistics = config.loss.statistics or None
    config.catalog.make = config.catalog.make or None
    if config.input.catalog is not None:
        config.input.catalog.make = config.input.catalog.make or None
        if config.input.catalog == CatalogConfig():
            config.input.catalog = None


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_yaml(text: str) -> Config:
    return from_omegaconf(OmegaConf.create(text))


def explain(error: OmegaConfBaseException) -> str:
    """One line that names the key, what is wrong with it, and the nearest valid names."""
    key = error.full_key or ""
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and error.parent_node is not None:
        known = [str(name) for name in error.parent_node]  # type: ignore[union-attr]
        return f"{key}: there is no such key; {closest(key.rpartition('.')[2], known)}"
    message = str(error.msg or error).splitlines()[0]
    return f"{key}: {message}" if key else message


def closest(name: str, known: Any) -> str:
    """A hint that names the valid spelling nearest to ``name``, or all of them."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known)}"


def check(config: Config) -> None:
    """Check every value that needs no catalog and no model.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _one_of("mode", config.mode, MODES)
    _one_of("mesh.reduction", config.mesh.reduction, REDUCTIONS)
    _one_of("optimizer.schedule", config.optimizer.schedule, SCHEDULES)
    _at_least("seed", config.seed, 0)
    if not config.parameters:
        raise InputError("parameters: the model needs at least one parameter")
    if not config.bins:
        raise InputError("bins: at least one bin or grid of bins is needed")
    _check_catalogs(config)
    if config.samples.size is None and not config.input.columns:
        raise InputError("samples.size: needed where input.columns is empty (generative model)")
    check_loss(config.loss)
    for name, bins in config.bins.items():
        check_bins(f"bins.{name}", bins)
    check_terms(config.loss, config.bins, custom=config.loss.custom is not None)
    check_fit(config.fit)
    _positive(
        config,
        "samples.size",
        "samples.block_size",
        "catalog.subsample",
        "optimizer.decay_steps",
        "fit.steps",
        "checkpoint.every_steps",
        "checkpoint.keep",
        "mesh.samples",
        "mesh.kernels",
        "mesh.kernel_blocks",
        "runtime.cpu_devices",
        "report.max_bins",
        "report.samples",
    )
    for key in ("checkpoint.every_seconds", "optimizer.clip_norm"):
        value = _lookup(config, key)
        if value is not None:
            _above(key, value, 0)
    _above("optimizer.learning_rate", config.optimizer.learning_rate, 0)
    _above("optimizer.final_fraction", config.optimizer.final_fraction, 0)
    _at_least("optimizer.warmup_steps", config.optimizer.warmup_steps, 0)
    blocks = config.mesh.kernel_blocks or config.mesh.kernels
    if blocks % config.mesh.kernels:
        raise InputError(
            f"mesh.kernel_blocks={blocks}: must be a multiple of mesh.kernels={config.mesh.kernels}"
        )


def _check_catalogs(config: Config) -> None:
    for key, catalog in (("catalog", config.catalog), ("input.catalog", config.input.catalog)):
        if catalog is None:
            continue
        _check_target(f"{key}.make", catalog.make)
        if catalog.path is None and catalog.make is None:
            raise InputError(f"{key}: set {key}.path (a file) or {key}.make (a function)")
        if catalog.path is not None and catalog.make is not None:
            raise InputError(f"{key}.path and {key}.make are both set: add {key}.make=null")


def _check_target(key: str, spec: Any) -> None:
    if spec is not None and (not isinstance(spec, Mapping) or "_target_" not in spec):
        raise InputError(f"{key}={spec}: must be {{_target_: dotted path of a function, ...}}")


def check_loss(loss: LossConfig) -> None:
    """Check the terms of the loss.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _one_of("loss.statistic", loss.statistic, STATISTICS)
    for key in ("kde", "fourier", "number_density"):
        _at_least(f"loss.{key}", getattr(loss, key), 0)
    _above("loss.volume", loss.volume, 0)
    for key in ("custom", "statistics"):
        _check_target(f"loss.{key}", getattr(loss, key))


def check_terms(loss: LossConfig, bins: Mapping[str, BinsConfig], *, custom: bool) -> None:
    """Check that something is compared.

    Args:
        loss: weights of the terms.
        bins: what each bin, or grid of bins, has of them.
        custom: whether there is a term of the user's own.

    Raises:
        InputError: no bin has a term of positive weight.
    """
    terms = (
        one.weight > 0
        and (
            (loss.kde > 0 and one.kernels != 0)
            or (loss.fourier > 0 and one.fourier != 0)
            or (loss.number_density > 0 and one.number_density)
        )
        for one in bins.values()
    )
    if not custom and not any(terms):
        raise InputError(
            "loss: no term is left to fit: give loss.kde, loss.fourier or loss.number_density, "
            "and bins.NAME.weight of bins that have such a term, a positive weight"
        )


def check_fit(fit: FitConfig) -> None:
    """Check the settings of the fit loop, which may also take no step at all.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _at_least("fit.steps", fit.steps, 0)
    _at_least("fit.steps_per_call", fit.steps_per_call, 1)
    _above("fit.seconds_per_call", fit.seconds_per_call, 0)


def check_bins(key: str, bins: BinsConfig) -> None:
    """Check a bin, or a grid of bins.

    Args:
        key: its config key, for messages.
        bins: what is compared, and how.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _one_of(f"{key}.normalization", bins.normalization, NORMALIZATIONS)
    if not bins.columns:
        raise InputError(f"{key}.columns: name at least one column")
    if len(set(bins.columns)) < len(bins.columns):
        raise InputError(f"{key}.columns: {bins.columns} names a column twice")
    for column, edges in bins.edges.items():
        _check_edges(f"{key}.edges.{column}", edges)
    _at_least(f"{key}.softness", bins.softness, 0)
    _above(f"{key}.bandwidth_factor", bins.bandwidth_factor, 0)
    _above(f"{key}.fourier_range_factor", bins.fourier_range_factor, 0)
    _at_least(f"{key}.inverse_density_weight_power", bins.inverse_density_weight_power, 0)
    _at_least(f"{key}.weight", bins.weight, 0)
    _at_least(f"{key}.min_training", bins.min_training, 2)
    for name in ("kernels", "fourier"):
        if (value := getattr(bins, name)) is not None:
            _at_least(f"{key}.{name}", value, 0)
    for name in ("pretrain_kernels", "pretrain_fourier"):
        if (value := getattr(bins, name)) is not None:
            _at_least(f"{key}.{name}", value, 1)
    if bins.kernels == 0 and bins.fourier == 0 and not bins.number_density:
        raise InputError(f"{key}: kernels=0 and fourier=0 leave nothing to compare")


def _check_edges(key: str, edges: Any) -> None:
    # Typed as a list of floats, OmegaConf would refuse whole numbers in it.
    if (
        isinstance(edges, str | Mapping)
        or not isinstance(edges, Iterable)
        or not all(isinstance(e, numbers.Real) and not isinstance(e, bool) for e in edges)
    ):
        raise InputError(f"{key}: {edges} must be a list of numbers")
    values = [float(e) for e in edges]
    if not all(math.isfinite(e) for e in values):
        raise InputError(
            f"{key}: {edges} must be finite: write a one-sided window with an edge beyond the data"
        )
    if len(values) < 2:
        raise InputError(f"{key}: {edges} needs at least two edges")
    if any(not low < high for low, high in itertools.pairwise(values)):
        raise InputError(f"{key}: {edges} must increase")


def _lookup(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _positive(config: Config, *keys: str) -> None:
    for key in keys:
        value = _lookup(config, key)
        if value is not None:
            _at_least(key, value, 1)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{key}={value}: must be one of {', '.join(allowed)}")


def _finite(key: str, value: float) -> None:
    if not math.isfinite(value):
        raise InputError(f"{key}={value}: must be finite")


def _at_least(key: str, value: float, least: float) -> None:
    _finite(key, value)
    if not value >= least:
        raise InputError(f"{key}={value}: must be at least {least}")


def _above(key: str, value: float, least: float) -> None:
    _finite(key, value)
    if not value > least:
        raise InputError(f"{key}={value}: must be greater than {least}")


def problem(config: Config) -> dict[str, Any]:
    """The flat, dotted values that determine the trajectory: what a resume may not change."""
    flat = flatten(asdict(config))
    free = list(RESUMABLE)
    if config.optimizer.schedule != "constant" and config.optimizer.decay_steps is None:
        free.remove("fit.steps")
    if config.mesh.kernel_blocks is not None:
        free.append("mesh.kernels")
    return {
        key: value
        for key, value in flat.items()
        if not any(key == f or key.startswith(f + ".") for f in free)
    }


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, name + ".")
        else:
            flat[name] = value
    return flat


def fingerprint(config: Config) -> str:
    """A short name of the problem: equal for configs that give the same trajectory."""
    text = json.dumps(problem(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def differences(old: Config, new: Config) -> list[str]:
    """The keys of the problem that differ, as lines ``key: old -> new``."""
    before, after = problem(old), problem(new)
    keys = sorted(before.keys() | after.keys())
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in keys
        if before.get(key) != after.get(key)
    ]
