"""The user's file, executed once -> what is in it: a handler, formatters, SageMaker's functions."""

import ast
import functools
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from handler.djl.entry_point import VLLM_SERVICE, EntryPoint
from handler.djl.failures import raise_start_error
from handler.djl.import_hook import register_djl_python
from handler.errors import StartError

log = logging.getLogger("lumi.user_code")

Function = Callable[..., Any]

# SageMaker's functions and their parameters.
SAGEMAKER_FUNCTIONS = {
    "model_fn": ("model_dir",),
    "input_fn": ("request_body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
}
# Each sets the attribute is_<name> of the function that it decorates.
_DECORATORS = ("input_formatter", "output_formatter", "prediction_handler", "init_handler")
_ROLLING_BATCH_TYPES = ("RequestOutput", "TextGenerationOutput")


@dataclass(frozen=True, slots=True)
class UserModule:
    """What a file holds. `handle` is the function that the option `handler` names, `functions` are SageMaker's. Beside a
    service of LMI's own, `handle` comes before vLLM, and may leave a request to it."""

    entry: EntryPoint
    module: ModuleType
    handle: Function | None
    functions: Mapping[str, Function]
    input_formatter: Function | None = None
    output_formatter: Function | None = None
    prediction_handler: Function | None = None
    init_handler: Function | None = None

    @property
    def owns_the_model(self) -> bool:
        """Whether the code alone responds to requests, so that vLLM is not started."""
        if self.entry.service is not None:
            return False
        return self.handle is not None or self.prediction_handler is not None or bool(self.functions)

    def __str__(self) -> str:
        decorators = [f"@{name}" for name in _DECORATORS if getattr(self, name)]
        parts = [*(["handle"] if self.handle else []), *decorators, *self.functions]
        return f"{self.entry.file} ({', '.join(parts)})"


def load(entry: EntryPoint, handler: str = "handle") -> UserModule:
    """Execute the file and find its functions. Raises StartError with file, line and reason."""
    register_djl_python()
    try:
        return _inspect(_execute(entry), entry, handler)
    except BaseException:
        unload(entry)
        raise


def load_formatters(entry: EntryPoint) -> UserModule:
    """Execute the file of an adapter and find its formatters: LMI calls nothing else in it. Raises StartError."""
    register_djl_python()
    try:
        module = _execute(entry)
        found = {name: _find_decorated(module, name, entry.file) for name in ("input_formatter", "output_formatter")}
        _check_output_formatter(found["output_formatter"], entry.file)
    except BaseException:
        unload(entry)
        raise
    if not any(found.values()):
        log.warning("%s has no formatter, and nothing else of an adapter's file is called", entry.file)
    return UserModule(entry=entry, module=module, handle=None, functions={}, **found)


def unload(entry: EntryPoint) -> None:
    """Remove the module, so that another start in this process executes its file again."""
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
    if spec is None or spec.loader is None:
        raise StartError(f"{entry.file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001  # SystemExit too
        raise_start_error(entry, "could not be loaded", error)
    return module


def _inspect(module: ModuleType, entry: EntryPoint, handler: str) -> UserModule:
    decorated = {name: _find_decorated(module, name, entry.file) for name in _DECORATORS}
    decorators = [f"@{name}" for name, function in decorated.items() if function]
    if entry.service is not None:
        return _inspect_beside_service(module, entry, entry.service, decorated)
    handle = _find_handler(module, handler, entry.file)
    functions = _find_sagemaker_functions(module, entry.file)
    if (handle or functions) and decorators:
        used = handler if handle else "the decorated functions"
        unused = ", ".join(decorators) if handle else ", ".join(functions)
        log.warning("%s has %s as well as %s, which is not used", entry.file, used, unused)
    if handle or decorators:
        functions = {}
    _check_handler(handle, entry.file)
    _check_output_formatter(decorated["output_formatter"], entry.file)
    _check_sagemaker_functions(functions, entry.file)
    if not (handle or decorators or functions):
        log.warning(
            "%s has no %s(inputs), no decorated function and none of %s; vLLM serves the model without it",
            *(entry.file, handler, ", ".join(SAGEMAKER_FUNCTIONS)),
        )
    return UserModule(entry=entry, module=module, handle=handle, functions=functions, **decorated)


def _inspect_beside_service(
    module: ModuleType, entry: EntryPoint, service: str, decorated: dict[str, Function | None]
) -> UserModule:
    """What a service of LMI's own takes of the model.py beside it: formatters, and the one of vLLM a handler that may
    leave a request to vLLM. See custom_handler_service.py of djl-serving d21927c (2026-06-24)."""
    file = entry.file
    if any(callable(getattr(module, name, None)) for name in ("input_fn", "output_fn")):
        raise StartError(
            f"{file} has SageMaker's functions, and {service} cannot call them: LMI fails every request. Remove "
            "OPTION_ENTRY_POINT to serve with them, or write an @input_formatter or @output_formatter."
        )
    handle = _find_handler(module, "handle", file)
    unused = [name for name in ("model_fn", "predict_fn") if callable(getattr(module, name, None))]
    unused += ["@prediction_handler"] if decorated.pop("prediction_handler") else []
    if handle is not None and service != VLLM_SERVICE:
        handle, unused = None, ["handle", *unused]
    if unused:
        log.warning("%s has %s, which OPTION_ENTRY_POINT=%s does not call", file, ", ".join(unused), service)
    _check_output_formatter(decorated["output_formatter"], file)
    return UserModule(entry=entry, module=module, handle=handle, functions={}, **decorated)


def _find_handler(module: ModuleType, name: str, file: Path) -> Function | None:
    handle: Function | None = getattr(module, name, None)
    if handle is None and name != "handle":
        raise StartError(f"OPTION_HANDLER={name!r} is not a function of {file}; correct or remove it.")
    if handle is not None and not callable(handle):
        raise StartError(f"{file}: `{name}` is {type(handle).__name__} and not a function.")
    return handle


def _find_decorated(module: ModuleType, decorator: str, file: Path) -> Function | None:
    attribute = f"is_{decorator}"
    # By identity: a function may have several names in the module.
    functions = {id(f): f for f in vars(module).values() if callable(f) and getattr(f, attribute, False)}
    found = list(functions.values())
    if len(found) > 1:
        names = " and ".join(f"{function.__name__} (line {_first_line(function)})" for function in found)
        raise StartError(f"{file} has more than one function with @{decorator}: {names}. Keep one of them.")
    return found[0] if found else None


def _find_sagemaker_functions(module: ModuleType, file: Path) -> dict[str, Function]:
    found = {name: function for name in SAGEMAKER_FUNCTIONS if callable(function := getattr(module, name, None))}
    for name, function in found.items():
        parameters = SAGEMAKER_FUNCTIONS[name]
        try:
            inspect.signature(function).bind(*parameters)
        except TypeError as error:
            signature = f"{name}({', '.join(parameters)})"
            raise StartError(
                f"{file}, line {_first_line(function)}: {name} cannot be called as {signature}: {error}"
            ) from error
    return found


def _check_handler(handle: Function | None, file: Path) -> None:
    """A rolling batch calls a plain handler again and again, for the next token of each running request, and reads frames
    from it: RollingBatch.java in djl-serving d21927c4 (2026-06-24). Here it would answer one token."""
    if handle is None or is_asynchronous(handle):
        return
    nodes = list(ast.walk(ast.parse(file.read_bytes())))
    encodes = any(isinstance(node, ast.Attribute) and node.attr == "binary_encode" for node in nodes)
    lines = [node.value.lineno for node in nodes if isinstance(node, ast.keyword) and node.arg == "batch_index"]
    if encodes and lines:
        raise StartError(
            f"{file}, line {lines[0]}: {handle.__name__} is written for LMI's rolling batch, which calls it for each token. "
            "Here a handler is called once for each request: return the whole response or a stream, or remove the handler, and "
            "vLLM batches the requests."
        )


def _check_output_formatter(function: Function | None, file: Path) -> None:
    if function is None:
        return
    if _is_first_parameter(function, _ROLLING_BATCH_TYPES) or not _takes_one_argument(function):
        raise StartError(
            f"{file}, line {_first_line(function)}: {function.__name__} is written for the rolling batch of older LMI "
            "images, which called it for each token. Here, as in LMI's async mode, an output formatter takes the "
            "complete response, or the text of one event of a stream."
        )


def _takes_one_argument(function: Function) -> bool:
    try:
        inspect.signature(function).bind(object())
    except TypeError:  # such as (token, first_token, last_token, details, generated_tokens), as LMI 0.27 had it
        return False
    return True


def _check_sagemaker_functions(functions: Mapping[str, Function], file: Path) -> None:
    missing = [name for name in ("model_fn", "predict_fn") if functions and name not in functions]
    if missing:
        raise StartError(f"{file} has {', '.join(functions)} and no {' and no '.join(missing)}, which has no default.")


def is_asynchronous(function: Function) -> bool:
    """Whether it is an `async def`, or an object whose `__call__` is."""
    inner = function.func if isinstance(function, functools.partial) else function
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(kind(one) for kind in kinds for one in (inner, getattr(inner, "__call__", None)))  # noqa: B004


def takes_input(function: Function, *, unless_annotated: bool = False) -> bool:
    """Whether the first parameter is annotated as an Input, the raw request; `unless_annotated` if it has no annotation."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is not None and first.annotation is first.empty:
        return unless_annotated
    return _is_first_parameter(function, ("Input",))


def call_with_options(function: Function, *arguments: Any, options: Mapping[str, Any], **extra: Any) -> Any:
    """Call `function` with those of `extra` and `options` that it has parameters for, or with all if it takes **kwargs."""
    offered = {"configs": dict(options), "properties": dict(options), **extra}
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    filled = set(positional[: len(arguments)])
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        offered = {**{name: value for name, value in options.items() if name.isidentifier()}, **offered}
        accepted = set(offered)
    else:
        offered = {**options, **offered}
        accepted = {parameter.name for parameter in parameters}
    return function(*arguments, **{name: value for name, value in offered.items() if name in accepted - filled})


def _first_line(function: Function) -> int:
    return int(getattr(getattr(function, "__code__", None), "co_firstlineno", 0))


def _is_first_parameter(function: Function, type_names: tuple[str, ...]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    annotation = getattr(first, "annotation", None)
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return name.strip("'\"").split(".")[-1] in type_names
