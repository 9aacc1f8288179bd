"""Figures and words, put together to self-contained HTML pages."""
