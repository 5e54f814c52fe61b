"""The sandbox told over HTTP what to do, by programs in any language."""

import asyncio
import contextlib
import shutil

import aiohttp
import pytest

from flashback_async import ConnectionLostError, FlashbackClient, RetryPolicy, ServerError
from flashback_async.sandbox.control import ControlledSandbox
from tests.integration.command import environment, needs_posix, process


@pytest.fixture
async def sandbox():
    async with ControlledSandbox(buckets=3, healthy=True) as sandbox:
        yield sandbox


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def tell(sandbox, http):
    async def tell(method, path, document=None, **options):
        if document is not None:
            options["json"] = document
        url = f"{sandbox.base_url}/_sandbox/{path}"
        async with http.request(method, url, **options) as answer:
            return answer.status, await answer.json()

    return tell


@contextlib.asynccontextmanager
async def once(sandbox):
    options = {"base_url": sandbox.base_url, "retry": RetryPolicy.none()}
    async with FlashbackClient(sandbox.token, **options) as client:
        yield client


async def test_faults_are_put_in_force_and_lifted(sandbox, tell):
    bucket_id, other, _ = sandbox.bucket_ids
    faults = [
        {"fault": "status", "status": 503, "retry_after": 2, "for_bucket": bucket_id, "first": 1},
        {"fault": "reset", "for_operation": "status.get", "for_bucket": bucket_id},
    ]
    assert await tell("POST", "faults", faults) == (200, {"success": True})
    async with once(sandbox) as client:
        with pytest.raises(ServerError) as caught:
            await client.status.get(bucket_id)
        assert caught.value.retry_after == 2
    async with once(sandbox) as client:
        with pytest.raises(ConnectionLostError):
            await client.status.get(bucket_id)
        assert (await client.status.get(other)).nodes
        assert await tell("DELETE", "faults") == (200, {"success": True})
        assert (await client.status.get(bucket_id)).nodes


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "status", "status": 429, "retry_after": "nonsense"},
        {"fault": "status", "status": 429, "retry_after": "2026-01-05T10:00:00+00:00"},
        {"fault": "status", "status": 429, "retry_after": 0.5, "every": 2, "after": 1},
        {"fault": "body", "body": "<html>", "status": 502, "content_type": "text/html"},
        {"fault": "slow", "seconds": 0.1},
        {"fault": "hang"},
        {"fault": "cut", "length": 40},
        {"fault": "drip", "rate": 10},
        {"fault": "token_expired"},
        {"fault": "down", "between": [50, 60]},
    ],
)
async def test_every_fault_has_its_json(sandbox, tell, fault):
    assert await tell("POST", "faults", [fault]) == (200, {"success": True})
    ((made,),) = (script.faults for script in sandbox.scripts)
    assert f"Fault.{fault['fault']}(" in repr(made)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "the body must be a list of faults"),
        (["hang"], "fault 0: it must be an object"),
        ([{}], "fault 0: fault must be one of status, body, "),
        ([{"fault": ["hang"]}], "fault 0: fault must be one of"),
        ([{"fault": "hang"}, {"fault": "status"}], "fault 1: status is missing"),
        ([{"fault": "status", "status": 99}], "fault 0: status must be 200 or more, not 99"),
        ([{"fault": "hang", "frist": 3}], "fault 0: hang takes no frist"),
        ([{"fault": "hang", "first": "3"}], "fault 0: first must be a whole number"),
        ([{"fault": "hang", "between": 3}], "fault 0: between must be a list of two numbers"),
        ([{"fault": "hang", "between": [2, 1]}], "fault 0: between: end must be more than begin"),
        ([{"fault": "down"}], "fault 0: down needs between"),
        ([{"fault": "down", "first": 1}], "fault 0: first: Fault.down() takes after() and"),
        (
            [{"fault": "hang", "for_bucket": "nobody"}],
            "fault 0: for_bucket must be a bucket of",
        ),
        ([{"fault": "body", "body": 7}], "fault 0: body must be bytes"),
    ],
)
async def test_a_wrong_fault_is_a_400_that_says_why_and_changes_nothing(
    sandbox, tell, document, says
):
    status, answer = await tell("POST", "faults", document)
    assert (status, answer["success"]) == (400, False)
    assert says in answer["message"]
    assert sandbox.scripts == ()


