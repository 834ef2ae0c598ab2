"""Pictures of the pages of `inferd bench` and `inferd tune` for the docs, as Chromium shows them: at a desk and on a phone, light and dark.

    python benchmarks/report_images.py FOLDER        # of NAME.json, as --json writes them; before and after are compared

Writes docs/images/report-NAME-desktop-light.png and so on; fails where a page is wider than the screen. It needs Chromium (from apt)
and Pillow.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from inferd.bench.compare import compare
from inferd.bench.html import comparison_page, page
from inferd.bench.report import load

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"desktop": (1100, 1500), "phone": (360, 1500)}
SCHEMES = {"dark": 0, "light": 1}  # as Chromium's preferredColorScheme
MARGIN = 8  # pixels at the right of a page where nothing is
COLOURS = 200  # of a picture: charts and text need no more


def pages(folder: Path) -> dict[str, str]:
    """By name: each report, and a comparison."""
    files = sorted(folder.glob("*.json"))
    found = {file.stem: page(load(file)) for file in files if file.stem not in ("before", "after")}
    before, after = folder / "before.json", folder / "after.json"
    if before.exists() and after.exists():
        found["compare"] = comparison_page(compare(load(before), load(after)), "inferd bench compare before.json after.json")
    return found


def take(file: Path, size: tuple[int, int], scheme: int, out: Path) -> None:
    window = f"--window-size={size[0]},{size[1]}"
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", window, f"--blink-settings=preferredColorScheme={scheme}"]
    subprocess.run(["chromium", *flags, f"--screenshot={out}", file.as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(out) as picture:
        edge = picture.convert("RGB").crop((size[0] - MARGIN, 0, size[0], size[1]))
        if len(edge.getcolors(edge.width * edge.height)) > 1:
            raise SystemExit(f"{out.name}: something reaches into the right margin: it is cut, or the page scrolls sideways")
        small = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(out, optimize=True)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in pages(Path(sys.argv[1])).items():
            file = Path(folder) / f"{name}.html"
            file.write_text(text, encoding="utf-8")
            for kind, size in SIZES.items():
                for word, scheme in SCHEMES.items():
                    take(file, size, scheme, IMAGES / f"report-{name}-{kind}-{word}.png")
    files = list(IMAGES.glob("report-*.png"))
    print(f"{len(files)} pictures, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB in {IMAGES}")


if __name__ == "__main__":
    main()
