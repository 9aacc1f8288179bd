"""The compiled steps of a fit: many evaluations and updates in one program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.state import FitState
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.protocol import Objective

KeySchedule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def compile_steps(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    coordinates: Coordinates,
    schedule: KeySchedule,
    capacity: int,
    written_out: bool,
    device: Any,
) -> Callable:
    """Compile up to ``capacity`` steps into one program, whose number of steps is an argument.

    A step whose loss or gradient is not finite is recorded, but the state is not updated, and the
    dispatch ends. Without ``moving``, steps evaluate the loss, but never update the state.

    ``coordinates`` map the optimizer's variables to the parameters. ``written_out`` says whether
    the loss has the forms of ``numerics.fallback`` for ``device``, a device of the fit.

    Returns:
        A function of the state (donated), the number of steps, ``moving`` and the data of the
        objective. The function returns the state; the record of its steps, ``params`` (capacity,
        parameters), ``loss`` (capacity,) and ``grad_norm`` (capacity,); the number of recorded
        steps; and whether the last step is finite.
    """

    # Some optimizers take the loss or do a line search; other optimizers ignore these arguments.
    update = optax.with_extra_args_support(optimizer).update

    size = len(coordinates.held)
    on_cpu = written_out and device.platform == "cpu"

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
            loss, grad = evaluate(objective, params, key, data, on_cpu)
            (grad,) = pull(grad)
            good = jnp.isfinite(loss) & jnp.all(jnp.isfinite(grad))
            record = {
                "params": record["params"].at[i].set(params),
                "loss": record["loss"].at[i].set(loss),
                "grad_norm": record["grad_norm"].at[i].set(jnp.linalg.norm(grad)),
            }

            def loss_of(moved: jax.Array) -> jax.Array:
                return evaluate(objective, coordinates.to_params(moved), key, data, on_cpu)[0]

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

    return compiled(run, device, written_out=written_out, donate_argnums=0)
