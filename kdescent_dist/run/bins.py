"""The bins of a run, from its config and training catalog, and their training counts."""

import logging
from collections.abc import Callable, Mapping, Sequence

import jax

from kdescent_dist.bins.bin import Bin, expand_bins
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import Settled, count_bins, settle_bins
from kdescent_dist.bins.further import Found, needs_catalog
from kdescent_dist.bins.pretrained import PretrainedBin, known_bin, pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.schema import BinsConfig, Config
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.run.directory import RunDirectory

log = logging.getLogger(__name__)


def find_bins(
    grids: Mapping[str, BinsConfig], training: TrainingCatalog, found: Found
) -> tuple[list[Bin], Settled]:
    """The bins of a config, and a record of bins with too few training samples.

    Args:
        grids: the entry ``bins`` of a config.
        training: rows of this process of the training catalog.
        found: the result of ``read_all`` for the grids.

    Raises:
        InputError: edges cannot be computed from the training catalog, or a bin has too few
            samples.
    """
    by_rule = any(isinstance(edges, Mapping) for g in grids.values() for edges in g.edges.values())
    if by_rule:
        grids = resolve_grids(grids, *training.sample(), training.limits())
    bins = expand_bins(grids)
    given = _given(grids, found)
    counted = [bin_ for bin_ in bins if bin_.group not in given]
    if not counted:
        return bins, Settled(len(bins))
    counts = training.rows.processes.added(count_bins(counted, training.columns))
    left, settled = settle_bins(counted, counts)
    known = [bin_ for bin_ in bins if bin_.group in given]
    settled.used += len(known)
    order = list(grids)
    return sorted([*left, *known], key=lambda bin_: order.index(bin_.group)), settled


def _given(grids: Mapping[str, BinsConfig], found: Found) -> set[str]:
    """Names of the grids whose counts are all given, and need no training catalog."""
    return {name for name, config in grids.items() if not needs_catalog(config, found[name])}


def pretrain_bins(
    config: Config,
    bins: Sequence[Bin],
    training: TrainingCatalog,
    mesh: jax.sharding.Mesh,
    directory: RunDirectory,
    found: Found,
    begin: Callable[[Bin], None],
) -> list[PretrainedBin]:
    """Count the training catalog in each bin, or load saved counts.

    Args:
        config: config of the run.
        bins: the bins.
        training: rows of this process of the training catalog.
        mesh: mesh of the fit.
        directory: run directory, which saves the counts.
        found: the result of ``read_all`` for the bins of the config.
        begin: called before each bin.
    """
    rows = training.rows
    source = ""
    if rows.total:
        source = " ".join(map(str, [training.digest(), rows.block_size, config.seed]))
    kept = directory.counts(source)
    own_devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    own = make_mesh(devices=own_devices)
    given = _given(config.bins, found)
    pretrained = []
    for bin_ in bins:
        begin(bin_)
        if bin_.group in given:
            pretrained.append(known_bin(bin_, found[bin_.group]))
            continue
        known, of_bin = kept.load(bin_), found[bin_.group]
        further = kept.load_further(bin_, of_bin)
        method, cross = config.counts.pretrain, kept.load_cross(bin_, of_bin)
        one = pretrain_bin(
            bin_, training, None, config.seed, own, known, method, of_bin, further, cross
        )
        if known is None and one.counts is not None:
            kept.save(bin_, one.counts)
        counted = {n: c for n, c in one.further.items() if n not in further and not c.given}
        kept.save_further(bin_, of_bin, counted)
        if one.cross.keys() - cross.keys():
            if known is not None:
                log.info("%s: sums for its errors were missing, and are counted", bin_.name)
            kept.save_cross(bin_, of_bin, one.cross)
        # All processes take the counts of the primary, as different CPUs may round differently.
        pretrained.append(rows.processes.on_primary(lambda one=one: one))
    return pretrained
