"""The compiled steps of a fit: loss, gradient and update, many of them in one program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.state import FitState
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.protocol import Objective

KeySchedule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def compile_steps(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    coordinates: Coordinates,
    schedule: KeySchedule,
    capacity: int,
    fast_cpu: bool,
) -> Callable:
    """Compile up to ``capacity`` steps; how many is a run-time argument, so it compiles once.

    A step whose loss or gradient is not finite is recorded, not taken, and ends the dispatch.
    Without ``moving`` no step is taken: it is one more evaluation.

    ``coordinates`` lead from what is moved to the parameters. ``fast_cpu`` is that of ``evaluate``.

    Returns:
        A function of the state (donated), the number of steps, ``moving`` and the data of the
        objective. It returns the state; the record of its steps, ``params`` (capacity,
        parameters), ``loss`` (capacity,) and ``grad_norm`` (capacity,); how many of these rows
        are filled; and whether the last one is finite.
    """

    # Some optimizers take the loss, or search along a line: the others drop what they do not know.
    update = optax.with_extra_args_support(optimizer).update

    size = len(coordinates.held)

    def run(state: FitState, count: jax.Array, moving: jax.Array, data: Any) -> tuple:
        record = {
            "params": jnp.zeros((capacity, size), state.params.dtype),
            "loss": jnp.zeros(capacity, state.params.dtype),
            "grad_norm": jnp.zeros(capacity, state.params.dtype),
        }

        def more(carry: tuple) -> jax.Array:
            i, _, _, good = carry
            return (i < count) & good

        def step(carry: tuple) -> tuple:
            i, state, record, _ = carry
            key, next_key = schedule(state.key, state.step)
            params, pull = jax.vjp(coordinates.to_params, state.params)
            loss, grad = evaluate(objective, params, key, data, fast_cpu)
            (grad,) = pull(grad)
            good = jnp.isfinite(loss) & jnp.all(jnp.isfinite(grad))
            record = {
                "params": record["params"].at[i].set(params),
                "loss": record["loss"].at[i].set(loss),
                "grad_norm": record["grad_norm"].at[i].set(jnp.linalg.norm(grad)),
            }

            def loss_of(moved: jax.Array) -> jax.Array:
                return evaluate(objective, coordinates.to_params(moved), key, data, fast_cpu)[0]

            updates, opt_state = update(
                grad, state.opt_state, state.params, value=loss, grad=grad, value_fn=loss_of
            )
            moved = FitState(
                state.step + 1, optax.apply_updates(state.params, updates), opt_state, next_key
            )
            take = good & moving
            state = jax.tree.map(lambda new, old: jnp.where(take, new, old), moved, state)
            return i + 1, state, record, good

        done, state, record, good = lax.while_loop(
            more, step, (jnp.int32(0), state, record, jnp.bool_(True))
        )
        return state, record, done, good

    return jax.jit(run, donate_argnums=0)
