"""`python -m tests.models`: measure every family, or those that are named, and rewrite their rows of docs/models.md."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from handler.errors import LumiError
from tests.models.families import FAMILIES, Family
from tests.models.measurement import Measure, measuring
from tests.models.page import Measured, models_page, packages, row, rows_of

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
NOTES = Path(__file__).with_name("notes.md")


def main(names: Sequence[str]) -> None:
    known = [family.name for family in FAMILIES]
    if unknown := set(names) - set(known):
        sys.exit(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    page = PAGE.read_text(encoding="utf-8") if names else ""
    if names and packages() not in page:
        sys.exit(f"{PAGE.name} was measured with other packages: measure every family")
    chosen = [family for family in FAMILIES if not names or family.name in names]
    rows = rows_of(page)
    with tempfile.TemporaryDirectory() as directory, measuring(chosen, Path(directory)) as measure:
        rows |= {family.name: row(_measure(family, measure)) for family in chosen}
    PAGE.write_text(models_page((rows[name] for name in known if name in rows), NOTES.read_text()), encoding="utf-8")


def _measure(family: Family, measure: Measure) -> Measured:
    try:
        measured = Measured(family, measure(family))
    except LumiError as fault:
        measured = Measured(family, {}, str(fault))
    print(row(measured), end="")
    for chat, one in measured.compared.items():
        if not (one.is_prompt_equal and one.is_answer_equal):
            print(f"    {chat}: {one}")
    sys.stdout.flush()
    return measured


if __name__ == "__main__":
    main(sys.argv[1:])
