"""The SageMaker SDK, unmodified, against a server: `python sagemaker_sdk.py CONTAINER ENDPOINT`, images on stdin as JSON."""

import json
import os
import sys

import boto3
import sagemaker
from sagemaker.base_deserializers import JSONDeserializer
from sagemaker.djl_inference import DJLModel, DJLPredictor
from sagemaker.iterators import LineIterator
from sagemaker.local import LocalSession
from sagemaker.serializers import JSONSerializer

os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


def messages(*images: str, **parameters: object) -> dict[str, object]:
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    text = {"type": "text", "text": "What is in the images?" if len(images) > 1 else "What is in the image?"}
    return {"messages": [{"role": "user", "content": [text, *shown]}], "temperature": 0, **parameters}


def main(container: str, endpoint: str, images: list[str]) -> dict[str, object]:
    local = LocalSession()
    local.config = {"local": {"serving_port": int(container.rsplit(":", 1)[1])}}
    model = DJLModel(
        model_id="llava-hf/llava-v1.6-mistral-7b-hf",
        env={"OPTION_LIMIT_MM_PER_PROMPT": '{"image":2}'},
        image_uri="lumi:cpu",
        role="arn:aws:iam::111111111111:role/any",
        sagemaker_session=local,
    )
    predictor = DJLPredictor("any", sagemaker_session=local)
    runtime = boto3.client("sagemaker-runtime", endpoint_url=endpoint)
    session = sagemaker.Session(sagemaker_runtime_client=runtime, boto_session=boto3.Session())
    remote = sagemaker.Predictor(
        "any", sagemaker_session=session, serializer=JSONSerializer(), deserializer=JSONDeserializer()
    )
    lines = remote.predict_stream(messages(images[0], stream=True), iterator=LineIterator)
    return {
        "environment": model.prepare_container_def("local").get("Environment"),
        "local": predictor.predict(messages(*images)),
        "refused locally": predictor.predict({"messages": []}),
        "remote": remote.predict(messages(*images)),
        "generated": remote.predict({"inputs": "hi", "parameters": {"max_new_tokens": 1}}),
        "lines": [json.loads(line) for line in lines if line.strip()],
    }


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.argv[2], json.load(sys.stdin))
    print(json.dumps(answer))
