"""What started a process is told from its environment; GPUs and times of a run are shared out."""

import json

import pytest
from jax._src.clusters import ClusterEnv

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers import (
    Launch,
    check_launcher,
    find_launch,
    own_gpus,
    tells,
)
from kdescent_dist.run.clock import RunClock

STEP = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_NODELIST": "gpu[03-05,9]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}


def found(environment, **config):
    return find_launch(RuntimeConfig(**config), environment)


def test_a_step_of_srun_is_recognized():
    launch = found(STEP)
    assert (launch.process, launch.processes) == (5, 7)
    assert (launch.local_process, launch.local_processes) == (1, 2)
    host, port = launch.coordinator.split(":")
    assert host == "gpu03"
    assert 61440 <= int(port) < 65536
    assert found(STEP, coordinator="head:5000").coordinator == "head:5000"


@pytest.mark.parametrize(
    "other", [{"SLURM_STEP_ID": "1"}, {"SLURM_JOB_ID": "1235"}, {"SLURM_RESTART_COUNT": "1"}]
)
def test_steps_jobs_and_restarts_on_one_node_do_not_collide(other):
    assert found(STEP).coordinator != found(STEP | other).coordinator


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("a1,b2", "a1"),
        ("n[1-2]", "n1"),
        ("rack[02,05-6]-ib,x", "rack02-ib"),
        ("rack[1-2]n[3-4],y", "rack1n3"),
    ],
)
def test_the_first_host_of_a_list(nodes, first):
    assert found(STEP | {"SLURM_STEP_NODELIST": nodes}).coordinator.split(":")[0] == first


def test_processes_on_one_node_meet_on_it_whatever_its_name():
    assert found(STEP | {"SLURM_STEP_NUM_NODES": "1"}).coordinator.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1234", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # the batch shell
    ],
)
def test_a_process_by_itself(environment):
    assert found(environment) == Launch("local")
    assert tells(environment)


def test_one_task_of_srun_is_by_itself():
    assert found(STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == Launch("slurm")


@pytest.mark.parametrize(
    ("more", "rank"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, False),
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, False),  # MPICH, started by a step of SLURM
        ({"PMI_SIZE": "7", "PMI_RANK": "5"}, False),  # srun that speaks the protocol of MPICH
    ],
)
def test_only_the_first_process_tells_what_is_wrong_at_the_start(more, rank):
    assert tells(STEP | more) is rank


def test_what_the_config_names_must_have_started_the_process():
    with pytest.raises(InputError, match=r"runtime=slurm: SLURM_\w+ is not set: .* srun"):
        found({}, started_by="slurm")
    assert found(STEP, started_by="local") == Launch("local")


def test_a_step_without_a_number_is_refused():
    with pytest.raises(InputError, match="SLURM_STEP_ID=batch is not a number: start the program"):
        found(STEP | {"SLURM_STEP_ID": "batch"})


def test_jax_detects_a_cluster_where_the_config_asks_for_it(monkeypatch):
    class Pods(ClusterEnv):
        @classmethod
        def is_env_present(cls):
            return True

        @classmethod
        def get_coordinator_address(cls, timeout_secs, override_coordinator_port):
            return "pod-0:5000"

        @classmethod
        def get_process_count(cls):
            return 3

        @classmethod
        def get_process_id(cls):
            return 2

    monkeypatch.setattr(ClusterEnv, "_cluster_types", [Pods])
    assert found({}, started_by="jax") == Launch("jax", 2, 3, coordinator="pod-0:5000")
    assert found({}) == Launch("local")
    monkeypatch.setattr(ClusterEnv, "_cluster_types", [])
    with pytest.raises(InputError, match="runtime=jax: JAX recognizes no cluster here"):
        found({}, started_by="jax")


PLUGIN = """
from kdescent_dist.distributed.launchers import Launch
from kdescent_dist.distributed.launchers.local import Local

class Ours(Local):
    name = "ours"

    def recognizes(self, environment):
        return "OUR_RANK" in environment

    def rank(self, environment):
        return int(environment["OUR_RANK"])

    def launch(self, config, environment):
        return Launch("ours", self.rank(environment), 4, coordinator="here:1")

launcher = Ours()
"""


def test_another_package_adds_a_launcher(plugin):
    plugin("kdescent_dist.launchers", PLUGIN, "launcher")
    environment = {"OUR_RANK": "2"}
    assert found(environment) == Launch("ours", 2, 4, coordinator="here:1")
    assert found(environment, started_by="ours").process == 2
    assert not tells(environment)
    assert found(STEP | environment).launcher == "ours"


def test_a_launcher_that_is_not_there_is_refused_by_name():
    with pytest.raises(InputError, match=r"runtime.started_by=slrum: must be one of .*slurm"):
        check_launcher("slrum")


def test_processes_started_by_hand():
    given = {"started_by": "local", "coordinator": "a:1", "processes": 2, "process": 1}
    assert found({}, **given) == Launch("local", 1, 2, coordinator="a:1")
    with pytest.raises(InputError, match=r"runtime.process=2: must be from 0 to 1"):
        found({}, **given | {"process": 2})
    with pytest.raises(InputError, match=r"set all three"):
        found({}, **given | {"process": None})


@pytest.mark.parametrize(
    ("local", "visible", "environment", "gpus"),
    [
        ((1, 4), 4, {}, [1]),
        ((1, 2), 4, {}, [2, 3]),
        ((0, 1), 4, {}, None),  # one process per node takes all
        ((1, 4), 1, {}, None),  # it sees its own alone
        ((1, 2), 2, {"SLURM_GPUS_PER_TASK": "2"}, None),
        ((1, 4), 4, {"SLURM_GPUS_PER_TASK": "a100:1"}, [1]),  # without --gpu-bind
        ((1, 4), 4, {"SLURM_GPUS_PER_TASK": "none"}, [1]),
    ],
)
def test_processes_of_a_node_share_its_gpus(local, visible, environment, gpus):
    process, processes = local
    step = STEP | {"SLURM_LOCALID": str(process), "SLURM_STEP_TASKS_PER_NODE": f"{processes}(x4)"}
    assert own_gpus(found(step | environment), visible) == gpus


def test_more_processes_than_gpus_are_refused():
    with pytest.raises(InputError, match="8 processes on a node with 4 GPUs"):
        own_gpus(Launch("slurm", 0, 8, 5, 8), 4)


def test_the_time_of_a_start_that_was_killed_is_counted_up_to_its_last_step(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    rows = [{"step": i, "time": 1000.0 + i, "seconds": 0.5} for i in range(4)]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "ti')
    before = {
        "status": "running",
        "starts": 2,
        "first_start": 900.0,
        "last_start": 990.0,
        "wall_s": 50.0,
    }
    times = RunClock(before, metrics).times()
    assert times["starts"] == 3
    assert times["first_start"] == 900.0
    assert times["wall_s"] == pytest.approx(50.0 + 13.0, abs=1)
    assert times["useful_s"] == 2.0
    assert times["waited_s"] > 1e6
