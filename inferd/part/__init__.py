"""A part of the server: one feature with its RPCs, paths of REST, metrics, taps and life, in a folder of its own, as nginx has modules.

    part       `Part`, the hooks that the server calls
    method     one RPC: how it is called, what it takes
    resource   one path of REST: its verbs and limits
    operation  what /openapi.json says of a path
    bodies     JSON bodies as Triton's clients send them
    json_form  protobuf messages as JSON
    table      one metric

`inferd/serving/parts/registry.py` lists the parts. Nothing in here knows a part, a transport or a model.
"""

from inferd.part import operation
from inferd.part.method import Method
from inferd.part.part import Part
from inferd.part.resource import Asked, Resource, Response
from inferd.part.table import Column, Table, counter, durations, gauge

__all__ = ["Asked", "Column", "Method", "Part", "Resource", "Response", "Table", "counter", "durations", "gauge", "operation"]
