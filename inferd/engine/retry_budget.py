"""Which failed runs may be run again. A pure policy, after grpc-core's retry throttling: a bucket of tokens, no clock.

A run of several requests fails by one of them, or because the model is broken. Run again in parts, the first case saves most of the
requests, the second none. So a part that fails costs a token, and a part that succeeds earns SUCCESS_TOKENS:

- While there are tokens, a failed run is divided until each bad request has failed alone. One bad request in n costs 2 log2(n) runs and
  earns more than it costs, so that its neighbours are saved however often that happens.
- A model that fails always spends the tokens at once. From then on a failed run brings REFUSAL_TOKENS, so that there is one run more in
  about ten, to see whether the model is still broken.
- A client is on record whose requests failed in a part of their own. Without tokens these fail as a whole, and the requests of the other
  clients are run again, and divided if they fail: each client gets on record once. So a client that floods the model with bad requests
  does not use up what protects its neighbours.

Never in here: runs, requests, errors.
"""

from __future__ import annotations

__all__ = ["MAX_TOKENS", "RetryBudget"]

MAX_TOKENS = 64.0
SUCCESS_TOKENS = 16.0  # what a part that succeeds brings
REFUSAL_TOKENS = 0.1  # what a failed run brings that is not divided


class RetryBudget:
    """The tokens of one instance. Clients are numbers below 65536, as the batcher counts connections."""

    def __init__(self) -> None:
        self.tokens = MAX_TOKENS
        self._on_record: set[int] = set()

    def admits(self) -> bool:
        """Whether a run that failed may be divided, whoever its clients are. Counts a refusal."""
        if self.tokens >= 1.0:
            return True
        self.tokens += REFUSAL_TOKENS
        return False

    def trusted(self, clients: set[int]) -> set[int]:
        """Of a failed run's clients those that are not on record."""
        return clients - self._on_record

    def succeeded(self, clients: set[int]) -> None:
        """A part was run again, and the requests of these clients have responses."""
        self.tokens = min(self.tokens + SUCCESS_TOKENS, MAX_TOKENS)
        self._on_record -= clients

    def failed(self, clients: set[int]) -> None:
        """A part with requests of these clients was run again, and failed."""
        self.tokens -= 1.0
        if len(clients) == 1:
            self._on_record |= clients
