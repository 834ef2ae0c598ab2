"""The messages of package grpc.health.v1."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "grpc.health.v1")
