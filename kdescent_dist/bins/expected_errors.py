"""Errors that a model predicts for the counts of a catalog of the size of the training catalog.

The errors from the rows of the training catalog (Neyman) are tiny where a few rows are missing by
chance, and such counts then dominate chi-square. The errors that the model predicts (Pearson) do
not follow the noise of the data. Galaxies are drawn from the samples of the model, with
probabilities proportional to their weights v. With q the value of a sample, window included, and n
its contribution to the norm, both without the weight, the variance of a normalized count c is

    sum v (q - c n)^2 / sum v n^2  *  (sum of squares / square of the sum) of the training norm,

and that of a count is sum v q^2 times the weight of a row of the training catalog. To counts
without negative values, the variance of one more row is added, so that no error vanishes where the
model has no samples.
"""

from collections.abc import Mapping

from kdescent_dist.bins.pretrained import PretrainedBin


def unit_variances(pretrained: PretrainedBin, weight: float) -> dict[str, float]:
    """The variance of the numbers of a bin, for a mean squared contribution of 1; 0 if given.

    Args:
        pretrained: the bin.
        weight: sum of the weights of all training samples.

    Returns:
        The variances by name of the statistic; that of the weight in the bin has an empty name, and
        is for a weight of 1.
    """
    kind, in_bin = pretrained.bin.config.normalization, pretrained.training_sum
    counted = pretrained.counts is not None and in_bin > 0
    of_row = pretrained.number_err**2 / in_bin if counted else 0.0
    norm = {"conditional": in_bin, "density": weight, "counts": 0.0}[kind]
    of_count = pretrained.norm_square / norm**2 if norm > 0 else of_row
    found: Mapping[str, float] = {
        name: 0.0 if counts.given else of_count for name, counts in pretrained.statistics.items()
    }
    return {**found, "": of_row}
