"""The README: every Python block runs unchanged, and what it names exists."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import attrs
import httpx
import pytest
import trustme

import flashback_async
from examples import fastapi_app
from flashback_async.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

HEADINGS = [
    "# flashback-async",
    "## Try it",
    "## With your own account",
    "## What you get",
    "## Many buckets at once",
    "## Errors and retries",
    "## In a web backend",
    "## Logging, proxies, private CA",
    "## Command line",
    "## Testing your own code",
    "## Performance",
    "## What is public, and how it may change",
]


class Block(NamedTuple):
    language: str
    heading: str
    text: str


def blocks_of(language: str) -> list[Block]:
    """Give the fenced blocks of a language, each with the heading that it stands under.

    A block is taken as a whole, so that a comment in it is no heading.
    """
    found = []
    heading = ""
    for match in re.finditer(
        r"^(#+ [^\n]*)$|^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    ):
        if match[1]:
            heading = match[1]
        elif match[2] == language:
            found.append(Block(match[2], heading, match[3]))
    return found


PYTHON = blocks_of("python")
SHELL = "\n".join(block.text for block in blocks_of("sh"))


def name_of(block: Block) -> str:
    place = [other for other in PYTHON if other.heading == block.heading].index(block) + 1
    return f"{block.heading.strip('# ').lower().replace(' ', '-')}-{place}"


# Running the blocks. Each gets an interpreter of its own, in which every warning is an error, and
# the environment of someone with an account: the account is a sandbox's.


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(buckets=12) as sandbox:
        yield sandbox


def environment_of(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    token_file = folder / "token"
    token_file.write_text(f"{sandbox.token}\n", encoding="utf-8")
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("FLASHBACK_", "PYTEST_"))
        and not name.upper().endswith("_PROXY")
    }
    return mine | {
        "FLASHBACK_BASE_URL": sandbox.base_url,
        "FLASHBACK_TOKEN": sandbox.token,
        "FLASHBACK_TOKEN_FILE": str(token_file),
        "PYTHONUNBUFFERED": "1",
    }


async def start(*arguments: str, cwd: Path, env: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        *arguments,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str, cwd: Path, env: dict[str, str]) -> tuple[str, str]:
    """Run Python to its end; it must end well. Gives what it said and what it complained of."""
    process = await start(*arguments, cwd=cwd, env=env)
    said, complained = (stream.decode() for stream in await process.communicate())
    assert process.returncode == 0, said + complained
    return said, complained


async def run_script(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    said, complained = await run(path.name, cwd=path.parent, env=env)
    if "logging." in path.read_text(encoding="utf-8"):
        assert "DEBUG flashback_async bucket_stats.list: answer 200" in complained
    else:
        assert said.strip()
        assert complained == ""


async def run_tests(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    path = path.rename(path.with_name("test_block.py"))
    env = env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # it needs none
    said, _ = await run(
        "-m", "pytest", "-p", "no:cacheprovider", path.name, cwd=path.parent, env=env
    )
    assert "1 passed" in said


async def run_backend(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    path = path.rename(path.with_name("app.py"))
    process = await start("-m", "uvicorn", "app:app", "--port", "0", cwd=path.parent, env=env)
    assert process.stderr is not None
    told = ""
    try:
        while not (running := re.search(r"running on (http://\S+)", told)):
            line = (await process.stderr.readline()).decode()
            assert line, f"it ended with {told}"
            told += line
        async with httpx.AsyncClient(base_url=running[1], trust_env=False) as visitor:
            fine = await visitor.get(f"/buckets/{sandbox.bucket_ids[0]}/slowest")
            assert fine.status_code == 200
            assert fine.json()["latency_ms"] > 0
            forbidden = await visitor.get(f"/buckets/{sandbox.forbidden_ids[0]}/slowest")
            assert (forbidden.status_code, forbidden.json()["detail"]) == (
                404,
                "PermissionDeniedError",
            )
            sandbox.fail(sandbox.bucket_ids[1], 429, retry_after=50)
            throttled = await visitor.get(f"/buckets/{sandbox.bucket_ids[1]}/slowest")
            assert throttled.status_code == 429
            assert throttled.headers["retry-after"] == "50"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def run_in_office(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    """Run a block where the API is behind a proxy and has a certificate of a private CA."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(path.with_name("office-ca.pem")))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    asked: list[str] = []
    api = int(sandbox.base_url.rpartition(":")[2])

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, api)

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition(" HTTP/")[0])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay(reader, writer, front_port)

    async with serve(front, tls) as front_port, serve(proxy) as proxy_port:
        env = env | {
            "FLASHBACK_BASE_URL": f"https://localhost:{front_port}",
            "OFFICE_PROXY": f"http://127.0.0.1:{proxy_port}",
        }
        said, complained = await run(path.name, cwd=path.parent, env=env)
        assert (said.strip(), complained) == ("12 buckets", "")
        assert asked == [f"CONNECT localhost:{front_port}"]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port, and leave no connection behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass everything to a local port, and back, until one of the two hangs up."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await source.read(65_536):
                target.write(block)
                await target.drain()

    both = [
        asyncio.create_task(copy(reader, far_writer)),
        asyncio.create_task(copy(far_reader, writer)),
    ]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for task in both:
        task.cancel()
    await asyncio.wait(both)
    far_writer.transport.abort()


