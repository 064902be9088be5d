#!/bin/sh
# Process 1 of the machine's real root: what an init system does before anything else, then the command that is tested,
# then off. The second serial port is the command's output, the third takes its exit code.
set -e
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 -onlcr
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
chmod 1777 /tmp  # not a mount: the clone may lie in it, and all of the root is a scratch layer
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The kernel loads its modules by itself, as everywhere; only the device file of tun is made by who boots.
mkdir -p /usr/lib/modules
ln -s /guest/modules "/usr/lib/modules/$(uname -r)"
modprobe tun
hostname guest
ip link set lo up
# Through a pipe: programs that see a terminal write for people who watch.
mkfifo /run/output
cat </run/output &
code=0
sh /guest/command.sh >/run/output 2>&1 || code=$?
wait
echo "$code" >/dev/ttyS2
exec busybox poweroff -f
