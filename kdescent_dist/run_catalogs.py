"""The catalogs of a run: the training catalog, and of the model's input the rows of a process."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from kdescent_dist.bins import required_columns
from kdescent_dist.block_layout import BlockLayout
from kdescent_dist.catalog import Catalog, CatalogReader, open_catalog
from kdescent_dist.errors import InputError
from kdescent_dist.processes import Processes
from kdescent_dist.settings import CatalogConfig, Config

log = logging.getLogger(__name__)


class RunCatalogs:
    """Opens the catalogs that a config names, in all processes of a run together.

    Attributes:
        facts: for ``result.json``: source, rows, and rows that were left out, of each catalog.
    """

    def __init__(self, config: Config, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self.facts: dict[str, Any] = {}

    def training(self) -> Catalog:
        """The training catalog, whole in every process.

        Raises:
            InputError: it cannot be read or selected.
        """
        config = self._config
        needed = required_columns(config.bins)
        if config.input.catalog is None:
            needed = list(dict.fromkeys([*needed, *config.input.columns]))
        training = self._open(config.catalog, needed, "catalog").rows(release=True)
        self._tell("catalog", training, len(training))
        return training

    def input(self, training: Catalog, mesh: Mesh) -> tuple[BlockLayout, int, Catalog | None]:
        """The blocks of samples and, of the model's input catalog, the rows of this process.

        Args:
            training: the training catalog, which is the input as well unless there is another.
            mesh: mesh of the fit.

        Returns:
            The layout of the blocks; the number of the first row; and the rows, None for a
            generative model.

        Raises:
            InputError: it cannot be read or selected, or has fewer rows than there are samples.
        """
        samples, inputs = self._config.samples, self._config.input
        if not inputs.columns:
            layout = BlockLayout.of(samples.size or len(training), samples.block_size)
            return layout, 0, None
        reader = None
        if inputs.catalog is not None:
            reader = self._open(inputs.catalog, inputs.columns, "input.catalog")
        total = len(training) if reader is None else reader.total
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
        layout = BlockLayout.of(size, samples.block_size)
        first, last = layout.rows(mesh)
        if reader is not None:
            given = reader.rows(first, last, chosen=chosen, release=True)
            self._tell("input catalog", given, total)
            return layout, first, given
        columns = {name: training.columns[name] for name in inputs.columns}
        rows = slice(first, last) if chosen is None else chosen[first:last]
        return layout, first, Catalog(columns, training.weights).select(rows)

    def _open(self, config: CatalogConfig, required: Sequence[str], key: str) -> CatalogReader:
        return open_catalog(
            config,
            required=required,
            seed=self._config.seed,
            key=key,
            exchange=self._processes.exchange,
            process=self._processes.index,
            processes=self._processes.count,
        )

    def _tell(self, what: str, catalog: Catalog, total: int) -> None:
        log.info("%s: %d rows of %s", what, total, catalog.source)
        for reason, rows in catalog.dropped.items():
            log.info("%s: %d rows left out: %s", what, rows, reason)
        self.facts[what.replace(" ", "_")] = {
            "source": catalog.source,
            "rows": total,
            "dropped": dict(catalog.dropped),
        }
