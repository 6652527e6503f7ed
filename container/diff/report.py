"""Two answers -> the lines of `lumi diff`, and whether they agree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from container.diff.answer import Answer, first_difference
from handler.engine import Token

NEAR = 30  # characters, or tokens, that are shown around a difference
TIE = 1e-3  # what the order of float sums makes of a log probability


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was compared: its name, whether both engines agree, and the lines that show it."""

    name: str
    agrees: bool
    lines: tuple[str, ...]


def findings(one: Answer, other: Answer) -> list[Finding]:
    """What was compared, in the order in which one thing follows from another."""
    return [
        _text(one, other),
        _tokens("prompt tokens", one, other, one.prompt, other.prompt),
        *_images(one, other),
        _sampling(one, other),
        _answer(one, other),
        _logprobs(one, other),
    ]


def describe(one: Answer, other: Answer) -> Iterator[str]:
    """The report: a line for what agrees, and both sides of what does not."""
    found = findings(one, other)
    yield f"{one.engine} | {other.engine}"
    for finding in found:
        head = f"{'same     ' if finding.agrees else 'DIFFERENT'} {finding.name}"
        yield f"{head}: {finding.lines[0]}" if len(finding.lines) == 1 else head
        if len(finding.lines) > 1:
            yield from (f"    {line}" for line in finding.lines)
    first = next((finding.name for finding in found if not finding.agrees), None)
    yield "both agree" if first is None else f"the first difference: {first}"


def agree(one: Answer, other: Answer) -> bool:
    return all(finding.agrees for finding in findings(one, other))


def _sides(one: Answer, other: Answer, mine: object, theirs: object) -> tuple[str, str]:
    width = max(len(one.engine), len(other.engine))
    return f"{one.engine.ljust(width)}  {mine}", f"{other.engine.ljust(width)}  {theirs}"


def _text(one: Answer, other: Answer) -> Finding:
    at = first_difference(one.text, other.text)
    if at is None:
        return Finding("rendered prompt", agrees=True, lines=(repr(one.text),))
    near = [repr(text[max(0, at - NEAR) : at + NEAR]) for text in (one.text, other.text)]
    return Finding("rendered prompt", agrees=False, lines=(f"from character {at} on", *_sides(one, other, *near)))


def _tokens(name: str, one: Answer, other: Answer, mine: Sequence[Token], theirs: Sequence[Token]) -> Finding:
    at = first_difference([token.id for token in mine], [token.id for token in theirs])
    if at is None:
        return Finding(name, agrees=True, lines=(f"{len(mine)}",))
    near = [_run(tokens[max(0, at - 3) : at + 5]) for tokens in (mine, theirs)]
    counts = f"{len(mine)} and {len(theirs)}; from token {at} on"
    return Finding(name, agrees=False, lines=(counts, *_sides(one, other, *near)))


def _run(tokens: Sequence[Token]) -> str:
    return " ".join(f"{token.id}:{token.text!r}" for token in tokens)


def _images(one: Answer, other: Answer) -> Iterator[Finding]:
    for name in sorted(one.tensors.keys() | other.tensors.keys()):
        mine, theirs = one.tensors.get(name), other.tensors.get(name)
        if mine is None or theirs is None:
            continue  # each engine has tensors for its own bookkeeping
        agrees = mine.is_close(theirs)
        lines = (str(mine),) if agrees else _sides(one, other, mine, theirs)
        yield Finding(f"images, {name}", agrees=agrees, lines=lines)


def _sampling(one: Answer, other: Answer) -> Finding:
    names = sorted(name for name in one.sampling.keys() & other.sampling.keys())
    unlike = [name for name in names if not _equal(one.sampling[name], other.sampling[name])]
    if not unlike:
        return Finding("sampling in force", agrees=True, lines=(_pairs(one, names),))
    return Finding(
        "sampling in force", agrees=False, lines=_sides(one, other, _pairs(one, unlike), _pairs(other, unlike))
    )


def _equal(mine: Any, theirs: Any) -> bool:
    return bool(mine == theirs) or not (mine or theirs)  # None, [] and 0 all say that it is not used


def _pairs(answer: Answer, names: Sequence[str]) -> str:
    return ", ".join(f"{name}={answer.sampling[name]}" for name in names)


def _answer(one: Answer, other: Answer) -> Finding:
    at = first_difference([token.id for token in one.tokens], [token.id for token in other.tokens])
    if at is None or at >= min(len(one.tokens), len(other.tokens)):
        return _tokens("answer", one, other, one.tokens, other.tokens)
    mine, theirs = one.tokens[at], other.tokens[at]
    lines = (f"from token {at} on", *_sides(one, other, _likeliest(mine), _likeliest(theirs)))
    if _is_tie(mine, theirs.id):
        return Finding("answer", agrees=True, lines=(*lines, "a tie: the two tokens are equally likely"))
    return Finding("answer", agrees=False, lines=lines)


def _is_tie(token: Token, other: int) -> bool:
    logprobs = {likely.id: likely.logprob for likely in token.likeliest}
    mine, theirs = token.logprob, logprobs.get(other)
    return mine is not None and theirs is not None and abs(mine - theirs) <= TIE


def _likeliest(token: Token) -> str:
    top = " ".join(f"{likely.text!r} {likely.logprob:.4f}" for likely in token.likeliest)
    return f"{token.text!r} of {top}"


def _logprobs(one: Answer, other: Answer) -> Finding:
    """Of the answer, up to where it differs: after that the texts before them do."""
    at = first_difference([token.id for token in one.tokens], [token.id for token in other.tokens])
    pairs = zip(one.tokens[:at], other.tokens[:at], strict=False)
    gaps = [
        abs(mine.logprob - theirs.logprob)
        for mine, theirs in pairs
        if mine.logprob is not None and theirs.logprob is not None
    ]
    largest = max(gaps, default=0.0)
    return Finding("log probabilities", agrees=largest <= TIE, lines=(f"at most {largest:.1e} apart",))
