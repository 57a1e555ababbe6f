"""The showcase in a real browser: every exhibit is clicked through, and nothing may go wrong on any page.

With ``CLOUDCACHED_FIGURES=docs/figures`` the pictures for the documents are taken anew (``ISING_EFFORT=1`` for fine ones).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.checkout]

PAGES = ["", "energy/", "hysteresis/", "replicas/", "lattice/", "stampede/", "plug/", "status/", "flask/"]
DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


def keep(figures: Path | None, name: str, page: Page, *, height: int | None = None) -> None:
    """Take a picture for the documents: 128 colours, and these pages need no more."""
    if figures is not None:
        size = page.viewport_size
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True))).convert("RGB")
        picture.quantize(128, dither=Image.Dither.NONE).save(figures / f"{name}.png", optimize=True)
        assert (figures / f"{name}.png").stat().st_size < 150_000


def test_every_card_of_the_front_page_leads_to_an_exhibit(
    sites: dict[str, str], visitor: Any, figures: Path | None
) -> None:
    page = visitor.page
    page.goto(sites["django"])
    expect(page.locator(".told .asked")).to_have_text("Requests to S3: 5 GET")
    assert page.locator(".strip img").evaluate_all("all => all.every(img => img.naturalWidth === 256)")
    keep(figures, "showcase", page, height=900)
    names = page.locator(".card b").all_inner_texts()
    assert len(names) == 8
    for name in names:
        page.locator(".card", has_text=name).click()
        expect(page.locator("h1")).to_be_visible()
        assert page.url.startswith(sites["flask"] if name == "The same in Flask" else sites["django"])
        page.go_back()


def test_flask_shows_what_django_computed(sites: dict[str, str], visitor: Any) -> None:
    page = visitor.page
    page.goto(f"{sites['django']}/replicas/fine/")
    drawn = page.locator("figure svg").evaluate_all("all => all.map(svg => svg.outerHTML)")
    page.locator("nav").get_by_text("Flask").click()
    page.wait_for_url(f"{sites['flask']}/")
    expect(page.locator(".told")).to_contain_text("17 temperatures, computed by Django")
    assert page.locator("figure svg[role]").evaluate_all("all => all.map(svg => svg.outerHTML)") == [
        svg for svg in drawn if "role=" in svg
    ]
    page.locator("nav").get_by_text("Energy").click()
    page.wait_for_url(f"{sites['django']}/energy/")


@pytest.mark.parametrize("visitor", [DARK], indirect=True)
def test_lattice_plays_stops_and_is_moved_by_hand(sites: dict[str, str], visitor: Any, figures: Path | None) -> None:
    page = visitor.page
    page.goto(f"{sites['django']}/lattice/")
    slider, picture, told = page.locator("#movie input"), page.locator("#movie img"), page.locator("#movie output")
    expect(slider).not_to_have_value("0")
    page.get_by_role("button", name="Pause").click()
    seen = slider.input_value(), picture.get_attribute("src")
    slider.focus()
    page.keyboard.press("Home")
    expect(told).to_have_text("0 sweeps")
    assert (slider.input_value(), picture.get_attribute("src")) != seen
    page.get_by_role("button", name="Play").click()
    expect(slider).not_to_have_value("0")
    slider.fill(str(int(slider.get_attribute("max")) * 2 // 3))
    expect(page.get_by_role("button", name="Play")).to_be_visible()  # who moves it stops it
    keep(figures, "lattice", page, height=790)
    page.get_by_text("critical").click()
    expect(page.locator(".tabs [aria-current]")).to_contain_text("2.27")


def test_stampede_computes_many_times_without_the_lease_and_once_with_it(
    sites: dict[str, str], visitor: Any, figures: Path | None
) -> None:
    page = visitor.page
    page.goto(f"{sites['django']}/stampede/")
    page.get_by_role("button", name="Let 20 visitors in").click()
    expect(page.locator("#stampede .go")).to_be_disabled()
    expect(page.locator("#stampede .go")).to_be_enabled(timeout=60_000)
    plain, lock = (page.locator(f".run[data-way={way}]") for way in ("plain", "lock"))
    assert int(plain.get_attribute("data-done")) > 5
    assert lock.get_attribute("data-done") == "1"
    for box, computed in ((plain, int(plain.get_attribute("data-done"))), (lock, 1)):
        expect(box.locator(".lane .hot")).to_have_count(computed)
        expect(box.locator(".lane .cool")).to_have_count(20 - computed)
    expect(page.locator("#stampede span")).to_contain_text("1 with it")
    assert set(page.locator(".lane span").all_inner_texts()) == {"1", "2"}  # both workers had a part in it
    keep(figures, "stampede", page, height=830)


@pytest.mark.parametrize("visitor", [DARK], indirect=True)
def test_site_stays_up_while_the_plug_is_out_and_recovers_by_itself(
    sites: dict[str, str], visitor: Any, figures: Path | None
) -> None:
    page = visitor.page
    page.goto(f"{sites['django']}/plug/")
    rows, breakers = page.locator(".workers tbody tr"), page.locator(".breaker")
    expect(rows).to_have_count(2)
    expect(breakers).to_have_text(["closed", "closed"])
    expect(page.locator(".ticks .cool").nth(3)).to_be_attached()
    page.get_by_role("button", name="Pull the plug").click()
    expect(page.locator(".state")).to_have_text("S3 cannot be reached.")
    try:
        expect(breakers).to_have_text(["open", "open"])
        expect(page.locator(".ticks .out .hot").nth(3)).to_be_attached()
        assert page.locator(".log").inner_text().count("the store cannot be reached") >= 2
        other = page.context.new_page()
        other.goto(f"{sites['django']}/hysteresis/")
        expect(other.locator(".told")).to_contain_text("Computed for this visit")
        expect(other.locator("figure svg").first).to_be_visible()
        other.close()
        assert all(int(count) > 0 for count in rows.locator("td:nth-child(4)").all_inner_texts())  # not asked
    finally:
        page.get_by_role("button", name="Plug it in again").click()
    expect(page.locator(".state")).to_have_text("S3 can be reached.")
    expect(breakers).to_have_text(["closed", "closed"])  # after a rest of 5 seconds
    expect(page.locator(".ticks span:last-child .cool")).to_be_attached()
    expect(page.locator(".ticks .bad")).to_have_count(0)
    assert re.fullmatch(r"\d+ \N{MULTIPLICATION SIGN} HTTP 200", page.locator(".tally").inner_text())
    keep(figures, "plug", page, height=800)


@pytest.mark.parametrize("path", ["/plug/out/", "/stampede/run/plain/"])
def test_buttons_are_for_the_pages_of_the_site_alone(sites: dict[str, str], visitor: Any, path: str) -> None:
    api = visitor.page.request
    assert api.post(sites["django"] + path).status == 403
    assert api.get(sites["django"] + path).status == 405


@pytest.mark.parametrize("site", ["django", "flask"])
def test_status_page_is_there_for_everybody(sites: dict[str, str], visitor: Any, site: str) -> None:
    page = visitor.page
    page.goto(f"{sites[site]}/status/")
    expect(page.locator("body")).to_contain_text("Process")


@pytest.mark.parametrize("visitor", [PHONE, PHONE | DARK], ids=["light", "dark"], indirect=True)
def test_pages_fit_on_a_phone(sites: dict[str, str], visitor: Any, figures: Path | None) -> None:
    page = visitor.page
    for path in PAGES:
        page.goto(f"{sites['django']}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 150) == page.evaluate(
            "matchMedia('(prefers-color-scheme: dark)').matches"
        )
