"""Follows the links of the page without a browser."""

from __future__ import annotations

import urllib.error
import urllib.request
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

SAMPLES = 3  # addresses of one page with the same parameters


class Links(HTMLParser):
    """The addresses in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and (href := values.get("href")):
            self.found.append(href)


def kind_of(address: str) -> tuple[str, ...]:
    """The page of an address and the names of its parameters."""
    parts = urlsplit(address)
    return parts.path, *sorted(name for name, _ in parse_qsl(parts.query) if name != "answers")


def crawl(site: str) -> dict[str, list[str]]:
    """Addresses by the page that they lead to: a few for each choice of parameters. Raises AssertionError for a link
    that leads nowhere."""
    waiting, taken, found = [f"{site}/"], {f"{site}/": "the start"}, dict[str, list[str]]()
    samples = {kind_of(f"{site}/"): 1}
    while waiting:
        address = waiting.pop(0)
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                kind, text = answer.headers.get_content_type(), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{taken[address]} links to {address}: status {error.code}") from error
        if kind != "text/html":
            continue
        found.setdefault(urlsplit(address).path, []).append(address)
        parser = Links()
        parser.feed(text)
        for link in parser.found:
            target = urljoin(address, link).partition("#")[0]
            assert target.startswith(site), f"{address} links to {target}"
            if target not in taken and samples.get(kind_of(target), 0) < SAMPLES:
                taken[target] = address
                samples[kind_of(target)] = samples.get(kind_of(target), 0) + 1
                waiting.append(target)
    return found
