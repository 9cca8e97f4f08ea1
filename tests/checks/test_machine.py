"""Disk, memory and CPUs: what is measured is true, and what can't be measured is said to be so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ax_monitor import HealthStatus, HealthThresholds
from ax_monitor.checks import cgroup
from ax_monitor.checks.cpu import CpuCheck, CpuTimes, read_times, usable_cpus
from ax_monitor.checks.disk import DiskCheck
from ax_monitor.checks.memory import MachineMemory, MemoryCheck
from ax_monitor.checks.outcome import CannotTellError, Outcome

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
LIMITS = HealthThresholds()
GIB = 2**30


def figures(outcome: Outcome) -> dict[str, Any]:
    assert outcome.metadata is not None
    return outcome.metadata


# -- disk ------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import json, subprocess, sys
from ax_monitor import HealthCheckService
folder, megabytes, more = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
with HealthCheckService(f"{folder}/monitor.db") as health:
    found = [health.sync.check_disk().to_dict()]
    with open(f"{folder}/more", "wb") as file:
        file.write(bytes(int(more) * 1_000_000))
    found.append(health.sync.check_disk().to_dict())
    print(json.dumps(found))
"""


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None or os.getuid() != 0:
        return False
    command = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d; code=$?; umount $d; rmdir $d; exit $code"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, check=False)
    return done.returncode == 0


def on_a_small_disk(folder: Path, megabytes: int, more: int) -> list[dict[str, Any]]:
    """The disk's health on a file system of this size, and after writing `more` MB to it."""
    if not can_mount():
        pytest.skip("mounting is not permitted here")
    arguments = [str(folder), str(megabytes), str(more)]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", ON_A_SMALL_DISK, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_real_disk_that_fills_up(tmp_path: Path) -> None:
    """Below 500 MB degraded, below 100 MB unhealthy: the mount of the database, not another."""
    before, after = on_a_small_disk(tmp_path, 140, 60)
    assert (before["status"], after["status"]) == ("degraded", "unhealthy")
    assert before["metadata"]["total_bytes"] == 140 * 2**20
    assert before["metadata"]["free_bytes"] - after["metadata"]["free_bytes"] >= 60_000_000
    assert after["message"].endswith("MB free")


def faked(path: Path, **changes: int) -> Outcome:
    """A disk check on a file system that says so; 1000 blocks of 1 MB, 600 free, 550 for users."""
    facts = {
        "f_bsize": 1_000_000,
        "f_frsize": 1_000_000,
        "f_blocks": 1000,
        "f_bfree": 600,
        "f_bavail": 550,
        "f_files": 100,
        "f_ffree": 50,
        "f_favail": 50,
        "f_flag": 0,
        "f_namemax": 255,
    }
    result = os.statvfs_result(list({**facts, **changes}.values()))
    return DiskCheck(str(path), LIMITS, statvfs=lambda folder: result)()


def test_the_space_of_users_counts_not_that_of_root(tmp_path: Path) -> None:
    """In bytes, as `df` computes its percentage."""
    outcome = faked(tmp_path / "monitor.db")
    assert outcome.status is HEALTHY
    assert figures(outcome)["free_bytes"] == 550_000_000
    assert figures(outcome)["total_bytes"] == 1_000_000_000
    assert figures(outcome)["usage_percent"] == round(100 * 400 / 950, 1)


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"f_bavail": 500}, HEALTHY, "500 MB free"),
        ({"f_bavail": 499}, DEGRADED, "499 MB free"),
        ({"f_bavail": 100}, DEGRADED, "100 MB free"),
        ({"f_bavail": 99}, UNHEALTHY, "99 MB free"),
        ({"f_favail": 0}, UNHEALTHY, "inodes"),
        ({"f_files": 0, "f_favail": 0}, HEALTHY, "free"),
        ({"f_flag": os.ST_RDONLY}, UNHEALTHY, "read-only"),
    ],
)
def test_disk_thresholds(
    tmp_path: Path, changes: dict[str, int], status: HealthStatus, says: str
) -> None:
    """Exactly at the limit it is still fine."""
    outcome = faked(tmp_path / "monitor.db", **changes)
    assert outcome.status is status
    assert says in (outcome.message or "")


def test_x7_a_disk_that_does_not_say_how_large_it_is(tmp_path: Path) -> None:
    """Is not taken for an empty one, nor for a healthy one."""
    with pytest.raises(CannotTellError):
        faked(tmp_path / "monitor.db", f_blocks=0)


