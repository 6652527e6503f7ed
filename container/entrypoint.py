"""`serve`, `check` and `diff`: everything is wired here, and only here an engine is chosen."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace

import uvloop

from container import logs
from container.address_file import publish_address
from container.commands import USAGE, parse
from container.diff.run import FAILED, compare, read_request
from container.http.admission import Admission
from container.http.app import build_app
from container.http.health import Health
from container.http.inference import Serving
from container.http.listener import bind
from container.http.metrics import Metrics
from container.http.slow_readers import SlowReaders
from container.inspection.report import report_on
from container.inspection.text import describe
from container.masking import mask
from container.model_store import Located, file_beside
from container.nodes.membership import shared_options, this_node
from container.nodes.rendezvous import NodeGroup, SingleNode, node_group
from container.options import Options, Resolved, resolve
from container.options.explanation import explain, vllm_serve_line
from container.options.parsers.locations import MODEL_DIRECTORY, SERVER_FILE
from container.server import Server, signals
from container.start.machine import CheckedMachine, check_machine, inspect, needs
from container.start.memory import keep_large_blocks, report_kill_for_memory
from container.start.memory_plan import MOST_REQUESTS, UNREAD_BYTES, image_cache_gib
from container.start.model import locate_model, model_files
from container.start.startup import Startup
from container.start.transformers_settings import transformers_settings
from container.start.vllm_settings import vllm_settings
from handler.engine import EngineFactory
from handler.engines import vllm
from handler.engines.assignment import TRANSFORMERS, Assignment
from handler.engines.choice import EngineChoice, check_allowed
from handler.engines.supervised import SupervisedFactory
from handler.engines.supervisor import Supervision
from handler.engines.transformers.factory import TransformersFactory
from handler.engines.vllm.caches import cache_environment
from handler.engines.vllm.factory import VllmFactory
from handler.engines.vllm.launch import ENVIRONMENT
from handler.errors import StartError

log = logging.getLogger("lumi")

# By default. Kernels that are compiled in a step, for a shape that the start has not seen, take a minute or two.
MIN_STALL_SECONDS = 300.0
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # that are in the environment and not in an option


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run a command; the exit code. The error that ends a start is printed on stderr."""
    try:
        command = parse(arguments)
        if command.name == "help":
            print(USAGE, end="")  # noqa: T201  # the answer of the command
            return 0
        for name, value in command.settings.items():
            environ.setdefault(name, value)
        resolved = resolve(
            environ,
            engine_fields=vllm.field_names,
            model_directory=command.model_directory or MODEL_DIRECTORY,
            server_file=command.server_file or SERVER_FILE,
            remote_file=file_beside,
        )
        environ.update(resolved.options.env)
        for name, value in ENVIRONMENT.items():
            environ.setdefault(name, value)
        if command.request is not None:
            return diff(resolved, environ, command.request)
        return serve(resolved, environ) if command.name == "serve" else check(resolved, command.instance_type)
    except StartError as fault:
        print(f"lumi cannot start:\n{mask(str(fault))}", file=sys.stderr)  # noqa: T201  # as plain text, however logs are formatted
        return FAILED if arguments[:1] == ["diff"] else 1


def check(resolved: Resolved, instance_type: str | None = None) -> int:
    """Print the options in force, what the model is, and what vLLM would be started with; nothing is loaded."""
    print(explain(resolved), flush=True)  # noqa: T201  # the answer of the command
    located = locate_model(resolved.options)
    if code := resolved.options.code:
        print(f"{code.file} is executed at the start; if it answers requests, vLLM is not started")  # noqa: T201
    if located is None:
        return 0
    if resolved.options.transformers_engine == "always":
        print(f"{located.source} is run by transformers: OPTION_TRANSFORMERS_ENGINE=always")  # noqa: T201
        return 0
    settings = vllm_settings(resolved.options, located)
    assignment = _describe_model(resolved.options, located, instance_type)
    if assignment is not None and assignment.engine == TRANSFORMERS:
        check_allowed(assignment, resolved.options.transformers_engine)
        return 0
    if settings.texts:  # the import of vLLM takes seconds
        if vllm.cuda() is None or inspect().gpus:
            vllm.validate(settings.texts, settings.described)
        else:
            print("vLLM has not checked its arguments: its GPU build can do so only where there is a GPU")  # noqa: T201
    overrides = {"hf_overrides": assignment.overrides} if assignment is not None and assignment.overrides else {}
    print(vllm_serve_line(resolved.options, {**settings.arguments, **overrides}, settings.names))  # noqa: T201
    return 0


