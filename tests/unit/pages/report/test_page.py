"""The report: a whole page, whatever the API sent."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flashback_async import InvalidArgumentError, RequestTimeoutError
from flashback_async.pages import make_report
from flashback_async.pages.report.phrases import percent
from tests.pages import FIRST, NOW, answered, bucket, days, node_day, parsed, silent

EVIL = "<script>alert(1)</script>'\"&\x00\x1b[31m\u202e\ud800 אב" + "x" * 10_000
LIMIT = 400 * 1024  # bytes


def report(outcomes, history=None, **options):
    return parsed(make_report(outcomes, history, **{"asked_at": NOW} | options))


def headline(*outcomes):
    return report(outcomes).one("h1").text


def section(page, name):
    return page.one("section", aria_labelledby=name)


def rows(table):
    return table.one("tbody").all("tr")


def bucket_id(number):
    return f"{number:08x}-1111-4222-8333-{number:012x}"


def levels(picture):
    """Return the class of each day of a row's picture."""
    found = {}
    for path in picture.all("path"):
        if path["class"] not in ("up", "gap", "sign", "named"):
            for first, length in re.findall(r"M(\d+) [\d.]+h(\d+)", path["d"]):
                found |= dict.fromkeys(range(int(first), int(first) + int(length)), path["class"])
    return [found.get(day) for day in range(int(picture["viewbox"].split()[2]))]


# What it says.


def test_the_headline_says_what_matters_most():
    well, bad = bucket("w", "ONLINE"), bucket("b", "ONLINE", "OFFLINE")
    lost = silent("l", RequestTimeoutError("no answer"))
    assert headline(well, bad, lost) == "1 of 3 buckets has a node that is not ONLINE"
    assert headline(well, lost) == "1 of 2 buckets did not answer"
    assert headline(well) == "Every node of 1 bucket is ONLINE"
    assert headline(lost) == "The bucket did not answer"
    assert headline(lost, silent("m", lost.error)) == "None of 2 buckets answered"
    assert headline(bucket("e")) == "1 bucket without a node"
    assert headline() == "There is no bucket to report on"


