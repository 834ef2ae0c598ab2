from typing_extensions import Buffer

def murmur3(data: Buffer) -> int:
    """MurmurHash3 x86 32-bit of seed 0, as a signed number."""

def count_commas(data: Buffer, deepest: int) -> int:
    """The commas of JSON in arrays and objects that are `deepest` levels deep at most: how many values it has, before it is decoded."""

def count_pairs(data: Buffer) -> int:
    """The key-value pairs of a JSON object, a key that is there twice counted twice. Any number where it is no valid JSON."""
