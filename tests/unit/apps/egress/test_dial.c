/* Names and their addresses: what a name leads to is looked at when it is connected, whatever it led to before. The names are in a hosts file of
 * our own, in mounts of our own; without the right to make those each test says that it is left out, and why. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/egress/egress.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "tests/support/test.h"

enum { WAIT_MS = 60000 }; /* ends a test that hangs */

static struct egress egress;
static char hosts_path[] = "/tmp/cds-test-hosts-XXXXXX";
static int hosts_fd = -1, server = -1, door_fd = -1, broker_fd = -1;
static uint16_t port, door_port;

/** Turns the loop until the condition holds. */
#define UNTIL(condition)                                                                                                                             \
    for (uint64_t until_ms = cds_now_ms() + WAIT_MS; !(condition);) {                                                                                \
        assert_true(cds_ms_left(until_ms) > 0);                                                                                                      \
        cds_loop_once(egress.loop, 10);                                                                                                              \
    }

static void put_hosts(const char *text)
{
    assert_int_equal(ftruncate(hosts_fd, 0), 0);
    assert_int_equal(pwrite(hosts_fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static int listen_local(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)) | listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static int connect_to(uint16_t to)
{
    const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(cds_set_nonblock(fd, true), CDS_OK);
    return fd;
}

/* Turns the loop until an answer came; what came. */
static const char *answer(int fd)
{
    static char text[4096];
    size_t at = 0;
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; cds_ms_left(deadline_ms) > 0;) {
        cds_loop_once(egress.loop, 5);
        ssize_t n = recv(fd, text + at, sizeof(text) - 1 - at, MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        text[at] = '\0';
        if (n == 0 || strstr(text, "established"))
            break;
    }
    return text;
}

static const char *ask(const char *target)
{
    static char text[300];
    snprintf(text, sizeof(text), "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n\r\n", target, port, target, port);
    CDS_CLEANUP(cds_close_fd) int fd = connect_to(door_port);
    assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    return answer(fd);
}

static void a_name_is_only_as_good_as_its_address(void **state)
{
    put_hosts(
        "127.0.0.1 good.test\n10.9.8.7 private.test\n169.254.169.254 meta.test\n::1 six.test\n::ffff:127.0.0.1 mapped.test\n127.0.0.2 near.test\n");
    assert_non_null(strstr(ask("good.test"), "200 Connection established"));
    assert_non_null(strstr(ask("private.test"), "403 egress.address"));
    assert_non_null(strstr(ask("meta.test"), "403 egress.address"));
    assert_non_null(strstr(ask("six.test"), "403 egress.address"));
    assert_non_null(strstr(ask("near.test"), "403 egress.address")); /* one address is named, not all of loopback */
    assert_null(strstr(ask("mapped.test"), "200"));
    assert_non_null(strstr(ask("nowhere.test"), "502"));
}

static void an_answer_that_changes_passes_no_check(void **state)
{
    put_hosts("127.0.0.1 changes.test\n");
    assert_non_null(strstr(ask("changes.test"), "200 Connection established"));
    put_hosts("10.9.8.7 changes.test\n");
    assert_non_null(strstr(ask("changes.test"), "403 egress.address"));
    put_hosts("127.0.0.1 changes.test\n10.9.8.7 changes.test\n"); /* of several, those that may be */
    assert_non_null(strstr(ask("changes.test"), "200 Connection established"));
}

static void what_an_admin_takes_away_ends_whatever_a_project_stored(void **state)
{
    put_hosts("127.0.0.1 good.test\n");
    size_t before = egress.host_count;
    egress.host_count = 0;
    assert_non_null(strstr(ask("good.test"), "403 egress.host: not among the hosts of the studio"));
    egress.host_count = before;
}

static void a_job_that_connects_too_often_waits_in_its_own_queue(void **state)
{
    const struct egress_door *door = egress.brokers->doors;
    const unsigned before = door->count; /* tunnels whose server has not ended */
    bool waited = false;
    put_hosts("127.0.0.1 good.test\n");
    /* Again where a second ended meanwhile, and so another began: then more get in, and rightly. */
    for (int tries = 0; !waited; tries++) {
        int fds[150];
        assert_in_range(tries, 0, 20);
        for (uint64_t began = cds_now_ms(); cds_now_ms() - began < 1100;)
            cds_loop_once(egress.loop, 20);
        const uint64_t began = cds_now_ms();
        for (size_t i = 0; i < CDS_ARRAY_LEN(fds); i++) {
            fds[i] = connect_to(door_port);
            cds_loop_once(egress.loop, 0);
        }
        for (int i = 0; i < 20; i++)
            cds_loop_once(egress.loop, 0);
        waited = cds_now_ms() - began < 1000;
        if (waited)
            assert_in_range(door->count, EGRESS_PER_SECOND / 2, EGRESS_PER_SECOND + before);
        UNTIL(door->count >= CDS_ARRAY_LEN(fds));
        assert_in_range(door->count, CDS_ARRAY_LEN(fds), CDS_ARRAY_LEN(fds) + before); /* and all are served */
        for (size_t i = 0; i < CDS_ARRAY_LEN(fds); i++)
            close(fds[i]);
        UNTIL(door->count <= before);
    }
}

static void when_the_broker_goes_all_of_it_goes(void **state)
{
    put_hosts("127.0.0.1 good.test\n");
    CDS_CLEANUP(cds_close_fd) int fd = connect_to(door_port);
    char text[200];
    snprintf(text, sizeof(text), "CONNECT good.test:%u HTTP/1.1\r\nHost: good.test:%u\r\n\r\n", port, port);
    assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    assert_non_null(strstr(answer(fd), "200"));
    assert_true(egress.connections > 0);
    cds_close_fd(&broker_fd);
    broker_fd = -1;
    UNTIL(!egress.brokers);
    assert_int_equal(egress.connections, 0);
    assert_int_equal(egress.door_count, 0);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
}

static void give_door(void)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    char text[400];
    int n = snprintf(text, sizeof(text), "{\"op\":\"open\",\"door\":1,\"project\":\"p\",\"request_id\":\"r\",\"rules\":[\"*.test:%u\"]}", port);
    struct iovec bytes = {text, (size_t)n};
    struct msghdr head = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &door_fd, sizeof(int));
    assert_int_equal(sendmsg(broker_fd, &head, 0), n);
}

