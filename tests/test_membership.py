import pytest

from container.entrypoint import vllm_settings
from container.model_store import locate
from container.nodes.membership import shared_options, this_node
from container.options import resolve
from container.options.explanation import vllm_serve_line
from handler.engines.vllm import field_names
from handler.engines.vllm.degrees import OPTIONS as DEGREES
from handler.errors import OptionError
from tests.live import MODEL


def options(**environ):
    return resolve({"OPTION_MODEL_ID": str(MODEL), **environ}, engine_fields=field_names).options


@pytest.mark.parametrize(
    ("environ", "hostname", "expected"),
    [
        # A LeaderWorkerSet of Kubernetes
        (
            {"LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "1", "LWS_LEADER_ADDRESS": "lumi-0.lumi.default"},
            "lumi-0-1",
            (2, 1, "lumi-0.lumi.default"),
        ),
        # A job of SageMaker
        ({"SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-1"}, "algo-1", (2, 0, "algo-1")),
        ({"SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-2"}, "algo-2", (2, 1, "algo-1")),
        # LMI
        (
            {"DJL_CLUSTER_SIZE": "2", "DJL_LEADER_ADDR": "lmi-0", "DJL_WORKER_ADDR_FORMAT": "lmi-0-%d.lmi"},
            "lmi-0",
            (2, 0, "lmi-0"),
        ),
        (
            {"DJL_CLUSTER_SIZE": "2", "DJL_LEADER_ADDR": "lmi-0", "DJL_WORKER_ADDR_FORMAT": "lmi-0-%d.lmi"},
            "lmi-0-1",
            (2, 1, "lmi-0"),
        ),
        # A StatefulSet, and an indexed Job, of Kubernetes
        ({"OPTION_NNODES": "3", "OPTION_MASTER_ADDR": "lumi-0.lumi"}, "lumi-2", (3, 2, "lumi-0.lumi")),
        (
            {"OPTION_NNODES": "3", "OPTION_MASTER_ADDR": "job-0.job", "JOB_COMPLETION_INDEX": "1"},
            "job-1",
            (3, 1, "job-0.job"),
        ),
    ],
)
def test_a_node_knows_itself_and_its_leader(environ, hostname, expected):
    node = this_node(options(**environ), hostname)
    assert (node.count, node.rank, node.leader) == expected
    assert node.follows == (node.rank > 0)


def test_options_beat_what_the_platform_says():
    node = this_node(
        options(
            OPTION_NNODES="2",
            OPTION_NODE_RANK="0",
            OPTION_MASTER_ADDR="10.0.0.1",
            OPTION_MASTER_PORT="1234",
            LWS_GROUP_SIZE="4",
            LWS_WORKER_INDEX="3",
            LWS_LEADER_ADDRESS="elsewhere",
        )
    )
    assert node.arguments == {"nnodes": 2, "node_rank": 0, "master_addr": "10.0.0.1", "master_port": 1234}


def test_a_single_node_passes_no_rank_to_vllm_that_it_has_for_something_else():
    single = options(JOB_COMPLETION_INDEX="3", SM_HOSTS='["algo-1"]', SM_CURRENT_HOST="algo-1")
    arguments = vllm_settings(single, locate(single.model_id)).arguments
    assert not {"nnodes", "node_rank", "master_addr", "master_port"} & set(arguments)


def test_the_launch_arguments_of_vllm_follow_the_node():
    second = options(OPTION_NNODES="2", OPTION_NODE_RANK="1", OPTION_MASTER_ADDR="10.0.0.1")
    arguments = vllm_settings(second, locate(second.model_id)).arguments
    assert (arguments["nnodes"], arguments["node_rank"], arguments["master_addr"]) == (2, 1, "10.0.0.1")
    assert arguments["data_parallel_size"] == 1
    assert "--node-rank 1" in vllm_serve_line(second, arguments, ["m"])
    assert " --headless" in vllm_serve_line(second, arguments, ["m"])


def test_all_degrees_are_options_that_the_nodes_must_share():
    names = shared_options(options(OPTION_NNODES="2", OPTION_DATA_PARALLEL_SIZE="4"), gpus=8)
    assert (names["OPTION_NNODES"], names["OPTION_DATA_PARALLEL_SIZE"]) == (2, 4)
    assert set(DEGREES.values()) - {"OPTION_PREFILL_CONTEXT_PARALLEL_SIZE"} <= set(names)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OPTION_DATA_PARALLEL_SIZE": "3"}, "3 / 2 = 1.5 replicas for each of 2 nodes"),
        ({"OPTION_DATA_PARALLEL_HYBRID_LB": "true"}, "OPTION_DATA_PARALLEL_HYBRID_LB is for nodes that each serve"),
        ({"OPTION_DATA_PARALLEL_RANK": "0"}, "OPTION_DATA_PARALLEL_RANK is for nodes that each serve"),
    ],
)
def test_degrees_that_nodes_cannot_share_are_refused_before_anything_is_loaded(environ, words):
    nodes = {"OPTION_NNODES": "2", "OPTION_NODE_RANK": "1", "OPTION_MASTER_ADDR": "a", "OPTION_DATA_PARALLEL_SIZE": "2"}
    impossible = options(**{**nodes, **environ})
    with pytest.raises(OptionError) as refusal:
        vllm_settings(impossible, locate(impossible.model_id))
    assert words in str(refusal.value)
    harmless = options(**nodes, OPTION_DATA_PARALLEL_HYBRID_LB="false")
    assert vllm_settings(harmless, locate(harmless.model_id)).arguments["nnodes"] == 2


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OPTION_NNODES": "2"}, "need OPTION_MASTER_ADDR"),
        ({"OPTION_NNODES": "2", "OPTION_MASTER_ADDR": "10.0.0.1"}, "need OPTION_NODE_RANK"),
        (
            {"OPTION_NNODES": "2", "OPTION_MASTER_ADDR": "10.0.0.1", "OPTION_NODE_RANK": "2"},
            "OPTION_NODE_RANK goes from 0 to 1",
        ),
    ],
)
def test_a_node_that_does_not_know_its_rank_or_leader_is_refused_with_the_option_to_set(environ, words):
    with pytest.raises(OptionError) as refusal:
        this_node(options(**environ), "3f2a9c")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SM_HOSTS", "algo-1"), ("SM_HOSTS", "[]"), ("SM_CURRENT_HOST", "alone"), ("OPTION_NNODES", "0")],
)
def test_a_host_list_that_cannot_be_read_is_refused_by_name(name, value):
    with pytest.raises(OptionError, match=name):
        options(**{name: value})


@pytest.mark.parametrize("port", ["9000", "9001"])
def test_ports_of_the_nodes_and_of_the_server_are_not_the_same(port):
    wanted = {
        "OPTION_NNODES": "2",
        "OPTION_NODE_RANK": "0",
        "OPTION_MASTER_ADDR": "10.0.0.1",
        "OPTION_MASTER_PORT": "9000",
    }
    with pytest.raises(OptionError, match=r"OPTION_MASTER_PORT=9000 and the port after it .*SERVING_PORT"):
        this_node(options(**wanted, SERVING_PORT=port))
