"""The population that a model makes from one block of samples, and the model protocol.

A model is a plain function ``model(params, key, catalog, **options)`` which knows nothing of
devices. ``params`` maps parameter names to scalars, ``key`` is the random key of the block, and
``catalog`` is the block of the input catalog (column names to (n,) arrays) or, for a purely
generative model, the integer n. It returns a ``Population`` (or what one is made of) of n
samples, or of m n samples made of m concatenated copies of the block in its order, as when every
galaxy is drawn once red and once blue.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.block_layout import BlockLayout
from kdescent_dist.errors import InputError, closest
from kdescent_dist.random import block_key

Model = Callable[..., Any]
INPUT_WEIGHTS = "weights of the input catalog"  # a column that the model does not see


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


@dataclass(frozen=True)
class BlockModel:
    """A model that makes its population block by block.

    Attributes:
        model: ``model(params, key, catalog) -> Population``.
        names: parameter names, in the order of the parameter vector.
        columns: column names, where the model returns a plain array.
        layout: the blocks.
    """

    model: Model
    names: tuple[str, ...]
    columns: tuple[str, ...]
    layout: BlockLayout

    def population(
        self, params: jax.Array, key: jax.Array, block: jax.Array | int, catalog: Any
    ) -> Population:
        """The population of one block, padded samples having weight 0.

        Args:
            params: (parameters,) parameters.
            key: random key of the step.
            block: index of the block.
            catalog: its columns of the input catalog, each (block_size,), and their weights as
                the column ``INPUT_WEIGHTS``, if there are any; empty if generative.
        """
        size = self.layout.block_size
        weights = catalog.get(INPUT_WEIGHTS)
        catalog = {name: values for name, values in catalog.items() if name != INPUT_WEIGHTS}
        named = dict(zip(self.names, params, strict=True))
        output = self.model(named, block_key(key, block), catalog or size)
        population = as_population(output, self.columns, size)
        copies = population.size // size
        of_model = population.weights
        if weights is not None:
            of_model = of_model * jnp.tile(weights, copies)
        return Population(population.x, jnp.where(self.layout.mask(block, copies), of_model, 0))

    def check(
        self, params: np.ndarray, catalog: Mapping[str, np.ndarray], required: Sequence[str]
    ) -> None:
        """Trace the model on its first block, then run it, and check what it returns.

        Args:
            params: (parameters,) values at which to try it.
            catalog: columns of the input catalog, some rows of each; empty if generative.
            required: columns that the bins need.

        Raises:
            InputError: it fails, a shape or column is wrong, or a value is not finite.
        """
        rows = np.arange(self.layout.block_size)
        first = {
            n: values[rows % len(values)].astype(params.dtype) for n, values in catalog.items()
        }
        block = functools.partial(self.population, key=jax.random.key(0), block=0, catalog=first)
        check_model(block, params, required)


def check_model(
    block: Callable[[jax.Array], Population],
    params: jax.Array | np.ndarray,
    required: Sequence[str],
) -> None:
    """Trace a model on one block, then run it, and check what it returns.

    Args:
        block: from (parameters,) to the population of one block, traceable.
        params: (parameters,) values at which to try it.
        required: columns that the bins need.

    Raises:
        InputError: it fails, a shape or column is wrong, or a value is not finite.
    """
    try:
        traced = jax.eval_shape(block, params)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"model: it asks for {error}, which is neither in parameters nor in input.columns"
        ) from error
    except Exception as error:
        raise InputError(f"model: it failed with {type(error).__name__}: {error}") from error
    for name in required:
        if name not in traced.x:
            raise InputError(
                f"model: it returns no column {name!r}, which bins need; {closest(name, traced.x)}"
            )
    for name, values in {**traced.x, "weights": traced.weights}.items():
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise InputError(f"model: {name!r} is {values.dtype}, it must be floating point")
    population = jax.device_get(jax.jit(block)(params))
    for name, values in {**population.x, "weights": population.weights}.items():
        bad = int(np.sum(~np.isfinite(values)))
        if bad:
            raise InputError(
                f"model: {bad} of {values.size} values of {name!r} are not finite at the guess"
            )
    if np.any(population.weights < 0):
        raise InputError("model: it returns negative weights at the guess")
    if not np.sum(population.weights) > 0:
        raise InputError("model: its weights add up to zero at the guess")
