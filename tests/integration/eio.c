/* A disk that is broken, for test_disk.py, by LD_PRELOAD: while the file that EIO_WHILE names is there, the outbox
   can't be written, and while one named so with ".reads" behind it is there, it can't be read. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int broken(int fd, const char *suffix) {
    char flag[4096], link[64], path[4096];
    int before = errno;
    snprintf(flag, sizeof flag, "%s%s", getenv("EIO_WHILE"), suffix);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = access(flag, F_OK) == 0 ? readlink(link, path, sizeof path - 1) : 0;
    path[length > 0 ? length : 0] = 0;
    int found = strstr(path, "/outbox.sqlite3") != NULL;
    errno = found ? EIO : before;
    return found;
}

#define FAILING(type, name, suffix, parameters, arguments)                            \
    type name parameters {                                                            \
        static type (*real) parameters;                                               \
        if (!real) real = (type(*) parameters) dlsym(RTLD_NEXT, #name);               \
        return broken(fd, suffix) ? -1 : real arguments;                              \
    }

FAILING(ssize_t, write, "", (int fd, const void *data, size_t size), (fd, data, size))
FAILING(ssize_t, pwrite, "", (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
FAILING(ssize_t, pwrite64, "", (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
FAILING(int, fsync, "", (int fd), (fd))
FAILING(int, fdatasync, "", (int fd), (fd))
FAILING(int, ftruncate64, "", (int fd, off64_t size), (fd, size))
FAILING(ssize_t, read, ".reads", (int fd, void *data, size_t size), (fd, data, size))
FAILING(ssize_t, pread, ".reads", (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
FAILING(ssize_t, pread64, ".reads", (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
