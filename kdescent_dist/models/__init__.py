"""The model protocol, and the models of the shipped experiments as templates for your own model.

``population`` has the protocol. ``block_model`` calls a model block by block, and checks the model.
"""

from kdescent_dist.models.population import Population

__all__ = ["Population"]
