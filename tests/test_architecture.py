"""The layers: the permitted imports, and the only modules that know a library."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flashback_async"
MODULES = sorted(PACKAGE.rglob("*.py"))
HOMES = {
    "aiohttp": {
        "net/aiohttp_transport.py",
        "net/transports.py",
        "net/aiohttp_session.py",
        "net/aiohttp_errors.py",
        "net/borrowed_session.py",
        "sandbox",
        "client.py",
        "pages/exporter/server.py",
        "pages/dashboard/server.py",
        "pages/dashboard/guard.py",
        "pages/http_log.py",
    },
    "aiohappyeyeballs": {"net/connecting.py"},
    "aiolimiter": {"call/admission.py"},
    "cattrs": {"json_form.py"},
    "httptools": {"net/reader.py"},
    "msgspec": {"api/wire.py"},
    "pydantic": {"pydantic_schema.py"},
    "pydantic_core": {"pydantic_schema.py"},
    "tenacity": {"call/retry.py"},
    "click": {"cli"},
    "rich": {"cli"},
    "opentelemetry": {"otel.py"},
    "distributed": {"dask"},
    "dask": {"dask"},
    "pyarrow": {"history/parquet.py"},
}

# What one reads to follow a call from the user to the socket and back.
STORY = (
    "client.py",
    "resources/status.py",
    "call/caller.py",
    "call/call.py",
    "call/admission.py",
    "net/direct.py",
    "api/wire.py",
)


def test_the_import_contracts_are_kept(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert not failed, capsys.readouterr().out


def test_every_module_has_its_layer():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    # The sandbox has contracts of its own.
    layers = {"flashback_async.sandbox", *re.findall(r"[\w.]+", " ".join(contract["layers"]))}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem not in ("__init__", "__main__"):
            assert any(f"{name}.".startswith(f"{layer}.") for layer in layers), name


@cache
def imported(path):
    """Return the packages that a module imports, in functions and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library):
    users = {path.relative_to(PACKAGE).as_posix() for path in MODULES if library in imported(path)}
    assert users
    homes = HOMES[library]
    assert {u for u in users if u not in homes and u.partition("/")[0] not in homes} == set()


def functions(tree):
    """Every function with the lines of its body, without a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            body = node.body[1:] if documented else node.body
            yield node, body[-1].end_lineno - body[0].lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_stays_readable(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node, lines in functions(ast.parse(text)):
        assert lines <= 45, f"{node.name} has {lines} lines"


def test_seven_files_tell_the_story_of_a_call():
    lines = 0
    for name in STORY:
        text = (PACKAGE / name).read_text(encoding="utf-8")
        lines += len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            documentable = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, documentable) and ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    assert lines <= 1350
