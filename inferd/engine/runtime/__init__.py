"""Runtimes: their contract, the table of them, and one package for each."""