def _describe_model(options: Options, located: Located, instance_type: str | None) -> Assignment | None:
    """Print what the files of the model say; None if they cannot be read yet. Raises StartError as a start would."""
    files = model_files(options, located)
    if files is None:
        print(f"{located.source} is an archive: what is in it is known only once a start has unpacked it")  # noqa: T201
        return None
    report = report_on(files, options, instance_type)
    print(describe(report), flush=True)  # noqa: T201
    return report.assignment


def serve(resolved: Resolved, environ: MutableMapping[str, str]) -> int:
    """Serve until a signal; the exit code. `environ` is what the processes of the engine inherit."""
    options = resolved.options
    keep_large_blocks()
    secrets = [secret.get_secret_value() for secret in (options.api_key, options.hf_token) if secret is not None]
    logs.configure(options.log_level, secrets=[*secrets, *(environ[name] for name in _SECRETS if name in environ)])
    with logs.log_prints(), _engine_logs(environ):
        return _run(resolved, environ)


def _run(resolved: Resolved, environ: MutableMapping[str, str]) -> int:
    options = resolved.options
    if options.compile_cache_dir is not None:
        for name, value in cache_environment(options.compile_cache_dir, environ).items():
            environ.setdefault(name, value)
    for warning in resolved.warnings:
        log.warning(warning)
    checked = check_machine(options, locate_model(options), cuda=vllm.cuda())
    factory = None
    if checked.located is not None:
        inherited = environ if options.preload_engine else None
        factory = choose_engine(options, checked.located, inherited, _image_cache_gib(options, checked))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.code is not None:
            os.chdir(options.code.directory)  # as LMI does: user code opens the model's files by their names
        code = runner.run(_serve(options, checked, factory))
    if code:
        report_kill_for_memory()
    return code


