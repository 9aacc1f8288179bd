"""Fits that can end wrong: whether each ends right, or says that it has not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answers_catalogs import DATA_UNITS, HEAVY_TAILS, NORMAL, QUENCHING, TWO_POPULATIONS

OFF = 5.0  # stated errors from the truth of an answer that is wrong
NEAR = 0.3  # stated errors from the minimum, within which a fit has converged
FINISHES = ("newton", "none")


@dataclass(frozen=True)
class Kind:
    """A kind of fits that can end wrong.

    Attributes:
        overrides: what is changed in the experiment.
        wrong: how the catalog differs from what the model can describe, empty if it can.
        diverges: whether no answer is expected.
    """

    overrides: tuple[str, ...] = ()
    wrong: str = ""
    diverges: bool = False

    @property
    def possible(self) -> bool:
        """Whether an honest fit can end at the truth."""
        return not (self.wrong or self.diverges)


@dataclass(frozen=True)
class Experiment:
    """An experiment whose truth is known.

    Attributes:
        overrides: what chooses the experiment.
        catalog: name of a function of ``answers_catalogs``.
        rows: number of rows of a catalog, and of a catalog of few rows.
        truth: the true parameters.
        bound: a parameter that has its upper bound at the truth.
    """

    overrides: tuple[str, ...]
    catalog: str
    rows: tuple[int, int]
    truth: Mapping[str, float]
    bound: str

    def kinds(self) -> dict[str, Kind]:
        """The kinds of fits of the experiment."""
        bound = f"parameters.{self.bound}.high={self.truth[self.bound]}"
        return {
            "as it is": Kind(),
            "frozen schedule": Kind(("fit.steps=100",)),
            "too few steps": Kind(("fit.steps=60", "optimizer.learning_rate=0.03")),
            "bound at the truth": Kind((bound,)),
            "few rows": Kind((f"catalog.make.size={self.rows[1]}",)),
            "diverged": Kind(("optimizer.learning_rate=100",), diverges=True),
            TWO_POPULATIONS: Kind(wrong=TWO_POPULATIONS),
            HEAVY_TAILS: Kind(wrong=HEAVY_TAILS),
        }


def experiments(readme: Path, conf: Path) -> dict[str, Experiment]:
    """The experiments, of which one is that of the README.

    Args:
        readme: folder of the experiments that the README shows.
        conf: folder of the experiments of ``scripts/answers``.
    """
    of_readme = (f"--config-dir={readme}", "experiment=quenching", "catalog.path=null")
    of_units = (f"--config-dir={conf}", "experiment=data_units")
    return {
        "quickstart": Experiment(
            ("~catalog.make.truth",), "normal", (10_000, 150), NORMAL, "mean_1"
        ),
        "quenching": Experiment(of_readme, "quenching", (7_000, 700), QUENCHING, "logm_quench"),
        "data_units": Experiment(of_units, "data_units", (5_000, 150), DATA_UNITS, "center"),
    }


def endings(
    of: Mapping[str, Experiment], fit: Callable[..., dict[str, Any]], repeats: int
) -> dict[str, Any]:
    """Fit each kind of each experiment with and without the finish.

    Args:
        of: the experiments by name.
        fit: the fit of overrides, of a seed.
        repeats: number of catalogs of each kind.
    """
    rows: dict[str, Any] = {}
    total = dict.fromkeys(("right", "told", "wrong and not told", "right and told"), 0)
    near = pairs = warned = 0
    for name, one in of.items():
        for what, kind in one.kinds().items():
            minima: dict[int, dict[str, Any]] = {}
            for finish in FINISHES:
                counted = dict.fromkeys(total, 0)
                for seed in range(repeats):
                    made = {"size": one.rows[0], "seed": 2000 + seed, "wrong": kind.wrong}
                    make = ", ".join(f"{key}: {value!r}" for key, value in made.items())
                    make = f"{{_target_: answers_catalogs.{one.catalog}, {make}}}"
                    catalog = f"catalog.make={make}", f"fit.finish={finish}"
                    found = fit(seed, *one.overrides, *catalog, *kind.overrides)
                    away = _away(found, one.truth)
                    counted[_ending(found, away, kind.possible)] += 1
                    minimum = minima.setdefault(seed, found)
                    warned += kind.possible and _is_warned(found, minimum)
                    if finish == "newton" and kind.possible and away:
                        near, pairs = near + sum(a < 3 for a in away), pairs + len(away)
                rows[f"{name}, {what}, finish={finish}"] = counted
                total = {key: total[key] + counted[key] for key in total}
                print(f"  {name}, {what}, finish={finish}: {counted}", flush=True)
    fits = sum(total.values())
    return {
        "fits": fits,
        **total,
        "at the minimum, and told not to be": warned,
        "pairs": pairs,
        "within 3 errors": near / pairs,
        "each": rows,
    }


def _away(found: dict[str, Any], truth: Mapping[str, float]) -> list[float]:
    """Distances from the truth, in stated errors; empty if there is none."""
    if found["status"] != "done":
        return []
    errors = {name: error for name, error in (found.get("errors") or {}).items() if error}
    return [abs(found["params"][name] - truth[name]) / error for name, error in errors.items()]


def _is_warned(found: dict[str, Any], minimum: dict[str, Any]) -> bool:
    """Whether a fit is said not to have converged near the minimum that another fit has found."""
    if found["status"] != "done" or not minimum.get("converged"):
        return False
    near = all(apart < NEAR for apart in _away(minimum, found["params"]))
    return near and not found["converged"]


def _ending(found: dict[str, Any], away: list[float], possible: bool) -> str:
    """Whether the answer is right, and whether the result says that it may not be."""
    told = not (found["status"] == "done" and found.get("converged") and found.get("acceptable"))
    if not away:
        return "told"
    if possible and max(away) < OFF:
        return "right and told" if told else "right"
    return "told" if told else "wrong and not told"
