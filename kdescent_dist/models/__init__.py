"""The model protocol, and the models of the shipped experiments as templates for your own model.

``population`` has the protocol. ``block_model`` calls a model block by block, and checks the model.
``model_traits`` finds what a model does with its key and its parameters, ``row_checks`` what a
model does with the rows of its block.
"""

from kdescent_dist.models.population import Population

__all__ = ["Population"]
