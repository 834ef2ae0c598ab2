"""Error details (package google.rpc) with the Any and Duration that they are made of."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "google.rpc", "google.protobuf")
