/* Sockets of a job's network in the hands of the broker: they lead into that job and nowhere else. In three ways, as in test_run_guards.c. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/confine/doors.h"
#include "sandbox/egress_link.h"
#include "sandbox/run.h"
#include "tests/support/test.h"

enum { OUT_MAX = 4096, WAIT_MS = 120000, PORT = 8000 };

static char base[] = "/tmp/cds-test-doors-XXXXXX";
static struct cds_loop *loop;
static struct sandbox_host *host;
static struct cds_engine *engine;
static int project = -1;

static const struct cds_job_network some_network = {"p", "r", "[]"};

struct fate {
    struct cds_job_result r;
    char text[OUT_MAX];
    bool ended;
};

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct fate *f = user;
    size_t at = strlen(f->text);
    assert_true(at + len < OUT_MAX);
    memcpy(f->text + at, data, len);
    f->text[at + len] = '\0';
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct fate *f = user;
    f->r = *r;
    f->ended = true;
}

static struct cds_job *start(const char *code, const struct cds_job_network *network, struct fate *f)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec spec = {.language = "python",
                                      .code = code,
                                      .code_len = strlen(code),
                                      .project_fd = project,
                                      .network = network,
                                      .limits = {60000, 50000, 256 << 20, 32768, 48, 64 << 20, 0}};
    struct cds_err err = {0};
    struct cds_job *job;
    *f = (struct fate){.ended = false};
    cds_rc rc = engine->ops->acquire(engine, &spec, &job, &err);
    if (!rc)
        rc = engine->ops->exec(job, &spec, &events, f, &err);
    if (rc)
        fail_msg("exec: %s %s", err.message, err.detail);
    return job;
}

static void turn_until(const struct fate *f, const char *text)
{
    for (uint64_t began = cds_now_ms(); !f->ended && !(text && strstr(f->text, text)) && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 10);
    if (text ? !strstr(f->text, text) : !f->ended)
        fail_msg("it said: %s %s", f->text, f->r.reason);
}

static void finish(struct cds_job *job, struct fate *f)
{
    engine->ops->kill(job, CDS_END_CANCELLED);
    turn_until(f, NULL);
}

/* 0, or why it cannot be reached. */
static int reach(int fd, int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int why = 0;
    socklen_t len = sizeof(why);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len), 0);
    return why;
}

static void make_free(int fd)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    assert_int_equal(connect(fd, &none, sizeof(none)), 0);
}

/* What the other side says, up to its end. */
static void read_all(int fd, char *text, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t at = 0;
    for (ssize_t n = 1; n > 0 && at < size - 1 && poll(&p, 1, WAIT_MS) > 0; at += n > 0 ? (size_t)n : 0)
        n = read(fd, text + at, size - 1 - at);
    text[at] = '\0';
}

static const char serve[] = "import socket\n"
                            "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', 8000)); s.listen()\n"
                            "print('ready')\n"
                            "while True:\n"
                            "  c, a = s.accept(); c.sendall(b'hello ' + c.recv(64)); c.close()\n";

static void a_server_of_the_job_is_reached_again_and_again(void **state)
{
    static struct fate f;
    char text[64];
    struct cds_job *job = start(serve, NULL, &f);
    turn_until(&f, "ready");
    struct cds_jail_doors *doors = engine->ops->doors(job);
    assert_non_null(doors);
    assert_int_equal(doors->preview_count, CDS_DOORS_PREVIEW);
    assert_int_equal(doors->egress, -1);
    for (int i = 0; i < 3 * CDS_DOORS_PREVIEW; i++) {
        int fd = doors->preview[i % CDS_DOORS_PREVIEW];
        assert_int_equal(reach(fd, PORT), 0);
        assert_int_equal(write(fd, "you", 3), 3);
        read_all(fd, text, sizeof(text));
        assert_string_equal(text, "hello you");
        make_free(fd);
    }
    assert_int_equal(reach(doors->preview[0], PORT + 1), ECONNREFUSED);
    finish(job, &f);
}