async def test_a_state_is_set_and_a_wrong_one_refused(sandbox, tell):
    bucket_id = sandbox.bucket_ids[0]
    ip = sandbox.node_ips(bucket_id)[0]
    told = {"bucket_id": bucket_id, "ip": ip, "state": "OFFLINE"}
    assert await tell("POST", "state", told) == (200, {"success": True})
    async with once(sandbox) as client:
        assert (await client.status.get(bucket_id)).nodes[0].state == "OFFLINE"
    for wrong in ({**told, "ip": "x"}, {**told, "state": 7}, {"ip": ip}, {**told, "more": 1}, []):
        status, answer = await tell("POST", "state", wrong)
        assert (status, answer["success"]) == (400, False)
        assert answer["message"]


async def test_the_token_is_replaced(sandbox, tell):
    old = sandbox.token
    status, answer = await tell("POST", "token")
    assert (status, answer) == (200, {"token": sandbox.token})
    assert sandbox.token != old


async def test_the_log_tells_what_came_but_not_what_was_told(sandbox, tell):
    await tell("POST", "faults", [{"fault": "status", "status": 404, "first": 1}])
    async with once(sandbox) as client:
        await client.status.get_many(sandbox.bucket_ids[:2], concurrency=1)
    status, entries = await tell("GET", "log")
    assert status == 200
    first, second = entries
    assert (first["status"], first["fault"]) == (404, "status(404).first(1)")
    assert second == {
        "method": "GET",
        "path": f"/bucket/{sandbox.bucket_ids[1]}/status",
        "operation": "status.get",
        "bucket_id": sandbox.bucket_ids[1],
        "status": 200,
        "at": second["at"],
        "fault": None,
    }
    assert sandbox.requests == 2


async def test_it_is_told_while_nothing_else_works(sandbox, tell):
    await tell("POST", "faults", [{"fault": "hang"}])
    sandbox.error_rate = 1
    sandbox.latency = 20
    assert await tell("GET", "log") == (200, [])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
async def test_another_host_is_refused(sandbox, tell, host):
    status, answer = await tell("POST", "token", headers={"Host": host})
    assert (status, answer["success"]) == (403, False)
    status, _ = await tell(
        "GET", "log", headers={"Host": sandbox.base_url.replace("http://127.0.0.1", "localhost")}
    )
    assert status == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "token"), ("GET", "log")])
async def test_no_web_page_can_tell_it_anything(sandbox, tell, method, path):
    token = sandbox.token
    status, answer = await tell(method, path, headers={"Origin": "http://evil.example"})
    assert (status, answer["success"]) == (403, False)
    assert sandbox.token == token


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data": b"[]"}, "Content-Type must be application/json"),
        ({"data": b"[]", "headers": {"Content-Type": "text/plain"}}, "Content-Type must be"),
        ({"data": b"[", "headers": {"Content-Type": "application/json"}}, "must be JSON"),
        ({"data": b"[" * 9_999, "headers": {"Content-Type": "application/json"}}, "must be JSON"),
    ],
)
async def test_what_is_no_json_is_refused(tell, options, says):
    status, answer = await tell("POST", "faults", **options)
    assert status == 400
    assert says in answer["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "faults"), ("POST", "log"), ("GET", "x")])
async def test_there_is_nothing_else(tell, method, path):
    status, _ = await tell(method, path)
    assert status == 404


async def test_a_plain_sandbox_cannot_be_told(http):
    from flashback_async.sandbox import Sandbox

    async with Sandbox(buckets=1) as sandbox:
        async with http.get(f"{sandbox.base_url}/_sandbox/log") as answer:
            assert answer.status == 401
        assert sandbox.requests == 1


@needs_posix
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_a_shell_tells_the_command_what_to_do():
    script = """
        export FLASHBACK_TOKEN FLASHBACK_BASE_URL
        control=$FLASHBACK_BASE_URL/_sandbox
        json='Content-Type: application/json'
        curl -sS "$control/faults" -H "$json" -d '[{"fault": "status", "status": 503, "first": 1}]'
        ask="curl -sS -o /dev/null -w %{http_code}\\n $FLASHBACK_BASE_URL/bucket/stats"
        $ask -H "Authorization: Bearer $FLASHBACK_TOKEN"
        $ask -H "Authorization: Bearer $FLASHBACK_TOKEN"
        curl -sS "$control/log"
    """
    env = environment()
    async with process("sandbox", "--buckets", "2", "--healthy", "--control", env=env) as child:
        lines = [(await child.stdout.readline()).decode() for _ in range(2)]
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", "".join(lines) + script, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await shell.communicate()
        child.terminate()
        assert await child.wait() == 0
    told, first, second, log = output.decode().replace("}503", "}\n503").splitlines()
    assert (told, first, second) == ('{"success":true}', "503", "200")
    assert log.startswith('[{"method":"GET","path":"/bucket/stats"')
