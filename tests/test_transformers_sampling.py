import pytest

torch = pytest.importorskip("torch")

from handler.engines.transformers.parameters import Sampling  # noqa: E402
from handler.engines.transformers.sampling import Sampler  # noqa: E402

LOGITS = torch.tensor([[0.0, 3.0, 2.0, 1.0, -1.0]])


def sampler(number=0, ends=frozenset(), **fields):
    return Sampler(Sampling(**fields), frozenset(ends), number, torch.device("cpu"))


def draws(one, count=20, prompt=()):
    output = []
    for _ in range(count):
        output.append(one.choose(LOGITS, prompt, output))
    return output


def test_zero_temperature_takes_the_likeliest():
    assert sampler(temperature=0).takes_likeliest
    assert draws(sampler(temperature=0, repetition_penalty=1.0), 3) == [1, 1, 1]


def test_a_seed_repeats_the_draws_and_completions_have_seeds_of_their_own():
    assert draws(sampler(seed=5)) == draws(sampler(seed=5))
    assert draws(sampler(seed=5)) != draws(sampler(number=1, seed=5))


@pytest.mark.parametrize("fields", [{"top_k": 2}, {"top_p": 0.8}, {"min_p": 0.3}])
def test_the_unlikely_are_cut_off(fields):
    assert set(draws(sampler(seed=1, **fields), 60)) == {1, 2}


def test_a_low_temperature_sharpens():
    assert set(draws(sampler(seed=1, temperature=0.05), 40)) == {1}


def test_a_penalty_avoids_what_was_said_and_ignores_ids_without_a_logit():
    # mllama's image token has no logit.
    assert draws(sampler(temperature=0, repetition_penalty=2.0), 2, prompt=(1, 9)) == [2, 1]


def test_no_end_comes_before_the_least_number_of_tokens():
    assert draws(sampler(temperature=0, min_tokens=2, ends={1, 7}), 3) == [2, 2, 1]


def test_a_bias_decides():
    assert draws(sampler(temperature=0, logit_bias={4: 100, 9: 100}), 2) == [4, 4]


def test_logits_stay_as_they_are():
    before = LOGITS.clone()
    draws(sampler(temperature=0, logit_bias={4: 100}, min_tokens=1, ends={1}), 1)
    assert torch.equal(LOGITS, before)


@pytest.mark.parametrize(
    "fields", [{"repetition_penalty": 1e-38}, {"min_tokens": 5, "temperature": 1e308}, {"min_tokens": 5}]
)
def test_parameters_that_leave_no_token_take_the_likeliest(fields):
    assert draws(sampler(ends=range(5), seed=1, **fields), 2, prompt=[0, 1, 2, 3, 4]) == [1, 1]
