/* apps/cyberdevstudio/client.c: `status` and `down`. */
#include "apps/cyberdevstudio/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "apps/cyberdevstudio/commands.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { ASK_MS = 5000, DOWN_EXTRA_MS = 5000, ANSWER_MAX_BYTES = 1 << 20 };

static cds_rc connect_to(const struct cds_config *config, int *ret_fd, struct cds_err *reterr)
{
    char path[PATH_MAX];
    const char *home = cds_config_home(config);
    cds_config_path(config, "run/supervisor.sock", path, sizeof(path));
    if (cds_unix_connect(path, ret_fd, NULL) == CDS_OK)
        return CDS_OK;
    if (access(path, F_OK) == 0 && access(path, R_OK | W_OK) != 0 && errno == EACCES) {
        cds_fail(reterr, CDS_DENIED, __func__, "The studio on %s belongs to another user.", home);
        cds_err_hint(reterr, "Run this command as the user who started it.");
        return CDS_DENIED;
    }
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "No studio runs on %s.", home);
    cds_err_hint(reterr, "Start it with \"cyberdevstudio up\", or name its data folder with --studio.home=FOLDER.");
    return CDS_NOT_FOUND;
}

/** Reads one line. @return CDS_OK, CDS_TIMED_OUT, CDS_UNAVAILABLE */
static cds_rc read_line(int fd, uint64_t deadline_ms, struct cds_buf *buf)
{
    while (!buf->data || !memchr(buf->data, '\n', buf->len)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int left = cds_ms_left(deadline_ms);
        if (left == 0)
            return CDS_TIMED_OUT;
        if (poll(&p, 1, left) <= 0)
            continue;
        char *room = cds_buf_reserve(buf, 4096);
        if (!room)
            return CDS_TOO_LARGE;
        ssize_t n = read(fd, room, 4096);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return CDS_UNAVAILABLE;
        cds_buf_commit(buf, (size_t)n);
    }
    return CDS_OK;
}

cds_rc cds_ask_supervisor(const struct cds_config *config, const char *line, uint64_t deadline_ms, int *ret_fd, cds_json **ret,
                          struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    cds_rc rc = connect_to(config, &fd, reterr);
    if (rc != CDS_OK)
        return rc;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(ANSWER_MAX_BYTES);
    rc = cds_write_all(fd, line, strlen(line), deadline_ms, reterr);
    if (rc == CDS_OK)
        rc = cds_write_all(fd, "\n", 1, deadline_ms, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = read_line(fd, deadline_ms, &text);
    if (rc != CDS_OK)
        return cds_fail(reterr, rc, __func__, "The supervisor did not answer; look at its process with \"ps\".");
    rc = cds_json_parse(text.data, (size_t)((char *)memchr(text.data, '\n', text.len) - text.data), ret, reterr);
    if (rc == CDS_OK && ret_fd)
        *ret_fd = cds_steal_fd(&fd);
    return rc;
}

/** The supervisor answered, so the number is its own still: a descriptor of it becomes readable when it has ended. */
static bool wait_for_end(pid_t pid, uint64_t deadline_ms)
{
    CDS_CLEANUP(cds_close_fd) int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno == ESRCH;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (cds_ms_left(deadline_ms) > 0)
        if (poll(&p, 1, cds_ms_left(deadline_ms)) > 0)
            return true;
    return false;
}

enum cds_exit cds_cmd_down(const struct cds_command *cmd)
{
    struct cds_err err = {0};
    CDS_JSON_AUTO answer = NULL;
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    if (!cds_no_more(cmd))
        return CDS_EXIT_USAGE;
    uint64_t begin_ms = cds_now_ms();
    cds_rc rc = cds_ask_supervisor(cmd->config, "down", begin_ms + ASK_MS, &fd, &answer, &err);
    if (rc != CDS_OK) {
        enum cds_exit code = cds_complain(stderr, &err);
        return rc == CDS_NOT_FOUND ? CDS_EXIT_NOT_RUNNING : code;
    }
    pid_t pid = (pid_t)cds_json_get_i64(answer, "stopping", 0);
    uint64_t deadline_ms = begin_ms + cds_config_u64(cmd->config, CDS_OPT_HTTP_DRAIN_MS) + DOWN_EXTRA_MS;
    if (!wait_for_end(pid, deadline_ms)) {
        fprintf(stderr, "cyberdevstudio: process %d is still stopping; its log tells why.\n", (int)pid);
        return CDS_EXIT_FAILED;
    }
    printf("stopped after %llu ms\n", (unsigned long long)(cds_now_ms() - begin_ms));
    return CDS_EXIT_OK;
}

static const char *age(int64_t ms, char *buf, size_t size)
{
    if (ms < 0)
        return "-";
    if (ms < 60000)
        snprintf(buf, size, "%.1f s", (double)ms / 1000);
    else if (ms < 3600000)
        snprintf(buf, size, "%lld min", (long long)(ms / 60000));
    else
        snprintf(buf, size, "%.1f h", (double)ms / 3600000);
    return buf;
}

static void print_part(const cds_json *part)
{
    char pid[24] = "-", port[24] = "-", up[32];
    int64_t number = cds_json_get_i64(part, "pid", 0);
    if (number > 0)
        snprintf(pid, sizeof(pid), "%lld", (long long)number);
    number = cds_json_get_i64(part, "port", 0);
    if (number > 0)
        snprintf(port, sizeof(port), "%lld", (long long)number);
    const char *message = cds_json_get_str(part, "message");
    printf("%-11s %8s  %-9s %9s %9lld %8.1f MB %6s  %s\n", cds_json_get_str(part, "name"), pid, cds_json_get_str(part, "state"),
           age(cds_json_get_i64(part, "uptime_ms", -1), up, sizeof(up)), (long long)cds_json_get_i64(part, "restarts", 0),
           (double)cds_json_get_i64(part, "rss_bytes", 0) / 1048576, port, message ? message : "");
}

enum cds_exit cds_cmd_status(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct cds_err err = {0};
    CDS_JSON_AUTO status = NULL;
    bool json = cds_take_switch(&rest, "--json");
    if (!cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    cds_rc rc = cds_ask_supervisor(cmd->config, "status", cds_now_ms() + ASK_MS, NULL, &status, &err);
    if (rc != CDS_OK) {
        enum cds_exit code = cds_complain(stderr, &err);
        return rc == CDS_NOT_FOUND ? CDS_EXIT_NOT_RUNNING : code;
    }
    if (json) {
        CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(status, NULL);
        puts(text ? text : "{}");
        return CDS_EXIT_OK;
    }
    printf("%s at %s, process %lld, data in %s\n\n%-11s %8s  %-9s %9s %9s %11s %6s\n", cds_json_get_str(status, "state"),
           cds_json_get_str(status, "url"), (long long)cds_json_get_i64(status, "pid", 0), cds_json_get_str(status, "home"), "part", "pid", "state",
           "up", "restarts", "memory", "port");
    const cds_json *parts = cds_json_get(status, "parts");
    for (size_t i = 0; i < cds_json_size(parts); i++)
        print_part(cds_json_at(parts, i));
    const cds_json *database = cds_json_get(status, "database");
    const char *pgml = cds_json_get_str(database, "pgml");
    printf("\ndatabase: PostgreSQL %s, %s%s%s\n", cds_json_get_str(database, "version"), pgml ? "pgml " : "no pgml", pgml ? pgml : "",
           !pgml                                                       ? ""
           : cds_json_true(cds_json_get(database, "pgml_used"), false) ? " (makes forecasts)"
                                                                       : " (not used: ml.pgml is 0)");
    return CDS_EXIT_OK;
}
