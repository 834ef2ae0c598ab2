"""Two models held against each other: their predictions on the same requests, and what a request costs each of them.

    outputs.py       two dicts of arrays -> what differs; mergeable, for one request as for a million. The shadow uses it, too
    noise.py         how much a model differs from itself in other batches
    performance.py   latency, throughput, CPU, memory and load time, by turns
    verdict.py       same, worse or inconclusive, in one sentence
    sources.py       OLD and NEW: a file, a version in a repository, a server; and the requests
    run.py           puts these together

Never in here: a terminal's colours, options of a command line (inferd/cli/diff.py).
"""
