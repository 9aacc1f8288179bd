"""Calls of a model, one block of samples at a time, and checks of its population."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.model_traits import (
    Making,
    check_key,
    drawn_in_loops,
    uncached,
    without_gradient,
)
from kdescent_dist.models.population import Population, as_population
from kdescent_dist.models.row_checks import Made, mixed_columns, side_by_side
from kdescent_dist.numerics.full_precision import full_precision
from kdescent_dist.numerics.prng import block_key

Model = Callable[..., Any]


INPUT_WEIGHTS = "weights of the input catalog"  # a column that is not passed to the model


@dataclass(frozen=True)
class BlockModel:
    """A model that makes its population block by block.

    Attributes:
        model: ``model(params, key, catalog) -> Population``, see ``population``.
        tree: the tree in which the model takes its parameters.
        columns: column names for a model that returns a plain array.
        layout: the sample blocks.
        deterministic: whether the model is meant to ignore its key.
    """

    model: Model
    tree: ParameterTree
    columns: tuple[str, ...]
    layout: SampleBlocks
    deterministic: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the vector."""
        return self.tree.names

    def population(
        self, params: jax.Array, key: jax.Array, block: jax.Array | int, catalog: Any
    ) -> Population:
        """The population of one block; padding samples have weight 0.

        Args:
            params: (parameters,) parameters.
            key: random key of the step.
            block: index of the block.
            catalog: the block of the input catalog, each column (block_size,), with optional
                weights in the column ``INPUT_WEIGHTS``; empty for a generative model.

        Raises:
            InputError: the shapes of the population do not fit together.
        """
        return self.population_of_tree(self.tree.unflatten(params), key, block, catalog)

    def population_of_tree(
        self, tree: Any, key: jax.Array, block: jax.Array | int, catalog: Any
    ) -> Population:
        """The population of one block, see ``population``, for the tree of parameters."""
        size = self.layout.block_size
        weights = catalog.get(INPUT_WEIGHTS)
        catalog = {name: values for name, values in catalog.items() if name != INPUT_WEIGHTS}
        with full_precision():
            output = self.model(tree, block_key(key, block), catalog or size)
        population = as_population(output, self.columns, size)
        copies = population.size // size
        of_model = population.weights
        if weights is not None:
            of_model = of_model * jnp.tile(weights, copies)
        return Population(population.x, jnp.where(self.layout.mask(block, copies), of_model, 0))

    def check(
        self,
        params: np.ndarray,
        catalog: Mapping[str, np.ndarray],
        required: Sequence[str],
        fixed: Collection[str] = (),
    ) -> list[str]:
        """Trace and run the model on its first block, and check the population.

        Args:
            params: (parameters,) parameters to try.
            catalog: columns of the input catalog, or some of its rows; empty for a generative
                model.
            required: columns that the bins need.
            fixed: names of parameters that a fit does not move.

        Returns:
            Warnings, one line each, of what a fit would suffer from: see ``traits``, and columns in
            which rows of a block look at each other.

        Raises:
            InputError: see ``check_model``, ``check_copies`` and ``traits``.
        """
        first, made = self._first(params, catalog), self._made()
        check_model(lambda params: made(params, first), params, required)
        with model_errors():
            self._check_copies(made, params, first)
            mixed = mixed_columns(made, params, first)
        warnings = self.traits(params, catalog, fixed)
        if mixed:
            drawn = drawn_in_loops(*self._traced(params, catalog))
            mixed = [name for name in mixed if name not in drawn]
        if mixed:
            warnings.append(
                f"model: {', '.join(mixed)} of a row depend on other rows of its block: how rows "
                "are cut into blocks decides the result; let no row look at another (the number "
                "of a row in the catalog is not its place in the block)"
            )
        return warnings

    def traits(
        self,
        params: np.ndarray,
        catalog: Mapping[str, np.ndarray],
        fixed: Collection[str] = (),
    ) -> list[str]:
        """Check what the model does with key and parameters, by tracing it.

        The arguments are as in ``check``.

        Returns:
            Warnings, one line each: a model that ignores its key, parameters without a gradient.

        Raises:
            InputError: the model cannot be traced, or two populations of the same key differ.
        """
        making, arguments = self._traced(params, catalog)
        with model_errors():
            random = check_key(making, arguments)
            numbers = self.tree.unflatten(np.arange(len(self.names)))
            stuck = without_gradient(making, arguments, numbers, self.names)
            stuck = [name for name in stuck if name not in fixed]
        warnings = []
        if not random and not self.deterministic:
            warnings.append(
                "model: the population does not depend on key: if that is meant, set "
                "model.deterministic=true; else draw random numbers with key"
            )
        if stuck:
            warnings.append(
                f"model: the population depends on {', '.join(stuck)}, but has no gradient there: "
                "a fit does not move it; in place of a draw such as bernoulli, return both "
                "outcomes, weighted by their probabilities"
            )
        return warnings

    def _traced(
        self, params: np.ndarray, catalog: Mapping[str, np.ndarray]
    ) -> tuple[Making, tuple[Any, ...]]:
        """The function that ``model_traits`` traces, and its arguments."""
        plain = replace(self, model=uncached(self.model))

        def making(tree: Any, key: jax.Array, block: Any) -> Any:
            made = plain.population_of_tree(tree, key, 0, block)
            floating = {n: v for n, v in made.x.items() if jnp.issubdtype(v.dtype, jnp.floating)}
            return floating, made.weights

        tree = self.tree.unflatten(jnp.asarray(params))
        return making, (tree, jax.random.key(0), self._first(params, catalog))

    def check_copies(
        self,
        params: np.ndarray,
        catalog: Mapping[str, np.ndarray],
        columns: Collection[str] | None = None,
    ) -> None:
        """Check that a model of several copies of its block does not return them side by side.

        The check replaces some rows by other rows, one at a time, and finds the samples that
        change.

        Args:
            params: (parameters,) parameters to try.
            catalog: columns of the input catalog, or some of its rows; empty for a generative
                model, which passes.
            columns: columns of the population to compare; by default all columns and the weights.

        Raises:
            InputError: the model cannot be traced, or returns the copies of a row side by side.
                Errors in running the model are not converted.
        """
        made = self._made(columns)
        self._check_copies(made, params, self._first(params, catalog))

    def _check_copies(
        self, made: Made, params: np.ndarray, first: Mapping[str, np.ndarray]
    ) -> None:
        if not first:
            return
        with model_errors():
            shape = jax.eval_shape(made, params, first)
        copies = shape.size // self.layout.block_size
        if copies == 1:
            return
        # Both orders of rows are tested: in one order, a model that sorts its samples may only
        # seem to put copies side by side.
        backwards = {name: values[::-1] for name, values in first.items()}
        found = side_by_side(made, params, first, copies)
        if found and found & side_by_side(made, params, backwards, copies):
            raise InputError(
                f"model: it returns the {copies} copies of each row side by side, where weights "
                "of the input catalog would go to other rows: return all rows once, then all of "
                "them again (jnp.concatenate or jnp.tile in place of jnp.repeat)"
            )

    def _made(self, columns: Collection[str] | None = None) -> Made:
        """The compiled function that makes the population of the first block, or some columns."""

        def made(params: Any, catalog: Any) -> Population:
            population = self.population(params, jax.random.key(0), 0, catalog)
            if columns is None:
                return population
            return Population({name: population.x[name] for name in columns})

        return jax.jit(made)

    def _first(
        self, params: np.ndarray, catalog: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Rows for the first block, repeated to fill it, in the dtype of the parameters."""
        rows = np.arange(self.layout.block_size)
        return {n: values[rows % len(values)].astype(params.dtype) for n, values in catalog.items()}


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn any error of a model into an explanation.

    Raises:
        InputError: the model raised an error of any type.
    """
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"model: it asks for {error}, which is neither in parameters nor in input.columns"
        ) from error
    except Exception as error:
        raise InputError(f"model: it failed with {type(error).__name__}: {error}") from error


