"""The dashboard's page in a real browser: it draws, stays up to date, and heeds the keyboard."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from flashback_async.pages.dashboard import live
from flashback_async.sandbox import Sandbox
from tests.browser import browser, needs_browser
from tests.integration.dashboards import GUARD, dashboard

pytestmark = [pytest.mark.slow, needs_browser]

# The page draws what it knows in the next frame, so each of these waits for that, too.
ALL_ASKED = """facts?.buckets && facts.asked >= facts.buckets && !isPlanned
    && model?.ids.length === facts.buckets && model.conditions[1] === 0"""
ONE_PROBLEM = "model?.problems.size === 1 && !isPlanned"
DETAILS = "!$('drawer').hidden && !$('drawer').hasAttribute('aria-busy')"


@asynccontextmanager
async def opened(*args, healthy=True, **options):
    """Yield a page that shows a sandbox whose buckets were all asked; it must not complain."""
    settings = options.pop("watch", {})
    async with (
        Sandbox(*args, healthy=healthy, **options) as sandbox,
        dashboard(sandbox, **settings) as board,
        browser() as page,
    ):
        await page.resize(1_280, 900)
        await page.go(board.url)
        await page.until(ALL_ASKED, 90)  # coverage makes thousands of polls slow
        yield page, sandbox
        assert page.complaints == []


def set_first(sandbox, state, place=0):
    bucket_id = sandbox.bucket_ids[0]
    sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[place], state)
    return bucket_id


async def colour_of(page, bucket_id):
    """Return the colour in the middle of a cell, as red, green and blue."""
    return await page.run(f"""(() => {{
        const place = model.places.get({json.dumps(bucket_id)}), {{ pitch, columns, ratio }} = grid;
        const x = ((place % columns) + 0.5) * pitch * ratio;
        const y = (Math.floor(place / columns) + 0.5) * pitch * ratio;
        const copy = new OffscreenCanvas(1, 1).getContext("2d", {{ willReadFrequently: true }});
        copy.drawImage(canvas, -Math.floor(x), -Math.floor(y));
        return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }})()""")


async def middle_of(page, bucket_id):
    """Return where the cell of a bucket is in the window."""
    return await page.run(f"""(() => {{
        const place = model.places.get({json.dumps(bucket_id)}), {{ pitch, columns }} = grid;
        canvas.scrollIntoView({{ block: "center" }});
        const box = canvas.getBoundingClientRect();
        return [box.left + (place % columns + 0.5) * pitch,
                box.top + (Math.floor(place / columns) + 0.5) * pitch];
    }})()""")


async def test_a_node_that_goes_down_is_seen_everywhere_on_the_page_and_so_is_its_return():
    async with opened(20, 3) as (page, sandbox):
        assert await page.text("h1") == "Every node of 20 buckets is ONLINE"
        assert "60 ONLINE" in await page.text("[role=status]")
        first = sandbox.bucket_ids[0]
        calm = await colour_of(page, first)
        set_first(sandbox, "OFFLINE")
        await page.until("document.querySelector('h1').textContent.startsWith('1 of 20 buckets')")
        assert "1 OFFLINE" in await page.text("[role=status]")
        row = await page.text("#problems-table tbody tr")
        assert first in row
        assert sandbox.node_ips(first)[0] in row
        assert "2 of 3" in row
        assert "ONLINE → OFFLINE" in await page.text("#news-panel")
        assert await page.run("document.title") == "(1) Flashback"
        assert await colour_of(page, first) != calm
        set_first(sandbox, "ONLINE")
        await page.until("document.querySelector('h1').textContent.startsWith('Every node')")
        assert await colour_of(page, first) == calm


async def test_a_click_on_a_cell_shows_its_nodes_and_their_last_changes():
    async with opened(20, 3) as (page, sandbox):
        first = set_first(sandbox, "OFFLINE")
        await page.until(ONE_PROBLEM)
        await page.click(*await middle_of(page, first))
        await page.until(DETAILS)
        shown = await page.text("#drawer")
        assert first in shown
        for ip in sandbox.node_ips(first):
            assert ip in shown
        assert "ONLINE → OFFLINE" in shown
        # It stays up to date, and Escape closes it.
        set_first(sandbox, "ONLINE")
        await page.until("document.querySelector('#drawer').innerText.includes('OFFLINE → ONLINE')")
        await page.press("Escape")
        await page.until("document.querySelector('#drawer').hidden")
        assert await page.run("document.activeElement.id") == "cells"


async def test_everything_can_be_done_with_the_keyboard():
    async with opened(50, 2) as (page, sandbox):
        target = sandbox.bucket_ids[7]
        sandbox.set_state(target, sandbox.node_ips(target)[0], "DISCONNECTED")
        await page.until(ONE_PROBLEM)
        await page.run("canvas.focus()")
        await page.press("Home", "ArrowRight", "ArrowDown")
        assert await page.run("cursor === 1 + grid.columns || grid.columns >= 49")
        await page.press("n")
        assert target in await page.text("#cell")
        assert "1 ONLINE, 1 DISCONNECTED" in await page.text("#cell")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'drawer'")
        assert target in await page.text("#drawer")
        await page.press("Escape")
        # The same by its id, and from the table of problems.
        await page.run("document.querySelector('#wanted').focus()")
        await page.press(*target[:6], "Enter")
        await page.until("document.activeElement.id === 'drawer'")
        assert target in await page.text("#drawer")
        await page.press("Escape")
        assert await page.run("document.activeElement.id") == "wanted"
        await page.run("document.querySelector('#problems-table button').focus()")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'drawer'")
        await page.press("Escape")
        await page.until("document.activeElement.matches('#problems-table button')")


async def test_an_id_that_is_not_there_is_said_to_be_missing():
    async with opened(2, 1) as (page, _):
        await page.run("document.querySelector('#wanted').focus()")
        await page.press("z", "z", "z", "Enter")
        assert await page.until("document.querySelector('#found').textContent")
        assert await page.run("document.querySelector('#drawer').hidden")


async def test_five_thousand_cells_are_drawn_at_once():
    async with opened(5_000, 3, healthy=False, watch={"interval": 20.0}) as (page, _):
        await page.resize(1_270, 900, 2)  # a sharp screen: four times the pixels
        await page.until("grid.ratio === 2 && performance.getEntriesByName('draw').length")
        # The best of some, because the machine may be busy; `make bench` is for the rest.
        took = await page.run("""Promise.resolve(Math.min(...[1, 2, 3, 4, 5].map(() => {
            redraw();
            return performance.getEntriesByName('draw')[0].duration;
        })))""")
        assert took < 50
        assert await page.run("canvas.width === Math.round($('map').clientWidth * 2)")
        bad = await page.run("model.problems.size")
        listed = "document.querySelector('#problems-table').tBodies[0].rows.length"
        assert await page.run(listed) == min(bad, 100)
        while await page.run("!document.querySelector('#problems-more').hidden"):
            await page.run("document.querySelector('#problems-more').click()")
        assert await page.run(listed) == await page.run("model.problems.size")


async def test_the_dark_scheme_is_drawn_when_it_is_preferred():
    async with opened(5, 2) as (page, sandbox):
        first = sandbox.bucket_ids[0]
        light = await colour_of(page, first)
        await page.prefer(prefers_color_scheme="dark")
        background = "getComputedStyle(document.documentElement).backgroundColor"
        assert await page.run(background) == "rgb(14, 19, 25)"
        async with asyncio.timeout(GUARD):
            while await colour_of(page, first) == light:
                await asyncio.sleep(0.02)


async def test_a_narrow_screen_needs_no_scrolling_sideways():
    async with opened(300, 3, healthy=False) as (page, _):
        await page.resize(400, 800, 2)
        await page.until("canvas.clientWidth < 400")
        assert await page.run("document.documentElement.scrollWidth") <= 400


async def test_the_page_says_since_when_the_connection_is_lost_and_finds_it_again():
    async with Sandbox(3, 1, healthy=True) as sandbox, browser() as page:
        async with dashboard(sandbox) as board:
            await page.go(board.url)
            await page.until(ALL_ASKED)
            port = int(board.url.rstrip("/").rpartition(":")[2])
            assert page.complaints == []
        await page.until("!document.querySelector('#alarm').hidden")
        told = await page.text("#alarm")
        assert "The connection is lost since" in told
        assert await page.run("document.title") == "Lost: Flashback"
        first = set_first(sandbox, "OFFLINE")
        async with dashboard(sandbox, port=port):
            await page.until("document.querySelector('#alarm').hidden")
            await page.until("document.querySelector('h1').textContent.startsWith('1 of 3')")
            assert first in await page.text("#problems-table")


async def test_the_page_says_why_the_watch_has_ended():
    async with opened(2, 1) as (page, sandbox):
        sandbox.rotate_token()
        await page.until("ending !== null")
        assert "The watch has ended" in await page.text("#alarm")
        assert "401" in await page.text("#alarm")
        page.complaints.clear()  # it tries to connect again


async def test_a_viewer_too_many_is_told_so():
    async with (
        Sandbox(1, 1) as sandbox,
        dashboard(sandbox) as board,
        browser() as page,
    ):
        board._live.stream._most = 0
        await page.go(board.url)
        await page.until("$('alarm').textContent.startsWith('As many as can be')")
        board._live.stream._most = 1
        await page.run("connect()")
        await page.until("document.querySelector('#alarm').hidden && model")


async def test_what_the_api_says_is_text():
    evil = "<img src=x onerror=alert(1)></script><b>"
    async with opened(2, 2) as (page, sandbox):
        first = sandbox.bucket_ids[0]
        sandbox.set_node(first, sandbox.node_ips(first)[0], region=evil)
        set_first(sandbox, evil, place=1)
        await page.until(ONE_PROBLEM)
        await page.run(f"show({json.dumps(first)}, canvas)")
        await page.until(DETAILS)
        assert evil in await page.text("#problems-table")
        assert evil in await page.text("#drawer")
        assert evil in await page.text("#regions-panel")
        assert await page.run("document.querySelectorAll('img, body b').length") == 0


async def test_it_shows_how_many_were_asked_while_the_first_polls_go_on():
    async with (
        Sandbox(40, 1) as sandbox,
        dashboard(sandbox, interval=4.0) as board,
        browser() as page,
    ):
        await page.go(board.url)
        async with asyncio.timeout(GUARD):
            told = await page.until("!$('progress').hidden && $('progress').textContent.trim()")
        assert told.endswith("of 40 asked")
        await page.until("$('progress').hidden && facts.asked >= 40")
        assert await page.text("#age") == "asked every 4 s"


async def test_the_age_of_the_last_answer_is_shown_only_if_it_is_true(monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE", 1.0)
    monkeypatch.setattr(live, "_IDLE", 0.1)
    async with opened(1, 1) as (page, sandbox):
        assert await page.text("#age") == "asked every 0.2 s"
        sandbox.fail(sandbox.bucket_ids[0], status=400, times=12)
        told = await page.until("facts.silent && $('age').textContent")
        assert told.startswith("asked every 0.2 s · last answer ")
        await page.until("$('age').textContent === 'asked every 0.2 s'")


async def see(page, is_seen):
    """Let the tab be in front of the others, or behind them."""
    state = json.dumps("visible" if is_seen else "hidden")
    await page.run(f"""{{
        Object.defineProperty(document, "visibilityState", {{
            value: {state}, configurable: true }});
        Object.defineProperty(document, "hidden", {{
            value: {json.dumps(not is_seen)}, configurable: true }});
        document.dispatchEvent(new Event("visibilitychange"));
    }}""")


async def test_a_tab_that_nobody_sees_takes_no_connection_and_is_up_to_date_when_it_is_seen():
    async with (
        Sandbox(3, 1, healthy=True) as sandbox,
        dashboard(sandbox) as board,
        browser() as page,
    ):
        await page.go(board.url)
        await page.until(ALL_ASKED)
        viewers = board._live.stream._viewers
        assert len(viewers) == 1
        await see(page, False)
        await see(page, True)  # for less than a while
        assert await page.run("source.readyState") == 1
        await page.run("WAIT.hidden = 10")
        await see(page, False)
        await page.until("isResting")
        async with asyncio.timeout(GUARD):
            while viewers:
                await asyncio.sleep(0.01)
        assert await page.run("document.title") == "Paused: Flashback"
        set_first(sandbox, "OFFLINE")
        await see(page, True)
        await page.until("document.querySelector('h1').textContent.startsWith('1 of 3')")
        assert await page.run("document.title") == "(1) Flashback"
        assert await page.run("$('alarm').hidden")
        assert await page.text("#age") == "asked every 0.2 s"
        assert page.complaints == []


async def test_a_bucket_whose_nodes_do_not_come_says_so_and_can_be_asked_for_again():
    async with opened(3, 1) as (page, sandbox):
        # As if all connections were taken: no answer comes.
        await page.run("""{
            window.really = window.fetch;
            window.fetch = (_, { signal }) => new Promise((_, fail) =>
                signal.addEventListener("abort", () => fail(signal.reason)));
            [WAIT.open, WAIT.answer] = [10, 1_500];
        }""")
        first = sandbox.bucket_ids[0]
        await page.run(f"void show({json.dumps(first)}, canvas)")
        await page.until("!$('drawer').hidden")
        assert await page.run("$('drawer-state').textContent") == "Loading…"
        await page.until("$('drawer').textContent.includes('could not be loaded')")
        await page.run("window.fetch = window.really; WAIT.answer = 6000")
        await page.run("document.querySelector('#drawer-body button').click()")
        ip = json.dumps(sandbox.node_ips(first)[0])
        await page.until(f"$('drawer-body').textContent.includes({ip})")


async def test_long_and_odd_texts_are_cut_and_every_character_has_a_picture():
    odd = "\u202eevil\x07\u200b\n\U000e0041"
    shown = r"\u202eevil\x07\u200b\x0a\U000e0041"
    async with opened(4, 2) as (page, sandbox):
        first = sandbox.bucket_ids[0]
        ips = sandbox.node_ips(first)
        sandbox.set_node(first, ips[0], region="R" * 3_000, version="V" * 3_000)
        sandbox.set_state(first, ips[0], "S" * 3_000)
        sandbox.set_node(first, ips[1], region=odd, version=odd)
        sandbox.set_state(first, ips[1], odd)
        second, third = sandbox.bucket_ids[1:3]
        sandbox.set_state(second, sandbox.node_ips(second)[0], "")
        sandbox.set_node(third, sandbox.node_ips(third)[0], region="")
        await page.until("model.problems.size === 2 && model.regions.has('') && !isPlanned")
        await page.run(f"show({json.dumps(first)}, canvas)")
        await page.until("$('drawer-body').textContent.includes('VVV')")
        for part in ("#problems-table", "#regions-panel", "#news-panel", "#drawer"):
            text = await page.text(part)
            assert shown in text, part
            assert "\u202e" not in text
            assert max(map(len, text.split())) <= 160, part
        assert "SSS…" in await page.text("#problems-table")
        whole = "document.querySelector('#problems-table [title^=SSS]').title.length"
        assert await page.run(whole) == 3_000
        assert "(empty)" in await page.text("#problems-table")
        assert "(empty)" in await page.text("#regions-panel")
        assert "1 (empty)" in await page.text("#counts")
        await page.run("hide()")
        for width in (1_280, 400):
            await page.resize(width, 900)
            await everything_fits(page)
            assert await page.run("document.documentElement.scrollWidth") <= width


async def everything_fits(page):
    """Wait until nothing has to be scrolled sideways."""
    await page.until("""[...document.querySelectorAll("main .scroll")]
        .every((box) => box.scrollWidth <= box.clientWidth)""")


async def test_an_id_of_any_text_is_cut_on_the_page_but_asked_for_as_it_is():
    async with Sandbox(1, 1) as sandbox, browser() as page:
        odd = "é" + "x" * 250 + "?#"
        async with dashboard(sandbox, ids=[odd]) as board:
            await page.go(board.url)
            await page.until(ONE_PROBLEM)
            await page.run("document.querySelector('#problems-table button').click()")
            await page.until("$('drawer-body').textContent.includes('Last changes')")
            title = await page.text("#drawer-title")
            assert title.startswith("éxxx")
            assert len(title) <= 120


@pytest.mark.parametrize("width", [1_280, 400])
async def test_no_table_is_cut_and_no_region_is_broken(width):
    async with opened(40, 3, healthy=False) as (page, sandbox):
        await page.resize(width, 900)
        first = sandbox.bucket_ids[0]
        ip = sandbox.node_ips(first)[0]
        sandbox.set_node(first, ip, region="ap-southeast-1")
        for state in ("OFFLINE", "DISCONNECTED", "DRAINING"):
            sandbox.set_state(first, ip, state)
            await page.until(f"$('news-panel').textContent.includes({json.dumps(state)})")
        await page.until("model.regions.has('ap-southeast-1') && !isPlanned")
        await everything_fits(page)
        lines = await page.run("""[...document.querySelectorAll(".regions tbody th bdi")]
            .map((name) => name.getClientRects().length + name.offsetHeight)""")
        assert len(set(lines)) == 1
        assert "DRAINING" in await page.text("#regions-panel")
        assert first in await page.text("#news-panel")
        cut = """[...document.querySelectorAll("#news-panel .plain")]
            .filter((id) => id.scrollWidth > id.clientWidth).length"""
        assert await page.run(cut) == 0


async def test_buckets_without_a_node_are_told_in_the_same_words_everywhere():
    async with opened(3, 0) as (page, _):
        assert await page.text("h1") == "3 buckets without a node"
        panel = await page.text("#problems-intro")
        assert panel == "Every bucket answers, but none has a node."
    async with opened(3, 1) as (page, _):
        # The last node of a bucket is gone.
        await page.run("plan(apply({ buckets: [[0, [0, []]]], news: [], v: model.v + 1 }))")
        await page.until("$('summary').textContent.includes('; 1 has no node')")
        assert await page.text("h1") == "Every node of 2 buckets is ONLINE; 1 has no node"
        assert (await page.text("#problems-intro")).endswith("ONLINE. 1 bucket has no node.")


async def test_while_the_api_is_down_no_number_says_that_all_nodes_are():
    async with opened(6, 2, watch={"unknown_after": 1}) as (page, sandbox):
        assert "12 of 12" in (await page.text("#figures")).replace("\n", " ")
        for bucket_id in sandbox.bucket_ids:
            sandbox.fail(bucket_id, status=400, times=1_000)
        await page.until("model.conditions[2] === 6")
        await page.until("$('summary').textContent.startsWith('None of 6')")
        figures = await page.text("#figures")
        assert "unknown of 12" in figures.replace("\n", " ")
        problems = await page.text("#problems-table")
        assert problems.count("BadRequestError") == 1
        assert problems.count("for the same reason") == 5
