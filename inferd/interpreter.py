"""The command of a child process in Python. Never in here: its module, its environment."""

from __future__ import annotations

import os
import sys


def interpreter() -> list[str]:
    """An interpreter that finds modules where this one does: in the working folder only if this one does."""
    here = {"", os.getcwd()} & set(sys.path)
    return [sys.executable, *([] if here else ["-P"])]
