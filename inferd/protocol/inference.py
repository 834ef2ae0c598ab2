"""The messages and enums of package inference: the Open Inference Protocol with Triton's extensions, and ModelConfig."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "inference")
