"""Two models held against each other: their predictions on the same requests, and what a request costs each of them.

    sources      OLD and NEW: a file, a version in a repository, a server
    requests     what both are asked: random values, files of a folder, a record
    noise        how much OLD differs from itself in other batches
    performance  latency, throughput and CPU by turns; loading: load time and memory, in processes of their own
    run          puts these together into a report
    verdict      same, worse or inconclusive, check by check and in one sentence
    words, page  the report as text and JUnit, and as HTML

How outputs are compared is in inferd/compare. Never in here: a terminal's colours, options of a command line (inferd/cli/diff.py).
"""
