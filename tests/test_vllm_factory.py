"""The factory without the import of vLLM; tests/test_engine.py starts an engine with it."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

from handler.engines.vllm.factory import VllmFactory
from handler.engines.vllm.launch import VllmSettings

ROOT = Path(__file__).parent.parent


def test_it_may_be_closed_twice_and_before_anything_was_begun():
    async def story():
        factory = VllmFactory(VllmSettings({}, ("model",)), {})
        await factory.close()
        await factory.close()

    asyncio.run(story())


def run(code):
    """Run `code`, which may begin to import vLLM, in a process of its own."""
    imports = (
        "import asyncio, multiprocessing, os, psutil, time\n"
        "from handler.engines.vllm.factory import VllmFactory\n"
        "from handler.engines.vllm.launch import VllmSettings\n"
    )
    subprocess.run([sys.executable, "-c", imports + textwrap.dedent(code)], cwd=ROOT, check=True, timeout=60)


def test_closing_leaves_the_children_of_others_alone():
    run("""
        child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,), daemon=True)
        child.start()
        asyncio.run(VllmFactory(VllmSettings({}, ('model',))).close())
        assert child.is_alive()
        child.kill()
    """)


def test_closing_ends_the_one_fork_server_that_preloading_began():
    run("""
        async def story():
            factory = VllmFactory(VllmSettings({}, ('model',)), os.environ)
            factory.preload()
            factory.preload()
            begun = psutil.Process().children()
            await factory.close()
            await factory.close()
            assert len(begun) == 1, begun
            assert not begun[0].is_running()
            os._exit(0)  # not waiting for the import

        asyncio.run(story())
    """)
