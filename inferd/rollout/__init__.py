"""Rollouts: one version of a model takes the place of another by evidence. Never in here: transports, how a model is loaded."""
