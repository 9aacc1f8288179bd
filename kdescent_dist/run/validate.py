"""Checks of a config that need no catalog and no model, with cheap checks first."""

from collections.abc import Mapping

from kdescent_dist.bins.further import Found, check_errors_known, read_all
from kdescent_dist.bins.validate import check_bins
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.priors import prior_of
from kdescent_dist.config.schema import CatalogConfig, Config
from kdescent_dist.config.validation import at_least, check_values
from kdescent_dist.counts.backends import check_backend
from kdescent_dist.distributed.launchers import check_launcher
from kdescent_dist.fitting.schedules import SCHEDULES
from kdescent_dist.objective.terms import check_prior, check_terms
from kdescent_dist.pretraining.counting import check_method
from kdescent_dist.run.catalogs import needs_training
from kdescent_dist.run.posterior import check_posterior


def check(config: Config) -> Found:
    """Check all values that can be checked without a catalog and a model.

    Returns:
        The result of ``read_all``: the points and values of further statistics from the options of
        the bins, which are read here once for the whole run. It is empty in the mode ``report``.

    Raises:
        InputError: names the key, its value and the allowed values.
    """
    check_values(config)
    at_least("fit.steps", config.fit.steps, 1)  # fit() itself also accepts 0 steps
    check_launcher(config.runtime.started_by)
    SCHEDULES.find("optimizer.schedule", config.optimizer.schedule)
    check_backend(config.counts.backend, "counts.backend")
    if not config.parameters:
        raise InputError("parameters: the model needs at least one parameter")
    for name, parameter in config.parameters.items():
        prior = prior_of(parameter.prior, f"parameters.{name}.prior")
        if prior is not None and not parameter.fixed:
            check_prior(config.loss, name)
    if not config.bins:
        raise InputError("bins: at least one bin or grid of bins is needed")
    for name, bins in config.bins.items():
        check_bins(f"bins.{name}", bins)
    found = {} if config.mode == "report" else read_all(config.bins)
    catalogs = {"catalog": config.catalog, "input.catalog": config.input.catalog}
    chosen = config.catalog.path or config.catalog.make
    if not chosen and (config.mode == "report" or not needs_training(config, found)):
        del catalogs["catalog"]
    _check_catalogs(catalogs)
    if config.input.catalog is not None and config.input.catalog.regions is not None:
        raise InputError(
            "input.catalog.regions: regions are those of the training catalog: set catalog.regions"
        )
    if config.samples.size is None and not config.input.columns:
        raise InputError("samples.size: needed where input.columns is empty (generative model)")
    check_method(config.counts.pretrain, {n: len(b.columns) for n, b in config.bins.items()})
    if config.loss.of_steps == "chisq":
        for name, given in found.items():
            check_errors_known(f"bins.{name}", config.bins[name], given)
    if config.fit.require_converged and not config.report.errors:
        raise InputError(
            "fit.require_converged=true: needs report.errors=true, with which the distance to the "
            "minimum is computed"
        )
    if config.mode == "posterior":
        check_posterior(config)
    check_terms(config.loss, config.bins, custom=config.loss.custom is not None)
    blocks = config.mesh.kernel_blocks or config.mesh.kernels
    if blocks % config.mesh.kernels:
        raise InputError(
            f"mesh.kernel_blocks={blocks}: must be a multiple of mesh.kernels={config.mesh.kernels}"
        )
    return found


def _check_catalogs(catalogs: Mapping[str, CatalogConfig | None]) -> None:
    for key, catalog in catalogs.items():
        if catalog is None:
            continue
        if catalog.path is None and catalog.make is None:
            raise InputError(f"{key}: set {key}.path (a file) or {key}.make (a function)")
        if catalog.path is not None and catalog.make is not None:
            raise InputError(f"{key}.path and {key}.make are both set: add {key}.make=null")
