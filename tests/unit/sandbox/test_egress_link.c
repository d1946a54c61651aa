/* The broker's side of the network of jobs: sockets are handed over with their rules, are closed ports while nobody is there to take them, and are
 * handed over again. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/metrics/metrics.h"
#include "sandbox/egress_link.h"
#include "tests/support/test.h"

enum { PATIENCE_TURNS = 6000 }; /* of 10 ms, where nothing happens */

static struct cds_loop *loop;
static struct egress_link *link_;
static char path[] = "/tmp/cds-test-egress-XXXXXX/egress.sock";
static int listen_fd = -1;

static const struct cds_job_network network = {"project-1", "request-1", "[\"a.org\"]"};

static void turn(uint64_t ms)
{
    for (uint64_t began = cds_now_ms(); cds_now_ms() - began < ms;)
        cds_loop_once(loop, 10);
}

/* In the place of cds-egress. */
static void egress_starts(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, sizeof(path));
    unlink(path);
    listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listen_fd, (const struct sockaddr *)&at, sizeof(at)) | listen(listen_fd, 4), 0);
}

static int egress_accepts(void)
{
    int fd = -1;
    for (int i = 0; i < PATIENCE_TURNS && fd < 0; i++) {
        cds_loop_once(loop, 10);
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    assert_true(fd >= 0);
    return fd;
}

/* One message; its descriptor, or -1. */
static int message(int from, char *text, size_t size)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec bytes = {text, size - 1};
    struct msghdr head = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n = -1;
    int fd = -1;
    for (int i = 0; i < PATIENCE_TURNS && n < 0; i++) {
        cds_loop_once(loop, 10);
        n = recvmsg(from, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    }
    assert_true(n >= 0);
    text[n] = '\0';
    const struct cmsghdr *rights = n ? CMSG_FIRSTHDR(&head) : NULL;
    if (rights)
        memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    return fd;
}

static int new_socket(struct sockaddr_in *at)
{
    const int yes = 1;
    socklen_t len = sizeof(*at);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(probe, (const struct sockaddr *)at, sizeof(*at)) | getsockname(probe, (struct sockaddr *)at, &len), 0);
    close(probe);
    /* By its number, as in a job: a port that was only given is given up when the socket stops. */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) | bind(fd, (const struct sockaddr *)at, sizeof(*at)) | listen(fd, 8),
                     0);
    return fd;
}

/* 0, or why. */
static int knock(const struct sockaddr_in *at)
{
    CDS_CLEANUP(cds_close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (const struct sockaddr *)at, sizeof(*at)) ? errno : 0;
}

static void a_socket_is_handed_over_with_its_rules_and_closed_at_the_end(void **state)
{
    struct sockaddr_in at;
    struct egress_door *door;
    char text[512];
    egress_starts();
    CDS_CLEANUP(cds_close_fd) int egress = egress_accepts();
    assert_int_equal(egress_door_new(link_, &network, &door, NULL), CDS_OK);
    egress_door_give(door, new_socket(&at));
    CDS_CLEANUP(cds_close_fd) int theirs = message(egress, text, sizeof(text));
    assert_true(theirs >= 0);
    assert_non_null(strstr(text, "\"op\":\"open\""));
    assert_non_null(strstr(text, "\"project\":\"project-1\""));
    assert_non_null(strstr(text, "\"request_id\":\"request-1\""));
    assert_non_null(strstr(text, "\"rules\":[\"a.org\"]"));
    assert_int_equal(knock(&at), 0);
    egress_door_close(&door);
    assert_null(door);
    assert_int_equal(message(egress, text, sizeof(text)), -1);
    assert_non_null(strstr(text, "\"op\":\"close\""));
    assert_int_equal(knock(&at), ECONNREFUSED); /* although the other side still holds its copy */
    int64_t before = cds_metric_get(CDS_M_EGRESS_CONNECTIONS, "refused");
    static const char note[] = "{\"verdict\":\"refused\",\"up_bytes\":5,\"down_bytes\":7}";
    assert_int_equal(send(egress, note, sizeof(note) - 1, 0), (ssize_t)sizeof(note) - 1);
    for (int i = 0; i < PATIENCE_TURNS && cds_metric_get(CDS_M_EGRESS_CONNECTIONS, "refused") == before; i++)
        cds_loop_once(loop, 10);
    assert_int_equal(cds_metric_get(CDS_M_EGRESS_CONNECTIONS, "refused"), before + 1);
    cds_close_fd(&listen_fd);
    listen_fd = -1;
}

static void while_nobody_is_there_the_port_is_closed_and_then_it_is_handed_over_again(void **state)
{
    struct sockaddr_in at;
    struct egress_door *door;
    char text[512];
    egress_starts();
    int egress = egress_accepts();
    assert_int_equal(egress_door_new(link_, &network, &door, NULL), CDS_OK);
    egress_door_give(door, new_socket(&at));
    int theirs = message(egress, text, sizeof(text));
    /* One that is being served, so that its port is in use while the socket listens again. */
    CDS_CLEANUP(cds_close_fd) int served = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(served, (const struct sockaddr *)&at, sizeof(at)), 0);
    int accepted = accept(theirs, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(theirs);
    close(egress);
    close(listen_fd);
    for (int i = 0; i < PATIENCE_TURNS && egress_link_up(link_); i++)
        cds_loop_once(loop, 10);
    assert_false(egress_link_up(link_));
    assert_int_equal(knock(&at), ECONNREFUSED);
    egress_starts();
    egress = egress_accepts();
    theirs = message(egress, text, sizeof(text));
    assert_true(theirs >= 0);
    assert_non_null(strstr(text, "\"op\":\"open\""));
    assert_int_equal(knock(&at), 0);
    egress_door_close(&door);
    close(theirs);
    close(egress);
    cds_close_fd(&listen_fd);
    listen_fd = -1;
    for (int i = 0; i < PATIENCE_TURNS && egress_link_up(link_); i++)
        cds_loop_once(loop, 10);
}

static void a_door_without_anybody_is_a_closed_port(void **state)
{
    struct sockaddr_in at;
    struct egress_door *door, *alone;
    turn(50);
    assert_int_equal(egress_door_new(link_, &network, &door, NULL), CDS_OK);
    egress_door_give(door, new_socket(&at));
    assert_int_equal(knock(&at), ECONNREFUSED);
    egress_door_close(&door);
    assert_int_equal(egress_door_new(NULL, &network, &alone, NULL), CDS_OK);
    egress_door_give(alone, new_socket(&at));
    assert_int_equal(knock(&at), ECONNREFUSED);
    egress_door_close(&alone);
    egress_door_close(&alone);
}

static int setup(void **state)
{
    struct cds_err err;
    path[strlen(path) - strlen("/egress.sock")] = '\0';
    if (!mkdtemp(path))
        return -1;
    path[strlen(path)] = '/';
    return cds_loop_new(&loop, &err) || egress_link_new(loop, path, &link_, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    egress_link_free(&link_);
    cds_loop_free(&loop);
    unlink(path);
    path[strlen(path) - strlen("/egress.sock")] = '\0';
    return rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_is_handed_over_with_its_rules_and_closed_at_the_end),
        cmocka_unit_test(while_nobody_is_there_the_port_is_closed_and_then_it_is_handed_over_again),
        cmocka_unit_test(a_door_without_anybody_is_a_closed_port),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
