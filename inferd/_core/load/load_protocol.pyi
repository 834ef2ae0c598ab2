class LoadProtocol:
    """The protocol that a Generator's connections speak."""
