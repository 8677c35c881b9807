/* A disk that forgets: what a power cut would leave of the files below one directory.
 *
 * SIGKILL ends a process, not the kernel: what was written survives in the page cache, synced or
 * not, so that a kill alone cannot tell a broker that syncs from one that does not. This library,
 * loaded with LD_PRELOAD, keeps beside the real files a second copy, the *shadow*, that changes
 * only when the program syncs. After the kill, `tests/src/nemesis/disk/power.rs` puts the
 * shadow in the place of the data: whatever was not synced is gone.
 *
 *   POWERCUT_DIR           the directory to watch (absolute)
 *   POWERCUT_SHADOW        where the shadow is kept (absolute, outside of POWERCUT_DIR)
 *   POWERCUT_IGNORE_SYNC   1: a sync reaches nothing: the fsync taken out of the program
 *   POWERCUT_LATE_MS       n: a sync returns at once and is done n milliseconds later, in order:
 *                          an acknowledgement that does not wait for the fsync
 *   POWERCUT_SYNC_US       n: a sync takes n microseconds, as on a slow disk
 *
 * The model, which is what ext4, xfs and btrfs keep to:
 *   - a write is durable when a later fsync or fdatasync of the file (or sync, syncfs, or a write
 *     with O_DSYNC) has returned; one that is under way at the cut may be there in part;
 *   - a sync of a new file makes its name durable too; renames and removals wait for a sync of the
 *     directory;
 *   - sync_file_range and msync promise nothing.
 *
 * How: every call that changes a regular file notes the byte range after the call; a sync copies
 * the noted ranges from the file to `SHADOW/inodes/INODE.BIRTH` under the file's lock, so that a
 * second sync that finds nothing to do still waits for the first. Names go to the log
 * `SHADOW/names`: `N directory kind inode name` adds one, `D directory` to `E` lists them all. A call that this library does not see (a raw system call)
 * can only make the shadow too old, never too new: a test may fail wrongly, not pass wrongly.
 */

#define _GNU_SOURCE
#include "powercut.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 257
#define MOST_RANGES 1024
#define WHOLE ((off_t)1 << 60)

/* What tells an inode from every other, also from one that had its number before. */
#define IDENTITY "%llu.%lld.%u"
#define IDENTITY_OF(stat)                                                       \
  (unsigned long long)(stat).stx_ino, (long long)(stat).stx_btime.tv_sec,       \
      (stat).stx_btime.tv_nsec

struct range {
  off_t from, to;
};

struct file {
  uint64_t device, inode;
  int64_t birth_s;
  uint32_t birth_ns;
  bool watched;      /* below POWERCUT_DIR; the others are kept to know them fast */
  int live, shadow;  /* descriptors of our own, never closed: closing would drop POSIX locks */
  pthread_mutex_t lock;
  struct range *ranges; /* written since the last sync */
  size_t n_ranges, capacity;
  bool resized;
  char name[PATH_MAX]; /* the path that was logged last */
  struct file *next;
};

static char root[PATH_MAX], shadow_root[PATH_MAX];
static size_t root_length;
bool powercut_active, powercut_ignores_sync;
static long sync_us, late_ms;
static int names = -1;
static struct file *table[BUCKETS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER; /* strtok */

_Noreturn void powercut_give_up(const char *what) {
  dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
  abort();
}

static void sleep_us(long us) {
  struct timespec time = {us / 1000000, us % 1000000 * 1000};
  while (syscall(SYS_nanosleep, &time, &time) < 0 && errno == EINTR) {
  }
}

/* === which file === */

bool powercut_identify(int fd, const char *name, struct statx *out) {
  return statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
               STATX_BASIC_STATS | STATX_BTIME, out) == 0;
}

/* The path of a descriptor below the root; false for one outside, and for a removed file. */
static bool path_of(int fd, char *out) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0)
    return false;
  path[length] = 0;
  if (strncmp(path, root, root_length) != 0)
    return false;
  if (path[root_length] == 0) {
    out[0] = 0;
    return true;
  }
  if (path[root_length] != '/')
    return false;
  strcpy(out, path + root_length + 1);
  return true;
}

