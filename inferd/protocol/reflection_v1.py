"""The messages of package grpc.reflection.v1."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "grpc.reflection.v1")
