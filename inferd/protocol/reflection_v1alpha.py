"""The messages of package grpc.reflection.v1alpha: those of v1 under an older name."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "grpc.reflection.v1alpha")
