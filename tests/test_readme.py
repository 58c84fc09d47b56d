import pathlib
import re

import pytest

from zoo.tools import readme

TEXT = (readme.ROOT / "README.md").read_text()


def test_tables_are_made_from_the_cards():
    assert readme.written(TEXT) == TEXT, "run `python tools/readme.py`"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"gin_file=(?:gin/)?(\S+\.gin)", TEXT))))
def test_every_gin_file_it_names_exists(path):
    assert (readme.ROOT / "gin" / path).exists()


def test_every_model_it_names_is_published():
    for name in set(re.findall(r"simclr_\w+\.e\d+", TEXT)):
        assert (pathlib.Path(readme.ROOT) / "saved_models" / name / "card.json").exists(), name
