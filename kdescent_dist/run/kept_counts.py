"""Training counts of bins, saved in ``pretrain/`` of a run directory, so they are computed once."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.narrow_columns import is_robust
from kdescent_dist.config.problem import bins_of_schema_1
from kdescent_dist.counts.points import Given
from kdescent_dist.counts.statistics import statistic
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.code import describe_all
from kdescent_dist.identity.content import content_digest
from kdescent_dist.pretraining.pretrainer import KPretrainer
from kdescent_dist.pretraining.training_counts import TrainingCounts

log = logging.getLogger(__name__)

T = TypeVar("T")


class KeptCounts:
    """Saved counts of a source; file names have a digest of everything the counts depend on.

    Counts in a damaged file are computed again.

    Args:
        folder: folder of the files, created when needed.
        processes: the processes, which must call each method together; the primary writes.
        source: identifies the training catalog, the blocks and the seed.
    """

    def __init__(self, folder: Path, processes: Processes, source: str) -> None:
        self._folder = folder
        self._processes = processes
        self._source = source
        self._code = cache(_code_of)

    def load(self, bin_: Bin) -> KPretrainer | None:
        """Saved counts of kernels and modes of a bin, else None."""
        return self._loaded(self._file(bin_), KPretrainer.load)

    def save(self, bin_: Bin, counts: KPretrainer) -> None:
        """Save counts of kernels and modes of a bin."""
        self._write(self._file(bin_), counts.save)

    def load_further(self, bin_: Bin, found: Mapping[str, Given]) -> dict[str, TrainingCounts]:
        """Saved counts of further statistics of a bin, by name.

        Args:
            bin_: the bin.
            found: the result of ``read_statistics`` for the bin.
        """
        known = {}
        for name, given in found.items():
            if given.values is None:
                counts = self._loaded(self._further_file(bin_, name, given), TrainingCounts.load)
                if counts is not None:
                    known[name] = counts
        return known

    def save_further(
        self, bin_: Bin, found: Mapping[str, Given], counts: Mapping[str, TrainingCounts]
    ) -> None:
        """Save counts of further statistics of a bin.

        Args:
            bin_: the bin.
            found: the result of ``read_statistics`` for the bin.
            counts: names of statistics to their counts.
        """
        for name, of_name in counts.items():
            self._write(self._further_file(bin_, name, found[name]), of_name.save)

    def load_cross(self, bin_: Bin, found: Mapping[str, Given]) -> dict[str, np.ndarray]:
        """Saved ``PretrainedBin.cross`` of a bin, empty if nothing is saved.

        Args:
            bin_: the bin.
            found: the result of ``read_statistics`` for the bin.
        """
        return self._loaded(self._cross_file(bin_, found), _arrays) or {}

    def save_cross(
        self, bin_: Bin, found: Mapping[str, Given], cross: Mapping[str, np.ndarray]
    ) -> None:
        """Save ``PretrainedBin.cross`` of a bin, see ``load_cross``."""
        self._write(self._cross_file(bin_, found), lambda file: _save_arrays(file, cross))

    def _loaded(self, file: Path, load: Callable[[Path], T]) -> T | None:
        if not self._processes.on_primary(file.exists):
            return None
        counts = None
        try:
            counts = load(file)
        except Exception as error:  # truncated or altered files raise all kinds of errors
            log.warning("%s cannot be used (%s): counting anew", file, type(error).__name__)
        # If the load fails in one process, all processes must count again.
        return None if self._processes.any(counts is None) else counts

    def _write(self, file: Path, save: Callable[[Path], None]) -> None:
        if not self._processes.is_primary:
            return
        file.parent.mkdir(exist_ok=True)
        temporary = file.with_name(f".{file.name}")
        save(temporary)
        os.replace(temporary, file)

    def _file(self, bin_: Bin) -> Path:
        """The file of kernels and modes; its name does not depend on further statistics."""
        config = bins_of_schema_1(replace(bin_.config, statistics={}))
        return self._named(bin_.name, bin_, config)

    def _further_file(self, bin_: Bin, name: str, given: Given) -> Path:
        """The file of a statistic, whose name depends on the statistic's code and options."""
        return self._named(f"{bin_.name}-{name}", bin_, self._told(bin_, name, given))

    def _cross_file(self, bin_: Bin, found: Mapping[str, Given]) -> Path:
        """The file of cross sums; its name depends on all that the names of counts depend on."""
        config = bins_of_schema_1(replace(bin_.config, statistics={}))
        further = [self._told(bin_, n, g) for n, g in found.items() if g.values is None]
        return self._named(f"{bin_.name}-cross", bin_, [config, further])

    def _told(self, bin_: Bin, name: str, given: Given) -> list[Any]:
        points = None if given.points is None else [given.points.each, given.points.common]
        told = content_digest([bin_.config.statistics[name], points, given.number])
        where: list[Any] = [list(bin_.columns), list(bin_.softness)]
        if is_robust(bin_.config):  # files of earlier versions have deviations
            where.append("robust")
        return [where, name, told, self._code(name)]

    def _named(self, name: str, bin_: Bin, told: Any) -> Path:
        made_from = json.dumps([self._source, bin_.name, dict(bin_.window), told])
        key = hashlib.sha256(made_from.encode()).hexdigest()[:10]
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_")
        return self._folder / f"{name}-{key}.npz"


def _save_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def _code_of(name: str) -> dict[str, str]:
    """The identity of the code of a statistic."""
    return describe_all({name: statistic(name)})