def test_the_disk_behind_a_link_counts(tmp_path: Path) -> None:
    """The database may be a link to another disk."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "monitor.db").write_bytes(bytes(1000))
    (real / "monitor.db-wal").write_bytes(bytes(500))
    (tmp_path / "monitor.db").symlink_to(real / "monitor.db")
    asked: list[str] = []

    def statvfs(folder: str) -> os.statvfs_result:
        asked.append(folder)
        return os.statvfs(folder)

    outcome = DiskCheck(str(tmp_path / "monitor.db"), LIMITS, statvfs=statvfs)()
    assert asked == [str(real)]
    assert figures(outcome)["size_bytes"] == 1500


# -- memory ----------------------------------------------------------------------------------------


def make_groups(tmp_path: Path, version: int, *, group: str = "/app/web", root: str = "/") -> Path:
    """A /proc/self and a mounted tree of control groups; the folder of the group is returned."""
    proc, top = tmp_path / "proc", tmp_path / "cgroup tree"
    proc.mkdir()
    relative = os.path.relpath(group, root)
    own = top if relative.startswith("..") else top / relative
    own.mkdir(parents=True)
    mount = str(top).replace(" ", "\\040")
    noise = "22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw\n36 22 0:9 /\n"
    if version == 2:
        (proc / "cgroup").write_text(f"0::{group}\n")
        line = f"31 23 0:27 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    else:
        (proc / "cgroup").write_text(f"9:cpu,cpuacct:{group}\n4:memory:{group}\n0::/\n")
        line = f"35 31 0:32 {root} {mount} rw - cgroup cgroup rw,memory\n"
        line += f"36 31 0:33 {root} {mount} rw master:4 - cgroup cgroup rw,cpu,cpuacct\n"
    (proc / "mountinfo").write_text(noise + line)
    return own


def write_memory(folder: Path, version: int, limit: int | str, used: int, cache: int = 0) -> None:
    names = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 17\n{names[2]} {cache}\nactive_file 3\n")


def check_memory(tmp_path: Path, *, available: int = 60 * GIB) -> Outcome:
    """On a machine with 64 GiB."""
    machine = MachineMemory(64 * GIB, available, 1000)
    return MemoryCheck(LIMITS, proc=str(tmp_path / "proc"), machine=lambda: machine)()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("used", "cache", "status"),
    [
        (700, 0, HEALTHY),
        (850, 0, HEALTHY),
        (851, 0, DEGRADED),
        (951, 0, UNHEALTHY),
        (990, 200, HEALTHY),
    ],
)
def test_the_limit_of_a_container_counts(
    tmp_path: Path, version: int, used: int, cache: int, status: HealthStatus
) -> None:
    """Not the machine's free memory; cached files that nobody reads are not used."""
    own = make_groups(tmp_path, version)
    write_memory(own, version, 1000, used, cache)
    outcome = check_memory(tmp_path)
    assert outcome.status is status
    assert figures(outcome)["limited_by"] == "cgroup"
    assert figures(outcome)["limit_bytes"] == 1000
    assert figures(outcome)["used_bytes"] == used - cache
    assert figures(outcome)["usage_percent"] == pytest.approx((used - cache) / 10)


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_further_up_counts_too(tmp_path: Path, version: int) -> None:
    """Our group has none; the one around it is nearly full."""
    own = make_groups(tmp_path, version)
    write_memory(own, version, "max" if version == 2 else 2**63 - 4096, 960)
    write_memory(own.parent, version, 1000, 970)
    assert check_memory(tmp_path).status is UNHEALTHY


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("group", "root"),
    [("/docker/abc", "/docker/abc"), ("/docker/abc", "/kubepods/other"), ("/../../x", "/")],
)
def test_what_a_container_sees_of_the_tree(
    tmp_path: Path, version: int, group: str, root: str
) -> None:
    """Its own group is the top of what is mounted there, whatever the path says."""
    own = make_groups(tmp_path, version, group=group, root=root)
    write_memory(own, version, 1000, 970)
    assert check_memory(tmp_path).status is UNHEALTHY


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_means_the_machine(tmp_path: Path, version: int) -> None:
    """Also where the limit is larger than the machine."""
    own = make_groups(tmp_path, version)
    for limit in ("max", 100 * GIB) if version == 2 else (2**63 - 4096, 100 * GIB):
        write_memory(own, version, limit, 90 * GIB)
        outcome = check_memory(tmp_path)
        assert outcome.status is HEALTHY
        assert figures(outcome)["limited_by"] == "machine"
        assert figures(outcome)["usage_percent"] == pytest.approx(100 * 4 / 64, abs=0.1)


def test_the_machine_counts_too(tmp_path: Path) -> None:
    """If that is the tighter of both, or there are no groups at all."""
    assert check_memory(tmp_path, available=2 * GIB).status is UNHEALTHY
    own = make_groups(tmp_path, 2)
    write_memory(own, 2, 1000, 100)
    outcome = check_memory(tmp_path, available=6 * GIB)
    assert outcome.status is DEGRADED
    assert figures(outcome)["limited_by"] == "machine"


@pytest.mark.parametrize("limit", ["lots", "", "-"])
def test_x7_a_limit_that_can_not_be_read_is_said_so(tmp_path: Path, limit: str) -> None:
    """The machine's memory is fine, but that is not all that counts."""
    own = make_groups(tmp_path, 2)
    write_memory(own, 2, limit, 10)
    outcome = check_memory(tmp_path)
    assert outcome.status is DEGRADED
    assert "can't tell" in (outcome.message or "")
    write_memory(own, 2, 1000, 10)
    (own / "memory.current").unlink()
    assert check_memory(tmp_path).status is DEGRADED


