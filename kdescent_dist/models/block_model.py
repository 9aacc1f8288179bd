"""A model as it is called: a block of samples at a time, with checks of what it returns."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.population import Population, as_population
from kdescent_dist.numerics.prng import block_key

Model = Callable[..., Any]


Made = Callable[[Any, Mapping[str, Any]], "Population"]


INPUT_WEIGHTS = "weights of the input catalog"  # a column that the model does not see


MARKED_ROWS = 3  # rows of the input catalog by which the order of copies is found out


@dataclass(frozen=True)
class BlockModel:
    """A model that makes its population block by block.

    Attributes:
        model: ``model(params, key, catalog) -> Population``.
        tree: the form in which the model takes its parameters.
        columns: column names, where the model returns a plain array.
        layout: the blocks.
    """

    model: Model
    tree: ParameterTree
    columns: tuple[str, ...]
    layout: SampleBlocks

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of their vector."""
        return self.tree.names

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
        output = self.model(self.tree.unflatten(params), block_key(key, block), catalog or size)
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
            InputError: it fails, a shape or column is wrong, a value is not finite, or copies of
                a row are side by side.
        """
        first, made = self._first(params, catalog), self._made()
        check_model(lambda params: made(params, first), params, required)
        with model_errors():
            self._check_copies(made, params, first)

    def check_copies(
        self,
        params: np.ndarray,
        catalog: Mapping[str, np.ndarray],
        columns: Collection[str] | None = None,
    ) -> None:
        """Check where a model that returns several copies of its block has those of one row.

        Some rows are replaced by others, one at a time, to see which samples change.

        Args:
            params: (parameters,) values at which to try it.
            catalog: columns of the input catalog, some rows of each; empty if generative.
            columns: those of the population to look at; by default all, and the weights.

        Raises:
            InputError: it fails, or copies of a row are side by side.
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
        # A model that sorts its samples may leave those of some rows where they are, but not so
        # of the same rows in another order.
        backwards = {name: values[::-1] for name, values in first.items()}
        found = _side_by_side(made, params, first, copies)
        if found and found & _side_by_side(made, params, backwards, copies):
            raise InputError(
                f"model: it returns the {copies} copies of each row side by side, where weights "
                "of the input catalog would go to other rows: return all rows once, then all of "
                "them again (jnp.concatenate or jnp.tile in place of jnp.repeat)"
            )

    def _made(self, columns: Collection[str] | None = None) -> Made:
        """What makes the population of the first block, or some of its columns, compiled."""

        def made(params: Any, catalog: Any) -> Population:
            population = self.population(params, jax.random.key(0), 0, catalog)
            if columns is None:
                return population
            return Population({name: population.x[name] for name in columns})

        return jax.jit(made)

    def _first(
        self, params: np.ndarray, catalog: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Rows for the first block, in the type of the parameters."""
        rows = np.arange(self.layout.block_size)
        return {n: values[rows % len(values)].astype(params.dtype) for n, values in catalog.items()}


def _arrays_of(population: Population) -> dict[str, np.ndarray]:
    arrays = {**population.x, "weights": population.weights}
    return {name: np.asarray(values) for name, values in arrays.items() if values is not None}


def _side_by_side(
    made: Made, params: np.ndarray, block: Mapping[str, np.ndarray], copies: int
) -> set[str]:
    """Columns, or the weights, in which a row seems to have its copies side by side."""
    known, beside, apart = _arrays_of(made(params, block)), set(), set()
    for row, changed in _with_one_row_changed(block):
        for name, values in _arrays_of(made(params, changed)).items():
            same = (values == known[name]) | (np.isnan(values) & np.isnan(known[name]))
            samples = np.flatnonzero(~same)
            if np.any(samples // copies != row):
                apart.add(name)
            elif np.any(samples % (len(values) // copies) != row):
                beside.add(name)
        if apart == known.keys():
            break
    return beside - apart


def _with_one_row_changed(
    block: Mapping[str, np.ndarray],
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Some rows, each with a block in which it is another row; none where all are the same."""
    table = np.stack(list(block.values()))
    size = table.shape[1]
    for row in sorted({size * i // (MARKED_ROWS + 1) for i in range(1, MARKED_ROWS + 1)}):
        others = np.flatnonzero(np.any(table != table[:, [row]], axis=0))
        if len(others):
            changed = table.copy()
            changed[:, row] = table[:, others[len(others) // 2]]
            yield row, dict(zip(block, changed, strict=True))


@contextmanager
def model_errors() -> Iterator[None]:
    """Explain what a model raises.

    Raises:
        InputError: in place of any error.
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
    """Trace a model on one block, then run it, and check what it returns.

    Args:
        block: from (parameters,) to the population of one block, traceable; best compiled.
        params: (parameters,) values at which to try it.
        required: columns that the bins need.

    Raises:
        InputError: it fails, a shape or column is wrong, or a value is not finite.
    """
    with model_errors():
        traced = jax.eval_shape(block, params)
    for name in required:
        if name not in traced.x:
            raise InputError(
                f"model: it returns no column {name!r}, which bins need; {closest(name, traced.x)}"
            )
    for name, values in {**traced.x, "weights": traced.weights}.items():
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise InputError(f"model: {name!r} is {values.dtype}, it must be floating point")
    population = jax.device_get(block(params))
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
