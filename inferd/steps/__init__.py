"""Steps before and after the graph: what clients send becomes what the graph takes, and what it gives what clients get.

A list of steps of a model's configuration (proto/inferd/v1/steps.proto) is compiled once, at load, into a pipeline (pipeline.py). All
pipelines of a model are its plan (plan.py). Never in here: queues, threads, onnxruntime, the wire format of requests.
"""