static void a_door_leads_into_its_own_job_only(void **state)
{
    static struct fate f, g;
    struct cds_job *job = start(serve, NULL, &f), *other = start("import time\nprint('there')\ntime.sleep(60)\n", NULL, &g);
    turn_until(&f, "ready");
    turn_until(&g, "there");
    struct cds_jail_doors *doors = engine->ops->doors(other);
    assert_non_null(doors);
    assert_int_equal(reach(doors->preview[0], PORT), ECONNREFUSED);
    const struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0xc0000201)};
    assert_int_equal(connect(doors->preview[1], (const struct sockaddr *)&out, sizeof(out)), -1);
    assert_int_equal(errno, ENETUNREACH);
    finish(job, &f);
    finish(other, &g);
}

static const char ask[] = "import socket\n"
                          "try:\n"
                          "  s = socket.create_connection(('127.0.0.1', 3128), 50); s.sendall(b'ask'); print('answer', s.recv(64).decode())\n"
                          "except OSError as e: print('errno', e.errno)\n";

static struct sockaddr_un egress_address(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/egress.sock", base);
    return at;
}

static int take_door(int from)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char text[512];
    struct iovec bytes = {text, sizeof(text)};
    struct msghdr head = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int fd = -1;
    ssize_t n = -1;
    for (uint64_t began = cds_now_ms(); n < 0 && cds_now_ms() - began < WAIT_MS;) {
        cds_loop_once(loop, 5);
        n = recvmsg(from, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    }
    const struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    assert_non_null(rights);
    if (rights)
        memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    return fd;
}

static void the_egress_door_is_there_when_asked_for_and_then_only(void **state)
{
    static struct fate f;
    start(ask, NULL, &f);
    turn_until(&f, NULL);
    assert_string_equal(f.text, "errno 111\n");

    /* Nobody takes it over: the port is closed again. */
    start(ask, &some_network, &f);
    turn_until(&f, NULL);
    assert_string_equal(f.text, "errno 111\n");

    /* In the place of cds-egress: the socket comes with the rules, and who accepts on it is who answers. */
    const struct sockaddr_un at = egress_address();
    CDS_CLEANUP(cds_close_fd) int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&at, sizeof(at)) | listen(listener, 1), 0);
    assert_int_equal(egress_link_new(loop, at.sun_path, &host->egress, NULL), CDS_OK);
    CDS_CLEANUP(cds_close_fd) int egress = accept(listener, NULL, NULL);
    struct cds_job *job = start(ask, &some_network, &f);
    CDS_CLEANUP(cds_close_fd) int door = take_door(egress);
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    for (uint64_t began = cds_now_ms(); fd < 0 && cds_now_ms() - began < WAIT_MS;) {
        cds_loop_once(loop, 5);
        fd = accept(door, NULL, NULL);
    }
    assert_true(fd >= 0);
    assert_int_equal(engine->ops->doors(job)->egress, -1); /* handed on */
    assert_int_equal(write(fd, "yes", 3), 3);
    shutdown(fd, SHUT_WR);
    turn_until(&f, NULL);
    assert_string_equal(f.text, "answer yes\n");
    egress_link_free(&host->egress);
    unlink(at.sun_path);
}

