"""Self-contained HTML pages of figures and text."""
