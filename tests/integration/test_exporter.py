"""The exporter over real sockets: what a scrape finds, and how it ends."""

import asyncio
import contextlib
import gzip
import json
import re
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    FlashbackClient,
    InvalidArgumentError,
    Observer,
    RetryPolicy,
)
from flashback_async.pages.exporter.exporter import Exporter
from flashback_async.pages.exporter.requests import Requests
from flashback_async.sandbox import Fault, Sandbox
from tests.integration.command import GUARD

DASHBOARD = Path(__file__).parents[2] / "grafana" / "flashback.json"
PAGE = DASHBOARD.parents[1] / "docs" / "prometheus.md"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Scraper:
    """What scrapes an exporter."""

    def __init__(self, exporter, session):
        self.exporter = exporter
        self.session = session

    async def text(self, path="/metrics", **headers):
        async with self.session.get(f"{self.exporter.url}{path}", headers=headers) as answer:
            assert answer.status == 200
            return await answer.text()

    async def series(self):
        """Return the value of each series, which must not be there twice."""
        found = {}
        for family in text_parser.text_string_to_metric_families(await self.text()):
            for sample in family.samples:
                key = (sample.name.removeprefix("flashback_"), *sample.labels.values())
                assert key not in found
                found[key] = sample.value
        return found

    async def until(self, holds):
        """Scrape until something holds for the series; return them."""
        async with asyncio.timeout(GUARD):
            while not holds(found := await self.series()):
                await asyncio.sleep(0.02)
        return found


@contextlib.asynccontextmanager
async def exporting(sandbox, *arguments, token=None, **options):
    requests = Requests()
    options = {"listen": "127.0.0.1:0", "detail": "node", "interval": 0.1} | options
    async with (
        FlashbackClient(
            token or sandbox.token,
            base_url=sandbox.base_url,
            observer=requests,
            retry=RetryPolicy.none(),
        ) as client,
        Exporter(client, requests, *arguments, **options) as exporter,
        aiohttp.ClientSession() as session,
    ):
        yield Scraper(exporter, session)


def about(series, name):
    return {key[1:]: value for key, value in series.items() if key[0] == name}


def first_node(sandbox):
    bucket_id = sandbox.bucket_ids[0]
    return bucket_id, sandbox.node_ips(bucket_id)[0]


async def test_the_series_follow_the_states_of_the_nodes():
    async with Sandbox(buckets=2, nodes=2, healthy=True) as sandbox, exporting(sandbox) as scraper:
        bucket_id, ip = first_node(sandbox)
        sandbox.set_node(bucket_id, ip, region='a"b\\c\nd é', latency_ms=250)
        node = (bucket_id, ip, 'a"b\\c\nd é')
        # Four nodes, and the counters of both buckets.
        found = await scraper.until(
            lambda series: (
                len(about(series, "node_up")) == 4
                and len(about(series, "bucket_objects")) == 2
                and about(series, "node_up").get(node)
            )
        )
        assert set(about(found, "node_up").values()) == {1}
        assert about(found, "node_latency_seconds")[node] == 0.25
        assert set(about(found, "bucket_answered").values()) == {1}
        assert sum(about(found, "nodes").values()) == 4
        assert about(found, "requests_total")["bucket_stats.list", "success"] >= 2
        sandbox.set_state(bucket_id, ip, "OFFLINE")
        found = await scraper.until(lambda series: not about(series, "node_up")[node])
        assert about(found, "nodes")[node[2], "OFFLINE"] == 1
        sandbox.set_state(bucket_id, ip, "ONLINE")
        await scraper.until(lambda series: about(series, "node_up")[node])


