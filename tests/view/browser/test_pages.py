"""Every page in a real browser: no error, no overflow, accessible in both colour schemes, usable by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.view.browser.conftest import Visit
from tests.view.browser.crawl import crawl
from tests.view.conftest import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")

PAGES = (
    *("/", "/questions", "/question", "/classes", "/images", "/image"),
    *("/student", "/predictions", "/detection", "/run", "/labels", "/queue", "/corrections"),
)
WIDTHS = (390, 1400)
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
SERIOUS = ("serious", "critical")
FOCUSED = "() => [...document.querySelectorAll('[data-step]')].findIndex(e => e.contains(document.activeElement))"


@pytest.fixture(scope="module")
def links(site: str) -> dict[str, list[str]]:
    return crawl(site)


@pytest.fixture(scope="module")
def hostile_links(hostile_site: str) -> dict[str, list[str]]:
    return crawl(hostile_site)


def findings(tab: Page, **options: Any) -> list[str]:
    """What axe finds serious: rule and place."""
    found = axe_module.Axe().run(tab, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in SERIOUS]


def test_every_page_is_tested_and_every_link_leads_to_one(links: dict[str, list[str]]) -> None:
    assert set(links) == set(PAGES)


def test_every_page_is_tested_with_hostile_text(hostile_links: dict[str, list[str]]) -> None:
    assert set(hostile_links) == set(PAGES)


def check(tab: Page) -> None:
    """It fits at both widths and is accessible in both colour schemes."""
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(OVERFLOW) == 0, width
    assert findings(tab) == []
    tab.emulate_media(color_scheme="dark")
    assert findings(tab, runOnly={"type": "rule", "values": ["color-contrast"]}) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_and_is_accessible(visit: Visit, links: dict[str, list[str]], page: str) -> None:
    check(visit(links[page][0]))


def test_boxes_are_drawn_on_images(visit: Visit, boxed_site: str) -> None:
    tab = visit(f"{boxed_site}/detection")
    assert tab.locator("main svg rect").count() > 5
    check(tab)


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_is_text_and_fits(visit: Visit, hostile_links: dict[str, list[str]], page: str) -> None:
    addresses = hostile_links[page]
    tab = visit(next((one for one in addresses if "hostile" in one), addresses[0]))
    assert tab.evaluate("() => document.querySelectorAll('main script, main b b, [onerror]').length") == 0
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(OVERFLOW) == 0, width


def test_a_long_question_is_read_whole(visit: Visit, hostile_site: str) -> None:
    tab = visit(f"{hostile_site}/question?key=hostile")
    assert " ".join(HOSTILE.split()) in " ".join(tab.inner_text("h1").split())


@pytest.mark.parametrize("page", ["/questions", "/images", "/image"])
def test_keys_step_through_the_items(visit: Visit, links: dict[str, list[str]], page: str) -> None:
    tab = visit(links[page][0])
    for key, place in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0)):
        tab.keyboard.press(key)
        assert tab.evaluate(FOCUSED) == place
    address = tab.url
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert tab.url != address


def test_keys_turn_pages_and_are_listed(visit: Visit, site: str) -> None:
    tab = visit(f"{site}/images")
    with tab.expect_navigation():
        tab.keyboard.press("n")
    assert "page=2" in tab.url
    with tab.expect_navigation():
        tab.keyboard.press("ArrowLeft")
    assert "page=2" not in tab.url
    tab.keyboard.press("?")
    assert tab.is_visible("#keys")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#keys")
    tab.keyboard.press("/")
    tab.keyboard.type("0003")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert "find=0003" in tab.url
    assert "answers=" in tab.url


def test_a_filter_is_in_the_address_and_survives_a_reload(visit: Visit, site: str) -> None:
    tab = visit(f"{site}/images")
    with tab.expect_navigation():
        tab.select_option("select[name=order]", "unsure")
    with tab.expect_navigation():
        tab.select_option("select[name=key]", "has_red")
    assert "order=unsure" in tab.url
    assert "key=has_red" in tab.url
    first = tab.inner_text("main")
    tab.reload()
    assert tab.inner_text("main") == first
    assert tab.input_value("select[name=key]") == "has_red"


def test_images_are_loaded_when_they_are_near(visit: Visit, site: str) -> None:
    tab = visit(f"{site}/images")
    images = tab.locator("main img")
    assert images.count() == 60
    assert images.first.evaluate("image => image.loading") == "lazy"
    tab.wait_for_function("() => document.querySelector('main img').naturalWidth > 0")
