"""`serve` and `check`: the wiring of everything, and the only room that picks an engine."""

import asyncio
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence

import uvloop

from container import logs
from container.commands import USAGE, parse
from container.http.admission import Admission
from container.http.app import build_app
from container.http.health import Health
from container.http.metrics import Metrics
from container.model_store import Located, file_beside
from container.nodes.membership import shared_options, this_node
from container.nodes.rendezvous import NodeGroup, SingleNode, node_group
from container.options import Options, Resolved, resolve
from container.options.explanation import explain, vllm_serve_line
from container.options.masking import mask
from container.options.parsers.locations import MODEL_DIRECTORY, SERVER_FILE
from container.server import Server, Timing, bind, signals
from container.start.allocator import keep_large_blocks
from container.start.backend import Backend
from container.start.loading import Loading
from container.start.machine import Machine, inspect, killed_for_memory, refuse
from container.start.settings import code_settings, front_end, located_model, media_limits, needs, served_names
from container.start.vllm_settings import vllm_settings
from handler.engines import vllm
from handler.engines.vllm.caches import cache_environment
from handler.engines.vllm.settings import ENVIRONMENT
from handler.errors import StartError
from handler.media.loader import MediaLoader

log = logging.getLogger("lumi")


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run a command; the exit code. What ends a start is printed, in words, on stderr."""
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
        return serve(resolved, environ) if command.name == "serve" else check(resolved)
    except StartError as fault:
        print(f"lumi cannot start:\n{mask(str(fault))}", file=sys.stderr)  # noqa: T201  # the operator reads this in any format
        return 1


def check(resolved: Resolved) -> int:
    """Print the options in force and what vLLM would be started with; nothing is loaded."""
    print(explain(resolved), flush=True)  # noqa: T201  # the answer of the command
    located = located_model(resolved.options)
    if code := resolved.options.code:
        print(f"{code.file} is executed at the start; if it answers requests, vLLM is not started")  # noqa: T201
    if located is None:
        return 0
    settings = vllm_settings(resolved.options, located)
    if vllm.cuda() is None or inspect().gpus:
        vllm.validate(settings.texts)
    else:
        print("vLLM has not looked at what goes to it: its GPU build does so only where there is a GPU")  # noqa: T201
    print(vllm_serve_line(resolved.options, settings.arguments, settings.names))  # noqa: T201
    return 0


def serve(resolved: Resolved, environ: MutableMapping[str, str]) -> int:
    """Serve until told to stop; the exit code. `environ` is what the processes of the engine inherit."""
    options = resolved.options
    keep_large_blocks()
    logs.configure(options.log_level)
    if options.compile_cache_dir is not None:
        for name, value in cache_environment(options.compile_cache_dir, environ).items():
            environ.setdefault(name, value)
    for warning in resolved.warnings:
        log.warning(warning)
    located = located_model(options)
    machine = inspect()
    engine = None
    if located is not None:
        refuse(machine, needs(options, located, gpus=machine.gpus, cuda=vllm.cuda()))
        engine = vllm.VllmEngine(vllm_settings(options, located), environ if options.preload_engine else None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.code is not None:
            os.chdir(options.code.directory)  # as LMI does: user code opens the model's files by their names
        code = runner.run(_serve(options, located, engine, machine))
    if code and killed_for_memory():
        log.error(
            "the kernel has killed a process here for want of memory; give the container more (docker run --memory), or "
            "set OPTION_KV_CACHE_MEMORY_BYTES lower"
        )
    return code


async def _serve(options: Options, located: Located | None, engine: vllm.VllmEngine | None, machine: Machine) -> int:
    health, admission = Health(), Admission(options.job_queue_size)
    media = MediaLoader(media_limits(options))
    nodes: NodeGroup = SingleNode()
    if engine is not None:
        nodes = node_group(this_node(options), shared_options(options, machine.gpus))
    loading = Loading(options, located, engine, media, nodes=nodes, health=health, memory=machine.memory or 0)
    sock = bind(options.host, options.port)
    log.info("listening on http://%s:%d; loading %s", options.host, options.port, options.model_id)
    await media.start()
    try:
        app = build_app(health, admission, Metrics(), front_end(options))
        timing = Timing(loading=options.model_loading_timeout, draining=options.predict_timeout)
        backend = Backend(
            code_settings(options, gpus=machine.gpus),
            located,
            engine,
            names=served_names(options, located),
            fetch=loading.fetch,
            load=loading.load,
            say=health.loading,
        )
        server = Server(app, backend, nodes=nodes, health=health, admission=admission, timing=timing)
        with signals() as stop:
            return await server.run(sock, stop)
    finally:
        await media.aclose()
        loading.close()
