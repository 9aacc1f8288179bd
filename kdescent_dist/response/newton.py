"""Newton steps to the minimum of a loss at fixed points.

The steps are damped Gauss-Newton steps (Levenberg 1944; Marquardt 1963). The second derivatives are
in forward mode, and cost about as much as one population for each parameter. They are kept while
the parameters stay within one error. Gradients are in reverse mode. Each step draws as many
populations as it needs for a noise below a fifth of its length. The last step draws as many as it
needs for a noise below a tenth of the errors. A step is taken if it lowers the loss of the same
random numbers. At the minimum, the next step is short, or the last step has lowered the loss so
much as expected that the next step will be short.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from kdescent_dist.response.bounded_step import Box, bounded_step
from kdescent_dist.response.distance import NOISE, Populations, distance_to_minimum
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.response.population_totals import mean_totals

T = TypeVar("T")

MOST_STEPS = 30
DAMPINGS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e4)  # see ``bounded_step``
GOOD, BAD = 0.75, 0.25  # fall of the loss over the expected one, to change the damping
# Any ``Linearization.noise_of_derivatives``: along directions that it dominates, steps are short.
NOISE_OF_CURVATURE = 1.0
PARAMETERS_OF_POPULATION = 4  # derivatives of a population that cost as much as the population
NEARBY = 1.0  # errors within which second derivatives are kept
NOISE_OF_STEP = 0.2  # most noise of a step, as a fraction of the step, see ``distance_to_minimum``
ARRIVED = 0.05  # length of the step at the minimum, in errors of the parameters
AT_MINIMUM = "at the minimum"
MARGIN = 1e-3  # distance of held parameters from a bound, in their errors


@dataclass(frozen=True)
class NewtonState:
    """The state of the steps, after any of them.

    Attributes:
        params: (P,) parameters, in the precision of the fit.
        expanded_at: (P,) parameters of the second derivatives of the last step.
        steps: number of steps that were taken.
        populations: number of populations that the steps have used, forward and in reverse; four
            parameters of a derivative in forward mode count as one.
        losses: the loss before and after each step, each pair with the same random numbers and
            weights: means of weighted squares, with ``loss.custom`` and the prior.
        held: names of the parameters that a bound holds.
        drawn: number of populations whose sums at the parameters are known.
        damping: index of the damping with which the next step begins, in ``DAMPINGS``.
        message: why the steps ended; empty before the end.
    """

    params: np.ndarray
    expanded_at: np.ndarray
    steps: int = 0
    populations: int = 0
    losses: tuple[tuple[float, float], ...] = ()
    held: tuple[str, ...] = ()
    drawn: int = 0
    damping: int = 0
    message: str = ""

    @classmethod
    def begin(cls, params: np.ndarray) -> "NewtonState":
        """The state before the first step from parameters (P,)."""
        return cls(params, params)

    @property
    def ended(self) -> bool:
        """Whether there is no further step to take."""
        return bool(self.message)

    def ending(self, message: str) -> "NewtonState":
        """The same state, with the reason why it is the last."""
        return replace(self, message=message)

    def summary(self) -> dict[str, Any]:
        """What a result tells of the steps, ready for JSON."""
        return {
            "message": self.message,
            "steps": self.steps,
            "populations": self.populations,
            "losses": [list(pair) for pair in self.losses],
            "held": list(self.held),
        }

    def to_json(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {
            "params": self.params.tolist(),
            "expanded_at": self.expanded_at.tolist(),
            "drawn": self.drawn,
            "damping": self.damping,
            **self.summary(),
        }

    @classmethod
    def of_json(cls, known: Any, dtype: Any) -> "NewtonState":
        """The state of the result of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is of another form.
        """
        return cls(
            np.array(known["params"], dtype),
            np.array(known["expanded_at"], dtype),
            int(known["steps"]),
            int(known["populations"]),
            tuple((float(before), float(after)) for before, after in known["losses"]),
            tuple(map(str, known["held"])),
            int(known["drawn"]),
            int(known["damping"]),
            str(known["message"]),
        )


@dataclass
class Newton:
    """Takes Newton steps; the programs compile once.

    The steps depend only on the loss and the state. A saved state continues with the same bits.

    Attributes:
        linearizer: linearizes the loss.
        progress: called often, equally often in every process.
        most: most populations, after which no step is begun.
    """

    linearizer: Linearizer
    progress: Callable[[], None] = lambda: None
    most: int | None = None
    _expanded: Linearization | None = field(default=None, init=False)

    def step(self, state: NewtonState) -> NewtonState:
        """Take the next step, or end.

        Raises:
            FloatingPointError: a derivative is not finite.
        """
        if state.steps >= MOST_STEPS:
            return state.ending(f"as many as {MOST_STEPS} steps were taken")
        if self.most is not None and state.populations >= self.most:
            return state.ending(f"as many as {state.populations} populations were drawn")
        known = state.expanded_at if state.steps else None
        at = self._expand(state.expanded_at)
        errors = at.rough_errors()
        away = np.abs(state.params - at.params)[at.determined]
        if self._agreed(bool(np.any(away > (NEARBY * errors)[at.determined]))):
            at = self._expand(state.params)
            errors = at.rough_errors()
        if known is None or not np.array_equal(at.params, known):
            used = at.rounds * len(at.params) // PARAMETERS_OF_POPULATION
            state = replace(state, populations=state.populations + used)
        state = replace(state, expanded_at=at.params)
        if not self._agreed(bool(at.determined.any())):
            return state.ending("the loss determines no parameter here")
        parameters = self.linearizer.loss.parameters
        margin = MARGIN * np.where(np.isfinite(errors), errors, parameters.scale)
        box = Box.of(parameters.low, parameters.high, margin)
        here = Populations(self.linearizer.whole, state.params, state.drawn, self.progress)
        share = NOISE_OF_STEP
        while True:
            found = distance_to_minimum(at, errors, here, share=share)
            move, held = bounded_step(state.params, found.gradient, at, box)
            away = np.abs(at.without_noise * move / errors)[at.determined]
            # The noise of derivatives shortens the step.
            left = at.noise_of_derivatives[at.determined] * away
            noise = (found.noise / errors)[at.determined]
            length, left, noise = self._agreed([float(np.max(one)) for one in (away, left, noise)])
            arrived = length < ARRIVED
            if not arrived or not share:
                break
            share = 0.0
        names = tuple(n for n, one in zip(parameters.names, held, strict=True) if one)
        populations = state.populations + sum(found.populations)
        state = replace(state, held=names, populations=populations)
        if arrived:
            return state.ending(AT_MINIMUM)
        # With the noise of the last step, what is left of the step is known from how right it was.
        last = length if max(noise, left) <= NOISE else np.inf
        return self._accepted(state, at, found.gradient, box, here, last)

    def _accepted(
        self,
        state: NewtonState,
        at: Linearization,
        gradient: np.ndarray,
        box: Box,
        here: Populations,
        length: float,
    ) -> NewtonState:
        """The state after the first of ever shorter steps that lowers the loss.

        Args:
            state: the state before.
            at: the linearized loss.
            gradient: (P,) half the gradient.
            box: the bounds.
            here: the populations of the gradient.
            length: length of the step without damping, in errors, if it may be the last.
        """
        before = at.value(mean_totals(here.sums), state.params)
        for i in range(state.damping, len(DAMPINGS)):
            move, _ = bounded_step(state.params, gradient, at, box, DAMPINGS[i])
            params = self._agreed(box.rounded(state.params + move, state.params.dtype))
            there = Populations(self.linearizer.whole, params, len(here.sums), self.progress)
            state = replace(state, populations=state.populations + len(there.sums))
            after = at.value(mean_totals(there.sums), params)
            expected = -(2 * gradient @ move + move @ at.curvature @ move)
            if self._agreed(bool(after < before)):
                gain = self._agreed(float((before - after) / expected))
                change = -2 if gain > GOOD else -1 if gain > BAD else 0
                arrived = i == 0 and abs(1 - gain) * length < ARRIVED
                return replace(
                    state,
                    params=params,
                    steps=state.steps + 1,
                    losses=(*state.losses, (before / at.squares, after / at.squares)),
                    drawn=len(there.sums),
                    damping=min(max(i + change, 0), len(DAMPINGS) - 1),
                    message=AT_MINIMUM if arrived else "",
                )
        return state.ending("no step lowers the loss")

    def _expand(self, params: np.ndarray) -> Linearization:
        if self._expanded is None or not np.array_equal(self._expanded.params, params):
            self._expanded = self.linearizer.at(
                params, noise=NOISE_OF_CURVATURE, progress=self.progress
            )
        return self._expanded

    def _agreed(self, value: T) -> T:
        """The value of the primary process, so that all processes take the same step."""
        return self.linearizer.loss.objective.processes.on_primary(lambda: value)
