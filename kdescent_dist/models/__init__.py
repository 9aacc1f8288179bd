"""The models of the shipped experiments: templates for a model of your own."""

from kdescent_dist.models.population import Population

__all__ = ["Population"]
