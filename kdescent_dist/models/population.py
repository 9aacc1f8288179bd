"""The population that a model makes from one block of samples, and the model protocol.

A model is a plain function ``model(params, key, catalog, **options)`` which knows nothing of
devices. ``params`` maps parameter names to scalars, ``key`` is the random key of the block, and
``catalog`` is the block of the input catalog (column names to (n,) arrays) or, for a purely
generative model, the integer n. It returns a ``Population`` (or what one is made of) of n
samples, or of m n samples made of m concatenated copies of the block in its order, as when every
galaxy is drawn once red and once blue. Copies side by side (``jnp.repeat``) are refused: weights of
the input catalog would go to other rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Population:
    """Samples of a model.

    Attributes:
        x: column names to (n,) arrays; or an (n, d) array, whose column names are then given by
            ``model.columns``.
        weights: (n,) non-negative weights, None for 1.
    """

    x: Any
    weights: Any = None

    @property
    def size(self) -> int:
        if isinstance(self.x, Mapping):
            return len(next(iter(self.x.values())))
        return len(self.x)


def as_population(output: Any, columns: Sequence[str], block_size: int) -> Population:
    """Turn what a model returned into a population with named columns and explicit weights.

    Args:
        output: a ``Population``, a pair (x, weights), or x alone.
        columns: names of the columns where x is an (n, d) array.
        block_size: samples that the model was asked for.

    Raises:
        InputError: the shapes do not fit together.
    """
    if isinstance(output, tuple):
        output = Population(*output)
    elif not isinstance(output, Population):
        output = Population(output)
    named = _named_columns(output.x, columns)
    if not named:
        raise InputError("model: it returned a population without columns")
    sizes = {name: np.shape(values) for name, values in named.items()}
    if output.weights is not None:
        sizes["weights"] = np.shape(output.weights)
    size = next(iter(sizes.values()))
    for name, shape in sizes.items():
        if len(shape) != 1 or shape != size:
            raise InputError(f"model: {name!r} has shape {shape}, but the others have {size}")
    if size[0] == 0 or size[0] % block_size:
        raise InputError(
            f"model: it returned {size[0]} samples for a block of {block_size}; it must return "
            "as many, or a whole number of concatenated copies"
        )
    values = next(iter(named.values()))
    weights = jnp.ones(size, values.dtype) if output.weights is None else output.weights
    return Population(named, weights)


def _named_columns(x: Any, columns: Sequence[str]) -> dict[str, jax.Array]:
    if isinstance(x, Mapping):
        return {name: jnp.asarray(values) for name, values in x.items()}
    x = jnp.asarray(x)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2:
        raise InputError(f"model: x has shape {x.shape}; it must be (samples, columns)")
    if len(columns) != x.shape[1]:
        raise InputError(
            f"model: x has {x.shape[1]} columns, but model.columns names {len(columns)}: "
            f"{list(columns)}"
        )
    return {name: x[:, i] for i, name in enumerate(columns)}
