"""The page in a browser: quiet, offline, narrow and wide, light and dark, by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.report import write as write_report
from report_folders import comparison, record, results, run_folder, write

api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is on the path")
METHODS = ("full", "head", "layers2", "lisa1", "slimfit90", "far10 batch_size=16")
LONG = "y" * 300


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = comparison(tmp_path_factory.mktemp("c"), tasks=("cola", "rte"), methods=METHODS, seeds=(0, 1), steps=40)
    made = results("cola", 0.4, 900, "full", 40)
    for name, text in (("long", LONG), ("script", "<script>alert(1)</script>"), ("rtl", "שלום \u202e🎉")):
        write(folder / f"{name}.json", record("cell", name, "cola", text, train_info=made))
        failed = record("memory", f"f-{name}", text, "full", status="failed", reason=text, train_info={})
        write(folder / f"f-{name}.json", failed)
    return write_report(folder)


class Opened:
    """A page with all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)


def opened(browser: Any, path: Path, width: int = 1280, **options: Any) -> Opened:
    return Opened(browser, path, viewport={"width": width, "height": 900}, **options)


def test_page_is_quiet_and_asks_nothing_of_any_network(browser: Any, page_path: Path) -> None:
    found = opened(browser, page_path)
    assert found.said == []
    assert [url for url in found.asked if not url.startswith(("file:", "data:"))] == []
    assert found.asked.count(page_path.as_uri()) == 1


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, page_path: Path, width: int) -> None:
    found = opened(browser, page_path, width)
    found.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert found.run("document.documentElement.scrollWidth") <= width
    if width == 390:
        assert found.run("[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)")


def test_charts_are_there_and_fit_their_screens(browser: Any, page_path: Path) -> None:
    shown = "[...document.querySelectorAll('svg')].filter((one) => one.getClientRects().length)"
    seen = f"{shown}.map((one) => one.classList[0])"
    wide, narrow = opened(browser, page_path).run(seen), opened(browser, page_path, 390).run(seen)
    assert wide.count("wide") == narrow.count("narrow") == 1
    assert "narrow" not in wide
    assert "wide" not in narrow
    assert len(wide) == len(narrow) > 10
    assert "slimfit90" in opened(browser, page_path).page.inner_text("#scatter-main")


def test_tables_are_sorted_by_keyboard(browser: Any, page_path: Path) -> None:
    page = opened(browser, page_path).page
    head = page.locator("#results-0 thead th", has_text="process peak")
    head.locator("button").focus()

    def peaks() -> list[int]:
        index = head.evaluate("(one) => one.cellIndex")
        cells = page.locator(f"#results-0 tbody tr > :nth-child({index + 1})").all_inner_texts()
        return [int(text.replace(",", "")) for text in cells]

    before = peaks()
    assert before != sorted(before)
    page.keyboard.press("Enter")
    assert (peaks(), head.get_attribute("aria-sort")) == (sorted(before), "ascending")
    page.keyboard.press("Space")
    assert (peaks(), head.get_attribute("aria-sort")) == (sorted(before, reverse=True), "descending")
    assert page.inner_text("[role=status]") == "Sorted by process peak, MiB, descending."
    page.locator("#results-0 thead th", has_text="method").locator("button").click()
    assert head.get_attribute("aria-sort") == "none"


def test_dark_page_is_dark_and_its_charts_follow(browser: Any, page_path: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        found = opened(browser, page_path, color_scheme=scheme)
        script = "(() => [document.body, document.querySelector('#scatter-main text')].map(getComputedStyle))()"
        colours[scheme] = found.run(f"{script}.map((one, i) => i ? one.fill : one.backgroundColor)")
    assert colours["light"][0] != colours["dark"][0]
    assert colours["light"][1] != colours["dark"][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Any, page_path: Path, scheme: str) -> None:
    found = opened(browser, page_path, color_scheme=scheme)
    names = ("paper", "raised", "ink", "muted", "accent", "warn", "warn-paper")
    values = found.run(
        f"{list(names)}.map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim())"
    )
    colour = dict(zip(names, values, strict=True))
    for text, behind in (("ink", "paper"), ("muted", "paper"), ("accent", "paper"), ("accent", "raised")):
        assert contrast(colour[text], colour[behind]) >= 4.5, (text, behind)
    assert contrast(colour["warn"], colour["warn-paper"]) >= 4.5


def test_page_is_whole_without_scripts(browser: Any, page_path: Path) -> None:
    found = opened(browser, page_path, java_script_enabled=False)
    assert found.page.locator("th button").count() == 0
    assert found.page.locator("#results-0 tbody tr").count() >= 5
    found.page.locator("#rerun summary").first.click()
    assert found.page.locator("#rerun code").first.is_visible()


def test_command_is_copied_or_selected(browser: Any, page_path: Path) -> None:
    page = opened(browser, page_path).page
    page.locator("#rerun summary").first.click()
    page.locator("#rerun button").first.click()
    page.wait_for_function("document.querySelector('[role=status]').textContent !== ''")
    assert "command" in page.inner_text("[role=status]") or page.inner_text("[role=status]") == "Copied."


def test_page_of_a_run(browser: Any, tmp_path: Path) -> None:
    path = write_report(run_folder(tmp_path / "r"))
    for width in (390, 1280):
        found = opened(browser, path, width)
        assert found.said == []
        assert found.run("document.documentElement.scrollWidth") <= width
        assert found.page.locator("svg:visible").count() == 2


def contrast(one: str, other: str) -> float:
    """Return the contrast of two #rrggbb colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
