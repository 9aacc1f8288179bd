"""What a result tells of a posterior, and the draws as groups of variables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdescent_dist.config.errors import listed
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.sampling.convergence import (
    FEWEST_EFFECTIVE,
    LARGEST_R_HAT,
    bulk_size,
    mean_error,
    r_hat,
    tail_size,
)

SHOWN = 5  # parameters in a message


def summary(parameters: Parameters, told: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Numbers of each free parameter, and warnings, ready for JSON.

    Args:
        parameters: the parameters.
        told: names to arrays (chains, draws, ...), see ``Chains.told``.

    Returns:
        - ``params``: names of parameters to ``mean``, ``sd``, ``low`` and ``high`` (quantiles at
          16% and 84%), ``mean_error`` (Monte Carlo error of the mean), ``r_hat``, ``ess_bulk`` and
          ``ess_tail``; a number that is not known is None;
        - ``divergences``: number of draws whose trajectory has diverged;
        - ``acceptance``: mean acceptance;
        - ``warnings``: texts.
    """
    draws = np.asarray(told["params"], float)
    found: dict[str, dict[str, float | None]] = {}
    for i, name in enumerate(parameters.names):
        if parameters.fixed[i]:
            continue
        one = draws[..., i]
        low, high = np.quantile(one, [0.16, 0.84])
        numbers = {
            "mean": np.mean(one),
            "sd": np.std(one, ddof=1),
            "low": low,
            "high": high,
            "mean_error": mean_error(one),
            "r_hat": r_hat(one),
            "ess_bulk": bulk_size(one),
            "ess_tail": tail_size(one),
        }
        found[name] = {n: float(v) if np.isfinite(v) else None for n, v in numbers.items()}
    divergences = int(np.sum(told["diverging"]))
    return {
        "chains": draws.shape[0],
        "draws": draws.shape[1],
        "params": found,
        "divergences": divergences,
        "acceptance": float(np.mean(told["acceptance_rate"])),
        "warnings": _warnings(found, divergences, draws.shape[0] * draws.shape[1]),
    }


def _warnings(
    found: Mapping[str, Mapping[str, float | None]], divergences: int, draws: int
) -> list[str]:
    told = []
    apart = {
        n: one["r_hat"]
        for n, one in found.items()
        if one["r_hat"] is None or one["r_hat"] > LARGEST_R_HAT
    }
    if apart:
        named = _named(apart, "{:.3f}")
        told.append(f"the chains do not agree (R-hat above {LARGEST_R_HAT}): {named}: draw more")
    few = {}
    for name, one in found.items():
        sizes = [one["ess_bulk"], one["ess_tail"]]
        size = None if None in sizes else min(s for s in sizes if s is not None)
        if size is None or size < FEWEST_EFFECTIVE:
            few[name] = size
    if few:
        named = _named(few, "{:.0f}")
        told.append(f"fewer than {FEWEST_EFFECTIVE:.0f} effective draws: {named}: draw more")
    if divergences:
        told.append(
            f"{divergences} of {draws} trajectories have diverged, where the posterior is narrow: "
            "raise posterior.acceptance, such as to 0.95"
        )
    return told


def _named(values: Mapping[str, float | None], form: str) -> str:
    texts = [
        f"{name} {'unknown' if value is None else form.format(value)}"
        for name, value in values.items()
    ]
    return listed(texts, SHOWN)


def groups(
    parameters: Parameters, told: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """The draws in the groups of InferenceData: ``posterior`` and ``sample_stats``."""
    params = {
        name: told["params"][..., i]
        for i, name in enumerate(parameters.names)
        if not parameters.fixed[i]
    }
    return {
        "posterior": params,
        "sample_stats": {name: values for name, values in told.items() if name != "params"},
    }
