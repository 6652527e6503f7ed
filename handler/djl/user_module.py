"""The user's file, executed once -> what is in it: a handler, formatters, SageMaker's functions."""

import functools
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from handler.djl import shim
from handler.djl.entry_point import EntryPoint
from handler.errors import StartError

log = logging.getLogger("lumi.user_code")

Function = Callable[..., Any]

# SageMaker's functions and how many arguments each takes.
FUNCTIONS = {
    "model_fn": ("model_dir",),
    "input_fn": ("request_body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
}
_MARKS = {
    "is_input_formatter": "@input_formatter",
    "is_output_formatter": "@output_formatter",
    "is_prediction_handler": "@prediction_handler",
    "is_init_handler": "@init_handler",
}
_OF_ROLLING_BATCH = ("RequestOutput", "TextGenerationOutput")


@dataclass(frozen=True, slots=True)
class UserModule:
    """What a file holds. `handle` is the function that the option `handler` names, `functions` are SageMaker's."""

    entry: EntryPoint
    module: ModuleType
    handle: Function | None
    input_formatter: Function | None
    output_formatter: Function | None
    prediction_handler: Function | None
    init_handler: Function | None
    functions: dict[str, Function]

    @property
    def owns_the_model(self) -> bool:
        """Whether requests are answered by the code alone, so that vLLM is not started."""
        return self.handle is not None or self.prediction_handler is not None or bool(self.functions)

    def __str__(self) -> str:
        parts = {
            "handle": self.handle,
            **{_MARKS[f"is_{name}"]: getattr(self, name) for name in ("input_formatter", "output_formatter")},
            **{_MARKS[f"is_{name}"]: getattr(self, name) for name in ("prediction_handler", "init_handler")},
            **self.functions,
        }
        return f"{self.entry.file} ({', '.join(name for name, function in parts.items() if function)})"


def load(entry: EntryPoint, handler: str = "handle") -> UserModule:
    """Execute the file and look into it. Raises StartError with file, line and what is wrong."""
    shim.register()
    try:
        return _examined(_execute(entry), entry, handler)
    except BaseException:
        unload(entry)
        raise


def _examined(module: ModuleType, entry: EntryPoint, handler: str) -> UserModule:
    found = {mark: _marked(module, mark, entry.file) for mark in _MARKS}
    handle = getattr(module, handler, None)
    if handler != "handle" and handle is None:
        raise StartError(f"OPTION_HANDLER={handler!r} names no function of {entry.file}; correct it, or remove it.")
    if handle is not None and not callable(handle):
        raise StartError(f"{entry.file}: `{handler}` is {type(handle).__name__} and no function.")
    decorated = [_MARKS[mark] for mark, function in found.items() if function]
    functions = _functions(module, entry.file)
    if (handle or functions) and decorated:
        used = handler if handle else "the decorated functions"
        unused = ", ".join(decorated) if handle else ", ".join(functions)
        log.warning("%s has %s as well as %s, which is not used", entry.file, used, unused)
    if handle or decorated:
        functions = {}
    _check(found["is_output_formatter"], functions, entry.file)
    if not (handle or decorated or functions):
        log.warning(
            "%s has no %s(inputs), no decorated function and none of %s; vLLM serves the model as if it were not there",
            *(entry.file, handler, ", ".join(FUNCTIONS)),
        )
    return UserModule(
        entry=entry,
        module=module,
        handle=handle,
        input_formatter=found["is_input_formatter"],
        output_formatter=found["is_output_formatter"],
        prediction_handler=found["is_prediction_handler"],
        init_handler=found["is_init_handler"],
        functions=functions,
    )


def unload(entry: EntryPoint) -> None:
    """Forget the module, so that another start in this process executes its file anew."""
    module = sys.modules.get(entry.name)
    if module is not None and getattr(module, "__file__", None) == str(entry.file):
        del sys.modules[entry.name]
    sys.path[:] = [place for place in sys.path if place not in map(str, entry.search_path)]


def _execute(entry: EntryPoint) -> ModuleType:
    for place in reversed(entry.search_path):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
    if entry.name in sys.modules:
        raise StartError(f"{entry.file} has the name of a module that is in use, {entry.name}; rename the file.")
    spec = importlib.util.spec_from_file_location(entry.name, entry.file)
    assert spec is not None  # noqa: S101  # a file that ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001  # SystemExit too
        refuse(entry, "could not be loaded", error)
    return module


def refuse(entry: EntryPoint, what: str, error: BaseException) -> NoReturn:
    """Raise StartError: the file `what`, with the line that `error` comes from; the log has its traceback."""
    if isinstance(error, StartError):
        raise error
    log.error("%s %s", entry.file, what, exc_info=error)
    line = _line(entry, error)
    told = str(error).split("\n", maxsplit=1)[0]
    raise StartError(f"{entry.file}{line} {what}: {type(error).__name__}{': ' * bool(told)}{told}") from error


def _line(entry: EntryPoint, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return (
            f", line {error.lineno}," if Path(error.filename) == entry.file else f" ({error.filename}:{error.lineno})"
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == entry.file]
    return f", line {own[-1].lineno}," if own else ""


def _marked(module: ModuleType, mark: str, file: Path) -> Function | None:
    functions = {id(value): value for value in vars(module).values() if callable(value) and getattr(value, mark, False)}
    found = list(functions.values())
    if len(found) > 1:
        named = " and ".join(f"{function.__name__} (line {_first_line(function)})" for function in found)
        raise StartError(f"{file} has more than one function with {_MARKS[mark]}: {named}. Keep one of them.")
    return found[0] if found else None


def _first_line(function: Function) -> int:
    return int(getattr(getattr(function, "__code__", None), "co_firstlineno", 0))


def _functions(module: ModuleType, file: Path) -> dict[str, Function]:
    found = {name: function for name in FUNCTIONS if callable(function := getattr(module, name, None))}
    for name, function in found.items():
        try:
            inspect.signature(function).bind(*FUNCTIONS[name])
        except TypeError as error:
            wanted = f"{name}({', '.join(FUNCTIONS[name])})"
            raise StartError(
                f"{file}, line {_first_line(function)}: {name} cannot be called as {wanted}: {error}"
            ) from error
    return found


def _check(output_formatter: Function | None, functions: dict[str, Function], file: Path) -> None:
    if output_formatter is not None and _annotated(output_formatter, _OF_ROLLING_BATCH):
        raise StartError(
            f"{file}, line {_first_line(output_formatter)}: {output_formatter.__name__} is written for the rolling batch "
            "of older LMI images, token by token. Here, as in LMI's async mode, an output formatter is given the whole "
            "response, or the text of each event of a stream."
        )
    missing = [name for name in ("model_fn", "predict_fn") if functions and name not in functions]
    if missing:
        raise StartError(f"{file} has {', '.join(functions)} and no {' and no '.join(missing)}, which has no default.")


def is_asynchronous(function: Function) -> bool:
    """Whether it is an `async def`, alone or as the call of an object."""
    called = function.func if isinstance(function, functools.partial) else function
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(kind(one) for kind in kinds for one in (called, getattr(called, "__call__", None)))  # noqa: B004


def takes_input(function: Function) -> bool:
    """Whether the first argument is annotated as an Input, the undecoded request."""
    return _annotated(function, ("Input",))


def _annotated(function: Function, names: tuple[str, ...]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    annotation = getattr(first, "annotation", None)
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return written.strip("'\"").split(".")[-1] in names