static void note(struct file *file, off_t from, off_t to) {
  if (from >= to)
    return;
  if (file->n_ranges > 0) {
    struct range *last = &file->ranges[file->n_ranges - 1];
    if (from <= last->to && to >= last->from) {
      last->from = from < last->from ? from : last->from;
      last->to = to > last->to ? to : last->to;
      return;
    }
  }
  if (file->n_ranges == MOST_RANGES) {
    for (size_t i = 0; i < file->n_ranges; i++) {
      from = file->ranges[i].from < from ? file->ranges[i].from : from;
      to = file->ranges[i].to > to ? file->ranges[i].to : to;
    }
    file->n_ranges = 0;
  }
  if (file->n_ranges == file->capacity) {
    file->capacity = file->capacity ? file->capacity * 2 : 16;
    file->ranges = realloc(file->ranges, file->capacity * sizeof *file->ranges);
    if (!file->ranges)
      powercut_give_up("realloc");
  }
  file->ranges[file->n_ranges++] = (struct range){from, to};
}

/* With the table's lock held. */
static struct file *known(const struct statx *stat) {
  uint64_t device = (uint64_t)stat->stx_dev_major << 32 | stat->stx_dev_minor;
  struct file *file = table[stat->stx_ino % BUCKETS];
  while (file && !(file->inode == stat->stx_ino && file->device == device &&
                   file->birth_s == stat->stx_btime.tv_sec &&
                   file->birth_ns == stat->stx_btime.tv_nsec))
    file = file->next;
  return file;
}

/* The record of an open regular file; made when it is new to us. */
static struct file *track(int fd) {
  struct statx stat;
  if (!powercut_active || !powercut_identify(fd, "", &stat) || !S_ISREG(stat.stx_mode))
    return NULL;
  pthread_mutex_lock(&table_lock);
  struct file *file = known(&stat);
  if (!file) {
    char path[PATH_MAX];
    file = calloc(1, sizeof *file);
    if (!file)
      powercut_give_up("calloc");
    file->device = (uint64_t)stat.stx_dev_major << 32 | stat.stx_dev_minor;
    file->inode = stat.stx_ino;
    file->birth_s = stat.stx_btime.tv_sec;
    file->birth_ns = stat.stx_btime.tv_nsec;
    pthread_mutex_init(&file->lock, NULL);
    file->watched = path_of(fd, path);
    if (file->watched) {
      snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
      file->live = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
      snprintf(path, sizeof path, "%.3000s/inodes/" IDENTITY, shadow_root, IDENTITY_OF(stat));
      file->shadow = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      if (file->live < 0 || file->shadow < 0)
        powercut_give_up(path);
      file->resized = true;
      note(file, 0, WHOLE); /* whatever it holds came from calls that we did not see */
    }
    struct file **bucket = &table[stat.stx_ino % BUCKETS];
    file->next = *bucket;
    *bucket = file;
  }
  pthread_mutex_unlock(&table_lock);
  return file->watched ? file : NULL;
}

/* === what changes the shadow: at once, or late === */

struct change {
  int64_t due_us;
  enum { WRITE, PUNCH, RESIZE, APPEND } kind;
  int fd;
  off_t offset;
  size_t length;
  struct change *next;
  char bytes[];
};

static struct change *first_change, *last_change;
static pthread_mutex_t changes_lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void apply(int kind, int fd, off_t offset, size_t length, const char *bytes) {
  long done = -1;
  switch (kind) {
  case WRITE:
    done = syscall(SYS_pwrite64, fd, bytes, length, offset) == (long)length ? 0 : -1;
    break;
  case PUNCH:
    done = syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    break;
  case RESIZE:
    done = syscall(SYS_ftruncate, fd, offset);
    break;
  case APPEND:
    done = syscall(SYS_write, fd, bytes, length) == (long)length ? 0 : -1;
  }
  if (done < 0)
    powercut_give_up("change the shadow");
}

static void change(int kind, int fd, off_t offset, size_t length, const char *bytes) {
  if (!late_ms)
    return apply(kind, fd, offset, length, bytes);
  size_t stored = bytes ? length : 0;
  struct change *change = malloc(sizeof *change + stored);
  if (!change)
    powercut_give_up("malloc");
  *change = (struct change){now_us() + late_ms * 1000, kind, fd, offset, length, NULL};
  if (stored)
    memcpy(change->bytes, bytes, stored);
  pthread_mutex_lock(&changes_lock);
  if (first_change)
    last_change->next = change;
  else
    first_change = change;
  last_change = change;
  pthread_mutex_unlock(&changes_lock);
}

