"""What was found wrong or remarkable while settings were resolved, so that one start tells all of it."""

from dataclasses import dataclass, field

from handler.errors import OptionError


@dataclass(frozen=True)
class Findings:
    """Sentences, in the order found, each once. A fault ends the start, a warning does not."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, sentence: str) -> None:
        if sentence not in self.faults:
            self.faults.append(sentence)

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def raise_if_faulty(self) -> None:
        """Raises OptionError with every fault, each on its line."""
        if len(self.faults) > 1:
            raise OptionError("\n".join((f"{len(self.faults)} settings are at fault:", *self.faults)))
        if self.faults:
            raise OptionError(self.faults[0])
