"""Fit stochastic population models to catalogs, on one device or on many."""