@pytest.mark.parametrize("some", [False, True], ids=["all", "named"])
async def test_the_counters_are_those_of_the_api_also_when_they_go_down(some):
    async with Sandbox(buckets=2, nodes=1, healthy=True) as sandbox:
        bucket_id = sandbox.bucket_ids[0]
        sandbox.set_totals(
            bucket_id, count=5, upload_bytes=10**15 + 1, download_bytes=None, size_change=-7
        )
        named = [list(sandbox.bucket_ids)] if some else []
        async with exporting(sandbox, *named, totals_every=0.1) as scraper:
            found = await scraper.until(
                lambda series: len(about(series, "bucket_uploaded_bytes_total")) == 2
            )
            assert about(found, "bucket_uploaded_bytes_total")[bucket_id,] == 10**15 + 1
            assert about(found, "bucket_objects")[bucket_id,] == 5
            assert about(found, "bucket_size_change_bytes")[bucket_id,] == -7
            assert (bucket_id,) not in about(found, "bucket_downloaded_bytes_total")
            sandbox.set_totals(bucket_id, upload_bytes=1)
            await scraper.until(
                lambda series: about(series, "bucket_uploaded_bytes_total")[bucket_id,] == 1
            )


async def test_an_unknown_bucket_has_no_node_series_and_has_not_answered():
    async with Sandbox(buckets=2, nodes=1, healthy=True) as sandbox, exporting(sandbox) as scraper:
        bucket_id, _ = first_node(sandbox)
        found = await scraper.until(lambda series: len(about(series, "node_up")) == 2)
        answered = about(found, "bucket_last_answer_timestamp_seconds")[bucket_id,]
        with sandbox.script(Fault.status(503).for_bucket(bucket_id)):
            found = await scraper.until(
                lambda series: not about(series, "bucket_answered")[bucket_id,]
            )
            assert {key[0] for key in about(found, "node_up")} == {sandbox.bucket_ids[1]}
            assert sum(v for k, v in about(found, "nodes").items() if k[1] == "unknown") == 1
            assert about(found, "requests_total")["status.get", "ServerError"] >= 2
            last = about(found, "bucket_last_answer_timestamp_seconds")[bucket_id,]
            assert last >= answered
            later = about(await scraper.series(), "bucket_last_answer_timestamp_seconds")
            assert later[bucket_id,] == last
        found = await scraper.until(lambda series: len(about(series, "node_up")) == 2)
        assert about(found, "bucket_answered")[bucket_id,] == 1
        assert about(found, "bucket_last_answer_timestamp_seconds")[bucket_id,] > last


async def test_a_bucket_that_was_never_readable_is_unknown():
    async with Sandbox(buckets=1, nodes=1) as sandbox:
        forbidden = sandbox.forbidden_ids[0]
        async with exporting(sandbox, [forbidden]) as scraper:
            found = await scraper.until(lambda series: about(series, "bucket_answered"))
        assert about(found, "bucket_answered") == {(forbidden,): 0}
        assert not about(found, "node_up")
        assert not about(found, "bucket_last_answer_timestamp_seconds")


async def test_a_bucket_that_is_gone_has_no_series_until_it_is_back():
    async with Sandbox(buckets=2, nodes=1, healthy=True) as sandbox:
        gone = sandbox.bucket_ids[0]
        async with exporting(sandbox, list(sandbox.bucket_ids)) as scraper:
            await scraper.until(lambda series: len(about(series, "bucket_objects")) == 2)
            sandbox.remove_bucket(gone)
            found = await scraper.until(lambda series: len(about(series, "bucket_answered")) == 1)
            assert not any(gone in key for key in found)
            sandbox.add_bucket(gone)
            await scraper.until(lambda series: len(about(series, "node_up")) == 2)


async def test_nodes_without_an_ip_or_with_the_same_are_series_of_their_own():
    async with Sandbox(buckets=1, nodes=1) as sandbox:
        (bucket_id,) = sandbox.bucket_ids
        nodes = [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}, {}, {}]
        body = {"bucketId": bucket_id, "nodeStatus": [{"status": "ONLINE", **n} for n in nodes]}
        with sandbox.script(Fault.body(json.dumps(body).encode()).for_operation("status.get")):
            async with exporting(sandbox) as scraper:
                found = await scraper.until(lambda series: about(series, "node_up"))
    assert {key[1] for key in about(found, "node_up")} == {"10.0.0.1", "10.0.0.1#2", "#3", "#4"}
    assert about(found, "nodes")["", "ONLINE"] == 4


