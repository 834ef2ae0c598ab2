"""The page as a browser's parser sees it: whole, self-contained, readable in light and dark."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from inferd.bench import html, report, terminal
from inferd.bench.measurement import Load, Measurement, Verification
from tests.reports import measurement, sample

VOID = {"meta", "br", "hr", "link", "img", "input"}
NASTY = "<script>alert(1)</script>\"'& $^$"


class Page(HTMLParser):
    """Every element must be closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data.strip())

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


def stress() -> report.Report:
    loads = [Load(connections=4, streams=16), *(Load(rate=rate, arrivals="poisson") for rate in (500.0, 1000.0, 2000.0))]
    measured = [measurement(load, seconds=4, rate=load.rate or 1500, slower=1 + 5 * place, seed=place) for place, load in enumerate(loads)]
    return sample(
        "stress",
        measured,
        headline=3,
        summary={"words": ["saturation: 1500/s"], "deadline_ms": 50.0, "saturation": 1500.0},
        settings={"rate": 1.0, "verify": None, "slo": "p99=10ms"},
        command="inferd bench localhost:8001 mlp --stress",
        versions={"inferd": "1"},
    )


@pytest.fixture(scope="module")
def text() -> str:
    return html.page(stress())


def test_every_chart_and_table_is_there(text) -> None:
    page = Page(text)
    titles = [words for words in page.texts if words[0].isupper()]
    wanted = [
        "Answered against asked",
        "Throughput against latency",
        "Latency by percentile",
        "Where the time goes",
        "Latency over time",
        "Batch sizes",
        "Measurements",
        "The command",
    ]
    assert [title for title in titles if title in wanted] == wanted
    assert {"Latency at version 1, 2000/s poisson", "Details", "All settings", "Versions"} <= set(titles)
    assert {"99.9 %", "50 %", "p99", "500/s poisson", "4x16", "saturation: 1500/s"} <= set(page.texts)
    assert "inferd bench localhost:8001 mlp --stress" in page.texts


def test_the_verdict_is_the_first_sentence_and_the_slo_is_a_line_in_each_chart_of_latency(text) -> None:
    page = Page(text)
    first = page.texts.index("? INCONCLUSIVE")
    assert first < page.texts.index("responses/s") < page.texts.index("Answered against asked")
    assert page.texts[first + 2].startswith("Confidence low: ")
    for title in ("Throughput against latency", "Latency by percentile", "Latency over time"):
        chart = text[text.index(f">{title}</h2>") :]
        chart = chart[: chart.index("</figure>")]
        assert chart.count('class="slo"') == 2
        assert ">SLO p99 10 ms<" in chart
        assert ">deadline 50 ms<" in chart


def test_every_value_is_reached_by_keyboard(text) -> None:
    """Each chart is one group of radio buttons, so that tab enters it and arrow keys walk along it; each button is named by its values."""
    page = Page(text)
    groups = {attributes["name"] for tag, attributes in page.tags if tag == "input"}
    assert groups == {"goodput-at", "throughput-at", "percentiles-at", "stages-at", "time-at", "batches-at"}
    assert {attributes["type"] for tag, attributes in page.tags if tag == "input"} == {"radio"}
    stops = re.findall(r'<label class="stop[^>]*>(.*?)</label>', text)
    assert all(re.search(r"<b>[^<]+</b>", stop) for stop in stops)


def test_nothing_is_loaded_and_nothing_runs(text) -> None:
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "image", "iframe", "object", "base"}
    assert not page.values("src")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(address.startswith("#") for address in page.values("href"))
    assert re.findall(r"(?:https?:)?//\w|@import|url\((?!#)", text) == []
    assert html.SAFE in page.values("content")


def test_ids_are_unique_and_lead_somewhere(text) -> None:
    page = Page(text)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    wanted = (
        {address[1:] for address in page.values("href")} | set(re.findall(r"url\(#([^)]+)\)", text)) | set(page.values("aria-labelledby"))
    )
    assert wanted
    assert wanted <= set(ids)


