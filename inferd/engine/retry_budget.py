"""How many failed runs may be run again. A pure policy, after grpc-core's retry throttling: a bucket of tokens, no clock.

A run of several requests fails by one of them, or because the model is broken. Run again in parts, the first case saves most of the
requests, the second none. So a part that fails costs a token, and a part that succeeds earns SUCCESS_TOKENS:

- One bad request in n costs log2(n) tokens at most and earns more: its neighbours are saved however often that happens. So are those of
  several, up to three in four.
- A model that fails always spends MAX_TOKENS once. From then on one failed run in about twenty is run again, in two parts, to see whether
  it is still broken.

Never in here: runs, requests, errors.
"""

from __future__ import annotations

__all__ = ["RetryBudget"]

MAX_TOKENS = 64.0
SUCCESS_TOKENS = 16.0  # what a part that succeeds brings
REFUSAL_TOKENS = 0.1  # what a failed run brings that is not run again: two tokens, which two parts cost, after twenty of them


class RetryBudget:
    """The tokens of one instance."""

    def __init__(self) -> None:
        self.tokens = MAX_TOKENS

    def admits(self) -> bool:
        """Whether a run that failed may be run again in parts. Counts a refusal."""
        if self.tokens >= 1.0:
            return True
        self.tokens += REFUSAL_TOKENS
        return False

    def succeeded(self) -> None:
        """A part was run again, and its requests have responses."""
        self.tokens = min(self.tokens + SUCCESS_TOKENS, MAX_TOKENS)

    def failed(self) -> None:
        """A part was run again, and failed."""
        self.tokens -= 1.0
