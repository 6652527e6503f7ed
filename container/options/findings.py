"""What a stage of the resolution has to report beside its result; a start reports the findings of all stages at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from handler.errors import OptionError


@dataclass(frozen=True, slots=True)
class Findings:
    """Sentences in the order found. A fault ends the start, a warning does not."""

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.faults + other.faults, self.warnings + other.warnings)

    @classmethod
    def combine(cls, parts: Iterable["Findings"]) -> "Findings":
        """All of `parts` in their order, each sentence once."""
        found = sum(parts, cls())
        return cls(tuple(dict.fromkeys(found.faults)), tuple(dict.fromkeys(found.warnings)))

    def raise_if_faulty(self) -> None:
        """Raises OptionError with every fault, each on its line."""
        if len(self.faults) > 1:
            raise OptionError("\n".join((f"{len(self.faults)} settings are at fault:", *self.faults)))
        if self.faults:
            raise OptionError(self.faults[0])


NOTHING = Findings()


def fault(sentence: str) -> Findings:
    return Findings(faults=(sentence,))


def warning(sentence: str) -> Findings:
    return Findings(warnings=(sentence,))
