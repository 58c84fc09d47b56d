import pathlib
import re

import pytest

from zoo.hub import cards
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


def test_run_files_quote_their_cards():
    quoted = 0
    for path in (readme.ROOT / "saved_models").glob("*/card.json"):
        card = cards.read(path.parent)
        run = re.search(r"gin_file=(\S+)", card["training"]["command"])[1]
        header = (readme.ROOT / "gin" / run).read_text().split("from __gin__")[0]
        for result in card["results"]:
            if result["labels"] == "all":
                assert readme._percent(result) in header, (run, result)
                quoted += 1
    assert quoted
