/* sandbox/proc_tcp.h: reads from /proc/<pid>/net/tcp and tcp6 on which ports the programs of one network listen. Text only, no files.
 *
 * Source:  proc_pid_net(5), Documentation/networking/proc_net_tcp.rst: "sl local_address rem_address st ..." with addresses as 32-bit words of
 *          this machine's byte order; tcp_states.h: 0A is LISTEN. The kernel prints listening sockets first.
 * Threads: safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROC_TCP_BYTES = 64 * 1024, /**< of one file; what is beyond is not read */
    PROC_TCP_PORTS = 64,        /**< told of one network; the lowest ones */
};

struct proc_tcp_ports {
    uint16_t port[PROC_TCP_PORTS]; /**< rising, each once */
    size_t count;
    bool more; /**< there are others that did not fit */
};

/** Adds the ports that can be reached at 127.0.0.1: those bound to it or to every address (of IPv6, too). Lines that are not understood, and a
 *  last one without its end, are passed over. */
void proc_tcp_read(const char *text, size_t len, struct proc_tcp_ports *ports);
bool proc_tcp_has(const struct proc_tcp_ports *ports, unsigned port);