static void *apply_late(void *unused) {
  for (;;) {
    pthread_mutex_lock(&changes_lock);
    struct change *change = first_change;
    int64_t wait = change ? change->due_us - now_us() : 1000;
    if (wait <= 0)
      first_change = change->next;
    pthread_mutex_unlock(&changes_lock);
    if (wait > 0) {
      sleep_us(wait);
      continue;
    }
    apply(change->kind, change->fd, change->offset, change->length, change->bytes);
    free(change);
  }
  return unused;
}

/* === from the file to the shadow === */

static void copy(struct file *file, off_t from, off_t to) {
  char buffer[64 * 1024];
  while (from < to) {
    size_t want = to - from < (off_t)sizeof buffer ? (size_t)(to - from) : sizeof buffer;
    ssize_t count = syscall(SYS_pread64, file->live, buffer, want, from);
    if (count < 0)
      powercut_give_up("read");
    if (count == 0)
      return;
    change(WRITE, file->shadow, from, count, buffer);
    from += count;
  }
}

/* Copies a range, and leaves holes as holes: journals are often allocated in advance. */
static void copy_sparse(struct file *file, off_t from, off_t to) {
  while (from < to) {
    off_t data = lseek(file->live, from, SEEK_DATA);
    if (data < 0 || data > to)
      data = to;
    if (data > from)
      change(PUNCH, file->shadow, from, data - from, NULL);
    off_t hole = data < to ? lseek(file->live, data, SEEK_HOLE) : to;
    if (hole < 0 || hole > to)
      hole = to;
    copy(file, data, hole);
    from = hole;
  }
}

/* With the file's lock held. */
static void persist_content(struct file *file) {
  if (file->n_ranges == 0 && !file->resized)
    return;
  struct statx stat;
  if (!powercut_identify(file->live, "", &stat))
    powercut_give_up("stat");
  off_t size = (off_t)stat.stx_size;
  for (size_t i = 0; i < file->n_ranges; i++) {
    off_t to = file->ranges[i].to < size ? file->ranges[i].to : size;
    copy_sparse(file, file->ranges[i].from, to);
  }
  change(RESIZE, file->shadow, size, 0, NULL);
  file->n_ranges = 0;
  file->resized = false;
}

static void log_names(const char *text, size_t length) { change(APPEND, names, 0, length, text); }

/* The names of everything above and at a path, each as an entry of its directory's inode. */
static void log_path(char *path) {
  struct statx parent, child;
  char whole[2 * PATH_MAX], line[PATH_MAX + 128];
  int at = snprintf(whole, sizeof whole, "%s", root);
  bool good = powercut_identify(AT_FDCWD, whole, &parent);
  for (char *name = strtok(path, "/"); good && name; name = strtok(NULL, "/"), parent = child) {
    at += snprintf(whole + at, sizeof whole - at, "/%s", name);
    good = powercut_identify(AT_FDCWD, whole, &child);
    int length = snprintf(line, sizeof line, "N " IDENTITY " %c " IDENTITY " %s\n",
                          IDENTITY_OF(parent), S_ISDIR(child.stx_mode) ? 'S' : 'F',
                          IDENTITY_OF(child), name);
    if (good)
      log_names(line, length);
  }
}

static void persist(struct file *file) {
  pthread_mutex_lock(&file->lock);
  persist_content(file);
  char path[PATH_MAX];
  struct statx stat;
  if (powercut_identify(file->live, "", &stat) && stat.stx_nlink > 0 && path_of(file->live, path) &&
      strcmp(path, file->name) != 0) {
    strcpy(file->name, path);
    pthread_mutex_lock(&names_lock);
    log_path(path);
    pthread_mutex_unlock(&names_lock);
  }
  pthread_mutex_unlock(&file->lock);
}

