"""The parameters of a fit, for all rooms: their tree and vector, names, guess, bounds and truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.limits import check_within, limits_of
from kdescent_dist.config.near_bound import near_bound
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.config.schema import ParameterConfig


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of a fit. All vectors are in the order of the names.

    Attributes:
        tree: the form in which the model takes the parameters.
        guess: (P,) values that the fit begins with.
        low: (P,) lower bounds, infinite where there is none.
        high: (P,) upper bounds.
        truth: (P,) true values, NaN where unknown. The fit does not see them.
        labels: text for plots, which may have mathematics of TeX; None for the name.
    """

    tree: ParameterTree
    guess: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray
    labels: tuple[str | None, ...]

    @classmethod
    def of_config(
        cls, configs: Mapping[str, ParameterConfig], dtype: Any = np.float64
    ) -> "Parameters":
        """The parameters of a config, which are scalars by name, in its order.

        Args:
            configs: the section ``parameters`` of a config.
            dtype: floating-point type of the guess.
        """
        each = list(configs.values())
        return cls(
            ParameterTree.of_names(tuple(configs)),
            np.asarray([one.guess for one in each], dtype),
            *limits_of([(one.low, one.high) for one in each], len(each)),
            np.array([np.nan if one.truth is None else one.truth for one in each], float),
            tuple(one.label for one in each),
        )

    @classmethod
    def of_vector(
        cls, guess: Any, names: Sequence[str] | None = None, bounds: Any = None
    ) -> "Parameters":
        """Parameters that the model, or the loss, takes as one vector.

        Args:
            guess: (P,) values; integers become floating-point numbers.
            names: by default ``p0``, ``p1``, ...
            bounds: one ``(low, high)`` or None for each parameter; None for no bounds at all.

        Raises:
            InputError: the numbers of names, of bounds and of values are not the same.
        """
        start = np.asarray(guess)
        if not np.issubdtype(start.dtype, np.floating):
            start = start.astype(np.result_type(float))
        size = len(start)
        names = tuple(names or (f"p{i}" for i in range(size)))
        if len(names) != size:
            raise InputError(f"names: {len(names)} names for a guess of {size} parameters")
        low, high = limits_of(bounds, size)
        return cls(ParameterTree(names), start, low, high, np.full(size, np.nan), (None,) * size)

    @classmethod
    def of_tree(
        cls,
        guess: Any,
        *,
        bounds: Mapping[str, Any] | None = None,
        truth: Any = None,
        labels: Mapping[str, str] | None = None,
    ) -> "Parameters":
        """Parameters that the model takes as nested dicts, tuples, or any other pytree.

        Args:
            guess: the tree, of numbers and arrays.
            bounds: ``(low, high)`` by the path of an entry, or of a branch or an array for all of
                its entries: ``{"galaxies.slope": (0, 1), "weights": (0, None)}``.
            truth: true values, a tree of the same form.
            labels: text for plots by the path of an entry.

        Raises:
            InputError: a leaf of a tree is no number, the trees differ in form, or a path leads
                nowhere.
        """
        tree = ParameterTree.of(guess)
        pairs: list[Any] = [None] * len(tree.names)
        texts: list[Any] = [None] * len(tree.names)
        for given, entries, what in ((bounds, pairs, "bounds"), (labels, texts, "labels")):
            for path, value in (given or {}).items():
                for i in tree.below(path, what):
                    entries[i] = value
        known = np.full(len(tree.names), np.nan) if truth is None else tree.flatten(truth, "truth")
        low, high = limits_of(pairs, len(tree.names))
        start = tree.flatten(guess)
        if not np.issubdtype(start.dtype, np.floating):
            start = start.astype(np.result_type(float))
        return cls(tree, start, low, high, known.astype(float), tuple(texts))

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each parameter: its path in the tree."""
        return self.tree.names

    def __len__(self) -> int:
        return len(self.tree.names)

    def check(self, prefix: str = "") -> None:
        """Check that each guess is a finite number strictly within its bounds.

        Args:
            prefix: what stands before the names in messages.

        Raises:
            InputError: names the first parameter that is not.
        """
        names = [f"{prefix}{name}" for name in self.names]
        check_within(self.guess, self.low, self.high, names, "guess")

    def with_guess(self, guess: np.ndarray) -> "Parameters":
        """The same parameters with another guess (P,)."""
        return replace(self, guess=guess)

    def named(self, values: Any) -> dict[str, Any]:
        """The values (P,) by the names of the parameters, as plain numbers."""
        values = values.tolist() if hasattr(values, "tolist") else values
        return dict(zip(self.names, values, strict=True))

    def by_name(self) -> dict[str, ParameterConfig]:
        """What is known of each parameter, in the form of a config; None for what is missing."""

        def known(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        each = zip(self.guess, self.low, self.high, self.truth, self.labels, strict=True)
        return {
            name: ParameterConfig(float(guess), known(low), known(high), known(truth), label)
            for name, (guess, low, high, truth, label) in zip(self.names, each, strict=True)
        }

    def near_bounds(self, values: Any) -> tuple[str, ...]:
        """Which bound each of the values (P,) has run into: ``low``, ``high`` or "".

        See ``near_bound``. A value that is unknown is NaN.
        """
        each = zip(values, self.low, self.high, self.guess.astype(float), strict=True)
        return tuple(near_bound(*of_one) for of_one in each)
