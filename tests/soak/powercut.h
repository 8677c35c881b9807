/* The two halves of the disk that forgets: what it keeps (`powercut.c`) and the calls that it
 * takes the place of (`powercut_calls.c`). */

#ifndef POWERCUT_H
#define POWERCUT_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Whether anything is to be done at all; not before the library has started. */
extern bool powercut_active;
/* Whether a sync reaches nothing. */
extern bool powercut_ignores_sync;

/* What statx says of a descriptor (name "") or of a name in a directory. */
bool powercut_identify(int fd, const char *name, struct statx *out);
/* Whether the descriptor is of a regular file in the watched directory. */
bool powercut_watches(int fd);
/* Bytes of a file were written, or it was resized and these bytes are others now. */
void powercut_wrote(int fd, off_t from, off_t to, bool resized);
/* fsync or fdatasync; false for a descriptor that is none of ours. */
bool powercut_sync(int fd);
/* sync or syncfs. */
void powercut_sync_all(void);
/* Ends the program: the model would not be true. */
_Noreturn void powercut_give_up(const char *what);

#endif