def check_model(
    block: Callable[[Any], Population],
    params: jax.Array | np.ndarray,
    required: Sequence[str],
) -> None:
    """Trace and run a model on one block, and check the population.

    Args:
        block: function from (parameters,) to the population of one block; traceable, preferably
            compiled.
        params: (parameters,) parameters to try.
        required: columns that the bins need.

    Raises:
        InputError: tracing fails, a shape or dtype is wrong, a column is missing, a value is not
            finite, a weight is negative, or all weights are 0.
    """
    with model_errors():
        traced = jax.eval_shape(block, params)
    for name in required:
        if name not in traced.x:
            raise InputError(
                f"model: it returns no column {name!r}, which bins need; {closest(name, traced.x)}"
            )
    for name, values in [*traced.x.items(), ("weights", traced.weights)]:
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise InputError(f"model: {name!r} is {values.dtype}, it must be floating point")
    population = jax.device_get(block(params))
    for name, values in [*population.x.items(), ("weights", population.weights)]:
        bad = int(np.sum(~np.isfinite(values)))
        if bad:
            raise InputError(
                f"model: {bad} of {values.size} values of {name!r} are not finite at the guess"
            )
    if np.any(population.weights < 0):
        raise InputError("model: it returns negative weights at the guess")
    if not np.sum(population.weights) > 0:
        raise InputError("model: its weights add up to zero at the guess")
