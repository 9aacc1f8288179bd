"""The units of parameters in the optimizer, and bounds that are too far away to matter."""

from collections.abc import Sequence

import numpy as np

from kdescent_dist.config.limits import rounded

# Parameters of these sizes keep the unit 1, so that a learning rate means what it says.
ORDINARY = (0.01, 100.0)
_ROUNDING = 1e-6  # a guess of 0.01 is ordinary in each precision
_FAR = 1e8  # in single precision, such a bound minus the parameter is the bound itself
_LARGEST = 37  # power of ten of the largest unit in single precision


def scales_of(
    given: Sequence[float | None],
    guess: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    fixed: np.ndarray,
) -> np.ndarray:
    """The unit of each parameter (P,) in the optimizer: the given unit, or one from its size.

    The size is the width of the bounds if a parameter has two, else the absolute guess. A size
    within ``ORDINARY``, or unknown (a guess of 0), gives the unit 1. Another size gives the nearest
    power of ten. The unit of a fixed parameter, which the optimizer does not see, is 1.

    Args:
        given: the given units, None for a unit from the size.
        guess: (P,) values at the start.
        low, high: (P,) bounds, infinite for no bound.
        fixed: (P,) whether the parameter is held at its guess.
    """
    automatic = np.where(fixed, 1.0, _of_size(_sizes(guess, low, high)))
    return np.array([a if s is None else s for s, a in zip(given, automatic, strict=True)], float)


def _sizes(guess: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    guess = np.abs(np.asarray(guess, float))
    low, high = without_far(low, high, guess, np.ones(len(guess)))
    both = np.isfinite(low) & np.isfinite(high)
    size = np.where(both, np.where(both, high, 1.0) - np.where(both, low, 0.0), guess)
    # Reversed bounds and a guess that is no number are refused later.
    return np.where(np.isfinite(size) & (size > 0), size, 1.0)


def _of_size(size: np.ndarray) -> np.ndarray:
    powers = np.clip(np.rint(np.log10(size)), -_LARGEST, _LARGEST).astype(int)
    scale = np.array([float(f"1e{power}") for power in powers])  # 10.0**power may be rounded
    least, most = ORDINARY[0] * (1.0 - _ROUNDING), ORDINARY[1] * (1.0 + _ROUNDING)
    return np.where((size >= least) & (size <= most), 1.0, scale)


def without_far(
    low: np.ndarray, high: np.ndarray, guess: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (P,) without those too far away to matter, which become infinite.

    A bound is far if its absolute value is 1e8 times the guess, the scale and 1, or more, as in
    ``(-1e38, 1e38)``. Maps of such bounds would overflow, or lose the parameter in rounding.

    Args:
        low, high: (P,) bounds, infinite for no bound.
        guess: (P,) values at the start.
        scale: (P,) units of the parameters in the optimizer.
    """
    # A bound far beyond the scale would overflow in units of the scale.
    far = np.minimum(_FAR * np.maximum(np.maximum(np.abs(guess), scale), 1.0), 1e30 * scale)
    return np.where(np.abs(low) < far, low, -np.inf), np.where(np.abs(high) < far, high, np.inf)


def moved_inside(
    guess: np.ndarray, low: np.ndarray, high: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """The guess (P,), with each value on its bound moved inside.

    Such a value moves by 1e-3 of the width of the bounds, or of the scale if there is one bound.

    Args:
        guess: (P,) values at the start, of any precision; a bound is rounded to it.
        low, high: (P,) bounds, infinite for no bound.
        scale: (P,) units of the parameters in the optimizer.
    """
    kind = guess.dtype
    at_low, at_high = guess == rounded(low, kind), guess == rounded(high, kind)
    near_low, near_high = without_far(low, high, guess, scale)
    both = np.isfinite(near_low) & np.isfinite(near_high)
    width = np.where(both, near_high, 1.0) - np.where(both, near_low, 0.0)
    by = 1e-3 * np.where(both, width, scale)
    # At least to the next number: the distance may be below the rounding of the bound.
    up = np.maximum((guess + by).astype(kind), np.nextafter(guess, np.inf, dtype=kind))
    down = np.minimum((guess - by).astype(kind), np.nextafter(guess, -np.inf, dtype=kind))
    return np.where(at_low, up, np.where(at_high, down, guess))
