"""Published chat clients, unmodified, against a server: `python chat_clients.py URL MODEL NAME...`, an image's URL on stdin.

Each is asked about the image in the way of its own documents, whole and in some a stream too.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

QUESTION = "What is in the image?"
KEY = "none"


def with_openai(url: str, model: str, image: str) -> list[str]:
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key=KEY, max_retries=0)
    asked: list[Any] = [{"role": "user", "content": openai_parts(image)}]
    whole = client.chat.completions.create(model=model, messages=asked, temperature=0)
    chunks = client.chat.completions.create(model=model, messages=asked, temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    return [whole.choices[0].message.content or "", "".join(pieces)]


def with_langchain(url: str, model: str, image: str) -> list[str]:
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=url, api_key=KEY, model=model, temperature=0, max_retries=0)
    asked = [HumanMessage(content=openai_parts(image))]
    return [str(chat.invoke(asked).content), "".join(str(chunk.content) for chunk in chat.stream(asked))]


def with_litellm(url: str, model: str, image: str) -> list[str]:
    import litellm

    how = {"model": f"hosted_vllm/{model}", "api_base": url, "api_key": KEY, "temperature": 0}
    asked = [{"role": "user", "content": openai_parts(image)}]
    whole = litellm.completion(messages=asked, **how)
    chunks = litellm.completion(messages=asked, stream=True, **how)
    return [whole.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)]


def with_pydantic_ai(url: str, model: str, image: str) -> list[str]:
    from pydantic_ai import Agent, BinaryContent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key=KEY)))
    asked = [QUESTION, BinaryContent.from_data_uri(image)]
    return [agent.run_sync(asked, model_settings={"temperature": 0}).output]


def with_haystack(url: str, model: str, image: str) -> list[str]:
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage, ImageContent
    from haystack.utils import Secret

    asked = [ChatMessage.from_user(content_parts=[QUESTION, ImageContent(base64_image=image.partition(",")[2])])]
    how = {"api_key": Secret.from_token(KEY), "model": model, "api_base_url": url}
    whole = OpenAIChatGenerator(**how, generation_kwargs={"temperature": 0}).run(asked)
    return [whole["replies"][0].text]


def with_smolagents(url: str, model: str, image: str) -> list[str]:
    from smolagents import ChatMessage, OpenAIServerModel

    served = OpenAIServerModel(model_id=model, api_base=url, api_key=KEY, temperature=0)
    return [str(served.generate([ChatMessage(role="user", content=openai_parts(image))]).content)]


def with_openai_agents(url: str, model: str, image: str) -> list[str]:
    from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    served = OpenAIChatCompletionsModel(model=model, openai_client=AsyncOpenAI(base_url=url, api_key=KEY))
    agent = Agent(name="looker", model=served, model_settings=ModelSettings(temperature=0))
    content = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": image, "detail": "auto"}]
    ran = asyncio.run(Runner.run(agent, [{"role": "user", "content": content}]))
    return [str(ran.final_output)]


def with_llama_index(url: str, model: str, image: str) -> list[str]:
    from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
    from llama_index.llms.openai_like import OpenAILike

    chat = OpenAILike(model=model, api_base=url, api_key=KEY, is_chat_model=True, temperature=0)
    asked = [ChatMessage(role="user", blocks=[TextBlock(text=QUESTION), ImageBlock(url=image)])]
    pieces = [chunk.delta or "" for chunk in chat.stream_chat(asked)]
    return [str(chat.chat(asked).message.content), "".join(pieces)]


def with_strands(url: str, model: str, image: str) -> list[str]:
    import base64

    from strands import Agent
    from strands.models.openai import OpenAIModel

    served = OpenAIModel(client_args={"api_key": KEY, "base_url": url}, model_id=model, params={"temperature": 0})
    data = base64.b64decode(image.partition(",")[2])
    asked = [{"text": QUESTION}, {"image": {"format": "png", "source": {"bytes": data}}}]
    return [str(Agent(model=served, callback_handler=None)(asked)).strip()]


def openai_parts(image: str) -> list[Any]:
    return [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": image}}]


CLIENTS: dict[str, Callable[[str, str, str], list[str]]] = {
    "openai": with_openai,
    "langchain": with_langchain,
    "litellm": with_litellm,
    "pydantic_ai": with_pydantic_ai,
    "haystack": with_haystack,
    "smolagents": with_smolagents,
    "openai_agents": with_openai_agents,
    "llama_index": with_llama_index,
    "strands": with_strands,
}


def answers(url: str, model: str, image: str, name: str) -> list[str]:
    """What the client is answered, or its own error: the others are tried all the same."""
    try:
        return CLIENTS[name](url, model, image)
    except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
        return [repr(error)]


if __name__ == "__main__":
    where, served, *names = sys.argv[1:]
    shown = sys.stdin.read()
    print(json.dumps({name: answers(where, served, shown, name) for name in names}))
