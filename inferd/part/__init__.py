"""A part of the server is one feature in one folder, like a module of nginx. It has RPCs, paths of REST, metrics, taps and hooks.

    part       `Part`, the hooks that the server calls
    method     one RPC: its handler, messages and limits
    resource   one path of REST: its verbs and limits
    operation  the entry of a path in /openapi.json
    bodies     JSON bodies of Triton's clients
    json_form  protobuf messages as JSON
    table      one metric

`inferd/parts.py` lists the parts. Never in here: one part, transports, models.
"""

from inferd.part import operation
from inferd.part.method import Method
from inferd.part.part import Part
from inferd.part.resource import Asked, Resource, Response
from inferd.part.table import Column, Table, counter, durations, gauge

__all__ = ["Asked", "Column", "Method", "Part", "Resource", "Response", "Table", "counter", "durations", "gauge", "operation"]
