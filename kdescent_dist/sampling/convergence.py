"""Whether chains agree: R-hat and effective sample sizes.

R-hat is the larger of those of the ranks and of the folded ranks of split chains, and effective
sample sizes are of the ranks (bulk) and of the quantiles at 5% and 95% (tail). All follow Vehtari,
Gelman, Simpson, Carpenter & Buerkner 2021 (Bayesian Analysis 16, 667).
"""

import numpy as np

FEWEST = 4  # draws of a chain
LARGEST_R_HAT, FEWEST_EFFECTIVE = 1.01, 100.0  # beyond which chains are warned of


def r_hat(draws: np.ndarray) -> float:
    """The R-hat of draws (chains, draws) of one number; NaN if all draws are equal."""
    folded = np.abs(draws - np.median(draws))
    return max(_r_hat(_normal_scores(_split(draws))), _r_hat(_normal_scores(_split(folded))))


def bulk_size(draws: np.ndarray) -> float:
    """Effective number of draws (chains, draws) for the center; NaN if all draws are equal."""
    return _effective_size(_normal_scores(_split(draws)))


def tail_size(draws: np.ndarray) -> float:
    """Effective number of draws (chains, draws) for the quantiles at 5% and 95%."""
    below = [_split(draws <= np.quantile(draws, level)).astype(float) for level in (0.05, 0.95)]
    return min(map(_effective_size, below))


def mean_error(draws: np.ndarray) -> float:
    """Monte Carlo error of the mean of draws (chains, draws)."""
    return float(np.std(draws, ddof=1) / np.sqrt(_effective_size(_split(draws))))


def _split(draws: np.ndarray) -> np.ndarray:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri  # slow to import
    from scipy.stats import rankdata

    ranks = rankdata(draws, method="average").reshape(draws.shape)
    return ndtri((ranks - 0.375) / (draws.size + 0.25))


def _r_hat(draws: np.ndarray) -> float:
    number = draws.shape[1]
    within = np.mean(np.var(draws, axis=1, ddof=1))
    between = number * np.var(np.mean(draws, axis=1), ddof=1)
    if not within > 0:
        return float("nan")
    return float(np.sqrt((between / within + number - 1) / number))


def _effective_size(draws: np.ndarray) -> float:
    """Number of independent draws of the same error, from autocorrelations of all chains."""
    chains, number = draws.shape
    covariances = _autocovariances(draws)
    within = np.mean(covariances[:, 0]) * number / (number - 1)
    variance = within * (number - 1) / number
    if chains > 1:
        variance += np.var(np.mean(draws, axis=1), ddof=1)
    if not variance > 0:
        return float("nan")
    correlations = 1 - (within - np.mean(covariances, axis=0)) / variance
    correlations[0] = 1.0
    # Sums of neighbors are positive and fall, but for noise (Geyer 1992).
    pairs = correlations[: number // 2 * 2].reshape(-1, 2).sum(axis=1)
    end = int(np.argmax(pairs < 0)) if np.any(pairs < 0) else len(pairs)
    falling = np.minimum.accumulate(pairs[:end])
    further = max(correlations[2 * end], 0.0) if 2 * end < number else 0.0
    time = max(-1 + 2 * float(np.sum(falling)) + further, 1 / np.log10(chains * number))
    return chains * number / time


def _autocovariances(draws: np.ndarray) -> np.ndarray:
    """Autocovariances (chains, lags) of draws (chains, draws), divided by the number of draws."""
    number = draws.shape[1]
    apart = draws - np.mean(draws, axis=1, keepdims=True)
    of_waves = np.fft.rfft(apart, n=2 * number, axis=1)
    return np.fft.irfft(np.abs(of_waves) ** 2, axis=1)[:, :number] / number
