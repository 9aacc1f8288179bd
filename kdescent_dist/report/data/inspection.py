"""The record of an inspection, which is made before a fit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.config.compose import from_yaml
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import Config
from kdescent_dist.report.data.comparison import Comparison, Samples
from kdescent_dist.report.data.records import Bin, bins_of

MOST_BINS = 12  # most bins to draw one by one; report.max_bins may lower the limit


@dataclass(frozen=True)
class Inspection:
    """The data of an inspection.

    Attributes:
        directory: the run directory.
        config: the config of the fit.
        config_text: the config as YAML.
        bins: the bins, which have no fit.
        samples: ``data``, ``guess`` and, if the model has an input catalog, ``input``.
        facts: source, rows and dropped rows of ``catalog`` and ``input_catalog``; ``samples`` and
            ``devices``; and the ``bins`` that were left out or joined.
        losses: (keys,) losses at the guess.
        gradients: names of parameters to (keys,) derivatives of the loss at the guess.
        cost: ``compile_s``, ``step_s``, ``memory``, see ``preview.try_steps``.
        device_memory: memory of a device in bytes, None if unknown.
        blocks: number and size of the blocks of samples.
        sparse: for each stack of bins, whether its sums are sparse.
    """

    directory: Path
    config: Config
    config_text: str
    bins: list[Bin]
    samples: dict[str, Samples]
    facts: dict[str, Any]
    losses: np.ndarray
    gradients: dict[str, np.ndarray]
    cost: dict[str, Any]
    device_memory: int | None
    blocks: tuple[int, int]
    sparse: list[bool]

    @property
    def parameters(self) -> Parameters:
        """The parameters of the fit."""
        return Parameters.of_config(self.config.parameters)

    @property
    def shown(self) -> list[Bin]:
        """The bins to draw: all bins; or, of too many, bins evenly spread in the sample number."""
        most = min(MOST_BINS, self.config.report.max_bins)
        if len(self.bins) <= most:
            return self.bins
        by_size = sorted(self.bins, key=lambda b: b.n_training)
        chosen = np.unique(np.linspace(0, len(by_size) - 1, most).round().astype(int))
        numbers = {by_size[i].number for i in chosen}
        return [b for b in self.bins if b.number in numbers]


def read_inspection(run_dir: Path) -> Inspection:
    """Read ``inspect.npz`` of a run directory."""
    with (run_dir / "inspect.npz").open("rb") as stream, np.load(stream) as file:
        arrays = {key: file[key] for key in file.files}
    known = json.loads(str(arrays["known"]))
    comparison = Comparison.from_arrays(arrays)
    return Inspection(
        run_dir,
        from_yaml(known["config"]),
        known["config"],
        bins_of(comparison),
        comparison.samples,
        known["facts"],
        np.array(known["losses"], float),
        {name: np.array(values, float) for name, values in known["gradients"].items()},
        known["cost"],
        known["device_memory"],
        (known["blocks"][0], known["blocks"][1]),
        known["sparse"],
    )
