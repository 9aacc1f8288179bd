"""Figures; one file per kind of figure."""
