/* The calls of the C library that change a file or sync one: each does what it did, and tells
 * `powercut.c`. */

#define _GNU_SOURCE
#include "powercut.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define WHOLE ((off_t)1 << 60)

/* The library's own names stay inside; these take the place of the C library's. */
#pragma GCC visibility push(default)

static ssize_t wrote_here(int fd, ssize_t count) {
  if (count > 0 && powercut_active) {
    int saved = errno;
    off_t position = lseek(fd, 0, SEEK_CUR); /* fails on a socket */
    errno = saved;
    if (position >= count)
      powercut_wrote(fd, position - count, position, false);
  }
  return count;
}

static ssize_t wrote_at(int fd, ssize_t count, off_t offset) {
  if (count > 0)
    powercut_wrote(fd, offset, offset + count, false);
  return count;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  return wrote_here(fd, syscall(SYS_write, fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  return wrote_here(fd, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  return wrote_at(fd, syscall(SYS_pwrite64, fd, bytes, count, offset), offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  return pwrite64(fd, bytes, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return wrote_at(fd, syscall(SYS_pwritev, fd, parts, count, offset, 0), offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev64(fd, parts, count, offset);
}

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length,
                        unsigned flags) {
  ssize_t count = syscall(SYS_copy_file_range, in, in_offset, out, out_offset, length, flags);
  if (out_offset)
    return wrote_at(out, count, *out_offset - (count > 0 ? count : 0));
  return wrote_here(out, count);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
  return wrote_here(out, syscall(SYS_sendfile, out, in, offset, count));
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
  return sendfile64(out, in, offset, count);
}

int ftruncate64(int fd, off64_t size) {
  struct statx before;
  bool known = powercut_active && powercut_identify(fd, "", &before);
  int result = syscall(SYS_ftruncate, fd, size);
  if (result == 0 && known)
    powercut_wrote(fd, size, (off_t)before.stx_size, true);
  return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int truncate64(const char *path, off64_t size) {
  int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  /* Not closed: the program may hold POSIX locks on the file. */
  return fd < 0 ? -1 : ftruncate64(fd, size);
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  int result = syscall(SYS_fallocate, fd, mode, offset, length);
  if (result == 0)
    powercut_wrote(fd, 0, mode & ~FALLOC_FL_KEEP_SIZE ? WHOLE : 0, true);
  return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t length) {
  return posix_fallocate64(fd, offset, length);
}

static int opened(int fd, int flags) {
  if (fd >= 0 && flags & O_TRUNC)
    powercut_wrote(fd, 0, WHOLE, true);
  return fd;
}

#define MODE(flags, last)                     \
  mode_t mode = 0;                            \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {    \
    va_list rest;                             \
    va_start(rest, last);                     \
    mode = va_arg(rest, mode_t);              \
    va_end(rest);                             \
  }

int open64(const char *path, int flags, ...) {
  MODE(flags, flags)
  return opened(syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode), flags);
}

int open(const char *path, int flags, ...) {
  MODE(flags, flags)
  return opened(syscall(SYS_openat, AT_FDCWD, path, flags, mode), flags);
}

int openat64(int at, const char *path, int flags, ...) {
  MODE(flags, flags)
  return opened(syscall(SYS_openat, at, path, flags | O_LARGEFILE, mode), flags);
}

int openat(int at, const char *path, int flags, ...) {
  MODE(flags, flags)
  return opened(syscall(SYS_openat, at, path, flags, mode), flags);
}

int creat64(const char *path, mode_t mode) {
  return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat(const char *path, mode_t mode) { return creat64(path, mode); }

int fsync(int fd) { return powercut_sync(fd) ? 0 : syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return powercut_sync(fd) ? 0 : syscall(SYS_fdatasync, fd); }

void sync(void) { powercut_sync_all(); }

int syncfs(int fd) {
  (void)fd;
  powercut_sync_all();
  return 0;
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  if (powercut_active && fd >= 0 && protection & PROT_WRITE && flags & MAP_SHARED &&
      powercut_watches(fd)) {
    errno = ENOTSUP;
    powercut_give_up("a shared writable mapping cannot be followed");
  }
  return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap64(address, length, protection, flags, fd, offset);
}

#pragma GCC visibility pop
