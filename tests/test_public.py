"""Names that users of plain Python reach from `zoo`, and the types of public signatures."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import zoo

FOLDER = pathlib.Path(zoo.__file__).parent
MODULES = sorted(path for path in FOLDER.rglob("*.py") if not path.name.endswith("_pb2.py"))


def test_importing_zoo_imports_no_engine():
    program = "import sys, zoo; dir(zoo); print(*sorted(n for n in sys.modules if n in ('keras', 'tensorflow', 'jax')))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_names_are_found_on_first_use():
    from zoo.methods import moco
    from zoo.transfer import evaluate
    from zoo.views import geometry

    assert zoo.MoCo is moco.MoCo and zoo.evaluate is evaluate.evaluate and zoo.views.Crop is geometry.Crop
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None and name in dir(zoo)
    for module in (zoo, zoo.views):
        with pytest.raises(AttributeError, match="no attribute 'Mocco'"):
            module.Mocco  # noqa: B018


def test_views_are_reachable_by_name():
    for name in zoo.views._HOMES:
        assert getattr(zoo.views, name).__name__ == name


def test_training_is_a_call_of_zoo(tmp_path):
    import functools

    from zoo.data import sources
    from zoo.models import convnet, heads
    from zoo.train import schedules

    chain = zoo.views.Chain((zoo.views.Crop(), zoo.views.Flip()))
    method = functools.partial(
        zoo.SimCLR, functools.partial(convnet.convnet, widths=(4, 8)), functools.partial(heads.projector, widths=(8, 4))
    )
    data = sources.load("digits", "train[:64]")
    schedule = schedules.WarmupCosine(0.1, "none", 0)
    trained = zoo.train(
        method, zoo.views.Views((chain, chain)), data, tmp_path, epochs=1, batch_size=32, schedule=schedule
    )
    assert zoo.extract(trained, data).shape == (64, 8)


def untyped(path):
    """Yields the public functions of a module that lack an annotation."""

    def visit(body, owner=None):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from visit(node.body, node.name)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if node.name.startswith("_") and node.name not in ("__init__", "__call__"):
                    continue
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs][bool(owner) :]
                if any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list):
                    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                missing = [argument.arg for argument in arguments if argument.annotation is None]
                missing += ["return"] if node.returns is None and node.name != "__init__" else []
                if missing:
                    yield f"{owner or path.stem}.{node.name}: {', '.join(missing)}"

    return list(visit(ast.parse(path.read_text()).body))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_public_signatures_are_typed(path):
    assert not untyped(path)


def test_worked_examples_are_typed(tmp_path):
    text = (FOLDER.parent / "CONTRIBUTING.md").read_text()
    examples = re.findall(r"```python\n(# zoo/.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        path = tmp_path / "example.py"
        path.write_text(example)
        assert not untyped(path)
