"""The contents of ``result.json``; a finished result stays until there is a newer result."""

import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

OF_START = ("starts", "first_start", "last_start", "wall_s", "waited_s", "useful_s")
# Entries that belong to the final parameters.
OF_ANSWER = (
    *("errors", "errors_note", "distance", "distance_noise", "converged", "converged_note"),
    *("goodness", "acceptable", "scatter", "covariance", "posterior"),
)
CONTINUED = ("status", "message", "step", "steps", "params", "loss", "phases")


def told(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The new contents of the file.

    A new start of a finished run keeps the finished result, and the entry ``continued`` describes
    the start until the start is done. Parameters of an unfinished run are kept until there are
    newer parameters.

    Args:
        before: the contents of the file when this start began.
        now: the entries of this start; ``params`` and ``loss`` are None if unknown.
    """
    if before.get("status") == "done" and now["status"] != "done":
        kept = {name: value for name, value in before.items() if name != "continued"}
        times = {name: now[name] for name in OF_START if name in now}
        return {**kept, **times, "continued": {n: now[n] for n in CONTINUED if now.get(n)}}
    if now["status"] == "done":
        same = all(before.get(name) == now.get(name) for name in ("step", "params"))
        same = same and _regions(before) == _regions(now)
        return {**now, **{n: before[n] for n in OF_ANSWER if same and n in before}}
    if now.get("params") is None and before.get("params") is not None:
        return {**now, "params": before["params"], "loss": before.get("loss")}
    return dict(now)


def _regions(result: Mapping[str, Any]) -> Any:
    catalog = result.get("catalog")
    return catalog.get("regions_digest") if isinstance(catalog, Mapping) else None


def with_lost_rows(
    history: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Fill lost rows of a history, which are NaN, from an earlier history of the same fit.

    Args:
        history: new arrays for ``history.npz``.
        known: arrays of the existing file, empty if there is no file.
    """
    rows = min(len(history["loss"]), len(known.get("loss", ())))
    if not rows or known["names"].tolist() != history["names"].tolist():
        return dict(history)
    lost = np.flatnonzero(np.isnan(history["loss"][:rows]))
    filled = {name: np.array(values) for name, values in history.items()}
    for name in ("loss", "grad_norm", "params"):
        filled[name][lost] = known[name][lost]
    return filled


def was_running(result: Mapping[str, Any]) -> bool:
    """Whether the last start was killed, according to the file."""
    return (_continued(result) or result).get("status") == "running"


def saved_step(result: Mapping[str, Any]) -> int:
    """The last step that the run has saved, according to the file."""
    steps = (result.get("step"), _continued(result).get("step"))
    return max((step for step in steps if isinstance(step, int)), default=0)


def with_saved_step(result: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The contents with the step of a newer checkpoint."""
    if continued := _continued(result):
        return {**result, "continued": {**continued, "step": step}}
    return {**result, "step": step}


def phases_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The records of the phases of the last start, according to the file."""
    phases = (_continued(result) or result).get("phases")
    return phases if isinstance(phases, dict) else {}


def with_phases(result: Mapping[str, Any], phases: Mapping[str, Any]) -> dict[str, Any]:
    """The contents with new records of the phases of this start."""
    if continued := _continued(result):
        return {**result, "continued": {**continued, "phases": phases}}
    return {**result, "phases": phases}


def _continued(result: Mapping[str, Any]) -> Mapping[str, Any]:
    continued = result.get("continued")
    return continued if isinstance(continued, dict) else {}


def describe_devices(mesh: jax.sharding.Mesh) -> dict[str, Any]:
    first = mesh.devices.flat[0]
    return {
        "count": int(mesh.devices.size),
        "kind": first.device_kind,
        "platform": first.platform,
        "mesh": dict(mesh.shape),
        "processes": jax.process_count(),
        "host": platform.node(),
    }
