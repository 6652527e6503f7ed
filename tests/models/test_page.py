"""docs/models.md, written from comparisons."""

from tests.models.__main__ import NOTES, PAGE
from tests.models.comparison import Comparison
from tests.models.families import FAMILIES, Difference, Family
from tests.models.page import Measured, models_page, packages, row, rows_of

TINY = Family("tiny", "Tiny", "me/tiny", differences=(Difference("Because of <this>.", answers=("text",)),))


def test_a_row_counts_chats_and_says_why():
    compared = {"text": Comparison(token=3, logprob=0.25), "31x12": Comparison(logprob=2e-6)}
    assert "| 2 of 2 | 1 of 2 | 2e-01 | Because of &lt;this>. |" in row(Measured(TINY, compared))


def test_a_family_that_does_not_start_says_why():
    assert "| - | - | - | does not start: no weights |" in row(Measured(TINY, {}, "no weights"))


def test_the_rows_of_a_page_are_found_again():
    rows = {family.name: row(Measured(family, {}, "no")) for family in (TINY, FAMILIES[0])}
    assert rows_of(models_page(rows.values(), NOTES.read_text())) == rows


def test_the_page_has_a_row_for_every_family_and_the_notes():
    page = PAGE.read_text()
    assert set(rows_of(page)) == {family.name for family in FAMILIES}
    assert page.endswith(NOTES.read_text())
    assert packages()