/* A jail is made ready some moments after the end of a box, by the loop: whatever takes long, it has its turns. */
static void settle(void)
{
    for (uint64_t began = cds_now_ms(); host->ending && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    for (uint64_t began = cds_now_ms(); cds_now_ms() - began < 300;)
        cds_loop_once(loop, 20);
    for (int i = 0; i < 3; i++)
        cds_loop_once(loop, 0);
}

static void a_ready_jail_has_the_door_its_next_run_needs(void **state)
{
    static struct fate f;
    for (int i = 0; i < 3; i++) {
        start("print(1)", &some_network, &f);
        turn_until(&f, NULL);
        settle();
    }
    assert_string_equal(f.r.origin, "pool");
    start(ask, NULL, &f); /* not that jail: in it something would listen */
    turn_until(&f, NULL);
    assert_string_equal(f.text, "errno 111\n");
}

static void the_job_holds_none_of_them_and_its_buffers_are_small(void **state)
{
    static struct fate f;
    start("import os, socket\n"
          "print(sum(1 for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n) and 'socket' in os.readlink('/proc/self/fd/' + "
          "n)))\n"
          "l = socket.create_server(('127.0.0.1', 0)); s = socket.create_connection(l.getsockname()); s.setblocking(False)\n"
          "n = 0\n"
          "try:\n"
          "  while True: n += s.send(b'x' * 65536)\n"
          "except BlockingIOError: print('small' if n < 1500000 else n)\n",
          &some_network, &f);
    turn_until(&f, NULL);
    assert_string_equal(f.text, "0\nsmall\n");
}

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void nothing_is_left_when_a_job_ends(void **state)
{
    static struct fate f;
    int before = 0;
    for (int i = 0; i < 6; i++) {
        start("print(1)", i % 2 ? &some_network : NULL, &f);
        turn_until(&f, NULL);
        settle();
        if (i == 3)
            before = count_descriptors(); /* two jails wait by now, and no more than two */
    }
    assert_int_equal(count_descriptors(), before);
}

static void a_child_that_is_gone_sends_none(void **state)
{
    struct cds_jail_doors doors = {.preview_count = 99};
    struct cds_err err;
    CDS_CLEANUP(cds_close_fd) int ours = -1;
    int theirs = -1;
    assert_int_equal(cds_doors_pair(&ours, &theirs, &err), CDS_OK);
    assert_int_equal(cds_doors_take(ours, &doors, &err), CDS_BUSY);
    close(theirs);
    assert_int_equal(cds_doors_take(ours, &doors, &err), CDS_SYSTEM);
    assert_int_equal(doors.preview_count, 99);
}

static int open_engine(bool force_userns, bool no_cgroup)
{
    char dir[300];
    struct cds_err err;
    snprintf(dir, sizeof(dir), "%s/jail", base);
    char key[17];
    snprintf(key, sizeof(key), "test%d", (int)getpid()); /* a key is for one process at a time, and the tests of another tree may run */
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 4, .no_cgroup = no_cgroup, .force_userns = force_userns};
    if (cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err) || cds_run_engine_new(host, 2, &engine, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return -1;
    }
    snprintf(dir, sizeof(dir), "%s/project", base);
    if (mkdir(dir, 0755) || (host->who.change && chown(dir, host->who.uid, host->who.gid)))
        return -1;
    project = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int usual_setup(void **state)
{
    return mkdtemp(base) && chmod(base, 0755) == 0 ? open_engine(false, false) : -1;
}
static int userns_setup(void **state)
{
    return open_engine(true, false);
}
static int rlimit_setup(void **state)
{
    return open_engine(false, true);
}

static int teardown(void **state)
{
    char line[300];
    close(project);
    engine->ops->close(engine);
    sandbox_host_close(&host);
    cds_loop_free(&loop);
    snprintf(line, sizeof(line), "rm -rf %s/*", base);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_of_the_job_is_reached_again_and_again),
        cmocka_unit_test(a_door_leads_into_its_own_job_only),
        cmocka_unit_test(the_egress_door_is_there_when_asked_for_and_then_only),
        cmocka_unit_test(a_ready_jail_has_the_door_its_next_run_needs),
        cmocka_unit_test(the_job_holds_none_of_them_and_its_buffers_are_small),
        cmocka_unit_test(nothing_is_left_when_a_job_ends),
        cmocka_unit_test(a_child_that_is_gone_sends_none),
    };
    int failed = cmocka_run_group_tests_name("usual", tests, usual_setup, teardown);
    failed += cmocka_run_group_tests_name("user namespace", tests, userns_setup, teardown);
    failed += cmocka_run_group_tests_name("rlimits", tests, rlimit_setup, teardown);
    rmdir(base);
    return failed;
}
