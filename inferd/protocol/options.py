"""inferd's own options of a ModelConfig, and the messages of ModelControl, Feedback, Monitor and Rollouts (package inferd.v1)."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "inferd.v1")
