"""The style sheet of a report's page: light, dark and paper, from a desktop down to a phone. Never in here: markup."""

from __future__ import annotations

# Lines of 3:1 and text of 4.5:1 contrast at least on their background; neighbours differ in lightness, too, and lines in dashes.
# The last two are for what is no stage of the server.
LIGHT = ("#1f6fd1", "#c2410c", "#0f766e", "#7c3aed", "#8a6100", "#be185d", "#858f9a", "#5b6670")
DARK = ("#6cb0ff", "#ff9a62", "#4fd1c0", "#b79bff", "#e6c04d", "#ff8fbf", "#76818d", "#a7b2bd")


def style() -> str:
    def lines(colours: tuple[str, ...]) -> str:
        return "".join(f" --line-{number}: {colour};" for number, colour in enumerate(colours, 1))

    light = (
        "--paper: #ffffff; --ink: #1b1f24; --quiet: #59636e; --grid: #dde3e9; --bad: #b42318; --doubt: #8a5300; --good: #17703a;"
        f"{lines(LIGHT)}"
    )
    dark = (
        "--paper: #14181d; --ink: #e6eaef; --quiet: #9aa5b1; --grid: #303842; --bad: #ff8a80; --doubt: #f2b34b; --good: #5fd38a;"
        f"{lines(DARK)}"
    )
    colours = "".join(
        f".l{n} {{ stroke: var(--line-{n}) }} .f{n} {{ fill: var(--line-{n}) }} .c{n} {{ --own: var(--line-{n}) }}\n"
        for n in range(1, len(LIGHT) + 1)
    )
    for n, name in enumerate(("bad", "good", "doubt"), len(LIGHT) + 1):
        colours += f".l{n} {{ stroke: var(--{name}) }} .c{n} {{ --own: var(--{name}) }}\n"
    return f"""
:root {{ color-scheme: light dark; --font: system-ui, sans-serif; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
@media print {{ :root {{ {light} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--paper); color: var(--ink); font: 15px/1.5 var(--font) }}
main {{ overflow-x: clip }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }}
h2 {{ font-size: 1.1rem; margin: 2.25rem 0 .5rem; overflow-wrap: anywhere }}
p {{ margin: .35rem 0; overflow-wrap: anywhere }}
.quiet, figcaption, dt, .axis {{ color: var(--quiet) }}
.small, figcaption, .axis {{ font-size: .85rem }}
.bad {{ --mark: var(--bad) }} .doubt {{ --mark: var(--doubt) }} .good {{ --mark: var(--good) }}
p.bad, p.doubt, dd.bad, tr.bad td, tr.doubt td {{ color: var(--mark) }}
.main td {{ font-weight: 600 }}
.verdict {{ margin: 1.25rem 0; padding: .9rem 1.1rem; border: 1px solid var(--mark); border-left-width: .4rem; border-radius: .5rem;
  background: color-mix(in srgb, var(--mark) 7%, var(--paper)) }}
.verdict .word {{ display: inline-block; margin: 0 .5rem .15rem 0; padding: .05rem .6rem; border-radius: 1rem; background: var(--mark);
  color: var(--paper); font-size: .85rem; font-weight: 700; letter-spacing: .03em; white-space: nowrap }}
.verdict .sentence {{ font-size: 1.15rem; font-weight: 600; line-height: 1.4; margin: 0 }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .6rem; margin: .5rem 0 }}
.figures div {{ border: 1px solid var(--grid); border-radius: .5rem; padding: .45rem .75rem }}
.figures dt {{ font-size: .85rem }}
.figures dd {{ margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap }}
.figures .small {{ font-size: .78rem; font-weight: 400; white-space: normal; line-height: 1.3 }}
figure {{ margin: 0 }}
figcaption {{ margin-top: .4rem }}
.legend {{ display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 0 0 .5rem; padding: 0; font-size: .9rem }}
.legend li {{ display: flex; align-items: center; gap: .45rem }}
.key {{ width: 1.5rem; height: .5rem }}
.key path {{ stroke-width: 2.5 }}
path {{ fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round }}
.thin {{ stroke-width: 1; opacity: .8 }}
.band {{ opacity: .13; stroke: none }}
.grid {{ stroke: var(--grid); stroke-width: 1 }}
.ideal {{ stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 5 4 }}
.slo {{ stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 7 4 }}
{colours}
.chart {{ display: grid; grid-template-columns: var(--labels, 4.2rem) minmax(0, 1fr) }}
.chart .axis {{ grid-column: 1 / -1; margin: 0 0 .6rem }}
.chart .axis:last-child {{ text-align: right; margin: 0 }}
.ys, .area, .xs {{ position: relative }}
.area {{ height: 16rem; border-bottom: 1px solid var(--quiet) }}
.area svg {{ position: absolute; width: 100%; height: 100%; overflow: visible }}
.ys span {{ position: absolute; right: .6rem; transform: translateY(50%); font-size: .8rem; white-space: nowrap;
  font-variant-numeric: tabular-nums }}
.xs {{ grid-column: 2; height: 1.6rem; font-size: .8rem; font-variant-numeric: tabular-nums }}
.xs span {{ position: absolute; transform: translateX(-50%); white-space: nowrap; top: .3rem }}
.xs .end {{ transform: translateX(-100%) }}
.xs .end::before {{ left: calc(100% - 1px) !important }}
.xs span::before {{ content: ""; position: absolute; left: 50%; top: -.3rem; height: .25rem; border-left: 1px solid var(--quiet) }}
.limit {{ position: absolute; padding: 0 .35rem; color: var(--bad); font-size: .8rem; font-weight: 600; white-space: nowrap;
  background: color-mix(in srgb, var(--paper) 75%, transparent) }}
.mark {{ position: absolute; width: 9px; height: 9px; margin: 0 0 -4.5px -4.5px; border-radius: 50%; background: var(--own);
  border: 1.5px solid var(--paper) }}
.mark.ring {{ background: var(--paper); border: 2px solid var(--own) }}
.mark.square {{ border-radius: 2px; border: 0 }}
.mark.cross {{ background: linear-gradient(45deg, transparent 40%, var(--own) 40% 60%, transparent 60%),
  linear-gradient(-45deg, transparent 40%, var(--own) 40% 60%, transparent 60%); border: 0; border-radius: 0; width: 11px;
  height: 11px; margin: 0 0 -5.5px -5.5px }}
.legend .mark {{ position: static; margin: 0; flex: none }}
.legend .square {{ width: 12px; height: 12px; background: var(--own) }}
.column {{ position: absolute; bottom: 0; width: max(3px, .6%); margin-left: -.3%; background: var(--own); border-radius: 2px 2px 0 0 }}
fieldset {{ border: 0; margin: 0; padding: 0; min-width: 0 }}
.area fieldset {{ position: absolute; inset: 0 }}
.unseen, input[type=radio] {{ position: absolute; width: 1px; height: 1px; margin: 0; padding: 0; overflow: hidden; opacity: 0;
  clip-path: inset(50%); pointer-events: none }}
.stop {{ position: absolute; top: 0; bottom: 0 }}
.stop.point {{ top: auto; width: 24px; height: 24px; margin: 0 0 -12px -12px; border-radius: 50% }}
.hair {{ position: absolute; top: 0; bottom: 0; border-left: 1px solid var(--ink); opacity: 0 }}
.tip {{ position: absolute; z-index: 2; opacity: 0; pointer-events: none; padding: .4rem .6rem; border: 1px solid var(--quiet);
  border-radius: .4rem;
  background: var(--paper); color: var(--ink); font-size: .82rem; line-height: 1.4; width: max-content; max-width: min(19rem, 42vw);
  box-shadow: 0 2px 10px rgb(0 0 0 / .18) }}
.tip span {{ display: block; overflow-wrap: anywhere }}
.stop .tip {{ top: .3rem }}
.stop .start {{ left: calc(50% + .6rem) }} .stop .end {{ right: calc(50% + .6rem) }}
.stop.point .tip {{ top: auto; bottom: 60% }}
:is(.stop:hover, .stop:focus-within) > :is(.tip, .hair) {{ opacity: 1 }}
.stop:focus-within > .tip {{ z-index: 1 }}
.stop.point:is(:hover, :focus-within) {{ outline: 2px solid var(--ink); outline-offset: -5px }}
.bars {{ display: grid; grid-template-columns: fit-content(17rem) minmax(0, 1fr) max-content; gap: 0 .8rem }}
.bars label {{ position: relative; display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; align-items: center;
  padding: .22rem .3rem; border-radius: .3rem; font-size: .9rem; font-variant-numeric: tabular-nums }}
.bars .strong {{ font-weight: 700 }}
.bar {{ display: flex; gap: 2px; height: 1.15rem }}
.bar i {{ background: var(--own); border-radius: 2px; min-width: 0 }}
.flag {{ white-space: nowrap }}
.name {{ overflow-wrap: anywhere }}
.note {{ white-space: nowrap; text-align: right }}
.bars .tip {{ top: 100%; left: 1rem; max-width: min(24rem, 84vw); font-weight: 400 }}
:is(.bars label:hover, .bars label:focus-within) > .tip {{ opacity: 1 }}
.bars label:focus-within {{ outline: 2px solid var(--ink) }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--grid);
  overflow-wrap: anywhere }}
.numbers :is(th, td).number {{ text-align: right; white-space: nowrap; padding: .25rem 0 .25rem .85rem }}
.numbers :is(th, td):last-child:not(.number) {{ padding-left: .85rem }}
th {{ font-weight: 500; color: var(--quiet); white-space: nowrap }}
.numbers tbody th {{ white-space: normal; min-width: 6rem }}
details {{ margin-top: 1rem }}
summary {{ cursor: pointer; font-weight: 600 }}
pre {{ margin: .5rem 0; padding: .6rem .8rem; border: 1px solid var(--grid); border-radius: .5rem; font-size: 13px;
  white-space: pre-wrap; overflow-wrap: anywhere }}
@media (max-width: 45rem) {{
  body {{ padding: 1rem }}
  .area {{ height: 13rem }}
  .chart {{ grid-template-columns: var(--labels, 3.6rem) minmax(0, 1fr) }}
  .more {{ display: none }}
  .stop .tip, .stop.point .tip, .bars .tip {{ position: fixed; inset: auto 1rem 1rem; width: auto; max-width: none }}
  .limit.upright {{ white-space: normal; max-width: 45% }}
  .numbers th {{ white-space: normal }}
  .numbers :is(th, td).number {{ padding-left: .5rem }}
  .figures {{ grid-template-columns: repeat(2, minmax(0, 1fr)) }}
  .figures dd {{ font-size: 1.15rem }}
  .bars {{ grid-template-columns: minmax(0, 1fr) max-content }}
  .bars .bar {{ grid-row: 2; grid-column: 1 / -1 }}
  .wide, .wide tbody {{ display: block }}
  .wide thead {{ display: none }}
  .wide tr {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); gap: .1rem .8rem; padding: .5rem 0;
  border-bottom: 1px solid var(--grid) }}
  .wide :is(th, td), .wide :is(th, td).number, .wide :is(th, td):last-child:not(.number) {{ border: 0; padding: 0; text-align: left }}
  .wide td.number {{ white-space: normal }}
  .wide th {{ grid-column: 1 / -1; color: var(--ink); white-space: normal }}
  .wide td::before {{ content: attr(data-name); display: block; font-size: .78rem; font-weight: 400; color: var(--quiet) }}
  .wide td:empty {{ display: none }}
}}
@media print {{ body {{ max-width: none }} section {{ break-inside: avoid }} }}
"""
