"""The planner reads cgroup files below a folder, and decides from numbers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.engine.loading.planner import Host, plan

GiB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def detect(root: Path, cores: int = 8, affinity: int = 8) -> Host:
    return Host.detect(root, cores=cores, affinity=affinity)


def test_v2_container_with_its_own_root(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": f"{2 * GiB}\n",
        },
    )
    host = detect(root)
    assert (host.quota, host.memory_bytes, host.usable) == (1.5, 2 * GiB, 2)


def test_v2_the_tightest_of_all_parents_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/c1\n",
            "sys/fs/cgroup/kubepods/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/memory.max": f"{4 * GiB}\n",
        },
    )
    host = detect(root)
    assert (host.quota, host.memory_bytes) == (3.0, 4 * GiB)


def test_v1_with_combined_controllers(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{GiB}\n",
        },
    )
    host = detect(root)
    assert (host.quota, host.memory_bytes, host.usable) == (2.5, GiB, 3)


def test_v1_in_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu:/docker/abc\n2:memory:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    host = detect(root)
    assert (host.quota, host.memory_bytes, host.usable) == (0.5, None, 1)


def test_v2_beside_v1(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu:/\n0::/user.slice\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/user.slice/cpu.max": "400000 100000\n",
        },
    )
    assert detect(root).quota == 4.0


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": ""},
        {"proc/self/cgroup": "nonsense\n::\n0:/\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "", "sys/fs/cgroup/memory.max": "lots"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "0 0\n"},
        {"proc/self/cgroup": "1:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1000\n"},
        {"proc/self/cgroup": "0::/../../etc\n"},
    ],
)
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    host = detect(tree(tmp_path, files))
    assert (host.quota, host.memory_bytes, host.usable) == (None, None, 8)


def test_this_machine() -> None:
    host = Host.detect()
    assert 1 <= host.usable <= host.affinity <= host.cores
    assert f"{host.usable} of {host.cores} cores" in host.describe()


@given(cores=st.integers(1, 256), affinity=st.integers(1, 256), quota=st.none() | st.floats(0.01, 256))
def test_usable_never_exceeds_affinity_and_is_at_least_one(cores: int, affinity: int, quota: float | None) -> None:
    host = Host(cores, affinity, quota)
    assert 1 <= host.usable <= affinity
    if quota is not None:
        assert host.usable < quota + 1


def test_one_instance_takes_all_cores() -> None:
    chosen = plan(Host(8, 4))
    assert (chosen.intra_op_threads, chosen.instances, chosen.spinning) == (4, 1, False)
    assert "all usable cores" in chosen.reason
    assert "affinity 4" in chosen.reason


def test_instances_share_the_cores() -> None:
    assert plan(Host(8, 8), instances=3).intra_op_threads == 2
    assert plan(Host(2, 2), instances=5).intra_op_threads == 1


def test_configured_numbers_win() -> None:
    chosen = plan(Host(8, 8), instances=2, intra_op_threads=7, spinning=True, tiny_run_ns=5000)
    assert (chosen.intra_op_threads, chosen.instances, chosen.spinning) == (7, 2, True)
    assert chosen.reason.count("as configured") == 3


def test_a_tiny_model_gets_one_thread_and_says_why() -> None:
    chosen = plan(Host(8, 8), tiny_run_ns=13_000)
    assert chosen.intra_op_threads == 1
    assert "13 us" in chosen.reason


def test_few_rows_on_one_thread_are_told_and_change_nothing_else() -> None:
    chosen = plan(Host(4, 4), single_rows=8)
    assert (chosen.intra_op_threads, chosen.instances, chosen.single_rows) == (4, 1, 8)
    assert "one thread up to 8 rows" in chosen.reason
    assert plan(Host(4, 4), intra_op_threads=1, single_rows=8).single_rows == 0


def test_a_gpu_model_gets_few_threads() -> None:
    assert plan(Host(64, 64), gpu=True).intra_op_threads == 2


@given(
    cores=st.integers(1, 128),
    instances=st.integers(0, 64),
    threads=st.integers(0, 64),
    models=st.integers(1, 50),
    gpu=st.booleans(),
    tiny=st.integers(0, 100_000),
    few=st.integers(0, 64),
)
def test_a_plan_is_always_possible(cores: int, instances: int, threads: int, models: int, gpu: bool, tiny: int, few: int) -> None:
    chosen = plan(Host(cores, cores), models, instances=instances, intra_op_threads=threads, gpu=gpu, tiny_run_ns=tiny, single_rows=few)
    assert chosen.intra_op_threads >= 1
    assert chosen.instances >= 1
    if not threads and chosen.instances <= cores:
        assert chosen.intra_op_threads * chosen.instances <= max(cores, chosen.instances * 2 if gpu else 0)
    assert "\n" not in chosen.reason


def test_workers_share_the_cores() -> None:
    host = Host(8, 8, quota=5.5, workers=4)
    assert host.usable == 1
    assert host.describe() == "1 of 8 cores (affinity 8, cgroup quota 5.5, shared by 4 workers)"
    assert Host(64, 64, workers=4).usable == 16
    assert "shared" not in Host(8, 8).describe()
