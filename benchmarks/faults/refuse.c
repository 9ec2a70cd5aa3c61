/* Makes the FAULT_AT-th call of FAULT_CALL on a file below FAULT_ROOT fail with FAULT_ERRNO. LD_PRELOAD it.
   With FAULT_LOG set, every such call is counted there instead. Sees SQLite's calls as well as Python's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls;

static int is_ours(const char *path) {
    const char *root = getenv("FAULT_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int fd_is_ours(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return is_ours(path);
}

static int refuses(const char *call, int ours) {
    const char *log = getenv("FAULT_LOG"), *wanted = getenv("FAULT_CALL"), *at = getenv("FAULT_AT");
    if (!ours) return 0;
    if (log) {
        FILE *file = fopen(log, "a");
        if (file) { fprintf(file, "%s\n", call); fclose(file); }
        return 0;
    }
    if (!wanted || !at || strcmp(call, wanted) || ++calls != atoi(at)) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t n) {
    NEXT(ssize_t, "write", int, const void *, size_t);
    return refuses("write", fd_is_ours(fd)) ? -1 : next(fd, data, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return refuses("pwrite", fd_is_ours(fd)) ? -1 : next(fd, data, n, at);
}
int fsync(int fd) {
    NEXT(int, "fsync", int);
    return refuses("fsync", fd_is_ours(fd)) ? -1 : next(fd);
}
int fdatasync(int fd) {
    NEXT(int, "fdatasync", int);
    return refuses("fdatasync", fd_is_ours(fd)) ? -1 : next(fd);
}
int ftruncate64(int fd, off64_t n) {
    NEXT(int, "ftruncate64", int, off64_t);
    return refuses("ftruncate", fd_is_ours(fd)) ? -1 : next(fd, n);
}
int rename(const char *from, const char *to) {
    NEXT(int, "rename", const char *, const char *);
    return refuses("rename", is_ours(from)) ? -1 : next(from, to);
}
int unlink(const char *path) {
    NEXT(int, "unlink", const char *);
    return refuses("unlink", is_ours(path)) ? -1 : next(path);
}
int mkdir(const char *path, mode_t mode) {
    NEXT(int, "mkdir", const char *, mode_t);
    return refuses("mkdir", is_ours(path)) ? -1 : next(path, mode);
}
int open64(const char *path, int flags, ...) {
    NEXT(int, "open64", const char *, int, ...);
    mode_t mode = 0;
    if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
    return refuses("open", (flags & O_CREAT) && is_ours(path)) ? -1 : next(path, flags, mode);
}
