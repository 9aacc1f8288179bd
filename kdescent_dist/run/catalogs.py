"""The catalogs of a run, for training and for the input of the model."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jax.sharding import Mesh

from kdescent_dist.bins.bin import required_columns
from kdescent_dist.bins.further import Found, needs_catalog
from kdescent_dist.catalogs.catalog import open_catalog
from kdescent_dist.catalogs.column_warnings import column_warnings
from kdescent_dist.catalogs.partition import Catalog, Partition
from kdescent_dist.catalogs.regions import REGIONS, split_off
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig, Config
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.distributed.sample_blocks import SampleBlocks

log = logging.getLogger(__name__)


def needs_training(config: Config, found: Found) -> bool:
    """Whether a run reads a training catalog, to count bins or as the input of the model.

    Args:
        config: config of the run.
        found: the result of ``read_all`` for the bins of the config.
    """
    is_input = bool(config.input.columns) and config.input.catalog is None
    return is_input or any(needs_catalog(b, found[name]) for name, b in config.bins.items())


class RunCatalogs:
    """Opens the catalogs of a config, in all processes of a run together.

    Args:
        config: config of the run.
        processes: processes of the run.
        trained: whether there is a training catalog, see ``needs_training``.

    Attributes:
        facts: for ``result.json``: source, rows and dropped rows of each catalog.
        input_rows: if the training catalog is the model's input, the numbers of its rows that are
            used as input; else None.
    """

    def __init__(self, config: Config, processes: Processes, trained: bool = True) -> None:
        self._config = config
        self._dtype = np.float64 if config.runtime.x64 else np.float32
        self._processes = processes
        self._trained = trained
        self._training: Partition | None = None
        self.facts: dict[str, Any] = {}
        self.input_rows: np.ndarray | range | None = None

    def training(self) -> TrainingCatalog:
        """The rows of this process of the training catalog.

        Raises:
            InputError: the catalog cannot be read or selected.
        """
        config = self._config
        needed = required_columns(config.bins)
        if not self._trained:
            self.facts["catalog"] = {"source": "none", "rows": 0, "dropped": {}}
            nothing = np.zeros(0, self._dtype)
            rows = RowBlocks(0, config.counts.pretrain_block_size, self._processes)
            return TrainingCatalog.of(dict.fromkeys(needed, nothing), nothing, rows)
        is_input = bool(config.input.columns) and config.input.catalog is None
        if is_input:
            needed = list(dict.fromkeys([*needed, *config.input.columns]))
        exact = list(config.input.columns) if is_input else []
        if config.catalog.regions is not None:
            needed, exact = [*needed, REGIONS], [*exact, REGIONS]
        reader = self._open(config.catalog, needed, "catalog", exact)
        self._training = reader if is_input else None
        rows = RowBlocks(reader.total, config.counts.pretrain_block_size, self._processes)
        training = reader.rows(*rows.rows, release=not is_input)
        columns, regions = split_off(training.columns)
        self._tell("catalog", reader, "catalog", columns, config.catalog)
        found = TrainingCatalog.of(columns, training.weights, rows, regions)
        if found.regions is not None:
            self.facts["catalog"]["regions"] = found.regions.count
            self.facts["catalog"]["regions_digest"] = found.digest_of_regions()[REGIONS]
            log.info("catalog: %d regions, over which errors are a jackknife", found.regions.count)
        return found

    def input(self, mesh: Mesh) -> tuple[SampleBlocks, int, Catalog | None]:
        """The blocks of samples, and the rows of this process of the model's input catalog.

        Call this method after ``training``: the default input catalog is the training catalog.

        Args:
            mesh: mesh of the fit.

        Returns:
            The layout of the blocks; the number of the first row; and the rows, None for a
            generative model.

        Raises:
            InputError: the catalog cannot be read or selected, or has fewer rows than
                ``samples.size``.
        """
        samples, inputs = self._config.samples, self._config.input
        if not inputs.columns:
            size = samples.size or self.facts["catalog"]["rows"]
            return SampleBlocks.of(size, samples.block_size), 0, None
        reader = self._training
        if inputs.catalog is not None:
            reader = self._open(inputs.catalog, inputs.columns, "input.catalog", inputs.columns)
        assert reader is not None
        total = reader.total
        size = samples.size or total
        if size > total:
            raise InputError(
                f"samples.size={size}: the input catalog has only {total} rows; leave it "
                "out to use them all"
            )
        chosen = None
        if size < total:
            rng = np.random.default_rng(self._config.seed)
            chosen = np.sort(rng.choice(total, size, replace=False))
        if reader is self._training:
            self.input_rows = range(total) if chosen is None else chosen
        layout = SampleBlocks.of(size, samples.block_size)
        first, last = layout.rows(mesh)
        given = reader.rows(first, last, chosen=chosen, release=True)
        if reader is not self._training and inputs.catalog is not None:
            self._tell("input catalog", reader, "input.catalog", given.columns, inputs.catalog)
        columns = {name: given.columns[name] for name in inputs.columns}
        # Weights of a subset are scaled up, so that expected numbers stay the same.
        weights = given.weights if chosen is None else given.weights * self._dtype(total / size)
        return layout, first, replace(given, columns=columns, weights=weights)

    def _open(
        self, config: CatalogConfig, required: Sequence[str], key: str, exact: Sequence[str]
    ) -> Partition:
        return open_catalog(
            config,
            required=required,
            seed=self._config.seed,
            key=key,
            processes=self._processes,
            dtype=self._dtype,
            exact=exact,
        )

    def _tell(
        self,
        what: str,
        reader: Partition,
        key: str,
        columns: Mapping[str, np.ndarray],
        config: CatalogConfig,
    ) -> None:
        log.info("%s: %d rows of %s", what, reader.total, reader.source)
        for reason, rows in reader.dropped.items():
            log.info("%s: %d rows left out: %s", what, rows, reason)
        self.facts[what.replace(" ", "_")] = facts = {
            "source": reader.source,
            "rows": reader.total,
            "dropped": dict(reader.dropped),
        }
        for name, scale in reader.scales.items():
            log.info("%s: %s is (%s - %g) / %g", what, name, name, scale.mean, scale.deviation)
            facts.setdefault("standardized", {})[name] = asdict(scale)
        bins = self._config.bins.values() if key == "catalog" else ()
        compared = {name for one in bins for name in one.columns}
        warnings = column_warnings(columns, compared, config, key, self._processes)
        if warnings:
            facts["warnings"] = warnings
        for text in warnings if self._config.mode != "inspect" else ():
            log.warning("%s", text)
