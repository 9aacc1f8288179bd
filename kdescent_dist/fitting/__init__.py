"""The optimization loop.

``steps`` compiles many updates into one dispatch. ``loop`` runs dispatches, and saves, reports and
stops between dispatches. ``state`` is a pytree with everything that a resume needs. ``checkpoints``
store the state with a digest. ``coordinates`` are the variables of the optimizer: free parameters,
which ``logit_map`` frees of their bounds, or ``arctan_map`` as in diffopt. ``callbacks`` see every
step. ``finish`` takes Newton steps after the steps of the optimizer. ``dropin`` has diffopt's
``adam`` and ``bfgs``.
"""

from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.dropin import adam, bfgs
from kdescent_dist.fitting.loop import fit
from kdescent_dist.fitting.result import FitResult

__all__ = ["Bounds", "FitResult", "adam", "bfgs", "fit"]
