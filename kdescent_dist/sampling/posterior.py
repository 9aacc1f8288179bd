"""Draws from a posterior, by several chains, one after the other."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdescent_dist.config.schema import PosteriorConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.numerics.prng import seed_number
from kdescent_dist.response.likelihood import Likelihood
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.sampling.chain import AT_ONCE, ChainKeys, Sampler
from kdescent_dist.sampling.kept_chain import Drawn, KeptChain
from kdescent_dist.sampling.population_number import number_of_populations
from kdescent_dist.sampling.target import Target

log = logging.getLogger(__name__)

SECONDS = 2.0  # of a dispatch, after which a chain is saved and signals are handled


class Chains:
    """The chains of a posterior, which are saved in a folder and continued.

    Args:
        folder: the folder of the chains.
        config: numbers of chains and draws.
        of: identity of the fit and of the fitted parameters, ready for JSON.
        processes: the processes, which carry out the chains together.
    """

    def __init__(
        self, folder: Path, config: PosteriorConfig, of: Mapping[str, Any], processes: Processes
    ) -> None:
        self._config, self._processes = config, processes
        names = ("warmup", "populations", "seed", "acceptance")
        of = {**of, "posterior": {name: getattr(config, name) for name in names}}
        self._kept = [
            KeptChain(folder / f"chain-{i}.npz", of, processes) for i in range(config.chains)
        ]
        self._setup = KeptChain(folder / "setup.npz", of, processes)
        self.drawn = [kept.read() for kept in self._kept]
        # Names to numbers: populations of the likelihood, and the noise of their random numbers.
        setup = self._setup.read()
        self.noise = setup.told
        if setup.of_another or any(one.of_another for one in self.drawn):
            log.info(
                "posterior: chains begin anew, as those in %s are of another fit, other options of "
                "posterior, or other versions of JAX or blackjax",
                folder,
            )

    @property
    def most(self) -> int:
        """Number of draws of each chain, with the warmup."""
        return self._config.warmup + self._config.draws

    @property
    def number(self) -> int:
        """Number of draws of all chains, with their warmup."""
        return sum(min(one.number, self.most) for one in self.drawn)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to draw."""
        return bool(self.noise) and self.number == self.most * self._config.chains

    def carry_out(
        self,
        linearizer: Linearizer,
        fitted: np.ndarray,
        tell: Callable[[int], None],
        progress: Callable[[], None],
    ) -> None:
        """Draw what is left.

        Args:
            linearizer: linearizes the loss of the fit.
            fitted: (P,) fitted parameters.
            tell: called with ``number`` after each save.
            progress: called often, equally often in every process; may raise to stop.

        Raises:
            InputError: the data do not determine a parameter that lacks a bound.
            FloatingPointError: a derivative, or the likelihood near the fit, is not finite.
            CheckpointError: a chain could not be saved.
        """
        config, loss = self._config, linearizer.loss
        at = linearizer.at(fitted, progress=progress)
        if self.noise:
            number, noise = int(self.noise["populations"]), float(self.noise["noise"])
        else:
            number, noise = number_of_populations(at, config.populations, progress)
        log.info(
            "posterior: %d populations, whose random numbers shift it by %.2g errors", number, noise
        )
        likelihood = Likelihood(at, number, progress)
        target = Target.of(likelihood, loss.parameters, at.params)
        sampler = Sampler(target, config.warmup, config.acceptance)
        if not self.noise:
            self.noise = {"populations": np.array(number), "noise": np.array(noise)}
            self._setup.write(Drawn([], self.noise))
        pace = 0.0  # seconds of a draw
        for i, kept in enumerate(self._kept):
            if self.drawn[i].number >= self.most:
                continue
            keys = ChainKeys.of(seed_number(loss.seed), config.seed, i)
            progress()
            state = sampler.start(keys)
            form, drawn = jax.tree.structure(state), self.drawn[i]
            if drawn.number:
                log.info("posterior: chain %d continues after draw %d", i, drawn.number)
                state = form.unflatten(drawn.state)
            while drawn.number < self.most:
                progress()
                wanted = min(self._draws(pace), self.most - drawn.number)
                begun = time.monotonic()
                state, told = sampler.advance(state, drawn.number, wanted, keys)
                pace = (time.monotonic() - begun) / wanted
                drawn = self.drawn[i] = drawn.extended(state, told)
                kept.write(drawn)
                tell(self.number)
            log.info("posterior: chain %d of %d is done", i + 1, config.chains)

    def _draws(self, pace: float) -> int:
        """Draws of the next dispatch, the same in all processes."""
        wanted = int(np.clip(SECONDS / pace, 1, AT_ONCE)) if pace else 1
        return self._processes.on_primary(lambda: wanted)

    def told(self) -> dict[str, np.ndarray]:
        """Names to arrays (chains, draws, ...) of what is told of each draw after the warmup."""
        first = self._config.warmup
        each = [{n: a[first : self.most] for n, a in one.told.items()} for one in self.drawn]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}
