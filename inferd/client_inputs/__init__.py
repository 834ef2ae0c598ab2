"""Calling a model from a command line. arrays, inputs, raw and tables make arrays of files and words. targets is one interface to a server
and to an engine in this process. Never in here: flags, output, measuring."""