@contextlib.contextmanager
def _engine_logs(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Have vLLM write its lines as ours are, unless the operator configures them."""
    if "VLLM_LOGGING_CONFIG_PATH" in environ or environ.get("VLLM_CONFIGURE_LOGGING") == "0":
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            configuration = logs.engine_configuration(environ.get("VLLM_LOGGING_LEVEL", "INFO"))
            environ["VLLM_LOGGING_CONFIG_PATH"] = stack.enter_context(configuration)
        except OSError as fault:
            log.warning("vLLM logs in its own format: no temporary file can be written (%s)", fault.strerror)
        try:
            yield
        finally:
            environ.pop("VLLM_LOGGING_CONFIG_PATH", None)


def diff(resolved: Resolved, environ: MutableMapping[str, str], request: str) -> int:
    """Print what vLLM and transformers make of the request in a file; the exit code. Raises StartError."""
    options, payload = resolved.options, read_request(request)
    for name, value in {"VLLM_LOGGING_STREAM": "ext://sys.stderr", "VLLM_LOGGING_LEVEL": "WARNING"}.items():
        environ.setdefault(name, value)  # stdout has the report
    checked = check_machine(options, locate_model(options), cuda=vllm.cuda())
    if checked.located is None:
        raise StartError("No model is named; set HF_MODEL_ID.")
    settings = vllm_settings(options, checked.located)
    engines = (
        ("vLLM", VllmFactory(settings, environ if options.preload_engine else None)),
        ("transformers", TransformersFactory(transformers_settings(options, settings))),
    )
    return asyncio.run(compare(options, checked, engines, payload))


def choose_engine(
    options: Options,
    located: Located,
    inherited: MutableMapping[str, str] | None,
    image_cache_gib: float | None = None,
) -> EngineFactory:
    """What starts the engine once the model is here. `inherited` is the environment of vLLM's processes, if they are to be
    forked from one; `image_cache_gib` the size of its cache of processed images, None for vLLM's default."""
    settings = vllm_settings(options, located, image_cache_gib)
    replaced = supervision(options)
    # transformers computes in this process, which it cannot leave as it was.
    transformers = SupervisedFactory(
        TransformersFactory(transformers_settings(options, settings)), replace(replaced, restarts=0)
    )
    return EngineChoice(
        SupervisedFactory(VllmFactory(settings, inherited), replaced),
        transformers,
        options.transformers_engine,
        located.source,
        {**settings.texts, **settings.arguments},
    )


def supervision(options: Options) -> Supervision:
    """When an engine counts as hung, and how often it is replaced. What waits for a longer step has been given up by then."""
    stall = options.engine_stall_timeout
    return Supervision(
        stall_seconds=max(MIN_STALL_SECONDS, options.predict_timeout) if stall is None else stall,
        # The other nodes' parts of an engine end with it, and are not started again.
        restarts=options.engine_restarts if options.nnodes == 1 else 0,
        start_seconds=options.model_loading_timeout,
    )


def _image_cache_gib(options: Options, checked: CheckedMachine) -> float | None:
    if checked.located is None:
        return None
    machine = checked.machine
    size = image_cache_gib(options, machine, needs(options, checked.located, gpus=machine.gpus, cuda=vllm.cuda()))
    if size is not None:
        log.info(
            "vLLM keeps processed images in %g GiB of each engine core, not 4: half of the memory that the model and the front "
            "end leave (OPTION_MM_PROCESSOR_CACHE_GB sets it)",
            size,
        )
    return size


def front_end(options: Options) -> Serving:
    """What the routes need of the options."""
    return Serving(
        request_bytes=options.max_request_size,
        predict_seconds=options.predict_timeout,
        output_formatter=options.output_formatter,
        lmi_errors=options.error_compat == "lmi",
        tgi=options.tgi_compat,
        management=options.enable_management is True,
        platform_adapters=options.enable_management is None and options.on_sagemaker,
        api_key=options.api_key.get_secret_value() if options.api_key else None,
        public_metrics=options.public_metrics,
    )


async def _serve(options: Options, checked: CheckedMachine, factory: EngineFactory | None) -> int:
    health, admission = Health(), Admission(options.job_queue_size or MOST_REQUESTS)
    nodes: NodeGroup = SingleNode()
    follows = False
    if factory is not None:
        node = this_node(options)
        nodes, follows = node_group(node, shared_options(options, checked.machine.gpus)), node.follows
    startup = Startup(options, checked, factory, nodes=nodes, follows=follows, report=health.loading)
    metrics, slow_readers = Metrics(), SlowReaders(max_bytes=UNREAD_BYTES)
    metrics.watch_store("unread", lambda: slow_readers.unread_bytes, lambda: slow_readers.max_bytes)
    serving = front_end(options)
    app = build_app(health, admission, metrics, serving)
    server = Server(
        app,
        startup,
        nodes=nodes,
        health=health,
        admission=admission,
        draining_seconds=options.predict_timeout,
        slow_readers=slow_readers,
    )
    sock = bind(options.host, options.port)
    if serving.platform_adapters and options.enable_lora:
        log.info("this is a SageMaker host: its inference components may register adapters (/adapters) without a key")
    log.info("listening on http://%s:%d; loading %s", options.host, options.port, options.model_id)
    with publish_address(options.host, sock.getsockname()[1]), signals() as stop:
        return await server.run(sock, stop)
