// link: cds_config
/* tests/fuzz/fuzz_config.c: whatever the configuration file holds, the start ends in a sentence or in values within their ranges. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char flag[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        close(fd);
        return 0;
    }
    snprintf(flag, sizeof(flag), "--config=/proc/self/fd/%d", fd);
    char program[] = "fuzz", home[] = "--studio.home=/tmp";
    char *argv[] = {program, flag, home, NULL};
    int argc = 3;
    struct cds_config *config = NULL;
    struct cds_err err = {.code = CDS_OK};
    cds_rc rc = cds_config_load(&argc, argv, "fuzz", &config, &err);
    if (rc) {
        assert(!config && err.code == rc && err.message[0]);
    } else {
        uint64_t port = cds_config_u64(config, CDS_OPT_API_PORT);
        assert(port >= 1 && port <= 65535);
        assert(strcmp(cds_config_home(config), "/tmp") == 0);
        cds_config_free(&config);
    }
    close(fd);
    return 0;
}
