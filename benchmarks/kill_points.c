/* Ends a process at a chosen system call: preloaded (LD_PRELOAD) into it, and told by kill_points.py which call it is.

   A call is counted when it changes a file below `root`. Its class is the first of the patterns that its path (relative
   to `root`) matches. With a plan, the process sends itself SIGKILL before or after the n-th call of that kind and class,
   or when half of the bytes of a write have reached the file. With a trace, each counted call is written to a file.

   Calls that the C library makes within itself (stdio) are not seen; neither Python nor safetensors nor SQLite use them
   for files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, FSYNC, RENAME, UNLINK, MKDIR, RMDIR, SYMLINK, TRUNCATE };
enum { BEFORE, AFTER, TORN };

static char root[PATH_MAX];
static char patterns[32][64];
static int pattern_count, trace = -1, plan_kind = -1, plan_class, plan_how;
static atomic_long left_to_go;

void kill_points_root(const char *folder) { snprintf(root, sizeof root, "%s/", folder); }

void kill_points_pattern(int number, const char *pattern) {
    snprintf(patterns[number], sizeof patterns[number], "%s", pattern);
    if (number >= pattern_count) pattern_count = number + 1;
}

void kill_points_trace(int fd) { trace = fd; }

void kill_points_plan(int kind, int class, long nth, int how) {
    plan_class = class;
    plan_how = how;
    atomic_store(&left_to_go, nth);
    plan_kind = kind;
}

/* The first worker process of an update has no caller that could tell it: its plan is in the environment. */
__attribute__((constructor)) static void read_environment(void) {
    const char *plan = getenv("KILL_POINT"), *rank = getenv("RANK");
    int kind, class, how, at = 0;
    long nth;
    if (!plan || !rank || strcmp(rank, "0")) return;
    if (sscanf(plan, "%d %d %ld %d %n", &kind, &class, &nth, &how, &at) != 4 || !at) return;
    char *next = strdup(plan + at), *folder = strsep(&next, "\n"), *pattern;
    kill_points_root(folder);
    for (int number = 0; (pattern = strsep(&next, "\n")) && number < 32; number++) kill_points_pattern(number, pattern);
    kill_points_plan(kind, class, nth, how);
    if (getenv("KILL_TRACE")) trace = open(getenv("KILL_TRACE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether this call is the planned one; it is counted. */
static int due(int kind, const char *path) {
    size_t length = strlen(root);
    if (!length || strncmp(path, root, length)) return 0;
    int class = 0, saved = errno;
    while (class < pattern_count && fnmatch(patterns[class], path + length, 0)) class++;
    if (trace >= 0) {
        char line[PATH_MAX + 32];
        int size = snprintf(line, sizeof line, "%d %d %s\n", kind, class, path + length);
        syscall(SYS_write, trace, line, size);
    }
    errno = saved;
    return kind == plan_kind && class == plan_class && atomic_fetch_sub(&left_to_go, 1) == 1;
}

static int due_at(int kind, int folder, const char *name) {
    char path[2 * PATH_MAX], link[64];
    if (name[0] == '/') return due(kind, name);
    int saved = errno;
    ssize_t size;
    if (folder == AT_FDCWD) {
        size = getcwd(path, PATH_MAX) ? (ssize_t)strlen(path) : -1;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        size = readlink(link, path, PATH_MAX - 1);
    }
    errno = saved;
    if (size < 0) return 0;
    snprintf(path + size, PATH_MAX, "/%s", name);
    return due(kind, path);
}

static int due_of(int kind, int fd) {
    char path[PATH_MAX], link[64];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (size < 0) return 0;
    path[size] = 0;
    return due(kind, path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define AROUND(type, planned, call)                                                                                    \
    int now = (planned);                                                                                               \
    if (now && plan_how != AFTER) die();                                                                               \
    type result = (call);                                                                                              \
    if (now) die();                                                                                                    \
    return result

#define OPENING(name)                                                                                                  \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(name);                                                                                                    \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
        AROUND(int, (flags & (O_CREAT | O_TRUNC)) && due_at(OPEN, AT_FDCWD, path), real(path, flags, mode));           \
    }
OPENING(open)
OPENING(open64)

#define OPENING_AT(name)                                                                                               \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        REAL(name);                                                                                                    \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
        AROUND(int, (flags & (O_CREAT | O_TRUNC)) && due_at(OPEN, folder, path), real(folder, path, flags, mode));     \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int now = due_of(WRITE, fd);
    if (now && plan_how == TORN) real(fd, data, size / 2);
    if (now && plan_how != AFTER) die();
    ssize_t result = real(fd, data, size);
    if (now) die();
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int now = due_of(WRITE, fd);
    if (now && plan_how == TORN && count) write(fd, parts[0].iov_base, parts[0].iov_len / 2);
    if (now && plan_how != AFTER) die();
    ssize_t result = real(fd, parts, count);
    if (now) die();
    return result;
}

#define WRITING_AT(name, offset_type)                                                                                  \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {                                          \
        REAL(name);                                                                                                    \
        int now = due_of(WRITE, fd);                                                                                   \
        if (now && plan_how == TORN) real(fd, data, size / 2, offset);                                                 \
        if (now && plan_how != AFTER) die();                                                                           \
        ssize_t result = real(fd, data, size, offset);                                                                 \
        if (now) die();                                                                                                \
        return result;                                                                                                 \
    }
WRITING_AT(pwrite, off_t)
WRITING_AT(pwrite64, off64_t)

int fsync(int fd) { REAL(fsync); AROUND(int, due_of(FSYNC, fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); AROUND(int, due_of(FSYNC, fd), real(fd)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); AROUND(int, due_of(TRUNCATE, fd), real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); AROUND(int, due_of(TRUNCATE, fd), real(fd, size)); }
int rename(const char *from, const char *to) { REAL(rename); AROUND(int, due_at(RENAME, AT_FDCWD, to), real(from, to)); }
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    AROUND(int, due_at(RENAME, b, to), real(a, from, b, to));
}
int unlink(const char *path) { REAL(unlink); AROUND(int, due_at(UNLINK, AT_FDCWD, path), real(path)); }
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    AROUND(int, due_at(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, path), real(folder, path, flags));
}
int rmdir(const char *path) { REAL(rmdir); AROUND(int, due_at(RMDIR, AT_FDCWD, path), real(path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); AROUND(int, due_at(MKDIR, AT_FDCWD, path), real(path, mode)); }
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    AROUND(int, due_at(MKDIR, folder, path), real(folder, path, mode));
}
int symlink(const char *to, const char *path) {
    REAL(symlink);
    AROUND(int, due_at(SYMLINK, AT_FDCWD, path), real(to, path));
}
int symlinkat(const char *to, int folder, const char *path) {
    REAL(symlinkat);
    AROUND(int, due_at(SYMLINK, folder, path), real(to, folder, path));
}
