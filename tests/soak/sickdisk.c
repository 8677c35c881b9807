/* A disk whose syncs fail or take their time, while the program runs and until it is said
 * otherwise. For LD_PRELOAD; with `powercut.c` behind it, a sync that failed has kept nothing.
 *
 *   SICKDISK_DIR   the folder with the orders, two files that may come and go:
 *     sync-fails   the next fsync or fdatasync fails with EIO and does nothing; who fails takes the
 *                  file away, so that it is one alone
 *     sync-takes   microseconds that each sync takes before it begins
 *
 * Each sync that has waited so adds a byte to sync-waited there.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#pragma GCC visibility push(default)
int fsync(int fd);
int fdatasync(int fd);
#pragma GCC visibility pop

static void order(const char *name, char *path) {
  const char *folder = getenv("SICKDISK_DIR");
  snprintf(path, PATH_MAX, "%s/%s", folder ? folder : "/nowhere", name);
}

/* Waits, if that is the order; whether this sync is the one that fails. */
static int is_sick(void) {
  char path[PATH_MAX], text[32] = "";
  int saved = errno;
  order("sync-takes", path);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    long us = length > 0 ? atol(text) : 0;
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {
    }
    order("sync-waited", path);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
      length = write(fd, ".", 1);
      close(fd);
    }
  }
  order("sync-fails", path);
  int fails = unlink(path) == 0;
  errno = fails ? EIO : saved;
  return fails;
}

static int next(const char *name, int fd) {
  int (*call)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return call(fd);
}

int fsync(int fd) { return is_sick() ? -1 : next("fsync", fd); }

int fdatasync(int fd) { return is_sick() ? -1 : next("fdatasync", fd); }
