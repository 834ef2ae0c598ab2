"""Asking a model, for whoever does it from a command line: arrays out of files and words (arrays, inputs, raw, tables), and a server or
an engine in this process as one thing that responses (targets). Never in here: flags, what is shown, measuring."""
