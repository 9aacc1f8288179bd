"""The population that a model makes from one block of samples, and the model protocol.

A model is a plain function ``model(params, key, catalog, **options)`` that knows no devices.
``params`` is the tree of parameters, such as a dict of names to scalars. ``key`` is the random key
of the block, from which all random numbers follow: numbers of ``numpy.random`` are refused.
``catalog`` is the block of the input catalog (column names to (n,) arrays), or the integer n for a
generative model. The model returns a ``Population``, a pair (x, weights), or x. A population has n
samples; or m n samples, which are m concatenated copies of the block in its order, as if each
galaxy is drawn once red and once blue. Copies side by side (``jnp.repeat``) are refused: weights of
the input catalog would go to wrong rows.
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
        x: column names to (n,) arrays; or an (n, d) array with the column names in
            ``model.columns``.
        weights: (n,) non-negative weights, None for weights of 1.
    """

    x: Any
    weights: Any = None

    @property
    def size(self) -> int:
        if isinstance(self.x, Mapping):
            return len(next(iter(self.x.values())))
        return len(self.x)


def as_population(output: Any, columns: Sequence[str], block_size: int) -> Population:
    """Turn the output of a model into a population with named columns and explicit weights.

    Args:
        output: a ``Population``, a pair (x, weights), or x alone.
        columns: names of the columns of an (n, d) array x.
        block_size: number of samples in the block.

    Raises:
        InputError: there are no columns, their shapes differ, ``columns`` does not fit, or the
            number of samples is not a multiple of ``block_size``.
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
