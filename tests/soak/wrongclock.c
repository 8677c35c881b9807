/* A wall clock that is wrong, for LD_PRELOAD: what tells the time of day tells it with an offset
 * that may change while the program runs. The monotonic clock and all waiting stay as they are.
 *
 *   WRONGCLOCK_FILE   has the seconds to be added, such as -3600; without the file, none
 *
 * The file is looked at again after a tenth of a second. libfaketime is not used because it shifts
 * waits for a moment of the monotonic clock as well, even where it is told to leave that clock
 * alone: a program then sleeps for the offset.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#pragma GCC visibility push(default)
int clock_gettime(clockid_t clock, struct timespec *out);
int gettimeofday(struct timeval *restrict out, void *restrict zone);
time_t time(time_t *out);
int timespec_get(struct timespec *out, int base);
#pragma GCC visibility pop

static int real(clockid_t clock, struct timespec *out) {
  return (int)syscall(SYS_clock_gettime, clock, out);
}

static long offset(void) {
  static _Atomic long seconds, looked_ms = -1000;
  struct timespec now;
  real(CLOCK_MONOTONIC_COARSE, &now);
  long now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
  if (now_ms - looked_ms >= 100) {
    char text[32] = "";
    int saved = errno;
    const char *path = getenv("WRONGCLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
      close(fd);
    seconds = length > 0 ? atol(text) : 0;
    looked_ms = now_ms;
    errno = saved;
  }
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
  int result = real(clock, out);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    out->tv_sec += offset();
  return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out)
    *out = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *out, int base) {
  if (base != TIME_UTC)
    return 0;
  clock_gettime(CLOCK_REALTIME, out);
  return base;
}
