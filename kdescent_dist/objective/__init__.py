"""What a fit descends.

``chain_rule``: sums over blocks, loss of the sums, cotangent pulled back through each block, with
one collective each way. ``terms``: residuals between the sums of model and training catalog, and
their mean square. ``PopulationObjective`` puts them together, ``LossObjective`` wraps any function.
"""
