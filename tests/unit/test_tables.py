"""The tables in the README files are those of the committed results."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_table_is_stale(tables):
    stale = [page for page in tables.pages() if tables.filled(page.read_text()) != page.read_text()]
    assert not stale, "run `make tables`"


def test_the_readme_holds_tables(tables):
    assert len(tables.PLACES.findall((ROOT / "README.md").read_text())) >= 3


def test_a_stale_table_is_seen_and_mended(tables):
    text = (ROOT / "README.md").read_text()
    stale = text.replace("| full |", "| full, once |", 1)
    assert stale != text
    assert tables.filled(stale) == text


def test_an_unknown_table_is_an_error(tables):
    with pytest.raises(KeyError, match="nonsense"):
        tables.filled("<!-- table: nonsense -->\n<!-- end of table -->")


def test_cells_cannot_break_the_table(tables):
    from table import Table  # from the folder of the script

    assert str(Table(["a", "b"], [["x|y", "1"]])).splitlines()[2] == "| x\\|y | 1 |"


def test_a_table_without_its_end_takes_nothing_with_it(tables):
    with pytest.raises(ValueError, match="has no end"):
        tables.filled("<!-- table: a/b -->\ntext\n<!-- table: scheduling/costs -->\n<!-- end of table -->")
