"""How often a step launches what: the thunks of a program, with the lengths of its loops put in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpu_hlo import Instruction, sizes
from gpu_thunks import HOLDERS, Thunk

LIBRARY = ("kTriangularSolve", "kCholesky", "kGemm", "kCublasLtMatmul", "kConvolution", "kFft")
COLLECTIVES = (
    *("kAllGather", "kAllReduce", "kReduceScatter", "kAllToAll", "kCollectivePermute"),
    *("kRaggedAllToAll", "kCollectiveBroadcast", "kSend", "kRecv"),
)
OWN_KERNELS = ("mosaic", "triton", "pallas")  # in names of custom calls that are no library's


@dataclass
class Launches:
    """What a step launches on a device, on the average over a dispatch.

    Attributes:
        counts: the names of ``gpu_prices.PRICES`` to numbers a step.
        libraries: names of library functions to calls a step.
        collective_bytes: bytes that a device has after the collectives of a step.
        unknown: functions with a loop of unknown length that is counted once.
    """

    counts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    libraries: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    collective_bytes: float = 0.0
    unknown: set[str] = field(default_factory=set)

    @property
    def kernels(self) -> float:
        """Kernels and copies, in graphs and alone."""
        return self.counts["kernels alone"] + self.counts["kernels in graphs"]


def count_launches(
    thunks: Sequence[Thunk],
    instructions: Mapping[str, Instruction],
    trips: Mapping[str, float],
    steps: int,
) -> Launches:
    """Count what one step of a dispatch launches.

    Args:
        thunks: the thunks of the program of a dispatch.
        instructions: the instructions of the program, by name.
        trips: for loops whose length the compiler does not know, functions with such a loop to the
            number of times round.
        steps: number of steps of the dispatch.
    """
    launches = Launches()

    def add(thunk: Thunk, times: float, in_graph: bool) -> None:
        known = instructions.get(thunk.name)
        counts = launches.counts
        if thunk.kind == "kWhile":
            number = known.trips if known is not None else None
            if number is None:
                function = known.function if known is not None else thunk.name
                if function not in trips:
                    launches.unknown.add(function)
                number = trips.get(function, 1)
                if not in_graph:
                    counts["round trips"] += times * (number + 1)
                each(thunk.condition, times * (number + 1), in_graph)
            each(thunk.body, times * number, in_graph)
        elif thunk.kind == "kCommandBuffer":
            counts["graphs"] += times
            each(thunk.body, times, True)
        elif thunk.kind in HOLDERS:
            each(thunk.body, times, in_graph)
        elif thunk.kind in COLLECTIVES:
            counts["collectives"] += times
            if known is not None:
                # That of a start is a tuple of what is given and what comes out.
                launches.collective_bytes += times * max(b for b, _ in sizes(known.shape))
        elif name := _library(thunk, known):
            counts["library calls"] += times
            launches.libraries[name] += times
        else:
            counts["kernels in graphs" if in_graph else "kernels alone"] += times

    def each(thunks: Sequence[Thunk], times: float, in_graph: bool) -> None:
        for thunk in thunks:
            add(thunk, times, in_graph)

    each(thunks, 1 / steps, False)
    return launches


def _library(thunk: Thunk, instruction: Instruction | None) -> str:
    """The library function that a thunk calls, empty for a kernel."""
    target = instruction.target if instruction is not None else ""
    if thunk.kind in LIBRARY:
        return target or thunk.kind
    if thunk.kind != "kCustomCall" or any(word in target for word in OWN_KERNELS):
        return ""
    return target or thunk.kind
