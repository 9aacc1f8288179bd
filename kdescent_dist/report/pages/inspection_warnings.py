"""Warnings before a fit, each with a remedy."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.data.labels import some_names
from kdescent_dist.report.data.records import Bin

FEW = 2.0  # times min_training; warns of bins with fewer training samples
LEFT_OUT = 0.5  # fraction of dropped rows
VISIBLE = 3.0  # errors; smaller Fourier counts are noise
MEMORY = 0.9  # fraction of the memory of a device


def warnings_of(inspection: Inspection) -> list[str]:
    """All warnings, the most severe first."""
    checks: Sequence[Callable[[Inspection], Iterator[str]]] = (
        _gradients,
        _model,
        _catalogs,
        _values,
        _bins,
        _modes,
        _guess,
        _memory,
    )
    return [text for check in checks for text in check(inspection)]


def _gradients(inspection: Inspection) -> Iterator[str]:
    if not np.isfinite(inspection.losses).all():
        yield "the loss is not finite at the guess: check the model there, and its bounds"
    flat, bad = [], []
    parameters = inspection.parameters.by_name()
    for name, slopes in inspection.gradients.items():
        if parameters[name].fixed:
            continue
        if not np.isfinite(slopes).all():
            bad.append(name)
        elif not slopes.any():
            flat.append(name)
    if bad:
        yield f"the gradient is not finite for {some_names(bad)}: check the model at the guess"
    if flat:
        which = "parameter" if len(flat) == 1 else "the parameters"
        yield (
            f"the loss does not depend on {which} {some_names(flat)} at the guess: the gradient is "
            "0 there: a mistake in the model, or nothing in the bins shows it; if the gradient is "
            "not 0 elsewhere, begin at another guess"
        )


def _model(inspection: Inspection) -> Iterator[str]:
    """What a fit logs about the model."""
    yield from inspection.facts.get("model", {}).get("warnings", ())


def _catalogs(inspection: Inspection) -> Iterator[str]:
    for key in ("catalog", "input_catalog"):
        found = inspection.facts.get(key)
        if found is None:
            continue
        chosen = "not in the subsample"
        dropped = {k: v for k, v in found["dropped"].items() if k != chosen}
        lost = sum(dropped.values())
        total = lost + found["rows"] + found["dropped"].get(chosen, 0)
        if lost > LEFT_OUT * total:
            reason = max(dropped, key=lambda k: dropped[k])
            yield (
                f"{key.replace('_', '.')}: {lost / total:.0%} of the rows are left out, most of "
                f"them for {reason!r}"
            )


def _values(inspection: Inspection) -> Iterator[str]:
    """What a fit logs about the values of its catalogs."""
    for key in ("catalog", "input_catalog"):
        yield from inspection.facts.get(key, {}).get("warnings", ())


def _bins(inspection: Inspection) -> Iterator[str]:
    few = [b for b in inspection.bins if b.n_training < FEW * b.min_training]
    if few:
        few.sort(key=lambda b: b.n_training)
        named = some_names([f"{b.name} ({b.n_training})" for b in few])
        yield (
            f"{_of(few, inspection.bins)} fewer than {FEW:g} times min_training samples: {named}: "
            "their counts are noisy; widen them"
        )
    empty = [b for b in inspection.bins if not b.sums["guess"] > 0]
    if empty:
        yield (
            f"{_of(empty, inspection.bins)} no model sample at the guess: "
            f"{some_names([b.name for b in empty])}: no gradient leads there"
        )


def _modes(inspection: Inspection) -> Iterator[str]:
    for group in dict.fromkeys(b.group for b in inspection.bins):
        found = (_told(b) for b in inspection.bins if b.group == group)
        told = [of_bin for of_bin in found if of_bin is not None]
        if not told:
            continue
        factor = f"fourier_range_factor={inspection.config.bins[group].fourier_range_factor:g}"
        visible, least = np.median(np.array(told), axis=0)
        if visible < 0.3:
            yield (
                f"bins.{group}: {1 - visible:.0%} of the Fourier modes tell nothing, as the data "
                f"vanish in their noise there: lower {factor}"
            )
        elif least > 0.6:
            yield (
                f"bins.{group}: the Fourier modes stop where the data have decayed to {least:.2f} "
                f"alone: a larger one than {factor} tells more"
            )


def _told(bin_: Bin) -> tuple[float, float] | None:
    """The fraction of modes above the noise, and the smallest size of the Fourier counts."""
    if bin_.ecf is None or bin_.ecf_err is None or not len(bin_.ecf):
        return None
    size = np.abs(bin_.ecf)
    return float(np.mean(size > VISIBLE * np.abs(bin_.ecf_err) / np.sqrt(2))), float(size.min())


def _guess(inspection: Inspection) -> Iterator[str]:
    parameters = inspection.parameters
    bounds = zip(parameters.names, parameters.near_bounds(parameters.guess), strict=True)
    near = [name for name, bound in bounds if bound]
    if near:
        yield f"the guess is within 1% of a bound for {some_names(near)}"


def _memory(inspection: Inspection) -> Iterator[str]:
    memory, has = inspection.cost["memory"], inspection.device_memory
    if memory and has and memory["total"] > MEMORY * has:
        yield (
            f"a step takes {memory['total'] / has:.0%} of the memory of a device: use more "
            "devices, or a smaller samples.block_size"
        )


def _of(some: Sequence[Bin], all_: Sequence[Bin]) -> str:
    return f"{len(some)} of {len(all_)} bins {'has' if len(some) == 1 else 'have'}"
