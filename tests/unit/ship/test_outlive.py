"""Which cgroup files a process goes to that is to outlive its container."""

from __future__ import annotations

from slicer.kernel.outlive import groups

V2 = "29 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = """\
30 29 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
31 29 0:28 / /sys/fs/cgroup/systemd rw shared:6 - cgroup cgroup rw,xattr,name=systemd
32 29 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct
33 29 0:30 / /sys/fs/cgroup/memory rw shared:8 - cgroup cgroup rw,memory
"""


def test_version_2_is_the_group_of_process_1() -> None:
    """With cgroups of version 2 it is one file, in the group that process 1 is in."""
    assert groups(V2, "0::/init.scope\n") == ["/sys/fs/cgroup/init.scope/cgroup.procs"]
    assert groups(V2, "0::/\n") == ["/sys/fs/cgroup/cgroup.procs"]


def test_version_1_is_one_for_each_hierarchy() -> None:
    """With version 1 every hierarchy that is mounted has its own, the named one included."""
    member = "3:memory:/\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope\n"

    assert groups(V1, member) == [
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/cpu,cpuacct/cgroup.procs",
        "/sys/fs/cgroup/systemd/init.scope/cgroup.procs",
        "/sys/fs/cgroup/unified/init.scope/cgroup.procs",
    ]


def test_mounts_of_a_part_of_the_tree() -> None:
    """Where only a part of the tree is mounted, the group is found below it; for one outside it is the part's top."""
    part = V2.replace("0:26 / ", "0:26 /machine ")

    assert groups(part, "0::/machine/init\n") == ["/sys/fs/cgroup/init/cgroup.procs"]
    assert groups(part, "0::/machine\n") == ["/sys/fs/cgroup/cgroup.procs"]
    assert groups(part, "0::/machine-2/init\n") == ["/sys/fs/cgroup/cgroup.procs"]


def test_a_hidden_mount_does_not_count() -> None:
    """A mount over another one hides it."""
    part = V2.replace("0:26 / ", "0:26 /machine ")

    assert groups(f"{V2}\n{part}", "0::/machine/init\n") == ["/sys/fs/cgroup/init/cgroup.procs"]


def test_what_is_not_mounted_is_left_out() -> None:
    """A hierarchy without a mount has no file."""
    assert groups("20 1 0:5 / /proc rw - proc proc rw", "5:pids:/\n0::/\n") == []