static int setup(void **state)
{
    int pair[2];
    struct cds_err err;
    char text[64];
    server = listen_local(&port);
    door_fd = listen_local(&door_port);
    egress.per_job_max = 1024;
    egress.connections_max = 1024;
    snprintf(text, sizeof(text), "*.test:%u", port);
    if (cds_host_rules_parse(text, egress.hosts, &egress.host_count, &err) ||
        egress_ranges_parse("127.0.0.1/32", egress.ranges, &egress.range_count, &err) || cds_loop_new(&egress.loop, &err) ||
        cds_dialer_new(egress.loop, &egress.dialer, &err) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return -1;
    broker_fd = pair[0];
    egress_broker_add(&egress, pair[1]);
    give_door();
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; !egress.door_count && cds_ms_left(deadline_ms) > 0;)
        cds_loop_once(egress.loop, 10);
    return egress.door_count == 1 ? 0 : -1;
}

static int teardown(void **state)
{
    while (egress.brokers)
        egress_broker_free(egress.brokers);
    cds_dialer_free(&egress.dialer);
    cds_loop_free(&egress.loop);
    cds_close_fd(&server);
    cds_close_fd(&door_fd);
    cds_close_fd(&broker_fd);
    return 0;
}

static int no_mounts; /* why there are none */

static void left_out(void **state)
{
    print_message("SKIPPED: no mounts of our own here: %s\n", strerror(no_mounts));
    skip();
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_only_as_good_as_its_address),
        cmocka_unit_test(an_answer_that_changes_passes_no_check),
        cmocka_unit_test(what_an_admin_takes_away_ends_whatever_a_project_stored),
        cmocka_unit_test(a_job_that_connects_too_often_waits_in_its_own_queue),
        cmocka_unit_test(when_the_broker_goes_all_of_it_goes),
    };
    hosts_fd = mkostemp(hosts_path, O_CLOEXEC);
    if (hosts_fd < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount(hosts_path, "/etc/hosts", NULL, MS_BIND, NULL)) {
        no_mounts = errno;
        for (size_t i = 0; i < CDS_ARRAY_LEN(tests); i++)
            tests[i].test_func = left_out;
    }
    int failed = no_mounts ? RUN_ALL(tests) : cmocka_run_group_tests(tests, setup, teardown);
    unlink(hosts_path);
    return failed;
}
