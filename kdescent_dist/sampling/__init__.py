"""The posterior of the parameters of a fit, by chains of the No-U-Turn Sampler.

``likelihood`` makes the likelihood of a fit from Python. ``target`` is the density that the chains
draw from, in variables in which it is nearly a standard normal distribution. ``chain`` moves one
chain by blackjax, and ``kept_chain`` saves its state. ``posterior`` carries out all chains.
``convergence`` tells whether the chains agree, ``summary`` puts numbers together, and ``netcdf``
writes the draws in a file that ArviZ opens.
"""

from kdescent_dist.sampling.likelihood import likelihood

__all__ = ["likelihood"]
