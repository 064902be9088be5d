#!/bin/busybox sh
# Process 1 of the machine's first root: loads what finds the shared directories, puts a scratch layer over them, and
# goes there. What fails is said on the console, and the kernel panics when this ends.
set -e
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do $busybox insmod "$module"; done
$busybox mount -t virtiofs -o ro shared /shared
$busybox mount -t tmpfs tmpfs /scratch
$busybox mkdir /scratch/upper /scratch/work
$busybox mount -t overlay -o lowerdir=/shared,upperdir=/scratch/upper,workdir=/scratch/work overlay /real
for directory in proc sys dev; do $busybox mount --move /$directory /real/$directory; done
exec $busybox switch_root /real /bin/sh /guest/main.sh
