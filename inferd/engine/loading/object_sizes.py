"""The memory that Python objects hold. The steps of a model are some hundreds of small objects, or long tables of allowed values.

Never in here: memory of native libraries, which Python does not see.
"""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

_SHARED = (type, ModuleType, CodeType, BuiltinFunctionType)  # they belong to the program, not to one model


def held_bytes(root: object) -> int:
    """The bytes of `root` and of all that it refers to, except classes, modules and code."""
    seen: set[int] = set()
    left: list[Any] = [root]
    total = 0
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, _SHARED):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        if isinstance(found, FunctionType):  # its globals belong to its module
            left += [found.__closure__, found.__defaults__, found.__kwdefaults__]
        else:
            left += gc.get_referents(found)
    return total
