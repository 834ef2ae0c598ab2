"""Comparisons of outputs and figures, for `inferd diff`, rollouts and `inferd bench`. It imports none of these.

    outputs      two dicts of arrays -> what differs; mergeable, for one request as for a million
    decisions    which outputs speak of one decision
    statistics   intervals, rank tests, resampling, evidence that holds at any time

Never in here: models, servers, files, what is decided.
"""
