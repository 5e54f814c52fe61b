"""The pytest plugin, in runs of pytest of its own: under each runner, with and without xdist."""

import re
import sys

import pytest

pytest_plugins = ["pytester"]

PLAIN = '''
    """The code under test makes its client from the environment."""
    import asyncio
    import os
    import pytest
    from flashback_async import FlashbackClient, RateLimitError, ServerError
    from flashback_async.sandbox import Fault

    async def states(bucket_id):
        async with FlashbackClient() as client:
            return {node.state for node in (await client.status.get(bucket_id)).nodes}

    def test_all_is_well(flashback_sandbox):
        for bucket_id in flashback_sandbox.bucket_ids[:3]:
            assert asyncio.run(states(bucket_id)) == {"ONLINE"}

    def test_an_outage(flashback_sandbox, flashback_fast):
        with flashback_sandbox.script(Fault.status(503)) as script:
            with pytest.raises(ServerError):
                asyncio.run(states(flashback_sandbox.bucket_ids[0]))
            script.check()

    def test_waits_are_skipped(flashback_sandbox, flashback_fast):
        with flashback_sandbox.script(Fault.status(429, retry_after=20).first(1)):
            assert asyncio.run(states(flashback_sandbox.bucket_ids[0])) == {"ONLINE"}

    @pytest.mark.flashback(buckets=2, nodes=1, strict=True)
    def test_a_marker(flashback_sandbox):
        assert len(flashback_sandbox.bucket_ids) == 2
        assert len(flashback_sandbox.node_ips(flashback_sandbox.bucket_ids[0])) == 1

    @pytest.mark.flashback(churn=60)
    def test_churn(flashback_sandbox):
        assert "FLASHBACK_TOKEN_FILE" not in os.environ
'''
PYTEST_ASYNCIO = """
    import pytest
    from flashback_async import FlashbackClient
    from flashback_async.sandbox import Fault

    pytestmark = {mark}

    @pytest.fixture
    def token(flashback_sandbox):
        return flashback_sandbox.token

    async def test_a_bucket(flashback_sandbox, flashback_fast, token):
        async with FlashbackClient() as client:
            with flashback_sandbox.script(Fault.reset().first(1), Fault.status(503).first(1)):
                assert (await client.status.get(flashback_sandbox.bucket_ids[0])).nodes

    async def test_an_outage(flashback_sandbox):
        async with FlashbackClient() as client:
            with flashback_sandbox.script(Fault.down()):
                report = await client.status.get_many(flashback_sandbox.bucket_ids[:2])
            assert len(report.failed) == 2
            assert (await client.status.get(flashback_sandbox.bucket_ids[0])).nodes
"""
UNITTEST = """
    import unittest
    import pytest
    from flashback_async import FlashbackClient

    @pytest.mark.usefixtures("flashback_fast")
    class Buckets(unittest.IsolatedAsyncioTestCase):
        @pytest.fixture(autouse=True)
        def _sandbox(self, flashback_sandbox):
            self.sandbox = flashback_sandbox

        async def test_a_bucket(self):
            async with FlashbackClient() as client:
                self.assertTrue((await client.status.get(self.sandbox.bucket_ids[0])).nodes)

    @pytest.mark.usefixtures("flashback_sandbox")
    @pytest.mark.flashback(buckets=4)
    class Lists(unittest.IsolatedAsyncioTestCase):
        async def test_all(self):
            async with FlashbackClient() as client:
                self.assertEqual(len(await client.bucket_stats.list()), 4)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the tests of a file, by default in another process, with every warning an error."""
    for name in ("PYTEST_ADDOPTS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(text, *arguments, apart=True, **values):
        pytester.makepyfile(text.format(**values) if values else text)
        runner = ["-p", "no:asyncio"]
        if any(argument.startswith("asyncio_mode") for argument in arguments):
            runner = ["-o", "asyncio_default_fixture_loop_scope=function"]
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return start("-W", "error", "-p", "no:randomly", "-p", "no:pyreqwest", *runner, *arguments)

    return run


@pytest.mark.parametrize(
    "more", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)], ids=["alone", "xdist"]
)
@pytest.mark.parametrize(
    ("text", "values", "arguments", "passed"),
    [
        (PLAIN, {}, ["-p", "no:anyio"], 5),
        pytest.param(
            *(PYTEST_ASYNCIO, {"mark": "[]"}, ["-o", "asyncio_mode=auto"], 2),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(PYTEST_ASYNCIO, {"mark": "pytest.mark.asyncio"}, ["-o", "asyncio_mode=strict"], 2),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(PYTEST_ASYNCIO, {"mark": "pytest.mark.anyio"}, [], 2), marks=pytest.mark.slow
        ),
        pytest.param(*(UNITTEST, {}, [], 2), marks=pytest.mark.slow),
    ],
    ids=["plain", "asyncio_auto", "asyncio_strict", "anyio", "unittest"],
)
def test_it_works_alike_under_every_runner(run, pytester, text, values, arguments, passed, more):
    if values.get("mark") == "pytest.mark.anyio":
        # Its tests run under trio too, if that is installed.
        pytester.makeconftest(
            "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        )
    run(text, *arguments, *more, **values).assert_outcomes(passed=passed)


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        ("bukets=3", "*unexpected keyword argument 'bukets'*"),
        ("buckets=-1", "*buckets must be 0 or more, not -1*"),
        ("healthy=True, churn=1", "*churn must be 0 in a healthy sandbox*"),
        ("3", "*the marker flashback takes named arguments only*"),
        ("strict=1", "*strict must be True or False, not 1*"),
    ],
)
def test_a_wrong_argument_of_the_marker_fails_the_test_with_its_name(run, marker, says):
    text = f"""
        import pytest

        @pytest.mark.flashback({marker})
        def test_it(flashback_sandbox):
            pass
    """
    result = run(text, apart=False)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([says])