async def test_a_scrape_asks_nothing_of_the_api():
    def is_listed_twice(series):  # who is there, and the counters
        return about(series, "requests_total").get(("bucket_stats.list", "success")) == 2

    async with (
        Sandbox(buckets=3, nodes=1) as sandbox,
        exporting(sandbox, interval=3600) as scraper,
    ):
        await scraper.until(is_listed_twice)
        asked = sandbox.requests
        for _ in range(5):
            found = await scraper.series()
        assert sandbox.requests == asked
        # Buckets that were not asked yet have no series.
        polls = about(found, "requests_total").get(("status.get", "success"), 0)
        assert len(about(found, "bucket_answered")) == polls <= 1


async def test_the_client_tells_both_facts_of_a_call_in_its_task():
    told = []

    class Telling(Observer):
        def attempt_ended(self, fact):
            told.append(asyncio.current_task())

        def call_ended(self, fact):
            told.append(asyncio.current_task())

    long = b'{"bucketId":"a","nodeStatus":[]' + b" " * 2**20 + b"}"
    async with Sandbox(buckets=1) as sandbox:
        fault = Fault.body(long).for_operation("status.get")
        async with FlashbackClient(
            sandbox.token, base_url=sandbox.base_url, observer=Telling()
        ) as client:
            with sandbox.script(fault):
                task = asyncio.create_task(client.status.get("a"))
                await task
    assert told == [task, task]


async def test_an_answer_that_cannot_be_decoded_is_no_success():
    async with Sandbox(buckets=1, nodes=1) as sandbox:
        with sandbox.script(Fault.body(b'{"nodeStatus": 5}').for_operation("status.get")):
            async with exporting(sandbox, list(sandbox.bucket_ids)) as scraper:
                found = await scraper.until(
                    lambda series: not about(series, "bucket_answered").get(sandbox.bucket_ids, 1)
                )
    asked = about(found, "requests_total")
    assert asked["status.get", "DecodeError"] >= 1
    assert ("status.get", "success") not in asked


async def test_regions_alone_need_no_counters():
    async with (
        Sandbox(buckets=2, nodes=1, healthy=True) as sandbox,
        exporting(sandbox, list(sandbox.bucket_ids), detail="region") as scraper,
    ):
        found = await scraper.until(lambda series: sum(about(series, "nodes").values()) == 2)
        assert {key[0] for key in found} == {"nodes", "watch_lag_seconds", "requests_total"}
        assert {seen.operation for seen in sandbox.log} == {"status.get"}


async def test_the_format_and_the_compression_are_those_that_the_scraper_asks_for():
    async with Sandbox(buckets=1, nodes=1) as sandbox, exporting(sandbox) as scraper:
        await scraper.until(lambda series: about(series, "node_up"))
        url = f"{scraper.exporter.url}/metrics"
        async with scraper.session.get(url, headers=OPENMETRICS) as answer:
            assert answer.headers["Content-Type"] == (
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            )
            text = await answer.text()
        assert text.endswith("\n# EOF\n")
        found = {f.name: f for f in openmetrics_parser.text_string_to_metric_families(text)}
        assert found["flashback_bucket_uploaded_bytes"].type == "counter"
        assert found["flashback_node_latency_seconds"].unit == "seconds"
        assert len(found["flashback_node_up"].samples) == 1
        for coding in ("identity", "gzip"):
            async with scraper.session.get(
                url, headers={"Accept-Encoding": coding}, auto_decompress=False
            ) as answer:
                assert answer.headers.get("Content-Encoding", "identity") == coding
                assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert answer.headers["Vary"] == "Accept, Accept-Encoding"
                body = await answer.read()
            text = (gzip.decompress(body) if coding == "gzip" else body).decode()
            assert "# TYPE flashback_requests_total counter\n" in text
            assert sandbox.token not in text