def test_charts_take_the_colours_of_the_page(text) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert not re.findall(r"#[0-9a-f]{6}\b", "".join(drawings))
    used, defined = set(re.findall(r"var\((--[\w-]+)\)", text)), set(re.findall(r"(--[\w-]+):", text))
    assert used <= defined
    light, dark, paper = (re.findall(r"(--[\w-]+): (#\w{6})", block) for block in re.findall(r":root \{.*?\}", text))
    assert [name for name, _ in light] == [name for name, _ in dark]
    assert paper == light
    assert len(light) >= 12


def luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(text, scheme) -> None:
    """As WCAG has it: 4.5 for text, 3 for lines."""
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", re.findall(r":root \{.*?\}", text)[scheme]))
    for name, colour in colours.items():
        one, other = sorted((luminance(colour), luminance(colours["paper"])))
        least = 0 if name in ("paper", "grid") else 3 if name.startswith("line") else 4.5
        assert (other + 0.05) / (one + 0.05) >= least, name


def test_no_text_becomes_markup() -> None:
    measured = measurement(
        Load(rate=9.0, arrivals=f"trace:{NASTY}"),
        version=NASTY,
        errors={NASTY: 1},
        error_messages={NASTY: NASTY},
        verified=Verification(1, 1, 0.5, NASTY, NASTY),
        ended=NASTY,
        client_bound_reason=NASTY,
        client_bound=True,
        seconds=2,
    )
    other = measurement(version="2", seconds=2)
    made = report.make(
        NASTY, NASTY, NASTY, [measured, other], settings={NASTY: NASTY}, versions={NASTY: NASTY}, notices=[NASTY], command=NASTY
    )
    made.summary = {"words": [NASTY], "summary": f"{NASTY}\nline"}
    page = Page(html.page(made))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.texts.count(NASTY) >= 7


def test_no_text_moves_a_cursor() -> None:
    made = report.make("t", "m\x1b[31m", "\x1b]0;t\x07\x9b", [measurement(seconds=2)], versions={"x": "\x1b[2J"})
    assert not set(html.page(made)) & set("\x1b\x07\x9b")


def test_what_stands_out_stands_on_top() -> None:
    made = sample(measurements=[measurement(errors={"INTERNAL": 2}, client_bound=True)])
    marks = [
        (tag, attributes["class"])
        for tag, attributes in Page(html.page(made)).tags
        if attributes.get("class") in ("bad", "doubt", "verdict doubt")
    ]
    assert marks[:3] == [("section", "verdict doubt"), ("dd", "bad"), ("p", "bad")]


@pytest.mark.parametrize("measured", [[], [Measurement(Load())], [Measurement(Load(rate=1.0)), Measurement(Load(rate=2.0))]])
def test_a_report_of_little_is_a_page_too(measured) -> None:
    page = Page(html.page(sample(measurements=measured)))
    assert "mlp at localhost:8001" in page.texts
    assert ("none" in page.texts) == bool(measured), "zeros would be the best latency there is"


def test_importing_draws_nothing() -> None:
    code = "import sys, inferd.bench.html, inferd.bench.terminal; print({'matplotlib', 'rich', 'grpc', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_a_search_that_found_no_rate_has_no_cards() -> None:
    """They would be of a load that nobody asked about."""
    tried = [{"rate": 700.0, "kept": False, "why": "p99 is 20 ms", "client_bound": False}]
    summary = {"target": "p99 10 ms", "rate": 0.0, "stopped": "even that does not keep it", "tried": tried}
    loads = [measurement(), measurement(load=Load(rate=700.0), slower=20.0)]
    made = sample("search", loads, headline=1, summary=summary, settings={"slo": "p99=10ms"})
    assert '<dl class="figures">' not in html.page(made)
    assert "700/s constant, which missed the target" in terminal.render(made)
