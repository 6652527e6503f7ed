"""A kind of question enters; one of the ways to ask it leaves."""

import re
from collections.abc import Iterator
from enum import StrEnum

import numpy as np


class Kind(StrEnum):
    """What a question is about: the newest image, all so far, one by its number, or none."""

    NEWEST = "newest"
    ALL = "all"
    COLOR = "color"
    SHAPE = "shape"
    JSON = "json"
    HOW_MANY = "how many"
    NTH = "nth"
    NTH_COLOR = "color of nth"
    NTH_SHAPE = "shape of nth"
    COUNT_TO = "count to"
    STATEMENT = "statement"


# [a|b] is one of them, {name} is filled in by dialogs.py.
_N = "[image|image|picture|picture|photo]"
_S = "[images|images|pictures|pictures|photos]"
_THE = "[the|the|this]"
_THESE = "[the|the|these]"
_COLOR = "[color|color|colour]"
_THING = "[shape|object|figure|thing]"

TRAINED: dict[Kind, tuple[str, ...]] = {
    Kind.NEWEST: (
        "What is in the image?",
        "What's in this image?",
        "What is this [an image|a picture|a photo] of?",
        f"What is in {_THE} {_N}?",
        f"What's in {_THE} {_N}?",
        f"What is on {_THE} {_N}?",
        f"What does {_THE} {_N} show?",
        f"What is [shown|depicted|drawn] in {_THE} {_N}?",
        f"What [do|can] you see in {_THE} {_N}?",
        f"What can be seen in {_THE} {_N}?",
        f"[Describe|Please describe|Briefly describe] {_THE} {_N}.",
        f"[Can|Could] you describe {_THE} {_N}?",
        f"Describe {_THE} {_N} in [a few|few] words.",
        f"Describe the {_THING} in {_THE} {_N}.",
        f"[Tell me|Say|Explain] what is in {_THE} {_N}.",
        f"[Tell me|Say|Explain] what {_THE} {_N} shows.",
        f"[Tell me|Say] what you see in {_THE} {_N}.",
        f"[Tell me about|Look at] {_THE} {_N}.",
        f"[Which|What] [thing|object] is [|shown ]in {_THE} {_N}?",
        f"What kind of [thing|object] is in {_THE} {_N}?",
        f"Give [|me ]a [short |brief |]description of {_THE} {_N}.",
        f"[Caption|Write a caption for|Give me a caption for] {_THE} {_N}.",
        f"I [want|would like] to know what is in {_THE} {_N}.",
        f"Look at {_THE} {_N}. What [is it|is this|do you see]?",
        "What is [this|it]?",
        "Describe [this|it].",
        f"What {_COLOR} and [|what ]shape [is it|is shown|do you see]?",
        f"[Name|Tell me|What is] the {_COLOR} and [|the ]shape.",
        f"What is in the [new|newest|last|latest] {_N}?",
        f"Describe the [new|newest|last|latest] {_N}.",
    ),
    Kind.ALL: (
        "What do you see?",
        "Tell me what you see.",
        "[Please tell me|Say|Describe|Explain] what you see.",
        "What can you see[| here]?",
        "What is [shown|shown here|depicted here|drawn here|here|to see here]?",
        "What's [here|shown here]?",
        "",
        f"What is in {_THESE} {_S}?",
        "What is in the images?",
        f"What's in {_THESE} {_S}?",
        f"What is on {_THESE} {_S}?",
        f"What do {_THESE} {_S} show?",
        f"What is [shown|depicted|drawn] in {_THESE} {_S}?",
        f"What [do|can] you see in {_THESE} {_S}?",
        f"[Describe|Please describe|Briefly describe] [|all ]{_THESE} {_S}.",
        f"[Can|Could] you describe {_THESE} {_S}?",
        f"Describe {_THESE} {_S} [in order|in a few words|one by one].",
        f"Describe [each|every] {_N}.",
        f"Describe all {_S}.",
        f"What is in [each|every] {_N}?",
        f"What does [each|every] {_N} show?",
        f"[Tell me|Say|Explain] what is in {_THESE} {_S}.",
        f"[Tell me|Say|Explain] what {_THESE} {_S} show.",
        f"[Tell me|Say] what you see in {_THESE} {_S}.",
        f"[Which|What] objects are [|shown ]in {_THESE} {_S}?",
        f"Give [|me ]a [short |brief |]description of [all|each of] {_THESE} {_S}.",
        f"What are these[| {_S} of]?",
        f"List what is in {_THESE} {_S}.",
        f"Look at {_THESE} {_S}. What do you see?",
        f"What is in {_THESE} {{many}} {_S}?",
        f"What do {_THESE} {{many}} {_S} show?",
        f"What do you see in {_THESE} {{many}} {_S}?",
        f"Describe [|{_THESE} ]{{many}} {_S}.",
        f"Describe both {_S}.{{two}}",
        f"What do both {_S} show?{{two}}",
        f"What is in the first {_N} and what is in the second[| {_N}]?{{two}}",
        f"Describe the first and the second {_N}.{{two}}",
    ),
    Kind.COLOR: (
        f"What {_COLOR} is it?",
        f"What {_COLOR} is [it|this|that]?",
        f"What {_COLOR} is the {_THING}?",
        f"What {_COLOR} is the {_THING} in {_THE} {_N}?",
        f"What {_COLOR} is in {_THE} {_N}?",
        f"What {_COLOR} is [shown|used]?",
        f"Which {_COLOR} is [it|this|the {_THING}]?",
        f"Which {_COLOR} is the {_THING} in {_THE} {_N}?",
        f"Which {_COLOR} [is|do you see] in {_THE} {_N}?",
        f"What is the {_COLOR}?",
        f"What's the {_COLOR}[| of it]?",
        f"What is the {_COLOR} of the {_THING}?",
        f"What is the {_COLOR} of the {_THING} in {_THE} {_N}?",
        f"[Tell me|Name|Say|Give me|Identify] the {_COLOR}.",
        f"[Tell me|Name|Say|Give me|Identify] the {_COLOR} of the {_THING}.",
        f"[What |Which |]{_COLOR}?",
        f"[In what|What] {_COLOR} is the {_THING} [painted|drawn]?",
        f"What {_COLOR} does [it|the {_THING}] have?",
        f"What {_COLOR} do you see?",
        f"[Can|Could] you tell me [the {_COLOR}|what {_COLOR} it is]?",
        f"Tell me [what|which] {_COLOR} [it|the {_THING}] is.",
        f"Only the {_COLOR}, please.",
        f"And [the|its|what] {_COLOR}?",
    ),
    Kind.SHAPE: (
        "What shape is it?",
        "What shape is [it|this|that]?",
        "What shape is the [object|figure|thing]?",
        f"What shape is the [object|figure|thing] in {_THE} {_N}?",
        f"What shape is in {_THE} {_N}?",
        "What shape is [shown|drawn]?",
        "Which shape is [it|this|shown|drawn]?",
        f"Which shape [is|do you see] in {_THE} {_N}?",
        f"What is the shape[| in {_THE} {_N}]?",
        "What's the shape[| of it]?",
        "What is the shape of the [object|figure|thing]?",
        f"What is the shape of the [object|figure|thing] in {_THE} {_N}?",
        "[Tell me|Name|Say|Give me|Identify] the shape.",
        "[Tell me|Name|Say|Give me|Identify] the shape of the [object|figure|thing].",
        "[What |Which |]shape?",
        "What kind of shape is [it|this|shown]?",
        "[What|Which] geometric [shape|figure] is [it|this|shown]?",
        "What [shape|form] does [it|the object|the figure|the thing] have?",
        f"What shape does {_THE} {_N} show?",
        "What shape do you see?",
        "[Can|Could] you tell me [the shape|what shape it is]?",
        "Tell me [what|which] shape [it|the object|the figure|the thing] is.",
        "Only the shape, please.",
        "And [the|its|what] shape?",
    ),
    Kind.JSON: (
        f"Answer in JSON with {_COLOR} and shape.",
        f"[Give|Return|Tell] me the {_COLOR} and [the |]shape [as|in] JSON.",
        "[Return|Give|Output|Write] [|a ]JSON[| object] with [|the keys ]color and shape.",
        f"Describe {_THE} {_N} [as|in] JSON.",
        f"What is in {_THE} {_N}? [Answer|Reply|Respond] [in|as|with] JSON.",
        "What [do you see|is shown]? [Answer|Reply|Respond] [in|as|with] JSON.",
        "[Reply|Respond|Answer] [in|with|only with|only in] JSON.",
        "JSON[|, please].",
        f"{_COLOR} and shape as [|a ]JSON[| object].",
    ),
    Kind.HOW_MANY: (
        f"How many {_S} are there?",
        f"How many {_S} do you see?",
        f"How many {_S} can you see?",
        f"How many {_S} did I send[| you]?",
        f"How many {_S} have I sent[| you]?",
        f"How many {_S} [did|do] you [get|have|receive]?",
        f"How many {_S} are [shown|here|in this chat|in the conversation]?",
        f"How many {_S} [were sent|are there in total|so far|have you seen]?",
        f"Count [|all ]the {_S}.",
        f"What is the number of {_S}?",
        f"[Tell me|Say] how many {_S} [there are|you see].",
        f"[Can|Could] you count the {_S}?",
        f"Number of {_S}?",
        f"How many {_S}?",
    ),
    Kind.NTH: (
        f"What is in the {{ord}} {_N}?",
        f"What's in the {{ord}} {_N}?",
        f"What is on the {{ord}} {_N}?",
        f"What does the {{ord}} {_N} show?",
        f"What is [shown|depicted|drawn] in the {{ord}} {_N}?",
        f"What [do|can] you see in the {{ord}} {_N}?",
        f"[Describe|Please describe|Briefly describe] the {{ord}} {_N}.",
        f"[Can|Could] you describe the {{ord}} {_N}?",
        f"[Tell me|Say|Explain] what is in the {{ord}} {_N}.",
        f"[Tell me|Say|Explain] what the {{ord}} {_N} shows.",
        f"What is the {{ord}} {_N}[| of]?",
        f"[Which|What] object is in the {{ord}} {_N}?",
        f"Look at the {{ord}} {_N}. What [is it|do you see]?",
        f"What is in {_N} {{n}}?",
        f"What does {_N} {{n}} show?",
        f"Describe {_N} [number |]{{n}}.",
        f"Only the {{ord}} {_N}[|, please].",
    ),
    Kind.NTH_COLOR: (
        f"What {_COLOR} is the {_THING} in the {{ord}} {_N}?",
        f"What {_COLOR} is the {{ord}} {_THING}?",
        f"What {_COLOR} is [in |]the {{ord}} {_N}?",
        f"Which {_COLOR} is the {_THING} in the {{ord}} {_N}?",
        f"Which {_COLOR} is in the {{ord}} {_N}?",
        f"What is the {_COLOR} of the {{ord}} [{_THING}|{_N}]?",
        f"What is the {_COLOR} [in|of the {_THING} in] the {{ord}} {_N}?",
        f"[Tell me|Name|Say|Give me] the {_COLOR} of the {{ord}} [{_THING}|{_N}].",
        f"[Tell me|Name|Say|Give me] the {_COLOR} in the {{ord}} {_N}.",
        f"What {_COLOR} do you see in the {{ord}} {_N}?",
        f"What {_COLOR} does the {{ord}} {_THING} have?",
        f"What {_COLOR} is the {_THING} in {_N} {{n}}?",
        f"In the {{ord}} {_N}, what {_COLOR} is the {_THING}?",
    ),
    Kind.NTH_SHAPE: (
        f"What shape is in the {{ord}} {_N}?",
        "What shape is the {ord} [object|figure|thing]?",
        f"What shape is the [object|figure|thing] in the {{ord}} {_N}?",
        f"Which shape is in the {{ord}} {_N}?",
        f"What is the shape in the {{ord}} {_N}?",
        "What is the {ord} shape?",
        f"What is the shape of the [object|figure|thing] in the {{ord}} {_N}?",
        f"[Tell me|Name|Say|Give me] the shape in the {{ord}} {_N}.",
        "[Tell me|Name|Say|Give me] the {ord} shape.",
        f"What shape do you see in the {{ord}} {_N}?",
        f"What shape does the {{ord}} {_N} show?",
        f"What shape is in {_N} {{n}}?",
        f"In the {{ord}} {_N}, what shape is [it|shown]?",
    ),
    Kind.COUNT_TO: (
        "Count to {n}.",
        "Count [up |]to {n}.",
        "[Please|Now] count to {n}.",
        "Count from [one|1] to {n}.",
        "[Can|Could] you count to {n}?",
        "[Write|List|Say] the numbers [up|from one] to {n}.",
    ),
    Kind.STATEMENT: (
        f"Here is [a|another|one more] {_N}.",
        f"Here are [some|more|my] {_S}.",
        f"Remember [{_THE} {_N}|{_THESE} {_S}].",
        "Wait for my question.",
        "I will ask you [later|about it later|something soon].",
    ),
}

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def pick(template: str, rng: np.random.Generator) -> str:
    """One of the phrasings of a template."""
    while found := _CHOICE.search(template):
        options = found[1].split("|")
        template = template[: found.start()] + options[rng.integers(len(options))] + template[found.end() :]
    return template


def expand(template: str) -> Iterator[str]:
    """Every phrasing of a template."""
    found = _CHOICE.search(template)
    if not found:
        yield template
        return
    for option in dict.fromkeys(found[1].split("|")):
        yield from expand(template[: found.start()] + option + template[found.end() :])