def test_the_real_memory_is_measured() -> None:
    """Of this machine, with this process in it."""
    outcome = MemoryCheck(LIMITS)()
    found = figures(outcome)
    assert 0 < found["process_bytes"] < found["total_bytes"]
    assert 0 < found["available_bytes"] < found["total_bytes"]
    assert 0 < found["usage_percent"] < 100


# -- CPUs ------------------------------------------------------------------------------------------


class Machine:
    """CPUs whose times are set by hand; sleeping makes time pass, with everything idle."""

    def __init__(self, cpus: int = 2) -> None:
        self.cpus = cpus
        self.now = CpuTimes(100.0, 1000.0, 50.0, 500.0, 1)
        self.slept = 0.0

    def run(self, seconds: float, *, machine: float, process: float, pid: int = 1) -> None:
        """Let time pass with so many CPUs busy, and so many of them with this process."""
        now = self.now
        self.now = CpuTimes(
            now.busy + seconds * machine,
            now.total + seconds * self.cpus,
            now.process + seconds * process,
            now.at + seconds,
            pid,
        )

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.run(seconds, machine=0, process=0, pid=self.now.pid)

    def check(self, cpus: float = 2) -> CpuCheck:
        return CpuCheck(LIMITS, times=lambda: self.now, cpus=lambda: cpus, sleep=self.sleep)


def test_cpu_usage_is_that_since_the_previous_check() -> None:
    """Of the machine, and of this process."""
    machine = Machine()
    check = machine.check()
    check()
    machine.run(10, machine=1.5, process=0.5)
    found = figures(check())
    assert (found["usage_percent"], found["process_usage_percent"]) == (75.0, 25.0)
    machine.run(10, machine=1.7, process=0.0)
    outcome = check()
    assert outcome.status is DEGRADED
    assert outcome.message == "the CPUs of the machine are 85 % busy"


def test_only_the_first_check_takes_a_sample() -> None:
    """A short one; and so does one that comes long after the last, or in a forked child."""
    machine = Machine()
    check = machine.check()
    check()
    assert machine.slept == pytest.approx(0.1)
    machine.run(30, machine=1, process=1)
    check()
    assert machine.slept == pytest.approx(0.1)
    machine.run(3600, machine=2, process=2)
    assert figures(check())["usage_percent"] == 0  # an hour's average says nothing about now
    assert machine.slept == pytest.approx(0.2)
    machine.run(10, machine=2, process=-50, pid=2)
    assert figures(check())["process_usage_percent"] == 0
    assert machine.slept == pytest.approx(0.3)


def test_a_check_right_after_another_repeats_its_answer() -> None:
    """Times of some milliseconds can't be told apart."""
    machine = Machine()
    check = machine.check()
    check()
    machine.run(10, machine=1, process=1)
    check()
    machine.run(0.01, machine=2, process=2)
    assert figures(check())["usage_percent"] == 50


def test_a_quota_counts_for_the_process() -> None:
    """One busy thread is half of the machine, and all that a container with one CPU may use."""
    machine = Machine()
    check = machine.check(cpus=1)
    check()
    machine.run(10, machine=1, process=0.99)
    outcome = check()
    assert outcome.status is DEGRADED
    assert outcome.message == "this process uses 99 % of the 1 CPUs it may use"


@pytest.mark.parametrize(
    ("version", "files", "quota"),
    [
        (2, {"cpu.max": "150000 100000\n"}, 1.5),
        (2, {"cpu.max": "max 100000\n"}, None),
        (2, {}, None),
        (1, {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        (1, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_cpu_quotas(
    tmp_path: Path, version: int, files: dict[str, str], quota: float | None
) -> None:
    """Both versions; the tightest of the group and those around it."""
    own = make_groups(tmp_path, version)
    for name, text in files.items():
        (own.parent / name).write_text(text)
    proc = str(tmp_path / "proc")
    assert cgroup.cpu_quota(proc) == quota
    if quota is not None:
        assert usable_cpus(proc) == min(quota, usable_cpus(str(tmp_path / "none")))


def test_x7_clocks_that_stand_still() -> None:
    """No time has passed: nothing can be told."""
    frozen = CpuTimes(1, 2, 3, 4, 5)
    with pytest.raises(CannotTellError):
        CpuCheck(LIMITS, times=lambda: frozen, cpus=lambda: 2, sleep=lambda s: None)()


def test_a_busy_process_is_seen() -> None:
    """Really busy: threads that compute without the interpreter's lock."""
    check = CpuCheck(HealthThresholds(cpu_percent=15))
    check()
    end = time.monotonic() + 0.4
    data = bytes(1 << 20)

    def burn() -> None:
        while time.monotonic() < end:
            hashlib.sha256(data).digest()

    threads = [threading.Thread(target=burn) for _ in range(2 * (os.cpu_count() or 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome = check()
    assert outcome.status is DEGRADED
    assert figures(outcome)["process_usage_percent"] > 15
    assert "busy" in (outcome.message or "")


def test_the_times_of_this_machine_add_up() -> None:
    """Busy is less than all, and both grow."""
    first = read_times()
    time.sleep(0.05)
    second = read_times()
    assert 0 < first.busy < first.total
    assert second.total >= first.total
