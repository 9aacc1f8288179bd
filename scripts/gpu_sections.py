"""The sections of the GPU check: what each measures, in which order, and how long each takes."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # a line of the check; "ok" is False where a result is wrong

NEEDS_GPU = "needs a GPU"

# What XLA captures in CUDA graphs by default: a step also has its loops there (WHILE).
NO_LOOPS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL"


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the check that fails or is skipped as a whole.

    Attributes:
        name: the group, then what tells the section from the others of the group.
        estimate: seconds that the section is thought to take on a data-center GPU.
        function: ``module.name`` of the function that yields the rows. The module is imported
            when the section runs, so that a missing package stops no other section.
        arguments: keyword arguments of the function.
        needs_gpu: whether the section tells nothing on a CPU.
        decisive: whether the whole check fails with the section.
    """

    name: str
    estimate: float
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    needs_gpu: bool = False
    decisive: bool = False

    @property
    def group(self) -> str:
        return self.name.split("-")[0]

    def rows(self) -> Iterator[Row]:
        module, function = self.function.split(".")
        yield from getattr(importlib.import_module(module), function)(**self.arguments)


def all_sections(smoke: bool, trace: Path | None) -> list[Section]:
    """The sections, the most telling first.

    Args:
        smoke: tiny sizes, and no estimates.
        trace: folder for a profile of some steps of the first fit.
    """
    many, most, huge = (5_000, 5_000, 5_000) if smoke else (1_000_000, 20_000_000, 100_000_000)
    shapes = [(4_500, 11, 2)]  # samples, kernels, dimensions
    if not smoke:
        shapes.append((many, 20, 3))
    few = 200 if smoke else None
    planar = {"samples": many, "kernels": 20, "dims": 2}
    spatial = {"samples": many, "kernels": 60, "dims": 3}
    backends = ("fused", "pallas")

    def section(name: str, estimate: float, function: str, **more: Any) -> Section:
        known = {key: more.pop(key) for key in ("needs_gpu", "decisive") if key in more}
        return Section(name, 0.0 if smoke else estimate, function, more, **known)

    def timing(name: str, estimate: float, *cases: Row, **more: Any) -> Section:
        seconds = 0.05 if smoke else 0.4
        arguments = {"cases": cases, "seconds": seconds, **more}
        return section(f"timing-{name}", estimate, "gpu_counts.timing", **arguments)

    def steps(name: str, estimate: float, **more: Any) -> Section:
        experiment = name.split("-")[0]
        return section(name, estimate, "gpu_fits.steps", experiment=experiment, **more)

    return [
        section("facts", 5, "gpu_device.facts", smoke=smoke),
        # Do the counts run at all, and are the numbers right?
        *[
            section(
                f"parity-{backend}",
                30,
                "gpu_counts.parity",
                backend=backend,
                shapes=shapes,
                decisive=True,
            )
            for backend in backends
        ],
        # Is the issue of instructions the limit?
        *[
            timing(f"kde-{backend}", 10, {"backend": backend, "counts": "kde", **planar})
            for backend in backends
        ],
        # How much of a step is the launching of kernels, and do CUDA graphs or one block save it?
        # First without loops in graphs, lest they hang.
        steps(
            "quickstart-no-loops",
            25,
            options={"xla_gpu_enable_command_buffer": NO_LOOPS},
            needs_gpu=True,
        ),
        steps("quickstart-default", 30, trace=trace),
        steps("quickstart-one-block", 25, block_size=5_000),
        timing(
            "60-kernels",
            40,
            *[{"backend": f, "counts": c, **spatial} for f in backends for c in ("kde", "fourier")],
        ),
        # Which size of blocks suits a GPU?
        steps("quickstart-1e6", 30, size=many, count=5, needs_gpu=True),
        steps("quickstart-1e8", 40, size=huge, count=2, needs_gpu=True),
        steps("quickstart-1e8-8", 40, size=huge, block_size=huge // 8, count=2, needs_gpu=True),
        # What does TF32 cost in precision, which JAX takes unless told otherwise?
        section("precision", 5, "gpu_device.precision"),
        steps("color_mass", 30, size=few, most_bins=1 if smoke else None, count=5),
        # Is memory the limit of large counts?
        timing(
            "large",
            30,
            *[{"backend": f, "counts": "both", **planar, "samples": most} for f in backends],
            needs_gpu=True,
        ),
        timing("tiled", 10, {"backend": "tiled", "counts": "kde", **planar}),
        # On CPUs, many bins take other sums.
        steps("galaxy_colors", 90, size=few, bins="dense", count=3, needs_gpu=True),
    ]
