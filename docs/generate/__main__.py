"""`python -m docs.generate`: rewrite every generated page of the repository."""

from collections.abc import Callable
from pathlib import Path

from docs.generate.architecture_page import architecture_page
from docs.generate.differences_page import differences_page
from docs.generate.fixtures_page import fixtures_page
from docs.generate.lmi_page import lmi_page
from docs.generate.options_page import example_properties, options_page
from docs.generate.published_page import published_page

ROOT = Path(__file__).resolve().parents[2]

PAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("serving.properties.example", example_properties),
    ("docs/options.md", options_page),
    ("docs/lmi-options.md", lmi_page),
    ("docs/published.md", lambda: published_page(ROOT)),
    ("docs/differences.md", lambda: differences_page(ROOT)),
    ("docs/lmi-fixtures.md", lambda: fixtures_page(ROOT)),
    ("docs/architecture.md", lambda: architecture_page(ROOT)),
)

if __name__ == "__main__":
    for path, text in PAGES:
        (ROOT / path).write_text(text(), encoding="utf-8")
