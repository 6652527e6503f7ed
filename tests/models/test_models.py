"""Every family answers as transformers does, except where its row of tests/models/families.py says why not.

`--all` adds the families that not every run has.
"""

import pytest

from tests.models.families import FAMILIES


@pytest.mark.engine
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_answers_as_transformers_does(family, measure):
    compared = measure(family)
    differing = {
        "prompts": {chat for chat, one in compared.items() if not one.is_prompt_equal},
        "answers": {chat for chat, one in compared.items() if not one.is_answer_equal},
    }
    details = "\n".join(f"{chat}: {one}" for chat, one in compared.items())
    for kind, chats in differing.items():
        assert chats == family.expected(kind), f"the {kind} that differ are not those expected:\n{details}"