def runner_of(block: Block) -> Callable[[Path, Sandbox, dict[str, str]], Awaitable[None]]:
    """Say how a reader would run a block."""
    if "FastAPI(" in block.text:
        return run_backend
    if "\ndef test_" in block.text:
        return run_tests
    if "office-ca.pem" in block.text:
        return run_in_office
    return run_script


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
async def test_a_python_block_runs_unchanged(
    block: Block, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "block.py"
    path.write_text(block.text, encoding="utf-8")
    await runner_of(block)(path, sandbox, environment_of(sandbox, tmp_path))


def test_every_way_to_run_a_block_is_used() -> None:
    runners = {runner_of(block) for block in PYTHON}
    assert runners == {run_backend, run_tests, run_in_office, run_script}


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_a_python_block_stands_alone(block: Block) -> None:
    if runner_of(block) in (run_script, run_in_office):
        assert block.text.startswith("import asyncio\n")
        assert block.text.endswith("asyncio.run(main())\n")
    assert max(map(len, block.text.splitlines())) <= 100


# The form.


def test_the_headings_come_in_order() -> None:
    without_blocks = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^#+ .*$", without_blocks, re.MULTILINE) == HEADINGS


def test_it_opens_with_one_sentence_and_a_short_example() -> None:
    _, sentence, example, *_ = README.split("\n\n", 3)
    assert sentence.count(".") == 1
    assert sentence.endswith(".")
    assert example.startswith("```python\n")
    assert "Sandbox(" in PYTHON[0].text
    assert len(PYTHON[0].text.splitlines()) <= 15


def test_what_you_get_is_at_most_seven_points() -> None:
    points = re.findall(r"^- ", section("## What you get"), re.MULTILINE)
    assert 0 < len(points) <= 7


def test_breaking_off_is_shown_both_ways() -> None:
    shown = [block.text for block in PYTHON if block.heading == "## Many buckets at once"]
    assert any("break" in text and "aclosing" not in text for text in shown)
    assert any("break" in text and "aclosing(" in text for text in shown)


def test_the_measured_figure_has_its_place() -> None:
    assert re.search(r"<!-- figure -->.+<!-- /figure -->", section("## Performance"), re.DOTALL)


# What it names.


def test_every_error_class_stands_in_the_table_once() -> None:
    public = (getattr(flashback_async, name) for name in flashback_async.__all__)
    errors = {
        item.__name__
        for item in public
        if isinstance(item, type) and issubclass(item, flashback_async.FlashbackError)
    }
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section("## Errors and retries"), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(errors)
    for name, row in rows:
        when, retried, advice = (cell.strip() for cell in row.split("|"))
        assert when, name
        assert retried or "the base" in when, name
        assert advice, name


def test_the_answers_told_are_those_of_the_examples() -> None:
    rows = re.findall(r"^\| (`.*) \| (\d+).* \|", section("## In a web backend"), re.MULTILINE)
    told = {name: int(code) for names, code in rows for name in re.findall(r"`(\w+)`", names)}
    assert len(told) >= 12
    for name, code in told.items():
        assert fastapi_app.meaning(getattr(flashback_async, name)())[0] == code, name


@pytest.mark.parametrize("kind", [flashback_async.FlashbackError, flashback_async.APIError])
def test_the_attributes_of_errors_are_named(kind: type[flashback_async.FlashbackError]) -> None:
    text = section("## Errors and retries")
    for name in vars(kind()):
        assert name.startswith("_") or f"`{name}`" in text


def test_the_defaults_shown_are_the_defaults() -> None:
    shown = re.search(r"Timeout\((.*)\),  # seconds; these are the defaults", README)
    assert shown
    told = {name: float(value) for name, value in re.findall(r"(\w+)=(\d+)", shown[1])}
    assert told == attrs.asdict(flashback_async.Timeout())
    assert f"`Limits.max_concurrency` ({flashback_async.Limits().max_concurrency})" in README


def test_make_targets_exist() -> None:
    named = set(re.findall(r"^make (\w+)", SHELL, re.MULTILINE)) | set(
        re.findall(r"`make (\w+)", README)
    )
    assert {"demo", "test", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_files_and_links_exist() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    files = re.findall(r"(?<= )-r (\S+)", SHELL)
    assert len(links) >= 5
    assert files
    for name in links + files:
        assert (ROOT / name).is_file(), name


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"\.\[(\w+)\]", SHELL)) | set(re.findall(r"extra `(\w+)`", README))
    assert named == {"cli"}
    assert named <= set(project["optional-dependencies"])
    assert "flashback" in project["scripts"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or later" in README


def test_the_environment_variables_are_those_that_are_read() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "flashback_async").rglob("*.py")
    )
    named = set(re.findall(r"\bFLASHBACK_[A-Z_]+", README))
    assert named == {"FLASHBACK_TOKEN", "FLASHBACK_TOKEN_FILE", "FLASHBACK_BASE_URL"}
    for name in named:
        assert f'"{name}"' in source


