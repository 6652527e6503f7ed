"""The longest images that a request may have by default cost every family's processor megabytes, where a longer one cost
terabytes. The page has the square ones, too."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.models.families import FAMILIES
from tests.models.image_limits import HUB, LARGEST, costs, measuring

MEBIBYTES = 1024  # the most was 350


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    with measuring() as process:
        yield process


def test_every_family_of_every_run_is_measured():
    assert set(HUB) == {family.name for family in FAMILIES if family.always}


@pytest.mark.engine
@pytest.mark.parametrize("name", HUB)
def test_images_at_the_limits_are_processed_in_bounded_memory(name, process, tmp_path):
    found = process.submit(costs, name, tmp_path, LARGEST[1:]).result()
    assert max(cost.mebibytes for cost in found) < MEBIBYTES, found
