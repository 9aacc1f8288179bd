"""The parameters of a fit, for all rooms: tree, guess, bounds, scale, priors, fixed parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.limits import check_within, limits_of, rounded
from kdescent_dist.config.near_bound import near_bound
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.config.priors import Prior, prior_of, within_supports
from kdescent_dist.config.scales import moved_inside, scales_of
from kdescent_dist.config.schema import ParameterConfig
from kdescent_dist.config.validation import above


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of a fit. All vectors are in the order of the names.

    Attributes:
        tree: the form in which the model takes the parameters.
        guess: (P,) values at the start of the fit.
        low: (P,) lower bounds, -infinity for no bound.
        high: (P,) upper bounds, infinity for no bound.
        truth: (P,) true values, NaN if unknown. The fit does not use true values.
        labels: text for plots, with optional TeX mathematics; None for the name.
        fixed: (P,) whether the parameter is held at its guess.
        scale: (P,) units of the parameters in the optimizer, by default those of ``scales_of``.
        priors: P priors, None for no prior; the bounds are also those of the priors.
    """

    tree: ParameterTree
    guess: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray
    labels: tuple[str | None, ...]
    fixed: np.ndarray
    scale: np.ndarray
    priors: tuple[Prior | None, ...]

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Names of the parameters that a fit does not move."""
        return tuple(n for n, fixed in zip(self.tree.names, self.fixed, strict=True) if fixed)

    @classmethod
    def of_config(
        cls, configs: Mapping[str, ParameterConfig], dtype: Any = np.float64
    ) -> "Parameters":
        """The scalar parameters of a config, in the order of the config.

        Args:
            configs: the section ``parameters`` of a config.
            dtype: floating-point type of the guess.

        Raises:
            InputError: a prior is not valid.
        """
        each = list(configs.values())
        priors = tuple(prior_of(p.prior, f"parameters.{n}.prior") for n, p in configs.items())
        guess = np.asarray([one.guess for one in each], dtype)
        low, high = limits_of([(one.low, one.high) for one in each], len(each))
        low, high = within_supports(low, high, priors)
        fixed = np.array([one.fixed for one in each], bool)
        return cls(
            ParameterTree.of_names(tuple(configs)),
            guess,
            low,
            high,
            np.array([np.nan if one.truth is None else one.truth for one in each], float),
            tuple(one.label for one in each),
            fixed,
            scales_of([one.scale for one in each], guess, low, high, fixed),
            priors,
        )

    @classmethod
    def of_vector(
        cls,
        guess: Any,
        names: Sequence[str] | None = None,
        bounds: Any = None,
        *,
        fixed: Sequence[str] = (),
        scale: Mapping[str, float] | None = None,
        priors: Mapping[str, Any] | None = None,
    ) -> "Parameters":
        """Parameters that the model or the loss takes as one vector.

        Args:
            guess: (P,) values; integers become floating-point numbers.
            names: (P,) names, by default ``p0``, ``p1``, ...
            bounds: one ``(low, high)`` or None per parameter; None for no bounds at all.
            fixed: names of the parameters to hold at their guess.
            scale: names to scales, by default those of ``scales_of``.
            priors: names to priors, see ``prior_of``.

        Raises:
            InputError: the numbers of names, bounds and values differ, a name is unknown, ``fixed``
                is a string, a scale is not finite and above 0, or a prior is not valid.
        """
        start = np.asarray(guess)
        if not np.issubdtype(start.dtype, np.floating):
            start = start.astype(np.result_type(float))
        size = len(start)
        names = tuple(names or (f"p{i}" for i in range(size)))
        if len(names) != size:
            raise InputError(f"names: {len(names)} names for a guess of {size} parameters")
        low, high = limits_of(bounds, size)
        tree = ParameterTree(names)
        unknown = np.full(size, np.nan)
        held, given, known = _fixed(tree, fixed), _scales(tree, scale), _priors(tree, priors)
        low, high = within_supports(low, high, known)
        scales = scales_of(given, start, low, high, held)
        return cls(tree, start, low, high, unknown, (None,) * size, held, scales, known)

    @classmethod
    def of_tree(
        cls,
        guess: Any,
        *,
        bounds: Mapping[str, Any] | None = None,
        truth: Any = None,
        labels: Mapping[str, str] | None = None,
        fixed: Sequence[str] = (),
        scale: Mapping[str, float] | None = None,
        priors: Mapping[str, Any] | None = None,
    ) -> "Parameters":
        """Parameters that the model takes as nested dicts, tuples, or any other pytree.

        A path names one entry, or a branch or array with all entries below it. A later path
        overrides an earlier path: ``{"galaxies": (0, None), "galaxies.slope": (0, 1)}``.

        Args:
            guess: a pytree of numbers and arrays.
            bounds: paths to ``(low, high)``.
            truth: true values, a tree with the same names.
            labels: paths to text for plots.
            fixed: paths of the parameters to hold at their guess.
            scale: paths to scales, by default those of ``scales_of``.
            priors: paths to priors, see ``prior_of``; each entry below a path has this prior.

        Raises:
            InputError: a leaf is not numeric, the trees have different names, a path is unknown,
                ``fixed`` is a string, a scale is not finite and above 0, or a prior is not valid.
        """
        tree = ParameterTree.of(guess)
        known = np.full(len(tree.names), np.nan) if truth is None else tree.flatten(truth, "truth")
        low, high = limits_of(_by_path(tree, bounds, "bounds"), len(tree.names))
        start = tree.flatten(guess)
        if not np.issubdtype(start.dtype, np.floating):
            start = start.astype(np.result_type(float))
        texts = tuple(_by_path(tree, labels, "labels"))
        held, given, own = _fixed(tree, fixed), _scales(tree, scale), _priors(tree, priors)
        low, high = within_supports(low, high, own)
        scales = scales_of(given, start, low, high, held)
        return cls(tree, start, low, high, known.astype(float), texts, held, scales, own)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each parameter: its path in the tree."""
        return self.tree.names

    def __len__(self) -> int:
        return len(self.tree.names)

    def check(self, prefix: str = "") -> None:
        """Check the bounds, and that each guess is finite and strictly between its bounds.

        The guess of a fixed parameter may also lie on a bound.

        Args:
            prefix: prefix of the names in messages.

        Raises:
            InputError: bounds or a guess are bad (names the first such parameter), or all
                parameters are fixed.
        """
        names = [f"{prefix}{name}" for name in self.names]
        kind = self.guess.dtype
        at_low = self.fixed & (self.guess == rounded(self.low, kind))
        at_high = self.fixed & (self.guess == rounded(self.high, kind))
        low, high = np.where(at_low, -np.inf, self.low), np.where(at_high, np.inf, self.high)
        check_within(self.guess, low, high, names, "guess")
        if len(self) and self.fixed.all():
            raise InputError("parameters: all of them are fixed: there is nothing to fit")

    def with_guess(self, guess: np.ndarray) -> "Parameters":
        """The same parameters with another guess (P,)."""
        return replace(self, guess=guess)

    def inside(self) -> "Parameters":
        """The same parameters, with each guess on its bound moved inside, see ``moved_inside``.

        The guess of a fixed parameter stays.
        """
        moved = moved_inside(self.guess, self.low, self.high, self.scale)
        return self.with_guess(np.where(self.fixed, self.guess, moved))

    def named(self, values: Any) -> dict[str, Any]:
        """The values (P,) by the names of the parameters, as plain numbers."""
        values = values.tolist() if hasattr(values, "tolist") else values
        return dict(zip(self.names, values, strict=True))

    def by_name(self) -> dict[str, ParameterConfig]:
        """Each parameter as a section of a config; missing values are None."""

        def known(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            name: ParameterConfig(
                guess=float(self.guess[i]),
                low=known(self.low[i]),
                high=known(self.high[i]),
                truth=known(self.truth[i]),
                label=self.labels[i],
                fixed=bool(self.fixed[i]),
                scale=float(self.scale[i]),
                prior=None if (prior := self.priors[i]) is None else prior.to_config(),
            )
            for i, name in enumerate(self.names)
        }

    def near_bounds(self, values: Any) -> tuple[str, ...]:
        """The bound near each of the values (P,): ``low``, ``high`` or "", see ``near_bound``.

        An unknown value is NaN. The result for a fixed parameter is "".
        """
        each = zip(values, self.low, self.high, self.guess.astype(float), strict=True)
        free = zip(~self.fixed, each, strict=True)
        return tuple(near_bound(*of_one) if moves else "" for moves, of_one in free)


def _by_path(tree: ParameterTree, given: Mapping[str, Any] | None, what: str) -> list[Any]:
    """One value for each entry of a tree, None if no path includes the entry."""
    entries: list[Any] = [None] * len(tree.names)
    for path, value in (given or {}).items():
        for i in tree.below(path, what):
            entries[i] = value
    return entries


def _fixed(tree: ParameterTree, paths: Sequence[str]) -> np.ndarray:
    if isinstance(paths, str):
        raise InputError(f"fixed: {paths!r} must be a list of paths")
    return np.array(_by_path(tree, dict.fromkeys(paths, True), "fixed"), bool)


def _scales(tree: ParameterTree, given: Mapping[str, float] | None) -> list[float | None]:
    for path, value in (given or {}).items():
        above(f"scale: {path}", value, 0)
    return _by_path(tree, given, "scale")


def _priors(tree: ParameterTree, given: Mapping[str, Any] | None) -> tuple[Prior | None, ...]:
    read = {path: prior_of(prior, f"priors: {path}") for path, prior in (given or {}).items()}
    return tuple(_by_path(tree, read, "priors"))
