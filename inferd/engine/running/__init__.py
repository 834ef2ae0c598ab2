"""Threads around a model that serves: preprocess, runs, retries, and the limit of a run."""
