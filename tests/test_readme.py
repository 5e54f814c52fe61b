"""The README and docs/: every Python block runs unchanged, and what the pages name exists."""

from __future__ import annotations

import asyncio
import json
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
from flashback_async import BucketStatus, from_json
from flashback_async.sandbox import Sandbox
from flashback_async.web import http_answer

ROOT = Path(__file__).parent.parent
DOCS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in [*DOCS, "CONTRIBUTING.md", "SECURITY.md"]
}
README = TEXTS["README.md"]
CONTRIBUTING = TEXTS["CONTRIBUTING.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

HEADINGS = [
    "# flashback-async",
    "## Try it",
    "## With your own account",
    "## What you get",
    "## Many buckets",
    "## Find what you need",
]


class Block(NamedTuple):
    page: str
    heading: str
    text: str


def blocks_of(language: str) -> list[Block]:
    """Return the fenced blocks of a language, each with the heading above it.

    A block is taken as a whole, so that a comment in it is no heading.
    """
    found = []
    for page, text in TEXTS.items():
        heading = ""
        for match in re.finditer(
            r"^(#+ [^\n]*)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        ):
            if match[1]:
                heading = match[1]
            elif match[2] == language:
                found.append(Block(page, heading, match[3]))
    return found


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """Return the text under a heading of a page."""
    return TEXTS[page].split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]


PYTHON = blocks_of("python")
SHELL = "\n".join(block.text for block in blocks_of("sh"))
EVERYTHING = "\n".join(TEXTS.values())


def name_of(block: Block) -> str:
    same = [other for other in PYTHON if other[:2] == block[:2]]
    heading = block.heading.strip("# ").lower().replace(" ", "-")
    return f"{Path(block.page).stem}-{heading}-{same.index(block) + 1}"


# Running the blocks. Each gets an interpreter of its own, in which every warning is an error, and
# the environment of someone with an account: the account is a sandbox's.


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Yield a sandbox in which a node is down, whatever the day."""
    async with Sandbox(buckets=12) as sandbox:
        first = sandbox.bucket_ids[0]
        sandbox.set_state(first, sandbox.node_ips(first)[1], "OFFLINE")
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
    """Run Python and return its standard output and standard error; it must exit with 0."""
    process = await start(*arguments, cwd=cwd, env=env)
    said, complained = (stream.decode() for stream in await process.communicate())
    assert process.returncode == 0, said + complained
    return said, complained


async def run_script(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    said, complained = await run(path.name, cwd=path.parent, env=env)
    assert said.strip()
    assert complained == ""


async def run_with_log(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    _, complained = await run(path.name, cwd=path.parent, env=env)
    if "json.dumps" in path.read_text(encoding="utf-8"):
        records = [json.loads(line) for line in complained.splitlines()]
        assert {"DEBUG"} == {record["level"] for record in records}
        (answer,) = (record for record in records if "answer 200" in record["text"])
        assert (answer["operation"], answer["status"]) == ("bucket_stats.list", 200)
    else:
        assert "DEBUG flashback_async bucket_stats.list: answer 200" in complained


async def run_watch(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    """Run a block that goes on for ever until it has printed something."""
    process = await start(path.name, cwd=path.parent, env=env)
    assert process.stdout is not None
    assert process.stderr is not None
    sandbox.set_state(sandbox.bucket_ids[0], sandbox.node_ips(sandbox.bucket_ids[0])[0], "OFFLINE")
    said = await process.stdout.readline()
    complained = b"" if said else await process.stderr.read()
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()
    assert said.strip(), complained.decode()


# pytest-asyncio warns about projects that do not choose a scope.
ASYNCIO_PLUGIN = [
    *("-p", "pytest_asyncio.plugin"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
]


async def run_tests(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    path = path.rename(path.with_name("test_block.py"))
    if "from app import app" in text:
        (app,) = (block for block in PYTHON if runner_of(block) is run_backend)
        path.with_name("app.py").write_text(app.text, encoding="utf-8")
    # Only the plugins that the block itself names; it sets the rest of its environment itself.
    env = env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugins = ASYNCIO_PLUGIN if "pytest_asyncio" in text else []
    if "flashback_sandbox" in text:
        plugins = [*plugins, "-p", "flashback_pytest"]
    if "mark.anyio" in text:
        plugins = [*plugins, "-p", "anyio"]
    said, _ = await run(
        "-m", "pytest", *plugins, "-p", "no:cacheprovider", path.name, cwd=path.parent, env=env
    )
    assert f"{text.count('def test_')} passed" in said


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
            whole = await visitor.get(f"/buckets/{sandbox.bucket_ids[0]}/status")
            assert from_json(BucketStatus, whole.text).bucket_id == sandbox.bucket_ids[0]
            assert int(whole.headers["age"]) >= 0
            forbidden = await visitor.get(f"/buckets/{sandbox.forbidden_ids[0]}/slowest")
            assert (forbidden.status_code, forbidden.json()["detail"]) == (
                404,
                "there is no such bucket",
            )
            sandbox.fail(sandbox.bucket_ids[1], 429, retry_after=50)
            throttled = await visitor.get(f"/buckets/{sandbox.bucket_ids[1]}/slowest")
            assert throttled.status_code == 429
            assert throttled.headers["retry-after"] == "50"
            page = await visitor.get("/overview", params={"bucket_id": sandbox.bucket_ids[:2]})
            assert page.status_code == 200
            told = page.json()
            assert told["buckets"] == [whole.json()]
            assert told["oldest"] >= 0
            assert told["no_answer"] == [sandbox.bucket_ids[1]]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def run_in_office(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    """Run a block with the API behind a proxy and a certificate of a private CA."""
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


async def run_with_token_service(path: Path, sandbox: Sandbox, env: dict[str, str]) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"access_token": sandbox.token}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with serve(service) as port:
        await run_script(path, sandbox, env | {"TOKEN_SERVICE": f"http://127.0.0.1:{port}"})


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


Runner = Callable[[Path, Sandbox, dict[str, str]], Awaitable[None]]
RUNNERS: dict[str, Runner] = {
    "FastAPI(": run_backend,
    "in watch:": run_watch,
    "\ndef test_": run_tests,
    "async def test_": run_tests,
    "office-ca.pem": run_in_office,
    "TOKEN_SERVICE": run_with_token_service,
    "logging.": run_with_log,
    "": run_script,
}


def runner_of(block: Block) -> Runner:
    """Return how a reader would run a block."""
    return next(runner for sign, runner in RUNNERS.items() if sign in block.text)


# Each is a process of its own, so that those of the other pages run in the whole run only.
TO_RUN = [
    pytest.param(block, marks=() if block.page == "README.md" else pytest.mark.slow)
    for block in PYTHON
]


@pytest.mark.parametrize("block", TO_RUN, ids=name_of)
async def test_a_python_block_runs_unchanged(
    block: Block, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "block.py"
    path.write_text(block.text, encoding="utf-8")
    await runner_of(block)(path, sandbox, environment_of(sandbox, tmp_path))


def test_every_way_to_run_a_block_is_used() -> None:
    assert {runner_of(block) for block in PYTHON} == set(RUNNERS.values())


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_a_python_block_needs_no_other_block(block: Block) -> None:
    if runner_of(block) not in (run_backend, run_tests):
        assert block.text.startswith("import asyncio\n")
        assert block.text.endswith("asyncio.run(main())\n")
    assert max(map(len, block.text.splitlines())) <= 100


# The form.


def test_the_headings_of_the_readme_come_in_order() -> None:
    assert re.findall(r"^#+ .*$", without_blocks(README), re.MULTILINE) == HEADINGS


def test_the_readme_opens_with_one_sentence_and_a_short_example() -> None:
    _, sentence, example, *_ = README.split("\n\n", 3)
    assert sentence.count(".") == 1
    assert sentence.endswith(".")
    assert example.startswith("```python\n")
    assert "Sandbox(" in PYTHON[0].text
    assert len(PYTHON[0].text.splitlines()) <= 15


def test_the_readme_stays_short() -> None:
    prose = re.sub(r"^\|.*$", "", without_blocks(README), flags=re.MULTILINE)
    assert len(prose.split()) <= 400  # the index may grow
    points = re.findall(r"^- ", section("README.md", "## What you get"), re.MULTILINE)
    assert 0 < len(points) <= 7


def test_the_index_of_the_readme_names_every_page() -> None:
    index = section("README.md", "## Find what you need")
    for page in TEXTS:
        assert page == "README.md" or f"({page}" in index, page


@pytest.mark.parametrize(
    "word",
    [
        "test",
        "fixture",
        "mock",
        "429",
        "web",
        "FastAPI",
        "Litestar",
        "cache",
        "tenant",
        "readiness",
        "outage",
        "Pydantic",
        "OpenAPI",
        "proxy",
        "error",
        "command line",
        "JSON",
    ],
)
def test_a_reader_finds_it_in_the_index_by_its_word(word: str) -> None:
    wishes = re.findall(
        r"^\|([^|]*)\|", section("README.md", "## Find what you need"), re.MULTILINE
    )
    assert any(word in wish for wish in wishes)


def test_leaving_a_loop_is_shown_both_ways() -> None:
    shown = [block.text for block in PYTHON if block[:2] == ("README.md", "## Many buckets")]
    assert any("break" in text and "aclosing" not in text for text in shown)
    assert any("break" in text and "aclosing(" in text for text in shown)


def test_the_measured_figure_has_its_place() -> None:
    text = TEXTS["docs/performance.md"]
    assert re.search(r"<!-- figure -->.+<!-- /figure -->", text, re.DOTALL)


# What the pages name.


def test_every_error_class_is_in_the_table_once() -> None:
    public = (getattr(flashback_async, name) for name in flashback_async.__all__)
    errors = {
        item.__name__
        for item in public
        if isinstance(item, type) and issubclass(item, flashback_async.FlashbackError)
    }
    table = section("docs/errors.md", "## Handle an error")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(errors)
    for name, row in rows:
        when, retried, advice = (cell.strip() for cell in row.split("|"))
        assert when, name
        assert retried or "the base" in when, name
        assert advice, name
        if name != "FlashbackError":
            for base in (ValueError, RuntimeError, TimeoutError):
                is_one = issubclass(getattr(flashback_async, name), base)
                assert is_one == (f"also a `{base.__name__}`" in when), name


def test_the_answers_of_a_backend_are_those_in_the_table() -> None:
    table = section("docs/web.md", "## Choose the answer to an error")
    rows = re.findall(r"^\| (`.*) \| (\d+).* \|", table, re.MULTILINE)
    told = {name: int(code) for names, code in rows for name in re.findall(r"`(\w+)`", names)}
    assert len(told) >= 12
    for name, code in told.items():
        assert http_answer(getattr(flashback_async, name)()).status == code, name


@pytest.mark.parametrize("kind", [flashback_async.FlashbackError, flashback_async.APIError])
def test_the_attributes_of_errors_are_named(kind: type[flashback_async.FlashbackError]) -> None:
    text = section("docs/errors.md", "## Handle an error")
    for name in vars(kind()):
        assert name.startswith("_") or f"`{name}`" in text


def test_the_defaults_shown_are_the_defaults() -> None:
    shown = re.search(
        r"Timeout\((.*)\),  # seconds; these are the defaults", TEXTS["docs/settings.md"]
    )
    assert shown
    told = {name: float(value) for name, value in re.findall(r"(\w+)=(\d+)", shown[1])}
    assert told == attrs.asdict(flashback_async.Timeout())
    policy = attrs.asdict(flashback_async.CachePolicy())
    table = section("docs/web.md", "## Answer pages from a cache")
    defaults = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", table, re.MULTILINE)
    assert {name: float(value.replace(",", "")) for name, value in defaults} == policy
    most = flashback_async.Limits().max_concurrency
    assert f"`Limits.max_concurrency` ({most})" in TEXTS["docs/bulk.md"]


def test_every_setting_of_time_and_load_is_named() -> None:
    text = section("docs/settings.md", "## Limit time and load")
    for kind in (flashback_async.Timeout, flashback_async.Limits):
        for field in attrs.fields(kind):
            assert f"| `{kind.__name__}.{field.name}` |" in text


def test_every_row_of_the_faults_has_a_test() -> None:
    rows = re.findall(r"^\| ([A-Z]\d\d) \|", TEXTS["docs/faults.md"], re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert f"{len(rows)} rows" in TEXTS["docs/reliability.md"]
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "faults").glob("test_*.py")
    )
    tested = set(re.findall(r"(?:test_|_|\")([CWSBLI]\d\d)[_\"]", source))
    for kind, first, last in re.findall(r"([CWSBLI])(\d\d)_to_[CWSBLI](\d\d)_", source):
        tested |= {f"{kind}{number:02}" for number in range(int(first), int(last) + 1)}
    assert set(rows) == tested


def test_make_targets_exist() -> None:
    named = set(re.findall(r"^make ([\w-]+)", SHELL, re.MULTILINE)) | set(
        re.findall(r"`make ([\w-]+)", EVERYTHING)
    )
    assert {"demo", "test", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for name, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", TEXTS[page]):
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.is_file(), name
        assert not anchor or anchor in anchors_of(target.read_text(encoding="utf-8")), anchor


def test_the_files_to_install_from_exist() -> None:
    files = re.findall(r"(?<= )-r (\S+)", SHELL)
    assert files
    for name in files:
        assert (ROOT / name).is_file(), name


def test_the_map_names_modules_that_exist() -> None:
    named = re.findall(
        r"`([\w/]+(?:\.py|/))`", section("CONTRIBUTING.md", "## Find the code to change")
    )
    assert len(named) >= 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "flashback_async" / name).exists(), name


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"\.\[(\w+)\]", SHELL)) | set(re.findall(r"extra `(\w+)`", EVERYTHING))
    assert named == {"cli", "dask", "otel", "parquet"}
    assert named <= set(project["optional-dependencies"])
    assert "flashback" in project["scripts"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or later" in README
    assert "Python 3.11 or later" in CONTRIBUTING


def test_the_environment_variables_are_those_that_are_read() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "flashback_async").rglob("*.py")
    )
    named = set(re.findall(r"\bFLASHBACK_[A-Z_]+", EVERYTHING))
    assert named == {"FLASHBACK_TOKEN", "FLASHBACK_TOKEN_FILE", "FLASHBACK_BASE_URL"}
    for name in named:
        assert f'"{name}"' in source


COMMAND_LINES = sorted(
    set(
        re.findall(r"^(?:\.venv/bin/)?flashback (.*)$", SHELL, re.MULTILINE)
        + re.findall(r"^\| `flashback ([^`]*)`", TEXTS["docs/cli.md"], re.MULTILINE)
    )
)


@pytest.mark.parametrize("line", COMMAND_LINES)
async def test_commands_and_their_options_exist(line: str, tmp_path: Path) -> None:
    command = line.split()[0]
    env = dict(os.environ)
    told, _ = await run("-m", "flashback_async", command, "--help", cwd=tmp_path, env=env)
    for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line):
        assert re.search(rf"(?<![\w-]){option}\b", told), option


async def test_the_exit_codes_are_those_of_the_command(tmp_path: Path) -> None:
    told, _ = await run("-m", "flashback_async", "--help", cwd=tmp_path, env=dict(os.environ))
    codes = re.findall(
        r"^\| (\d+) \| (.*) \|$", section("docs/cli.md", "## Use the exit code"), re.MULTILINE
    )
    assert sorted(int(code) for code, _ in codes) == [0, 1, 2, 3, 4, 5, 130]
    assert codes == re.findall(r"^ +(\d+) +(\S.*)$", told, re.MULTILINE)