def test_the_time_is_in_utc():
    at = datetime(2026, 11, 22, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    time = report([], asked_at=at).one("time")
    assert time.text == "21 November 2026, 23:30 UTC"
    assert time["datetime"] == "2026-11-21T23:30:00+00:00"


def test_problems_come_first_and_those_of_whole_buckets_before_others():
    page = report(
        [
            bucket("well", "ONLINE"),
            bucket("partly", "ONLINE", "OFFLINE"),
            answered(bucket("down", "DISCONNECTED", "DISCONNECTED")),
            silent("lost", RequestTimeoutError("no answer within 10 s")),
        ],
        days({"a": [100.0]}),
    )
    titles = [heading.text for heading in page.all("h2")]
    assert titles == [
        "2 buckets with nodes that are not ONLINE",
        "1 bucket did not answer",
        "Regions",
        "Uptime by day",
        "Uptime by region",
        "Worst nodes",
        "All buckets",
    ]
    first, second = rows(section(page, "problems").one("table"))
    assert first.text == (
        "down 0 of 2 "
        "▲ DISCONNECTED 10.0.0.0, us-east-1, version 1.8.2, updated 0 s before "
        "▲ DISCONNECTED 10.0.0.1, us-east-1, version 1.8.2, updated 0 s before"
    )
    assert second.text.startswith("partly 1 of 2 × OFFLINE 10.0.0.1")
    said = section(page, "silent").text
    assert "RequestTimeoutError: no answer within 10 s 1 lost" in said


def test_regions_are_counted_by_state_the_one_with_most_problems_first():
    page = report(
        [
            bucket("a", *["ONLINE"] * 9, "OFFLINE", region="fair"),
            bucket("b", "ONLINE", "DRAINING", region="poor"),
            bucket("c", "ONLINE", region=None),
        ]
    )
    table = section(page, "regions").one("table")
    heads = [head.text for head in table.one("thead").all("th")]
    assert heads[:5] == ["Region", "Nodes", "● ONLINE", "× OFFLINE", "■ DRAINING"]
    assert [row.text for row in rows(table)] == [
        "poor 2 1 0 1",
        "fair 10 9 1 0",
        "not reported 1 1 0 0",
    ]


def test_every_bucket_is_a_cell_in_the_group_of_its_state():
    outcomes = [bucket(bucket_id(n), "ONLINE") for n in range(50)]
    outcomes += [bucket("half", "ONLINE", "OFFLINE"), bucket("down", "OFFLINE"), bucket("empty")]
    page = report([*outcomes, silent("lost", RequestTimeoutError("no answer"))])
    groups = section(page, "all").all("div", "group")
    assert [group.one("h3").text for group in groups] == [
        "No node ONLINE 1",
        "Some nodes OFFLINE 1",
        "No answer 1",
        "No nodes 1",
        "Every node ONLINE 50",
    ]
    cells = [(c.text, c["title"]) for group in groups for c in group.all("b")]
    assert cells == [("×", "down"), ("×", "half"), ("?", "lost"), ("○", "empty")]
    assert len(groups[-1].all("i")) == 50
    assert groups[-1].one("div", "cells")["aria-label"] == "Every node ONLINE: 50 buckets"


# The calendar.


def calendar(history):
    page = report([], history)
    return section(page, "calendar")


def test_each_range_of_uptime_looks_different():
    values = [100.0, 99.95, 99.9, 99.5, 98.0, 50.0, 10.0, 0.0, None]
    (picture,) = rows(calendar(days({"a": values})).one("table"))[0].all("svg")
    assert levels(picture) == [None, "u5", "u5", "u4", "u3", "u2", "u1", "u0", "ux"]
    # A day of 100 % has what is behind the bars alone; one without a report has not even that.
    assert picture.one("path", "up")["d"].startswith("M0 8h1M1 8h2")
    assert "M8" not in picture.one("path", "up")["d"]
    assert picture.one("path", "sign")["d"] == picture.one("path", "u0")["d"]


def test_days_that_are_not_kept_are_not_days_without_a_report():
    later = FIRST + timedelta(days=3)
    history = [(FIRST, [node_day("a", FIRST, None)]), (later, [node_day("a", later, 100.0)])]
    (picture,) = rows(calendar(history).one("table"))[0].all("svg")
    assert levels(picture) == ["ux", "ug", "ug", None]


def test_the_legend_names_every_look_of_a_day():
    items = calendar(days({"a": [100.0]})).one("ul", "legend").all("li")
    assert [item.text for item in items] == [
        "100 %",
        "99.9 % or more",
        "99 % or more",
        "95 % or more",
        "50 % or more",
        "below 50 %",
        "0 %: down all day",
        "not reported",
        "day not kept",
    ]
    assert len({str([(p["class"], p["d"]) for p in item.all("path")]) for item in items}) == 9


def test_the_hundred_worst_are_shown_and_the_others_counted():
    found = calendar(days({f"b{n:03}": [90 + n / 100] for n in range(250)}))
    shown = [row.one("th").text for row in rows(found.one("table"))]
    assert shown == [f"b{n:03}" for n in range(100)]
    assert found.one("p", "after").text == (
        "150 buckets with a better uptime are left out; the lowest mean among them is 91.00 %."
    )


def test_with_a_hundred_buckets_none_is_left_out():
    found = calendar(days({f"b{n}": [99.0] for n in range(100)}))
    assert len(rows(found.one("table"))) == 100
    assert not found.all("p", "after")


def test_a_row_says_in_text_what_its_picture_shows():
    (row,) = rows(calendar(days({"a": [100.0, 40.0, None]})).one("table"))
    assert row.one("svg")["aria-label"] == "2 days, the worst 2026-09-02 with 40.00 %"
    assert [cell.text for cell in row.all("td")][1:] == ["70.00 %", "1 of 2"]
    assert row.one("title").text == "2026-09-02: 40.00 %"


def test_more_than_a_year_shows_its_last_days():
    found = calendar(days({"a": [0.0] * 10 + [100.0] * 366}))
    (row,) = rows(found.one("table"))
    assert levels(row.one("svg")) == [None] * 366
    assert "The pictures show the last 366 days" in found.text
    assert row.all("td")[2].text == "10 of 376"


def test_months_are_named_above_their_first_day():
    found = calendar(days({"a": [100.0] * 91}))
    names = [(t.text, t["x"]) for t in found.one("svg", "months").all("text")]
    assert names == [("Sep 2026", "0.000%"), ("Oct", "32.967%"), ("Nov", "67.033%")]


def test_a_history_without_rows_says_so():
    assert "no node statistics of these buckets (1 day kept)" in calendar([(FIRST, [])]).text
    assert "(0 days kept)" in calendar([]).text


def test_uptime_by_region_and_the_worst_nodes_are_tables():
    def rows_of(day):
        yield node_day("a", day, 80.0, 0, ip="10.0.0.1", region="poor")
        yield node_day("a", day, 99.95, 1, ip="10.0.0.2", region="fair")
        yield node_day("b", day, 99.95, 0, ip="10.0.0.2", region="fair")
        yield node_day("b", day, None, 1, ip="10.0.0.3", region=None)

    page = report([], [(FIRST, rows_of(FIRST))])
    assert [row.text for row in rows(section(page, "sla").one("table"))] == [
        "poor 80.00 % 1 1 1 0",
        "fair 99.95 % 2 0 0 0",
        "not reported not reported 1 0 0 1",
    ]
    assert [row.text for row in rows(section(page, "nodes").one("table"))] == [
        "10.0.0.1 poor 80.00 % 1 of 1 2026-09-01: 80.00 % a",
        "10.0.0.2 fair 99.95 % 0 of 1 2026-09-01: 99.95 % a and 1 more",
    ]


def test_a_share_is_on_the_right_side_of_each_limit_and_never_0_or_100_if_it_is_not():
    assert percent(99.999) == "99.99 %"
    assert percent(100.0) == "100.00 %"
    assert percent(100) == "100.00 %"
    assert percent(98.999_9) == "98.99 %"
    assert percent(98.13) == "98.13 %"
    assert percent((98.1 + 98.2 + 98.3) / 3) == "98.20 %"
    assert percent(0.001) == "0.01 %"
    assert percent(0.0) == "0.00 %"


# The file.


def evil_page():
    node = {"ip": EVIL, "region": EVIL, "host": EVIL, "version": EVIL, "state": EVIL}
    outcomes = [bucket(f"{EVIL[:60]}{n}{EVIL}", EVIL, "OFFLINE", region=EVIL) for n in range(9)]
    lost = [silent(f"{n}{EVIL}", RequestTimeoutError(EVIL)) for n in range(9)]
    return make_report([*outcomes, *lost], [(FIRST, [node_day(EVIL, FIRST, 50.0, **node)])])


def test_nothing_that_the_api_sent_becomes_a_part_of_the_page():
    text = evil_page()
    page = parsed(text)
    assert not page.all("script")
    assert "<script>alert(1)</script>" in section(page, "problems").text
    assert re.search(r"[^\n\t -~\x80-\U0010ffff]", text) is None, "control characters"
    assert "\u202e" not in text
    assert len(text.encode()) < 150_000


@pytest.mark.parametrize("scheme", ["http:", "https:", "//", "@import", "src=", "url("])
def test_the_file_asks_for_nothing_from_elsewhere(scheme):
    page = make_report([bucket("a", "OFFLINE")], days({"a": [1.0]}))
    assert scheme not in page


def test_the_file_permits_no_script_and_no_fetch():
    page = report([])
    policy = page.one("meta", http_equiv="Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert page.one("link", rel="icon")["href"] == "data:,"
    assert page.one("html")["lang"] == "en"


def test_every_table_has_a_caption_and_heads_with_a_scope():
    page = report([bucket("a", "OFFLINE"), bucket("b", "ONLINE")], days({"a": [99.0], "b": [None]}))
    tables = page.all("table")
    assert len(tables) == 5
    for table in tables:
        assert table.one("caption").text
        assert {head["scope"] for head in table.one("thead").all("th")} == {"col"}
        assert all(row.one("th")["scope"] == "row" for row in rows(table))
    for picture in page.all("svg"):
        labelled = picture.attributes.get("role") == "img" and picture["aria-label"]
        assert labelled or picture["aria-hidden"] == "true"


def test_ids_are_unique_and_links_lead_to_them():
    page = report([bucket("a", "OFFLINE"), bucket("b", "ONLINE")], days({"a": [99.0]}))
    ids = [e["id"] for e in page.all() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"].removeprefix("#") for link in page.one("nav").all("a")} <= set(ids)


def account(kind):
    for n in range(5_000):
        states = ["ONLINE"] * 3
        if kind == "some" and n % 7 == 0:
            states[n % 3] = "OFFLINE" if n % 2 else "DISCONNECTED"
        elif kind == "down":
            states = ["OFFLINE", "DISCONNECTED", "OFFLINE"]
        if kind == "silent":
            yield silent(bucket_id(n), RequestTimeoutError("no answer within 10 s"))
        else:
            yield bucket(bucket_id(n), *states)


@pytest.mark.parametrize("kind", ["well", "some", "down", "silent"])
def test_five_thousand_buckets_are_less_than_400_kib(kind):
    text = make_report(account(kind), asked_at=NOW)
    assert len(text.encode()) < LIMIT
    page = parsed(text)
    assert len(page.all("b")) + len(page.all("i")) >= 5_000
    if kind != "well":
        # Every bucket with a problem is named.
        assert {bucket_id(n) for n in range(0, 5_000, 7)} <= set(re.findall(r"[\w-]{36}", text))


def wide(name, number):
    """Return an id that takes many bytes."""
    return f"{number:04}{name * 252}"


@pytest.mark.parametrize(
    ("ids", "states", "region"),
    [
        pytest.param("", ["OFFLINE", "DISCONNECTED"] * 3, "us-east-1", id="many nodes"),
        pytest.param("", ["MAINTENANCE", "DRAINING", "UPGRADING"], "us-east-1", id="other states"),
        pytest.param("&", ["OFFLINE"] * 3, "us-east-1", id="escaped ids"),
        pytest.param("𝄞", ["OFFLINE"] * 3, "us-east-1", id="ids of many bytes"),
        pytest.param('"', ['"' * 200 + str(n) for n in range(8)], "", id="everything"),
    ],
)
def test_five_thousand_buckets_are_less_than_400_kib_whatever_the_api_sent(ids, states, region):
    turned = [states[n:] + states[:n] for n in range(len(states))]
    outcomes = [
        bucket(
            wide(ids, n) if ids else bucket_id(n),
            *turned[n % len(turned)],
            region=region or '"' * 200 + str(n),
        )
        for n in range(5_000)
    ]
    text = make_report(outcomes, asked_at=NOW)
    assert 300 * 1024 < len(text.encode()) < LIMIT, "and the room is used"
    found = section(parsed(text), "problems")
    assert rows(found.all("table")[0])[0].one("th").text, "the worst have details"
    assert named_and_left(found) == 5_000


@pytest.mark.parametrize("name", ["&", "𝄞"])
def test_many_reasons_and_problems_share_the_room(name):
    outcomes = [bucket(wide(name, n), "OFFLINE", "ONLINE") for n in range(2_500)]
    outcomes += [
        silent(wide(name, n), RequestTimeoutError(f"{n % 99}{name * 300}"))
        for n in range(2_500, 5_000)
    ]
    text = make_report(outcomes, asked_at=NOW)
    assert len(text.encode()) < LIMIT
    page = parsed(text)
    for wrong in ("problems", "silent"):
        assert named_and_left(section(page, wrong)) == 2_500
        assert section(page, wrong).all("p", "ids")


def named_and_left(found):
    """Return how many buckets have a row, are listed, or are counted as left out."""
    with_row = sum(len(rows(table)) for table in found.all("table"))
    listed = left = 0
    for part in found.all("p"):
        ids, number = re.fullmatch(
            r"(.*?)(?:(?:; and |And )?([\d,]+) more, not listed here\.?)?", part.text
        ).groups()
        left += int((number or "0").replace(",", ""))
        if ids and part.attributes.get("class") == "ids":
            listed += ids.count(", ") + 1
    return with_row + listed + left


def test_what_has_no_room_is_counted():
    long = "b" * 200
    page = report(silent(f"{long}{n:04}", RequestTimeoutError("no answer")) for n in range(5_000))
    listed, left = re.search(
        r"(b.*); and ([\d,]+) more, not listed here", section(page, "silent").text
    ).groups()
    assert listed.count(", ") + 1 + int(left.replace(",", "")) == 5_000


# Arguments.


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(InvalidArgumentError, match="asked_at must have a time zone"):
        make_report([], asked_at=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake


def test_without_a_time_it_is_now():
    before = datetime.now(UTC).replace(microsecond=0)
    told = parsed(make_report([])).one("time")["datetime"]
    assert before <= datetime.fromisoformat(told) <= datetime.now(UTC)
