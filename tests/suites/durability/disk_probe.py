"""Writes, syncs and renames in a known way, then kills itself: the probe of `power_cut.rs`.

    disk_probe.py DIRECTORY first|second|third|torn
"""

import os
import signal
import sys

directory, mode = sys.argv[1:]


def file(name, flags=os.O_RDWR | os.O_CREAT):
    return os.open(os.path.join(directory, name), flags, 0o600)


def path(name):
    return os.path.join(directory, name)


if mode == "first":
    os.makedirs(path("below"))
    synced = file("synced")
    os.pwrite(synced, b"a" * 10_000, 0)
    os.fdatasync(synced)
    os.pwrite(synced, b"c" * 5_000, 2_500)
    os.ftruncate(synced, 20_000)
    appended = file("below/appended")
    os.write(appended, b"hello")
    os.write(appended, b" world")
    os.fsync(appended)
    os.write(appended, b" again")
    renamed = file("before")
    os.write(renamed, b"new")
    os.fsync(renamed)
    os.rename(path("before"), path("after"))
    os.makedirs(path("old"))
    inside = file("old/file")
    os.write(inside, b"inside")
    os.fsync(inside)
    os.rename(path("old"), path("new"))
    os.write(file("never"), b"never synced")
elif mode == "second":
    synced = file("synced")
    os.pwrite(synced, b"b" * 5_000, 2_500)
    os.ftruncate(synced, 9_000)
    os.fsync(synced)
    os.rename(path("before"), path("after"))
    os.rename(path("old"), path("new"))
    os.write(file("never"), b"never synced")
    os.fsync(os.open(directory, os.O_RDONLY))
    os.pwrite(synced, b"d" * 100, 0)
elif mode == "third":
    synced = file("synced")
    os.pwrite(synced, b"e" * 100, 0)
    os.fsync(synced)
    third = file("third")
    os.write(third, b"third")
    os.fsync(third)
    os.fsync(os.open(directory, os.O_RDONLY))
elif mode == "torn":
    torn = file("torn")
    os.pwrite(torn, b"o" * 4096 * 64, 0)
    os.fsync(torn)
    os.pwrite(torn, b"n" * 4096 * 64, 0)

os.kill(os.getpid(), signal.SIGKILL)
