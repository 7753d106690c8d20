"""Tables and plots to one self-contained HTML page: no scripts, no outside files, plots embedded as base64 PNG."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """
:root { --ink: #1c2330; --soft: #5b6472; --line: #dfe3ea; --band: #f6f7fa; --accent: #1f5fbf; }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem } h1 + p { color: var(--soft); margin-top: 0 }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-top: 1.2rem; border-top: 1px solid var(--line) }
nav { margin: 1.2rem 0; font-size: .93rem } nav a { color: var(--accent); margin-right: 1.1rem; text-decoration: none }
figure { margin: 1.4rem 0; overflow-x: auto }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .4rem }
img { max-width: 100%; height: auto; display: block }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th { text-align: left; border-bottom: 2px solid var(--line); padding: .35rem .9rem .35rem .3rem; white-space: nowrap }
td { border-bottom: 1px solid var(--line); padding: .32rem .9rem .32rem .3rem; vertical-align: top }
td.number, th.number { text-align: right } tr:hover td { background: var(--band) }
"""


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str

    def to_html(self) -> str:
        return f"<p>{html.escape(self.text)}</p>"


@dataclass(frozen=True)
class Table:
    """A table of strings and numbers; numbers are right-aligned. A None is an empty cell."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    caption: str = ""

    def without_empty_columns(self) -> Table:
        """The same table without columns that hold nothing but None and ""."""
        kept = [i for i in range(len(self.columns)) if any(row[i] not in (None, "") for row in self.rows)]
        return Table([self.columns[i] for i in kept], [[row[i] for i in kept] for row in self.rows], self.caption)

    def to_html(self) -> str:
        numeric = [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        head = "".join(_cell("th", name, right) for name, right in zip(self.columns, numeric, strict=True))
        body = "".join(
            "<tr>" + "".join(_cell("td", _show(v), right) for v, right in zip(row, numeric, strict=True)) + "</tr>\n"
            for row in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
        return f"<figure>{table}{_caption(self.caption)}</figure>"

    def to_csv(self) -> str:
        """RFC 4180 text with a header row; numbers unrounded."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return buffer.getvalue()

    def to_text(self) -> str:
        """The table for a terminal, columns aligned."""
        cells = [list(self.columns), *([_show(v) for v in row] for row in self.rows)]
        numeric = [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


@dataclass(frozen=True)
class Plot:
    """A rendered plot. name: the stem of its file; png: the image."""

    name: str
    caption: str
    png: bytes

    def to_html(self) -> str:
        data = base64.b64encode(self.png).decode()
        alt = html.escape(self.caption, quote=True)
        return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">{_caption(self.caption)}</figure>'


Block = Text | Table | Plot


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]


def page(title: str, intro: str, sections: Sequence[Section]) -> str:
    """The whole HTML document, with links to its sections where there are several."""
    links = "".join(f'<a href="#s{i}">{html.escape(s.title)}</a>' for i, s in enumerate(sections))
    body = "".join(
        f'<section><h2 id="s{i}">{html.escape(s.title)}</h2>\n{"".join(b.to_html() for b in s.blocks)}</section>\n'
        for i, s in enumerate(sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(intro)}</p>\n"
        f"{f'<nav>{links}</nav>' if len(sections) > 1 else ''}\n{body}</body></html>\n"
    )


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _show(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)


def _cell(tag: str, text: str, right: bool) -> str:
    css = ' class="number"' if right else ""
    return f"<{tag}{css}>{html.escape(text)}</{tag}>"


def _caption(text: str) -> str:
    return f"<figcaption>{html.escape(text)}</figcaption>" if text else ""