/* A directory's entries as they are now become the durable ones. */
static void persist_directory(int fd, bool deep) {
  char link[64], *text = NULL;
  size_t length = 0;
  struct statx stat;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int own = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *directory = own < 0 ? NULL : fdopendir(own);
  FILE *out = open_memstream(&text, &length);
  if (!directory || !out || !powercut_identify(own, "", &stat))
    powercut_give_up("read a directory");
  fprintf(out, "D " IDENTITY "\n", IDENTITY_OF(stat));
  for (struct dirent *entry; (entry = readdir(directory));) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..") || !powercut_identify(own, name, &stat))
      continue;
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
    if (S_ISDIR(stat.stx_mode)) {
      fprintf(out, "S " IDENTITY " %s\n", IDENTITY_OF(stat), name);
      int inner = deep ? syscall(SYS_openat, own, name, flags | O_DIRECTORY) : -1;
      if (inner >= 0) {
        persist_directory(inner, true);
        syscall(SYS_close, inner);
      }
    } else if (S_ISREG(stat.stx_mode)) {
      pthread_mutex_lock(&table_lock);
      struct file *file = known(&stat);
      pthread_mutex_unlock(&table_lock);
      if (!file) {
        /* Stays open: closing it would drop the POSIX locks that the program has on it. */
        int opened = syscall(SYS_openat, own, name, flags);
        file = opened < 0 ? NULL : track(opened);
      }
      if (file && file->watched)
        fprintf(out, "F " IDENTITY " %s\n", IDENTITY_OF(stat), name);
    }
  }
  fputs("E\n", out);
  fclose(out);
  closedir(directory);
  log_names(text, length);
  free(text);
}

static void persist_everything(void) {
  for (size_t i = 0; i < BUCKETS; i++) {
    pthread_mutex_lock(&table_lock);
    struct file *file = table[i];
    pthread_mutex_unlock(&table_lock);
    for (; file; file = file->next)
      if (file->watched)
        persist(file);
  }
  int fd = syscall(SYS_openat, AT_FDCWD, root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    persist_directory(fd, true);
    syscall(SYS_close, fd);
  }
}

/* === start: what is there already has been durable before === */

static long setting(const char *name) {
  const char *value = getenv(name);
  return value ? atol(value) : 0;
}

__attribute__((constructor)) static void start(void) {
  const char *directory = getenv("POWERCUT_DIR"), *place = getenv("POWERCUT_SHADOW");
  char path[PATH_MAX];
  if (!directory || !place)
    return;
  mkdir(directory, 0700);
  mkdir(place, 0700);
  if (!realpath(directory, root) || !realpath(place, shadow_root))
    powercut_give_up("POWERCUT_DIR and POWERCUT_SHADOW");
  root_length = strlen(root);
  snprintf(path, sizeof path, "%.3000s/inodes", shadow_root);
  mkdir(path, 0700);
  snprintf(path, sizeof path, "%.3000s/names", shadow_root);
  names = syscall(SYS_openat, AT_FDCWD, path,
                  O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (names < 0)
    powercut_give_up(path);
  powercut_ignores_sync = setting("POWERCUT_IGNORE_SYNC");
  sync_us = setting("POWERCUT_SYNC_US");
  powercut_active = true;
  persist_everything(); /* finds the files */
  persist_everything(); /* and copies them */
  late_ms = setting("POWERCUT_LATE_MS");
  pthread_t thread;
  if (late_ms && pthread_create(&thread, NULL, apply_late, NULL) != 0)
    powercut_give_up("pthread_create");
}

/* === what the calls lead to === */

bool powercut_watches(int fd) { return track(fd) != NULL; }

void powercut_wrote(int fd, off_t from, off_t to, bool resized) {
  int saved = errno;
  struct file *file = track(fd);
  if (file) {
    pthread_mutex_lock(&file->lock);
    note(file, from, to);
    file->resized |= resized;
    pthread_mutex_unlock(&file->lock);
    if (syscall(SYS_fcntl, fd, F_GETFL) & O_DSYNC && !powercut_ignores_sync)
      persist(file);
  }
  errno = saved;
}

bool powercut_sync(int fd) {
  struct statx stat;
  char path[PATH_MAX];
  if (!powercut_active || !powercut_identify(fd, "", &stat) || !path_of(fd, path))
    return false;
  if (powercut_ignores_sync)
    return true;
  if (sync_us)
    sleep_us(sync_us);
  struct file *file = track(fd);
  if (S_ISDIR(stat.stx_mode)) {
    pthread_mutex_lock(&names_lock);
    log_path(path);
    pthread_mutex_unlock(&names_lock);
    persist_directory(fd, false);
  } else if (file) {
    persist(file);
  }
  return true;
}

void powercut_sync_all(void) {
  if (powercut_active && !powercut_ignores_sync)
    persist_everything();
}
