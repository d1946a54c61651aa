// link: app_sandbox
/* tests/fuzz/fuzz_proc_tcp.c: whatever /proc/net/tcp holds, the ports are rising, not 0, and no more than there is room for. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/proc_tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proc_tcp_ports ports = {.count = 0};
    char *text = malloc(size ? size : 1); /* exactly as long, so that reading past the end is seen */
    if (!text)
        return 0;
    memcpy(text, data, size);
    proc_tcp_read(text, size, &ports);
    proc_tcp_read(text, size / 2, &ports);
    assert(ports.count <= PROC_TCP_PORTS);
    for (size_t i = 0; i < ports.count; i++) {
        assert(ports.port[i] && (i == 0 || ports.port[i] > ports.port[i - 1]));
        assert(proc_tcp_has(&ports, ports.port[i]));
    }
    free(text);
    return 0;
}
