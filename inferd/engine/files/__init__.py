"""Models as files: where they lie, which versions there are, what they contain, and when they change."""
