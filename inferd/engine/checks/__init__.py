"""Checks of a model while it loads: rows, cost, memory, and the results that are kept."""
