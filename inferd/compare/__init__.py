"""Compares outputs and figures, for `inferd diff`, rollouts and `inferd bench`. It imports none of these.

    outputs      two dicts of arrays -> their differences; those of many requests can be merged
    decisions    which outputs belong to one decision
    statistics   intervals, rank tests, resampling, evidence that holds at any time

Never in here: models, servers, files, verdicts.
"""
