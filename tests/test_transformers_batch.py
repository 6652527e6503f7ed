import pytest

torch = pytest.importorskip("torch")

from transformers.cache_utils import DynamicCache, DynamicLayer  # noqa: E402

from handler.engines.transformers.batch import Batch  # noqa: E402

IMAGE_LAYER = 1


def batch(value, columns, images=0, rows=1):
    """Rows whose keys are all `value`: a layer of tokens, and one of images with two states for each."""
    cache = DynamicCache()
    for length in (columns, 2 * images):
        layer = DynamicLayer()
        if length:
            states = torch.full((rows, 1, length, 1), float(value))
            layer.lazy_initialization(states, states)
            layer.keys, layer.values = states, states
        cache.layers.append(layer)
    visible = torch.ones(rows, 1, images, 1) if images else None
    return Batch(cache, torch.ones(rows, columns, dtype=torch.long), visible, frozenset({IMAGE_LAYER}))


def keys(one, layer):
    return one.cache.layers[layer].keys[:, 0, :, 0].tolist()


def test_a_shorter_row_is_padded_before_its_tokens():
    one = batch(1, 3)
    one.join(batch(2, 1))
    assert keys(one, 0) == [[1, 1, 1], [0, 0, 2]]
    assert one.mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_images_are_padded_after_those_of_a_row_and_what_is_added_is_not_visible():
    one = batch(1, 2, images=2)
    one.join(batch(2, 2, images=1))
    assert keys(one, IMAGE_LAYER) == [[1, 1, 1, 1], [2, 2, 0, 0]]
    assert one.visible[:, 0, :, 0].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_row_without_images_gets_zeros_that_it_does_not_see(reverse):
    with_image, without = batch(1, 2, images=1), batch(2, 2)
    one, other = (without, with_image) if reverse else (with_image, without)
    one.join(other)
    assert sorted(keys(one, IMAGE_LAYER)) == [[0, 0], [1, 1]]
    assert sorted(one.visible.flatten().tolist()) == [0, 1]


def test_rows_without_images_have_no_layer_of_them():
    one = batch(1, 2)
    one.join(batch(2, 2))
    assert not one.cache.layers[IMAGE_LAYER].is_initialized
    assert one.visible is None


def test_the_padding_of_a_long_row_leaves_with_it():
    one = batch(1, 5, images=1)
    one.join(batch(2, 2, images=1))
    one.select([1])
    assert keys(one, 0) == [[2, 2]]
    assert keys(one, IMAGE_LAYER) == [[2, 2]]
    assert one.mask.tolist() == [[1, 1]]


def test_a_row_is_repeated_for_several_completions():
    one = batch(1, 2, images=1)
    one.select([0, 0])
    assert keys(one, 0) == [[1, 1], [1, 1]]
    assert len(one.visible) == 2
