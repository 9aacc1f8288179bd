"""Guesses of many starts of a fit."""

import numpy as np

from kdescent_dist.config.parameters import Parameters

INSIDE = 1e-3  # distance of guesses from their bounds, relative to the width


def guesses(parameters: Parameters, number: int, seed: int) -> np.ndarray:
    """Guesses (number, P) from a scrambled Sobol sequence (Sobol 1967; Owen 1998).

    The first one is the guess of the parameters. The others have the distribution of the prior
    within the bounds, where its quantiles are known. Without, they are spread evenly between two
    bounds; or have a normal distribution about the guess, whose width is the size of the guess, or
    its scale if that is larger; beyond a bound, they are reflected.

    Args:
        parameters: the parameters; those that are fixed keep their guess.
        number: number of guesses.
        seed: seed of the scrambling. More guesses of the same seed begin with the same ones.
    """
    from scipy.stats import norm, qmc  # slow to import

    low, high = np.asarray(parameters.low, float), np.asarray(parameters.high, float)
    guess = np.asarray(parameters.guess, float)
    sequence = qmc.Sobol(len(guess), scramble=True, rng=np.random.default_rng(seed))
    # A power of two keeps the balance of the sequence.
    power = int(np.ceil(np.log2(max(number, 2))))
    share = np.clip(sequence.random_base2(power)[: number - 1], INSIDE, 1 - INSIDE)
    width = np.maximum(np.abs(guess), parameters.scale)
    spread = guess + width * norm.ppf(share)
    from_low, from_high = np.isfinite(low), np.isfinite(high)
    both, one = from_low & from_high, from_low ^ from_high
    spread[:, both] = low[both] + share[:, both] * (high - low)[both]
    inner = np.where(from_low, low, high)[one]
    away = np.abs(spread[:, one] - inner)
    spread[:, one] = inner + np.where(from_low[one], away, -away)
    for i, prior in enumerate(parameters.priors):
        known = None if prior is None else prior.quantiles(share[:, i], low[i], high[i])
        if known is not None:
            spread[:, i] = known
    spread = np.where(parameters.fixed, guess, spread)
    found = np.concatenate([guess[None], spread]).astype(parameters.guess.dtype)
    # In the precision of the fit, a value may be rounded to a bound.
    return np.array([parameters.with_guess(one).inside().guess for one in found])