def test_a_strict_test_fails_if_a_fault_never_struck(run):
    text = """
        import pytest
        from flashback_async.sandbox import Fault

        @pytest.mark.flashback(strict=True)
        def test_it(flashback_sandbox):
            with flashback_sandbox.script(Fault.hang().after(7), Fault.down()):
                pass
    """
    result = run(text, apart=False)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: never struck: Fault.hang().after(7)"])


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("flashback_sandbox.script(Fault.hang())", {"passed": 1, "errors": 1}),
        (
            "flashback_sandbox.script(Fault.hang()); flashback_sandbox.reset()",
            {"passed": 1, "errors": 1},
        ),
        ("flashback_sandbox.script(Fault.hang()); raise LookupError", {"failed": 1}),
    ],
    ids=["never_in_force", "reset", "failed_before"],
)
def test_a_strict_test_checks_every_script_unless_it_has_failed(run, body, outcome):
    text = f"""
        import pytest
        from flashback_async.sandbox import Fault

        @pytest.mark.flashback(strict=True)
        def test_it(flashback_sandbox):
            {body}
    """
    run(text, apart=False).assert_outcomes(**outcome)


def test_markers_of_class_and_test_add_up(run):
    text = """
        import pytest

        @pytest.mark.flashback(buckets=2, nodes=1)
        class TestIt:
            @pytest.mark.flashback(buckets=5)
            def test_it(self, flashback_sandbox):
                assert len(flashback_sandbox.bucket_ids) == 5
                assert len(flashback_sandbox.node_ips(flashback_sandbox.bucket_ids[0])) == 1
    """
    run(text, apart=False).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_test_that_fails_or_is_interrupted_leaves_no_thread(run):
    text = """
        import threading
        import pytest

        def test_one(flashback_sandbox):
            raise LookupError

        def test_two(flashback_sandbox):
            raise KeyboardInterrupt

        @pytest.fixture(autouse=True, scope="session")
        def _threads():
            yield
            print("threads:", *[thread.name for thread in threading.enumerate()])
    """
    result = run(text, "-s")
    result.stdout.fnmatch_lines(["*LookupError*", "*KeyboardInterrupt*"])
    result.stdout.fnmatch_lines(["*threads: MainThread"])


def test_the_environment_is_as_before_afterwards(run, monkeypatch):
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", "/somewhere")
    monkeypatch.setenv("FLASHBACK_TOKEN", "mine")
    text = """
        import os

        def test_one(flashback_sandbox):
            assert os.environ["FLASHBACK_TOKEN"] == flashback_sandbox.token
            assert os.environ["FLASHBACK_BASE_URL"] == flashback_sandbox.base_url
            assert "FLASHBACK_TOKEN_FILE" not in os.environ

        def test_two():
            assert os.environ["FLASHBACK_TOKEN"] == "mine"
            assert "FLASHBACK_BASE_URL" not in os.environ
            assert os.environ["FLASHBACK_TOKEN_FILE"] == "/somewhere"
    """
    run(text, apart=False).assert_outcomes(passed=2)


def test_it_imports_nothing_where_it_is_not_used(run):
    text = """
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.hasplugin("flashback")
            assert "flashback_pytest" in sys.modules
            assert not any(name.split(".")[0] == "flashback_async" for name in sys.modules)
    """
    run(text).assert_outcomes(passed=1)


def test_it_can_be_left_out(run):
    result = run("def test_it(flashback_sandbox): pass", "-p", "no:flashback", apart=False)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'flashback_sandbox' not found"])


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["flashback", "no:flashback"])
def test_the_coverage_of_a_project_is_the_same_with_it(pytester, run, plugin):
    # One that lies beside the SDK in the environment, as one that extends it would.
    pytester.mkpydir("project").joinpath("pages.py").write_text(
        "from flashback_async.models import NodeState\n\n\n"
        "def title():\n    return NodeState.ONLINE\n",
        "utf-8",
    )
    text = """
        from project.pages import title

        def test_it():
            assert title() == "ONLINE"
    """
    more = [] if plugin == "flashback" else ["-p", plugin]
    result = run(text, "--cov=project", "--cov=flashback_async.models", *more)
    result.assert_outcomes(passed=1)
    told = result.stdout.str()
    assert re.search(r"pages\.py\s+3\s+0\s+100%", told), told
    # If the plugin imported the package before the measurement began, hardly a line would count.
    assert int(re.search(r"models\.py\s+\d+\s+\d+\s+(\d+)%", told)[1]) > 85, told


@pytest.mark.slow
def test_a_hundred_tests_in_a_row_end_without_a_warning(run):
    text = """
        import asyncio
        import pytest
        from flashback_async import FlashbackClient

        async def ask(bucket_id):
            async with FlashbackClient() as client:
                return await client.status.get(bucket_id)

        @pytest.mark.parametrize("n", range(100))
        def test_it(flashback_sandbox, n):
            assert asyncio.run(ask(flashback_sandbox.bucket_ids[n])).nodes
    """
    run(text).assert_outcomes(passed=100)


def test_this_interpreter_has_the_plugin_by_its_entry_point():
    from importlib.metadata import entry_points

    (found,) = (e for e in entry_points(group="pytest11") if e.name == "flashback")
    assert found.value == "flashback_pytest"
    assert sys.modules["flashback_pytest"].__name__ == "flashback_pytest"
