// link: app_sandbox
/* tests/fuzz/fuzz_cgroup_places.c: whatever mountinfo and cgroup hold (the first NUL parts them), a place is nothing or an absolute path that
 * does not climb out of its mount. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/confine/cgroup_dir.h"

static int file_of(const uint8_t *data, size_t size, char path[static 40])
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return fd;
}

static void check(const char *place)
{
    assert(memchr(place, '\0', PATH_MAX));
    assert(*place == '\0' || *place == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cds_cgroup_places places;
    char mountinfo[40], cgroup[40];
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t first = nul ? (size_t)(nul - data) : size;
    int a = file_of(data, first, mountinfo), b = file_of(nul ? nul + 1 : data, nul ? size - first - 1 : 0, cgroup);
    memset(&places, 'x', sizeof(places));
    cds_cgroup_places_find(mountinfo, cgroup, &places);
    check(places.v2);
    check(places.v2_top);
    check(places.memory);
    check(places.pids);
    check(places.cpuacct);
    /* The own group lies below its mount. */
    assert(strncmp(places.v2, places.v2_top, strlen(places.v2_top)) == 0);
    assert(!strstr(places.v2 + strlen(places.v2_top), "/../"));
    close(a);
    close(b);
    return 0;
}