async def test_only_two_pages_can_be_read_and_none_can_be_written():
    async with Sandbox(buckets=0) as sandbox, exporting(sandbox) as scraper:
        assert 'href="/metrics"' in await scraper.text("/")
        for method, path, status in (
            ("HEAD", "/metrics", 200),
            ("HEAD", "/", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/", 405),
            ("GET", "/other", 404),
        ):
            async with scraper.session.request(method, scraper.exporter.url + path) as answer:
                assert answer.status == status, (method, path)
                assert status == 200 or sandbox.token not in await answer.text()
                if (method, path) == ("HEAD", "/metrics"):
                    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_a_rejected_token_ends_it():
    async with Sandbox(buckets=1) as sandbox:
        for ids in ([None], [list(sandbox.bucket_ids)]):
            async with exporting(sandbox, *ids, token="wrong") as scraper:
                with pytest.raises(AuthenticationError):
                    await asyncio.wait_for(scraper.exporter.run(), GUARD)


async def test_an_address_that_cannot_be_listened_on_is_a_configuration_error():
    async with Sandbox(buckets=0) as sandbox, exporting(sandbox) as scraper:
        taken = scraper.exporter.url.removeprefix("http://")
        with pytest.raises(ConfigurationError, match=f"^listen: cannot listen on '{taken}': "):
            async with exporting(sandbox, listen=taken):
                pass
        assert await scraper.text()
    for wrong in ({"listen": "x"}, {"interval": 0}, {"fall": 0}, {"detail": "all"}):
        with pytest.raises(InvalidArgumentError):
            async with exporting(sandbox, **wrong):
                pass


async def test_an_exporter_has_no_url_before_it_is_started():
    requests = Requests()
    async with FlashbackClient("x", observer=requests) as client:
        with pytest.raises(RuntimeError, match="async with"):
            _ = Exporter(client, requests).url


# The dashboard.


def targets(panels):
    for panel in panels:
        yield from panel.get("targets", ())
        yield from targets(panel.get("panels", ()))


def names_in(text):
    """Return the metrics that PromQL names."""
    return set(re.findall(r"\bflashback_\w+", text))


async def test_the_dashboard_and_the_docs_name_all_metrics_and_no_other():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    named = {name for target in targets(board["panels"]) for name in names_in(target["expr"])}
    for variable in board["templating"]["list"]:
        assert names_in(str(variable.get("query"))) <= named
    async with Sandbox(buckets=1, nodes=1) as sandbox, exporting(sandbox) as scraper:
        found = await scraper.until(
            lambda series: about(series, "node_up") and about(series, "bucket_objects")
        )
    assert named == {f"flashback_{key[0]}" for key in found}
    assert names_in(PAGE.read_text(encoding="utf-8")) == named


def test_no_alert_and_no_panel_adds_up_what_is_zero():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    exprs = [target["expr"] for target in targets(board["panels"])]
    exprs.append(PAGE.read_text(encoding="utf-8"))
    assert not [expr for expr in exprs if re.search(r"\bsum *\([^()]*== *0 *\)", expr)]


def test_the_table_of_buckets_that_do_not_answer_has_those_that_never_did():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (table,) = (
        panel
        for panel in board["panels"]
        if panel["type"] == "table" and panel["title"] == "Buckets that do not answer"
    )
    rows, times = (target["expr"] for target in table["targets"])
    assert names_in(rows) == {"flashback_bucket_answered"}
    assert "== 0" in rows
    assert "flashback_bucket_last_answer_timestamp_seconds" in names_in(times)


def test_the_dashboard_can_be_imported_anywhere():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert board["id"] is None
    assert board["schemaVersion"] >= 39
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource",
        "region",
        "bucket",
    ]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(panels))
    assert set(sources) == {"${datasource}"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
