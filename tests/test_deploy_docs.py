"""docs/deploy.md: every block is read as the platform would, and every option and path in it is one that there is."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from container.entrypoint import front_end
from container.http.admission import Admission
from container.http.app import build_routes
from container.http.health import Health
from container.http.metrics import Metrics
from container.options import TABLE, resolve
from handler.engines.vllm import field_names

TEXT = (Path(__file__).parent.parent / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
OURS = re.compile(r"OPTION_|SERVING_|HF_MODEL_ID")


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


MANIFESTS = [manifest for text in blocks("yaml") for manifest in yaml.safe_load_all(text)]
# What each kind has to have, as its schema says.
REQUIRED = {
    ("apps/v1", "Deployment"): ("spec.selector.matchLabels", "spec.template.metadata.labels"),
    ("v1", "Service"): ("spec.selector", "spec.ports"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): ("spec.scaleTargetRef.name", "spec.maxReplicas", "spec.metrics"),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): ("spec.supportedModelFormats", "spec.containers"),
    ("serving.kserve.io/v1beta1", "InferenceService"): ("spec.predictor.model.modelFormat.name",),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): (
        "spec.leaderWorkerTemplate.size",
        "spec.leaderWorkerTemplate.workerTemplate.spec",
    ),
}


def inside(value):
    """Everything in a document, itself first."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(item)


def at(document, path):
    for step in path.split("."):
        document = document[step]
    return document


def kind(manifest):
    return manifest["apiVersion"], manifest["kind"]


def of_kind(name):
    return [manifest for manifest in MANIFESTS if manifest["kind"] == name]


def pods(manifest):
    return [
        value
        for value in inside(manifest)
        if isinstance(value, dict) and isinstance(value.get("containers"), list) and value["containers"]
    ]


def paths():
    options = resolve({"HF_MODEL_ID": "a/b"}, engine_fields=set).options
    routes = build_routes(Health(), Admission(1), Metrics(CollectorRegistry()), front_end(options))
    return {route.path for route in routes}


def in_commands():
    for text in blocks("bash"):
        words = shlex.split(text.replace("\\\n", " "))
        given = [words[i + 1].partition("=") for i, word in enumerate(words) if word == "-e"]
        yield {name: value for name, _, value in given}


def in_documents():
    for document in (*MANIFESTS, *map(json.loads, blocks("json"))):
        for value in filter(lambda value: isinstance(value, dict), inside(document)):
            for entries in filter(None, (value.get("env"), value.get("environment"))):
                yield {entry["name"]: entry["value"] for entry in entries}
            if all(OURS.match(name) for name in value):
                yield value


def in_python():
    for text in blocks("python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Dict) and any(OURS.match(str(getattr(key, "value", ""))) for key in node.keys):
                yield ast.literal_eval(node)


# As each container would have it.
ENVIRONMENTS = [environ for environ in (*in_commands(), *in_documents(), *in_python()) if environ]


def test_there_is_a_block_for_each_platform():
    assert {kind(manifest) for manifest in MANIFESTS} == set(REQUIRED)
    assert len(blocks("json")) == 2
    assert len(blocks("python")) == 6
    assert len(blocks("bash")) == 1


@pytest.mark.parametrize("environ", ENVIRONMENTS, ids=lambda environ: ",".join(environ)[:60])
def test_every_environment_is_one_that_starts(environ):
    # KServe mounts the model there.
    environ = {name: "a/b" if value == "/mnt/models" else value for name, value in environ.items()}
    resolved = resolve({"HF_MODEL_ID": "a/b", **environ}, engine_fields=field_names)
    assert not resolved.warnings
    for name in filter(OURS.match, environ):
        assert name in resolved.origins.values(), f"{name} sets nothing"


def test_options_that_the_text_names_exist():
    names = set(re.findall(r"OPTION_[A-Z_]+", TEXT))
    known = {variable for option in TABLE for variable in option.variables}
    assert names <= known | {f"OPTION_{name.upper()}" for name in field_names()}


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles(text):
    compile(text, "docs/deploy.md", "exec")


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_a_manifest_has_what_its_kind_requires(manifest):
    for path in REQUIRED[kind(manifest)]:
        assert at(manifest, path)
    for pod in pods(manifest):
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod["containers"]:
            assert container["name"]
            assert container["image"] == "lumi:gpu-cu130"
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_ports_and_paths_are_those_of_the_server(manifest):
    served, port = paths(), resolve({"HF_MODEL_ID": "a/b"}, engine_fields=set).options.port
    for pod in pods(manifest):
        for container in pod["containers"]:
            assert [entry["containerPort"] for entry in container["ports"]] == [port]
            known = {port, *(entry.get("name") for entry in container["ports"])}
            probes = [value["httpGet"] for name, value in container.items() if name.endswith("Probe")]
            assert probes
            assert all(probe["path"] in served and probe["port"] in known for probe in probes)
    annotations = manifest.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    if annotations:
        assert annotations["prometheus.io/path"] in served
        assert annotations["prometheus.io/port"] == str(port)


def test_services_and_scalers_find_what_they_are_for():
    (deployment,) = of_kind("Deployment")
    labels = at(deployment, "spec.template.metadata.labels")
    assert at(deployment, "spec.selector.matchLabels") == labels
    (group,) = of_kind("LeaderWorkerSet")
    grouped = at(group, "spec.leaderWorkerTemplate.workerTemplate.metadata.labels")
    for service in of_kind("Service"):
        selected = dict(service["spec"]["selector"])
        selected.pop("leaderworkerset.sigs.k8s.io/worker-index", None)  # a label that the controller adds
        assert selected in (labels, grouped)
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    assert at(scaler, "spec.scaleTargetRef.name") == deployment["metadata"]["name"]
    (runtime,), (inference,) = of_kind("ServingRuntime"), of_kind("InferenceService")
    assert at(inference, "spec.predictor.model.runtime") == runtime["metadata"]["name"]
    formats = {entry["name"] for entry in runtime["spec"]["supportedModelFormats"]}
    assert at(inference, "spec.predictor.model.modelFormat.name") in formats
    assert runtime["spec"]["containers"][0]["name"] == "kserve-container"


def test_the_metrics_of_scaling_are_ours():
    registry = CollectorRegistry()
    Metrics(registry)
    names = {metric.name for metric in registry.collect()}
    assert set(re.findall(r"\blumi_requests_\w+", TEXT)) <= names


def test_the_pod_outlives_its_requests():
    seconds = resolve({"HF_MODEL_ID": "a/b"}, engine_fields=set).options.predict_timeout
    (deployment,) = of_kind("Deployment")
    pod = at(deployment, "spec.template.spec")
    assert pod["terminationGracePeriodSeconds"] > seconds
    probe = pod["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > pod["terminationGracePeriodSeconds"]


def test_the_task_definition_of_ecs_is_whole():
    task = next(document for document in map(json.loads, blocks("json")) if "family" in document)
    (container,) = task["containerDefinitions"]
    assert container["portMappings"][0]["containerPort"] == 8080
    dockerfile = (Path(__file__).parent.parent / "image" / "Dockerfile").read_text()
    own = re.search(r"HEALTHCHECK .* CMD (\[.*\])", dockerfile)
    assert container["healthCheck"]["command"] == ["CMD", *json.loads(own[1])]
    environ = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert float(environ["OPTION_PREDICT_TIMEOUT"]) < container["stopTimeout"] <= 120
    assert container["memory"]
    assert container["image"] == "lumi:gpu-cu130"
