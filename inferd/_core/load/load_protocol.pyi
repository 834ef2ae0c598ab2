class LoadProtocol:
    """What a Generator's connections speak."""