COMMAND_LINES = sorted(
    set(
        re.findall(r"^(?:\.venv/bin/)?flashback (.*)$", SHELL, re.MULTILINE)
        + re.findall(r"^\| `flashback ([^`]*)`", README, re.MULTILINE)
    )
)


@pytest.mark.parametrize("line", COMMAND_LINES)
async def test_commands_and_their_options_exist(line: str, tmp_path: Path) -> None:
    command = line.split()[0]
    env = dict(os.environ)
    told, _ = await run("-m", "flashback_async", command, "--help", cwd=tmp_path, env=env)
    for option in re.findall(r"(?<!\S)\[?(--?[a-z][a-z-]*)", line):
        assert re.search(rf"(?<![\w-]){option}\b", told), option


async def test_the_exit_codes_are_those_of_the_command(tmp_path: Path) -> None:
    told, _ = await run("-m", "flashback_async", "--help", cwd=tmp_path, env=dict(os.environ))
    codes = re.findall(r"^\| (\d+) \| (.*) \|$", section("## Command line"), re.MULTILINE)
    assert sorted(int(code) for code, _ in codes) == [0, 1, 2, 3, 4, 5, 130]
    assert codes == re.findall(r"^ +(\d+) +(\S.*)$", told, re.MULTILINE)


def section(heading: str) -> str:
    """Give the text under a heading."""
    return README.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
