/*
 * Stands before the C library, and answers as a client of NFS whose server's reply was lost: the first try succeeded, and
 * the second one finds its result. So a link that was made is answered with EEXIST, and a rename that was done with ENOENT.
 *
 * What happens to names is appended to the file LOST_REPLIES_LOG, a line each: "link PATH", "rename PATH", "mkdir PATH" with
 * the new name, and "fsync PATH".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(const char *what, const char *path) {
    const char *name = getenv("LOST_REPLIES_LOG");
    int log = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    char line[PATH_MAX + 16];
    int length = snprintf(line, sizeof line, "%s %s\n", what, path);
    if (log < 0 || length <= 0 || length >= (int)sizeof line || write(log, line, length) != length) {
        abort();
    }
    close(log);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    int (*next)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    if (next(from_directory, from, to_directory, to, flags) != 0) {
        return -1;
    }
    note("link", to);
    errno = EEXIST;
    return -1;
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (next(from, to) != 0) {
        return -1;
    }
    note("rename", to);
    errno = ENOENT;
    return -1;
}

int mkdir(const char *path, mode_t mode) {
    int (*next)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
    int made = next(path, mode);
    if (made == 0) {
        note("mkdir", path);
    }
    return made;
}

int fsync(int file) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    int synced = next(file);
    if (synced == 0 && length > 0) {
        path[length] = 0;
        note("fsync", path);
    }
    return synced;
}
