"""What counts as a difference of two answers."""

from tests.models.answer import Answer
from tests.models.comparison import compare_one
from tests.models.families import FAMILIES
from tests.models.measurement import build_checkpoint

SURE = {7: -0.1, 8: -3.0}
TIED = {7: -0.7, 8: -0.7003}


def answer(*tokens, prompt=(1, 2), logprobs=SURE):
    return Answer(list(prompt), list(tokens), [logprobs] * len(tokens))


def test_equal_answers_are_equal():
    compared = compare_one(answer(7, 7), answer(7, 7))
    assert (compared.is_prompt_equal, compared.is_answer_equal, compared.logprob) == (True, True, 0.0)


def test_a_prompt_that_is_longer_differs_where_the_other_ends():
    compared = compare_one(answer(7), answer(7, prompt=(1, 2, 3)))
    assert compared.prompt == 2
    assert not compared.is_prompt_equal
    assert compared.is_answer_equal


def test_another_token_is_a_difference_with_its_place():
    compared = compare_one(answer(7, 7, 7), answer(7, 8, 7))
    assert compared.token == 1
    assert not compared.is_answer_equal


def test_another_token_after_a_tie_is_none():
    compared = compare_one(answer(7, 7, logprobs=TIED), answer(7, 8, logprobs=TIED))
    assert (compared.token, compared.tie) == (None, 1)
    assert compared.is_answer_equal


def test_log_probabilities_count_although_the_tokens_are_the_same():
    compared = compare_one(answer(7), answer(7, logprobs={7: -0.2, 8: -3.0}))
    assert compared.token is None
    assert not compared.is_answer_equal


def test_log_probabilities_after_the_answers_part_do_not_count():
    one = Answer([1], [7, 7], [TIED, SURE])
    other = Answer([1], [8, 7], [TIED, {7: -9.0}])
    assert compare_one(one, other).is_answer_equal


def test_a_refusal_of_one_side_is_a_difference_that_says_whose():
    compared = compare_one(answer(7), Answer(fault="InvalidRequest: no"))
    assert not compared.is_prompt_equal
    assert not compared.is_answer_equal
    assert str(compared) == "Lumi refuses: InvalidRequest: no"
    assert str(compare_one(Answer(fault="a"), Answer(fault="b"))) == "both refuse: a"


def test_every_difference_names_chats_of_its_family_and_a_reason():
    for family in FAMILIES:
        for difference in family.differences:
            assert difference.reason.endswith("."), family.name
            assert {*difference.prompts, *difference.answers} <= set(family.chats), family.name


def test_a_checkpoint_is_the_same_every_time(tmp_path):
    one, other = (build_checkpoint("llava", tmp_path / name) for name in ("one", "other"))
    for file in sorted(one.iterdir()):
        assert file.read_bytes() == (other / file.name).read_bytes(), file.name
