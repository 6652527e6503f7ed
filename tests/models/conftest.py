from collections.abc import Iterator

import pytest

from tests.models.families import Family
from tests.models.measurement import Measure, measuring


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the families that only `--all` has."""
    if not config.getoption("--all"):
        left_out = [item for item in items if (family := _family(item)) is not None and not family.always]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def measure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    """Compares a family of this run."""
    chosen = [family for item in request.session.items if (family := _family(item)) is not None]
    with measuring(chosen, tmp_path_factory.mktemp("checkpoints")) as measure:
        yield measure


def _family(item: pytest.Item) -> Family | None:
    callspec = getattr(item, "callspec", None)
    family = None if callspec is None else callspec.params.get("family")
    return family if isinstance(family, Family) else None  # other tests have parameters of this name
