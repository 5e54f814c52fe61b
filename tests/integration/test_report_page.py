"""A report in a real browser: nothing is fetched, nothing complains, and it fits any screen."""

from datetime import timedelta

import pytest

from flashback_async import RequestTimeoutError
from flashback_async.pages import make_report
from tests.pages import NOW, bucket, days, silent

driver = pytest.importorskip("tests.browser", reason="the driver of browsers is not there")
pytestmark = [driver.needs_browser, pytest.mark.slow]

LONG = "<b>" + "אבג" * 40 + "x" * 200
WIDTH = "document.documentElement.scrollWidth"


def text():
    outcomes = [bucket(f"{n:032x}", "ONLINE", "OFFLINE" if n % 5 else "ONLINE") for n in range(99)]
    outcomes += [bucket(LONG, LONG, None, region=LONG), bucket("empty")]
    lost = [silent(f"lost-{n}", RequestTimeoutError(LONG)) for n in range(9)]
    uptimes = {f"{n:032x}": [100.0 - n, None, 0.0] * 40 for n in range(101)} | {LONG: [1.0] * 120}
    return make_report([*outcomes, *lost], days(uptimes), asked_at=NOW + timedelta(hours=1))


async def test_a_report_opens_from_a_file_without_a_complaint_and_fits_a_phone(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text(), encoding="utf-8")
    async with driver.browser() as page:
        for width in (1280, 400):
            await page.resize(width, 800)
            await page.go(path.as_uri())
            await page.until("document.readyState === 'complete' && !!document.querySelector('h1')")
            assert await page.run(WIDTH) == width
        assert "have a node that is not ONLINE" in await page.text("h1")
        # The calendar scrolls in its own box, and begins with the newest days.
        box = "document.querySelector('.newest')"
        assert await page.run(f"{box}.scrollWidth > {box}.clientWidth")
        last = f"{box}.querySelector('tbody svg').getBoundingClientRect().right"
        assert await page.run(f"{last} <= {box}.getBoundingClientRect().right")
        fetched = await page.run("performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in fetched if not name.startswith("data:")] == []
        assert page.complaints == []
