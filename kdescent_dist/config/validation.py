"""Checks of every value of a config that needs no catalog and no model."""

import math
from collections.abc import Mapping
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, Config, CountsConfig, FitConfig, LossConfig
from kdescent_dist.config.window_checks import check_windows
from kdescent_dist.pretraining import nufft

NORMALIZATIONS = ("conditional", "density", "counts")
FEW_TRAINING = ("error", "drop", "merge")
STATISTICS = ("mse", "chisq")
REDUCTIONS = ("reproducible", "psum")
SCHEDULES = ("constant", "cosine", "exponential")
MODES = ("fit", "inspect", "report")
LAUNCHERS = ("auto", "local", "slurm", "mpi")
BIN_FORMS = ("auto", "dense", "sparse")
COUNT_FORMS = ("auto", "blocked", "fused", "pallas")
PRETRAIN_METHODS = ("auto", "direct", "finufft")
PRETRAINED_PER_DRAWN = 300  # by default, kernels or modes of a bin for each drawn in a step
MOST_PRETRAINED = 10_000_000  # kernels or modes of a bin


def check(config: Config) -> None:
    """Check every value that needs no catalog and no model.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _one_of("mode", config.mode, MODES)
    _one_of("mesh.reduction", config.mesh.reduction, REDUCTIONS)
    _one_of("runtime.launcher", config.runtime.launcher, LAUNCHERS)
    for name in ("start_timeout", "heartbeat_timeout", "step_timeout"):
        value = getattr(config.runtime, name)
        if value is not None and not value > 0:
            raise InputError(f"runtime.{name}={value:g}: must be above 0")
    _one_of("optimizer.schedule", config.optimizer.schedule, SCHEDULES)
    _at_least("seed", config.seed, 0)
    if not config.parameters:
        raise InputError("parameters: the model needs at least one parameter")
    if not config.bins:
        raise InputError("bins: at least one bin or grid of bins is needed")
    _check_catalogs(config)
    if config.samples.size is None and not config.input.columns:
        raise InputError("samples.size: needed where input.columns is empty (generative model)")
    check_counts(config.counts)
    _check_pretrain(config)
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
        for name, text in catalog.columns.items():
            check_expression(f"{key}.columns.{name}", text)


def check_expression(key: str, text: Any) -> None:
    """Check that an expression of columns is a text.

    Raises:
        InputError: it is not.
    """
    if not isinstance(text, str):
        raise InputError(f"{key}={text}: must be an expression of columns, in quotes")


def _check_target(key: str, spec: Any) -> None:
    if spec is not None and (not isinstance(spec, Mapping) or "_target_" not in spec):
        raise InputError(f"{key}={spec}: must be {{_target_: dotted path of a function, ...}}")


def check_counts(counts: CountsConfig) -> None:
    """Check the ways to count.

    Raises:
        InputError: names the key, its value and what is allowed.
    """
    _one_of("counts.bins", counts.bins, BIN_FORMS)
    _one_of("counts.form", counts.form, COUNT_FORMS)
    _one_of("counts.pretrain", counts.pretrain, PRETRAIN_METHODS)
    _at_least("counts.pretrain_block_size", counts.pretrain_block_size, 1)


def _check_pretrain(config: Config) -> None:
    if config.counts.pretrain != "finufft":
        return
    if not nufft.installed():
        raise InputError(
            "counts.pretrain=finufft: finufft is not installed: pip install "
            "'kdescent-dist[finufft]', or use counts.pretrain=auto"
        )
    for name, bins in config.bins.items():
        if len(bins.columns) > nufft.LARGEST_DIMS:
            raise InputError(
                f"counts.pretrain=finufft: bins.{name} compares {len(bins.columns)} columns, and "
                f"up to {nufft.LARGEST_DIMS} can be transformed: use counts.pretrain=auto"
            )


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
    check_windows(key, bins.edges, bins.windows, bins.softness)
    _one_of(f"{key}.few_training", bins.few_training, FEW_TRAINING)
    if bins.windows and bins.few_training == "merge":
        raise InputError(
            f"{key}.few_training=merge: windows have no neighbors to be joined with: choose drop "
            "or error"
        )
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
    for name in ("kernels", "fourier"):
        drawn = getattr(bins, name)
        table = getattr(bins, f"pretrain_{name}")
        if table is None and drawn is not None:
            table = PRETRAINED_PER_DRAWN * drawn
        if table is not None and table > MOST_PRETRAINED:
            raise InputError(
                f"{key}: {name}={drawn}, pretrain_{name}={table}: the training catalog would be "
                f"counted at more than {MOST_PRETRAINED:,} of them: lower them"
            )
    if bins.kernels == 0 and bins.fourier == 0 and not bins.number_density:
        raise InputError(f"{key}: kernels=0 and fourier=0 leave nothing to compare")


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
