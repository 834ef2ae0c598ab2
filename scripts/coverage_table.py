"""Prints how many lines of each package the tests ran: `make coverage`.

python scripts/coverage_table.py FILE      (what `coverage json` wrote)
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path


def main() -> None:
    files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, file in files.items():
        folder, native = Path(name).parent.as_posix(), name.endswith(".pyx")
        for package in (folder, "all"):
            found[package][2 * native] += file["summary"]["covered_lines"]
            found[package][2 * native + 1] += file["summary"]["num_statements"]
    print(f"{'package':<36}{'Python':>22}{'Cython':>22}")
    for package in (*sorted(found.keys() - {"all"}), "all"):
        covered, lines, native_covered, native_lines = found[package]
        print(f"{package:<36}{share(covered, lines)}{share(native_covered, native_lines)}")


def share(covered: int, lines: int) -> str:
    return f"{covered:>8}/{lines:<7}{covered / lines:>6.0%}" if lines else f"{'-':>22}"


if __name__ == "__main__":
    main()
