#include "sandbox/proc_tcp.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/fd.h"
#include "tests/support/test.h"

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define REST " 00000000:00000000 00:00000000 00000000     0        0 25 1\n"

static struct proc_tcp_ports read_text(const char *text)
{
    struct proc_tcp_ports ports = {.count = 0};
    proc_tcp_read(text, strlen(text), &ports);
    return ports;
}

static void listening_ports_at_loopback_and_everywhere_are_told_once_and_rising(void **state)
{
    const struct proc_tcp_ports ports = read_text(HEAD "   0: 00000000:1F41 00000000:0000 0A" REST "   1: 0100007F:1F40 00000000:0000 0A" REST
                                                       "   2: 0100007F:1F40 00000000:0000 0A" REST
                                                       "   3: 00000000000000000000000000000000:1F42 00000000000000000000000000000000:0000 0A" REST
                                                       "   4: 0000000000000000FFFF00000100007F:1F43 00000000000000000000000000000000:0000 0A" REST);
    assert_int_equal(ports.count, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ports.port[i], 8000 + i);
    assert_true(proc_tcp_has(&ports, 8003) && !proc_tcp_has(&ports, 8004));
    assert_false(ports.more);
}

static void connections_and_other_addresses_are_not_told(void **state)
{
    const struct proc_tcp_ports ports = read_text(HEAD "   0: 0100007F:1F40 0100007F:9C40 01" REST "   1: 0200007F:1F41 00000000:0000 0A" REST
                                                       "   2: 00000000000000000000000001000000:1F42 00000000000000000000000000000000:0000 0A" REST
                                                       "   3: 0100007F:0000 00000000:0000 0A" REST "   4: 0100007F:1F43 00000000:0000 07" REST);
    assert_int_equal(ports.count, 0);
}

static void lines_that_are_no_sockets_are_passed_over(void **state)
{
    static const char *const broken[] = {"",
                                         "\n",
                                         "   0: 0100007F:1F40 00000000:0000 0A" /* no end */,
                                         "   0: 0100007F:1F4 00000000:0000 0A\n",
                                         "   0: 0100007:1F40 00000000:0000 0A\n",
                                         "   : 0100007F:1F40 00000000:0000 0A\n",
                                         "   0  0100007F:1F40 00000000:0000 0A\n",
                                         "   0: 0100007F0100007F:1F40 00000000:0000 0A\n",
                                         "   0: 0100007F:1F40 00000000000000000000000000000000:0000 0A\n",
                                         "   0: 0100007f:1F40 00000000:0000 0A\n",
                                         "   0: 0100007F:1F40 00000000:0000 0\n"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        assert_int_equal(read_text(broken[i]).count, 0);
}

static void of_too_many_the_lowest_are_told(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(1 << 20);
    struct proc_tcp_ports ports = {.count = 0};
    for (unsigned i = 0; i < 200; i++)
        cds_buf_addf(&text, "%4u: 0100007F:%04X 00000000:0000 0A" REST, i, 9000 - i);
    proc_tcp_read(text.data, text.len, &ports);
    assert_int_equal(ports.count, PROC_TCP_PORTS);
    assert_int_equal(ports.port[0], 8801);
    assert_int_equal(ports.port[PROC_TCP_PORTS - 1], 8801 + PROC_TCP_PORTS - 1);
    assert_true(ports.more);
}

static void what_this_kernel_writes_is_understood(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(16 << 20);
    struct proc_tcp_ports ports = {.count = 0};
    struct sockaddr_in here;
    socklen_t len = sizeof(here);
    int fd = -1;
    assert_int_equal(cds_tcp_listen("127.0.0.1", 0, &fd, NULL), CDS_OK);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &len), 0);
    assert_int_equal(cds_read_file("/proc/self/net/tcp", &text, NULL), CDS_OK);
    /* There may be more than 64 on this machine: only lines with our port. */
    char wanted[8];
    snprintf(wanted, sizeof(wanted), ":%04X ", ntohs(here.sin_port));
    for (char *line = text.data, *stop; (stop = memchr(line, '\n', (size_t)(text.data + text.len - line))); line = stop + 1)
        if (memmem(line, (size_t)(stop - line), wanted, 6))
            proc_tcp_read(line, (size_t)(stop + 1 - line), &ports);
    assert_true(proc_tcp_has(&ports, ntohs(here.sin_port)));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listening_ports_at_loopback_and_everywhere_are_told_once_and_rising),
        cmocka_unit_test(connections_and_other_addresses_are_not_told),
        cmocka_unit_test(lines_that_are_no_sockets_are_passed_over),
        cmocka_unit_test(of_too_many_the_lowest_are_told),
        cmocka_unit_test(what_this_kernel_writes_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
