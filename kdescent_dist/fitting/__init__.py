"""The loop.

``steps`` compiles many updates into one dispatch, ``loop`` runs dispatches and between them saves,
reports and stops. ``state`` is all that a resume needs, in one pytree. ``checkpoints`` keep the
state with a digest. ``coordinates`` are what the optimizer moves: parameters that are not fixed,
without ``bounds``. ``callbacks`` see every step. ``dropin`` has diffopt's ``adam`` and ``bfgs``.
"""

from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.dropin import adam, bfgs
from kdescent_dist.fitting.loop import FitResult, fit

__all__ = ["Bounds", "FitResult", "adam", "bfgs", "fit"]
