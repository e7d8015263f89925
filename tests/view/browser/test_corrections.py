"""Corrections are made by keys and buttons, are there after a reload, and can be undone."""

from __future__ import annotations

from tests.view.browser.conftest import Visit
from tests.view.conftest import CLASSES, ODD

PRESSED = "tr[data-step]:nth-child({row}) button[aria-pressed=true]"


def test_an_answer_is_corrected_by_a_key_and_undone(visit: Visit, corrected_site: str) -> None:
    tab = visit(f"{corrected_site}/image?id={ODD}")
    first = PRESSED.format(row=1)
    assert tab.locator(first).count() == 0
    tab.keyboard.press("j")
    with tab.expect_response("**/corrections") as recorded:
        tab.keyboard.press("y")
    assert recorded.value.status == 201
    tab.wait_for_selector(first)
    tab.reload()
    assert tab.get_attribute(first, "data-key") == "y"
    tab.goto(f"{corrected_site}/corrections")
    row = tab.locator("tbody tr", has_text=ODD)
    assert row.count() == 1
    assert row.locator("b").inner_text() == "yes"
    with tab.expect_navigation():
        row.locator("button").click()
    assert tab.locator("tbody tr", has_text=ODD).count() == 0
    tab.goto(f"{corrected_site}/image?id={ODD}")
    assert tab.locator(first).count() == 0


def test_a_label_with_markup_is_corrected_and_undone(visit: Visit, corrected_site: str) -> None:
    tab = visit(f"{corrected_site}/image?id={ODD}")
    form = tab.locator("form.correct", has_text="Correct the label")
    form.locator("select").select_option(CLASSES[2])
    with tab.expect_navigation():
        form.locator("button").click()
    tab.reload()
    note = tab.locator(".note", has_text="Corrected to")
    assert note.locator("b").first.inner_text() == CLASSES[2]
    with tab.expect_navigation():
        note.locator("button").click()
    assert tab.locator(".note", has_text="Corrected to").count() == 0


def test_a_label_is_corrected_to_a_class_that_is_typed(visit: Visit, corrected_site: str) -> None:
    tab = visit(f"{corrected_site}/labels")
    card = tab.locator(".suspect").first
    card.get_by_placeholder("another class").fill(CLASSES[2])
    with tab.expect_response("**/corrections") as recorded:
        tab.keyboard.press("Enter")
    assert recorded.value.status == 201
    card.get_by_role("button", name="set", pressed=True).wait_for()
    tab.goto(f"{corrected_site}/corrections")
    with tab.expect_navigation():
        tab.locator("tbody tr button").first.click()


def test_the_queue_goes_on_by_keys(visit: Visit, corrected_site: str) -> None:
    tab = visit(f"{corrected_site}/queue")
    asked = []
    for key in "ynu":
        asked.append((tab.inner_text("h2.question"), tab.get_attribute(".large img", "alt")))
        with tab.expect_navigation():
            tab.keyboard.press(key)
    assert len(set(asked)) == 3
    tab.reload()
    assert tab.inner_text("h1").endswith("2 answers checked, 1 unsure")
    assert "Last: unsure" in tab.inner_text("main")
