"""One chain of the No-U-Turn Sampler (Hoffman & Gelman 2014), by blackjax.

In the warmup, the step size is set by dual averaging. A warmup of at least 150 draws also sets the
masses by the scatter of the draws, in the windows of Stan. A draw follows from the draw before it
and from its number alone, so a chain may be stopped and continued after any draw.
"""

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.mesh import replicated
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.sampling.target import Target

AT_ONCE = 64  # most draws of one dispatch
SETS_MASSES = 150  # draws of a warmup that sets masses; fewer leave no time for the step size after
HALVINGS = 8  # of the distance from the fit, until the density at a start is finite


def require_blackjax() -> None:
    """Check that blackjax is installed.

    Raises:
        InputError: it is not.
    """
    # Its import starts the devices of JAX, which a run sets up later.
    if importlib.util.find_spec("blackjax") is None:
        raise InputError("mode=posterior: needs blackjax: pip install 'kdescent-dist[posterior]'")


@dataclass(frozen=True)
class ChainKeys:
    """Data of the random keys of a chain.

    Attributes:
        model: of the populations, the same in all chains.
        moves: of the moves of this chain.
    """

    model: np.ndarray
    moves: np.ndarray

    @classmethod
    def of(cls, seed: int, seed_of_chains: int, number: int) -> "ChainKeys":
        """The keys of a chain.

        Args:
            seed: seed of the fit, any non-negative integer.
            seed_of_chains: seed of all chains of the fit, any non-negative integer.
            number: number of the chain.
        """
        roots = np.random.SeedSequence(seed, spawn_key=(seed_of_chains,)).generate_state(2)
        model, moves = (jax.random.key(int(root)) for root in roots)
        moves = jax.random.fold_in(moves, number)
        return cls(*(np.asarray(jax.random.key_data(key)) for key in (model, moves)))


@dataclass
class Sampler:
    """The programs of all chains; they compile once.

    Attributes:
        target: the density.
        warmup: number of draws of the warmup, which count as draws here.
        acceptance: mean acceptance at which the step size aims.
    """

    target: Target
    warmup: int
    acceptance: float = 0.8
    _programs: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
        from blackjax.adaptation.staged_adaptation import build_schedule
        from blackjax.adaptation.step_size import dual_averaging_adaptation
        from blackjax.mcmc import hmc, nuts

        slow = ends = np.zeros(self.warmup, bool)
        if self.warmup >= SETS_MASSES:
            slow, ends = np.transpose(build_schedule(self.warmup)).astype(bool)
        step_init, step_update, step_final = dual_averaging_adaptation(self.acceptance)
        mass_init, mass_update, mass_final = mass_matrix_adaptation(True)
        kernel, target, warmup = nuts.build_kernel(), self.target, self.warmup

        def density(model: jax.Array, data: Any) -> Any:
            return lambda z: target.log_density(z, jax.random.wrap_key_data(model), data)

        def start(z: jax.Array, model: jax.Array, data: Any) -> dict[str, Any]:
            return {
                "position": hmc.init(z, density(model, data))._asdict(),
                "steps": jax.tree.map(_float, step_init(1.0)),
                "masses": mass_init(target.size),
                "step_size": _float(1.0),
            }

        def adapted(i: jax.Array, state: Any, z: Any, accepted: Any) -> Any:
            steps, masses = step_update(state["steps"], accepted), state["masses"]
            masses = lax.cond(
                jnp.asarray(slow)[i], lambda m: mass_update(m, z), lambda m: m, masses
            )

            def new_window(found: Any) -> Any:
                return step_init(step_final(found[0])), mass_final(found[1])

            found = jax.tree.map(_like, (steps, masses), (state["steps"], state["masses"]))
            new = jax.tree.map(_like, new_window(found), found)
            steps, masses = jax.tree.map(
                lambda a, b: jnp.where(jnp.asarray(ends)[i], a, b), new, found
            )
            last = i == warmup - 1
            step_size = jnp.where(last, step_final(steps), jnp.exp(steps.log_step_size))
            return {"steps": steps, "masses": masses, "step_size": step_size}

        def draw(i: jax.Array, state: Any, moves: jax.Array, of: Any) -> tuple[Any, Any]:
            key = jax.random.fold_in(jax.random.wrap_key_data(moves), i)
            before = hmc.HMCState(**state["position"])
            size, masses = state["step_size"], state["masses"].inverse_mass_matrix
            after, info = kernel(key, before, of, size, masses)
            known = {name: state[name] for name in ("steps", "masses", "step_size")}
            changed = lax.cond(
                i < warmup,
                lambda: jax.tree.map(
                    _like, adapted(i, state, after.position, info.acceptance_rate), known
                ),
                lambda: known,
            )
            told = {
                "params": target.params(after.position),
                "lp": after.logdensity,
                "acceptance_rate": info.acceptance_rate,
                "diverging": info.is_divergent,
                "energy": info.energy,
                "n_steps": info.num_integration_steps,
                "step_size": size,
            }
            return {"position": after._asdict(), **changed}, told

        def advance(
            state: Any, first: jax.Array, number: jax.Array, keys: Any, data: Any
        ) -> tuple[Any, Any]:
            model, moves = keys
            of = density(model, data)
            shapes = jax.eval_shape(lambda s: draw(first, s, moves, of)[1], state)
            rows = jax.tree.map(lambda s: jnp.zeros((AT_ONCE, *s.shape), s.dtype), shapes)

            def one(j: jax.Array, carry: Any) -> Any:
                state, rows = carry
                state, told = draw(first + j, state, moves, of)
                return state, jax.tree.map(lambda a, b: a.at[j].set(b), rows, told)

            return lax.fori_loop(0, number, one, (state, rows))

        mesh = target.likelihood.mesh
        self._programs = tuple(
            compiled(f, mesh.devices.flat[0], out_shardings=replicated(mesh))
            for f in (start, advance)
        )

    def start(self, keys: ChainKeys) -> Any:
        """The state of a chain before its first draw: about an error away from the fit.

        Raises:
            FloatingPointError: the density near the fit is not finite.
        """
        start, _ = self._programs
        seed = np.random.SeedSequence([int(word) for word in keys.moves]).generate_state(1)
        z = np.random.default_rng(seed).normal(size=self.target.size)
        for halving in range(HALVINGS):
            z_now = (z * 0.5**halving).astype(self.target.center.dtype)
            state = jax.device_get(start(z_now, keys.model, self.target.likelihood.data))
            at = state["position"]
            if np.isfinite(at["logdensity"]) and np.isfinite(at["logdensity_grad"]).all():
                return state
        raise FloatingPointError("the likelihood near the fit is not finite")

    def advance(self, state: Any, first: int, number: int, keys: ChainKeys) -> tuple[Any, Any]:
        """Draw up to ``AT_ONCE`` times.

        Args:
            state: the state of the chain, arrays of the host.
            first: number of draws before, with those of the warmup.
            number: number of draws.
            keys: the keys of the chain.

        Returns:
            The state, and arrays (number, ...) of what is told of each draw.
        """
        _, advance = self._programs
        both = keys.model, keys.moves
        data = self.target.likelihood.data
        state, rows = jax.device_get(advance(state, np.int32(first), np.int32(number), both, data))
        return state, {name: values[:number] for name, values in rows.items()}


def _float(value: Any) -> jax.Array:
    """The value as a carry of a loop: of a fixed type."""
    array = jnp.asarray(value)
    return array.astype(jnp.result_type(float)) if array.dtype.kind == "f" else array


def _like(value: Any, known: Any) -> jax.Array:
    return jnp.asarray(value, known.dtype)
