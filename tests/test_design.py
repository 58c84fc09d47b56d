"""The design's rules about imports and size, held true by reading the source."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
RANKS = {  # the modules of rank 0 have an order among themselves
    "zoo.checks": 0.0,
    "zoo.files": 0.0,
    "zoo.replicas": 0.0,
    "zoo.context": 0.1,
    "zoo.engine": 0.2,
    "zoo.colors": 0.3,
    "zoo.seeds": 0.3,
    "zoo.views": 1,
    "zoo.objectives": 1,
    "zoo.models": 1,
    "zoo.methods": 2,
    "zoo.data": 3,
    "zoo.features": 3,
    "zoo.hub": 3,
    "zoo.train": 4,
    "zoo.transfer": 4,
    "zoo.serving": 4,
    "zoo.tools": 5,
}
CORE = {"keras", "numpy"}
# K-means comes from a library, which is imported when a method clusters.
CLUSTERING = {("zoo.methods.clustering", "sklearn"), ("zoo.methods.clustering", "threadpoolctl")}
ENGINES = {("zoo.engine.tensorflow", "tensorflow"), ("zoo.engine.jax", "jax"), ("zoo.engine.graphs", "tensorflow")}
STANDARD = {
    "collections",
    "contextlib",
    "contextvars",
    "dataclasses",
    "difflib",
    "functools",
    "importlib",
    "inspect",
    "math",
    "os",
    "pathlib",
    "re",
    "shutil",
    "tempfile",
    "types",
    "typing",
    "warnings",
}
MODULES = sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("zoo", *parts) if parts[0] == "tools" else parts
    return ".".join(part for part in parts if part != "__init__")


def folder_of(module):
    return next((prefix for prefix in RANKS if module == prefix or module.startswith(prefix + ".")), None)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if node.module.split(".")[0] in ("zoo", "absl") else node.module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    module = name_of(path)
    here = folder_of(module)
    if here is None:
        return
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top == "zoo" and imported != "zoo":
            there = folder_of(imported)
            sibling = there == here
            assert there is not None, f"{module} imports {imported}, which has no rank"
            assert sibling or RANKS[there] < RANKS[here], f"{module} imports {imported}, which is not below it"
        elif RANKS[here] <= 2 and (module, top) not in ENGINES | CLUSTERING:
            assert top in CORE | STANDARD, f"{module} is core and imports {imported}"
        assert imported not in ("gin", "absl.flags", "absl.app") or RANKS[here] == 5, f"{module} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "common", "misc", "helpers", "base"}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"{path.name}:{node.lineno}: library code raises, it does not assert"


def test_gin_holds_no_python():
    assert not list((ROOT / "gin").rglob("*.py"))


def test_files_of_tests_have_names_of_their_own():
    """Pytest imports them by name, whatever their folder: of two files of one name it collects the first."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names and len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
