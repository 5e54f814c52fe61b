"""The dashboard over HTTP: what it sends to viewers, and what it refuses."""

import asyncio
import itertools
import json
import random
import re
import socket
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest
from yarl import URL

from flashback_async import AuthenticationError
from flashback_async.pages.dashboard import live
from tests.integration.dashboards import GUARD, dashboard, served, viewer

# What it shows.


async def test_a_change_is_shown_within_a_second():
    async with (
        served(3, 2) as (board, sandbox, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.all_asked)
        first = sandbox.bucket_ids[0]
        ip = sandbox.node_ips(first)[1]
        assert page.states(first) == ["ONLINE", "ONLINE"]
        sandbox.set_state(first, ip, "OFFLINE")
        await page.until(lambda page: page.states(first) == ["ONLINE", "OFFLINE"])
        ((place, name, _),) = page.record(first)[2]
        assert (place, name) == (1, ip)
        assert page.shown["news"][0][1:] == ["STATE", first, ip, "ONLINE", "OFFLINE"]
        sandbox.set_state(first, ip, "ONLINE")
        await page.until(lambda page: len(page.record(first)) == 2)


@pytest.mark.slow
async def test_it_says_how_many_were_asked_and_when_it_was_answered_last():
    async with (
        served(20, 1, watch={"interval": 1.0}) as (board, _, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: 0 < page.facts["asked"] < 20)
        assert page.facts["interval"] == 1.0
        assert page.facts["answered"] <= page.facts["now"] + 0.1
        await page.until(lambda page: page.facts["asked"] >= page.facts["buckets"] == 20)
        assert page.facts["failed"] == 0


async def test_a_bucket_that_cannot_be_asked_is_unknown_and_one_that_does_not_exist_is_gone():
    async with served(2, 1, watch={"unknown_after": 1}) as (_, sandbox, session):
        first, second = sandbox.bucket_ids
        sandbox.fail(first, status=400, times=1_000)
        missing = "00000000-0000-4000-8000-000000000000"
        async with (
            dashboard(sandbox, ids=[first, second, missing], unknown_after=1) as board,
            viewer(board, session) as page,
        ):
            await page.until(lambda p: [r[0] for r in p.shown["buckets"]].count(0) == 1)
            await page.until(lambda p: (p.record(first)[0], p.record(missing)[0]) == (2, 3))
            assert page.record(first)[4].startswith("BadRequestError: ")


async def test_buckets_that_come_and_go_make_a_new_snapshot():
    async with (
        served(2, 1, watch={"refresh": 0.2}) as (board, sandbox, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.all_asked)
        added = sandbox.add_bucket()
        await page.until(lambda page: added in page.shown["ids"])
        assert page.shown["ids"] == sorted(page.shown["ids"])
        sandbox.remove_bucket(added)
        await page.until(lambda page: added not in page.shown["ids"])
        assert page.names.count("snapshot") >= 3


@pytest.mark.slow
async def test_a_bucket_that_is_deleted_is_no_problem_until_the_account_lists_it_no_more():
    settings = {"refresh": 1.5, "fall": 1}
    async with (
        served(2, 1, watch=settings) as (board, sandbox, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.all_asked)
        first, _ = sandbox.bucket_ids
        sandbox.remove_bucket(first)
        conditions = set()
        while first in page.shown["ids"]:
            conditions.add(page.record(first)[0])
            await page.read()
        assert 3 not in conditions
        assert page.shown["news"][0][1:3] == ["GONE", first]


@pytest.mark.slow
async def test_it_says_when_answers_stop_and_when_they_come_again(monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE", 0.5)
    monkeypatch.setattr(live, "_IDLE", 0.1)
    async with (
        served(1, 1) as (board, sandbox, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.facts["answered"] and not page.facts["silent"])
        sandbox.fail(sandbox.bucket_ids[0], status=400, times=8)
        await page.until(lambda page: page.facts["silent"])
        assert page.facts["now"] - page.facts["answered"] >= 0.6
        # Without a sign of life in between, the page knows that they came again.
        await page.until(lambda page: not page.facts["silent"])
        assert page.facts["now"] - page.facts["answered"] < 2.5


async def test_it_is_silent_while_nothing_changes():
    async with (
        served(3, 1) as (board, sandbox, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.all_asked and page.facts["asked"] >= 3)
        while page.names[-1] != "facts":
            await page.read()
        number, asked = len(page.names), sandbox.requests
        reading = asyncio.create_task(page.read())
        while sandbox.requests < asked + 9:  # three polls of each bucket
            await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait([reading])
        assert len(page.names) == number


async def test_a_sign_of_life_comes_now_and_then(monkeypatch):
    monkeypatch.setattr(live, "_QUIET", 0.1)
    monkeypatch.setattr(live, "_IDLE", 0.1)
    async with (
        served(1, 1, watch={"interval": 60.0}) as (board, _, session),
        viewer(board, session) as page,
    ):
        await page.until(lambda page: page.facts["asked"] >= 1)
        quiet = [await page.read() for _ in range(3)]
        assert quiet[-1] == "facts"


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [3, 20])
async def test_a_late_viewer_sees_what_an_early_one_does_after_any_changes(rounds):
    random.seed(rounds)
    async with (
        served(30, 3) as (board, sandbox, session),
        viewer(board, session) as early,
    ):
        await early.until(lambda page: page.all_asked)
        for _ in range(rounds):
            for _ in range(10):
                bucket_id = random.choice(sandbox.bucket_ids)
                ip = random.choice(sandbox.node_ips(bucket_id))
                state = random.choice(["ONLINE", "OFFLINE", "DISCONNECTED", "DRAINING"])
                sandbox.set_state(bucket_id, ip, state)
            marker, ip = sandbox.bucket_ids[0], sandbox.node_ips(sandbox.bucket_ids[0])[0]
            sandbox.set_state(marker, ip, f"ROUND-{random.random()}")
            await asyncio.sleep(0.5)  # every bucket is asked meanwhile
        async with viewer(board, session) as late:
            await late.until(lambda page: True)
            async with asyncio.timeout(GUARD):
                while early.shown["v"] < late.shown["v"]:
                    await early.read()
                while late.shown["v"] < early.shown["v"]:
                    await late.read()
            assert early.shown == late.shown


# A single bucket.


async def test_a_bucket_is_shown_with_its_nodes_and_last_changes():
    async with served(2, 2) as (board, sandbox, session), viewer(board, session) as page:
        await page.until(lambda page: page.all_asked)
        first = sandbox.bucket_ids[0]
        ip = sandbox.node_ips(first)[0]
        sandbox.set_state(first, ip, "OFFLINE")
        await page.until(lambda page: "OFFLINE" in page.states(first))
        async with session.get(f"{board.url}bucket/{first}") as response:
            assert response.content_type == "application/json"
            found = await response.json()
        assert (found["bucket_id"], found["condition"]) == (first, "ANSWERED")
        assert [(node["ip"], node["state"]) for node in found["nodes"]] == [
            (ip, "OFFLINE"),
            (sandbox.node_ips(first)[1], "ONLINE"),
        ]
        (change,) = found["changes"]
        assert (change["ip"], change["before"], change["after"]) == (ip, "ONLINE", "OFFLINE")
        async with session.get(f"{board.url}bucket/nothing") as response:
            assert response.status == 404


@pytest.mark.parametrize("odd", ["a%2Fb", "ü ?#&", "<script>", "a+b", "..x", "%"])
async def test_an_id_may_hold_what_means_something_in_an_address(odd):
    async with served(1, 1, watch={"ids": [odd]}) as (board, _, session):
        address = URL(f"{board.url}bucket/{quote(odd, safe='')}", encoded=True)
        async with session.get(address) as response:
            assert (await response.json())["bucket_id"] == odd


# The page and its guard.


async def test_each_page_has_a_policy_with_a_nonce_of_its_own():
    async with served(1, 1) as (board, _, session):
        nonces = set()
        for _ in range(3):
            async with session.get(board.url) as response:
                policy, page = response.headers["Content-Security-Policy"], await response.text()
            directives = dict(part.split(" ", 1) for part in policy.split("; "))
            (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
            assert directives == {
                "default-src": "'none'",
                "script-src": f"'nonce-{nonce}'",
                "style-src": f"'nonce-{nonce}'",
                "connect-src": "'self'",
                "img-src": "data:",
                "base-uri": "'none'",
                "form-action": "'none'",
                "frame-ancestors": "'none'",
            }
            assert page.count(f'nonce="{nonce}"') == 2
            assert not re.search(r"""\son\w+=|\sstyle=|https?://(?!www\.w3\.org/2000/svg)""", page)
            nonces.add(nonce)
        assert len(nonces) == 3


@pytest.mark.parametrize("path", ["", "events", "bucket/nothing", "nothing"])
async def test_every_response_has_the_headers_that_keep_it_here(path):
    async with served(1, 1) as (board, _, session):
        async with session.head(f"{board.url}{path}") as response:
            headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert not any(name.startswith("Access-Control") for name in headers)


async def test_only_this_machine_is_a_host():
    async with served(1, 1) as (board, _, session):
        for path in ("", "events", "bucket/x", "nothing"):
            for host in (
                "127.0.0.1",
                "localhost:1",
                "LOCALHOST:65535",
                "localhost:",
                "[::1]",
                "[::1]:8080",
            ):
                async with session.head(f"{board.url}{path}", headers={"Host": host}) as response:
                    assert response.status in (200, 404), (path, host)
            for host in (
                "evil.example",
                "127.0.0.1.evil.example",
                "localhost.",
                "127.0.0.1:x",
                "localhost:\u0661",
                "localhost :1",
                "localhost:1\t2",
                "localhost: 1",
                "",
            ):
                async with session.get(f"{board.url}{path}", headers={"Host": host}) as response:
                    assert response.status == 421, (path, host)
                    assert "ids" not in await response.text()


async def test_a_request_without_a_host_or_with_two_is_refused():
    async with served(1, 1) as (board, _, _session):
        port = int(board.url.rstrip("/").rpartition(":")[2])
        for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
            status = (await reader.readline()).split()[1]
            assert status in (b"400", b"421")
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_it_can_only_be_read(method):
    async with served(1, 1) as (board, _, session):
        for path in ("", "events", "bucket/x"):
            async with session.request(method, f"{board.url}{path}") as response:
                assert response.status == 405
                assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_other_sites_cannot_take_its_places_but_may_link_to_it():
    async with served(1, 1) as (board, _, session):
        for site, mode, status in (
            ("cross-site", "cors", 403),
            ("same-site", "no-cors", 403),
            ("same-origin", "cors", 200),
            ("cross-site", "navigate", 200),
        ):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
            path = "" if mode == "navigate" else "events"
            async with session.head(f"{board.url}{path}", headers=headers) as response:
                assert response.status == status


async def test_another_origin_is_refused_on_every_path():
    async with served(1, 1) as (board, _, session):
        own = board.url.rstrip("/")
        for path in ("", "events", "bucket/x", "nothing"):
            for origin in ("http://evil.example", "http://localhost:1", "null", f"{own}.evil", ""):
                async with session.get(board.url + path, headers={"Origin": origin}) as response:
                    assert response.status == 403, (path, origin)
            async with session.head(board.url + path, headers={"Origin": own}) as response:
                assert response.status in (200, 404), path


async def test_it_listens_on_the_loopback_interface_only():
    async with served(1, 1) as (board, _, _session):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", board.url)
        (listening,) = board._runner.addresses
        assert listening[0] == "127.0.0.1"


# Many viewers, and slow ones.


async def test_the_51st_viewer_is_asked_to_come_back_later():
    async with served(2, 1) as (board, sandbox, session), AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(viewer(board, session)) for _ in range(50)]
        for page in pages:
            await page.until(lambda page: page.all_asked)
        for method in ("GET", "HEAD"):
            async with session.request(method, f"{board.url}events") as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
        async with session.get(board.url) as response:
            assert response.status == 200
        first = sandbox.bucket_ids[0]
        sandbox.set_state(first, sandbox.node_ips(first)[0], "OFFLINE")
        for page in pages:
            await page.until(lambda page: page.states(first) == ["OFFLINE"])


async def test_a_viewer_that_leaves_makes_room():
    async with served(1, 1) as (board, _, session):
        async with viewer(board, session) as page:
            await page.until(lambda page: page.all_asked)
        async with asyncio.timeout(GUARD):
            while board._live.stream._viewers:
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_viewer_that_lags_gets_a_new_snapshot_and_no_queue():
    async with (
        served(100, 30, watch={"interval": 0.5}) as (board, sandbox, session),
        viewer(board, session) as slow,
    ):
        await slow.until(lambda page: page.all_asked)
        connection = slow._response.connection.transport
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        (waiting,) = board._live.stream._viewers
        connection.pause_reading()
        async with viewer(board, session) as quick:
            await quick.until(lambda page: page.all_asked)
            states = itertools.cycle(["OFFLINE", "DISCONNECTED", "DRAINING"])
            while waiting._event != b"":  # a snapshot is due
                state = next(states)
                for bucket_id in sandbox.bucket_ids:
                    for ip in sandbox.node_ips(bucket_id):
                        sandbox.set_state(bucket_id, ip, state)
                while set(quick.states(sandbox.bucket_ids[0])) != {state}:
                    await quick.read()
            snapshots = slow.names.count("snapshot")
            connection.resume_reading()
            await slow.until(lambda page: page.shown["v"] >= quick.shown["v"])
            while quick.shown["v"] < slow.shown["v"]:
                await quick.read()
            assert slow.shown["buckets"] == quick.shown["buckets"]
            assert slow.names.count("snapshot") > snapshots


# The end.


async def test_viewers_see_why_the_watch_has_ended():
    async with served(2, 1) as (board, sandbox, session), viewer(board, session) as page:
        await page.until(lambda page: page.all_asked)
        sandbox.rotate_token()
        with pytest.raises(AuthenticationError):
            await board.ended()
        while await page.read() is not None:
            pass
        assert page.names[-1] == "end"
        assert "401" in page.ending["message"]
        assert sandbox.token not in json.dumps(page.ending)


async def test_it_ends_with_the_watch():
    async with served(1, 1) as (board, _, session), viewer(board, session) as page:
        await page.until(lambda page: page.all_asked)
        await board._live._watch.__aexit__(None, None, None)
        async with asyncio.timeout(GUARD):
            await board.ended()


async def test_leaving_it_lets_viewers_go_even_those_that_do_not_read():
    async with AsyncExitStack() as stack, served(50, 3) as (board, _, session):
        pages = [await stack.enter_async_context(viewer(board, session)) for _ in range(3)]
        pages[0]._response.connection.transport.pause_reading()
        for page in pages[1:]:
            await page.until(lambda page: page.all_asked)
        async with asyncio.timeout(GUARD):
            await board.__aexit__(None, None, None)
        for page in pages[1:]:
            while await page.read() is not None:
                pass


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing():
    async with served(1, 1) as (board, sandbox, _):
        port = int(board.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            async with dashboard(sandbox, port=port):
                pass


async def test_to_wait_for_the_end_of_one_that_is_not_open_is_a_mistake():
    async with served(1, 1) as (board, _, _session):
        other = type(board)(board._live._watch, interval=1.0)
        with pytest.raises(RuntimeError, match="not open"):
            await other.ended()
