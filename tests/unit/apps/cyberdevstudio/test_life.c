/* Tests of apps/cyberdevstudio/life.c, stop.c and control.c: parts made of shell scripts, started and ended for real. */
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/commands.h"
#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/log/log.h"

enum { WAIT_MS = 120000 };

static char folder[64];
static struct cds_config *config;
static struct cds_supervisor sup;

static struct cds_part ended; /* as the part was when its end had been noticed and its next start planned; def NULL: none yet */
static bool hold;             /* that start waits, or it may come within the same turn of the loop: it is planned for a tenth of a second later */

static void on_child(void *user, int signo)
{
    cds_supervisor_reap(&sup);
    for (int i = 0; i < CDS_PART_COUNT; i++) {
        if (sup.parts[i].state != CDS_PART_WAITING)
            continue;
        ended = sup.parts[i];
        if (hold)
            cds_timer_set(ended.timer, UINT64_MAX);
    }
}

static int setup_with(const char *drain)
{
    char flag[96], path[512];
    struct cds_err err = {0};
    cds_log_init("test", CDS_LOG_ERROR);
    ended = (struct cds_part){.def = NULL};
    hold = false;
    strcpy(folder, "/tmp/cds-life-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(flag, sizeof(flag), "--studio.home=%s/home", folder);
    char *argv[] = {"test", flag, (char *)drain, NULL};
    int argc = 3;
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, &err), CDS_OK);
    cds_supervisor_init(&sup, &(struct cds_command){.config = config});
    sup.quiet = true;
    strcpy(sup.program_dir, folder);
    assert_int_equal(cds_home_make(config, &sup.home, &err), CDS_OK);
    snprintf(path, sizeof(path), "%s/run", sup.home.path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(cds_studiolog_open(folder, (gid_t)-1, 1 << 24, 3, &sup.log, &err), CDS_OK);
    assert_int_equal(cds_loop_new(&sup.loop, &err), CDS_OK);
    assert_int_equal(cds_loop_signal(sup.loop, SIGCHLD, on_child, NULL, &err), CDS_OK);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    sup.parts[CDS_PART_POSTGRES].state = CDS_PART_EXTERNAL;
    return 0;
}

/** Parts have next to no time to end in. */
static int setup(void **state)
{
    return setup_with("--http.drain_ms=0");
}

/** A minute, and so as long as they need. */
static int setup_patient(void **state)
{
    return setup_with("--http.drain_ms=60000");
}

static int teardown(void **state)
{
    char command[128];
    cds_supervisor_end(&sup);
    cds_supervisor_close(&sup);
    cds_config_free(&config);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

/** Makes the program of a part: a shell script. */
static struct cds_part *script(enum cds_part_id id, const char *lines)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, cds_part_defs[id].program);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", lines);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    return &sup.parts[id];
}

static void turn_until(struct cds_part *part, enum cds_part_state wanted)
{
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (part->state != wanted && cds_ms_left(deadline_ms) > 0)
        cds_loop_once(sup.loop, 50);
    assert_string_equal(cds_part_state_name(part->state), cds_part_state_name(wanted));
}

static void turn_until_ended(const struct cds_part *part)
{
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (ended.def != part->def) {
        assert_true(cds_ms_left(deadline_ms) > 0);
        cds_loop_once(sup.loop, 50);
    }
    assert_string_equal(cds_part_state_name(ended.state), cds_part_state_name(CDS_PART_WAITING));
}

static void start(struct cds_part *part)
{
    struct cds_err err = {0};
    assert_int_equal(cds_part_start(part, &err), CDS_OK);
    assert_int_equal(part->state, CDS_PART_STARTING);
}

#define SERVE "printf 'READY\\n' >&3; exec 3>&-; while :; do sleep 600 & wait $!; done"

static void part_becomes_ready_by_its_pipe(void **state)
{
    struct cds_part *part = script(CDS_PART_AUTH, SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    assert_true(part->pid > 0);
    assert_int_equal(part->restarts, 0);
}

static void part_that_fails_at_the_first_start_gives_its_sentence(void **state)
{
    struct cds_part *part = script(CDS_PART_AUTH, "printf 'FAILED The key cannot be read.\\n' >&3; exit 1");
    sup.starting = true;
    start(part);
    turn_until(part, CDS_PART_FAILED);
    assert_string_equal(part->failure, "The key cannot be read.");
    assert_int_equal(part->pid, 0);
}

static void part_that_ends_without_a_sentence_is_described_by_its_last_words(void **state)
{
    struct cds_part *part = script(CDS_PART_AUTH, "echo 'no such library' >&2; exit 7");
    sup.starting = true;
    start(part);
    turn_until(part, CDS_PART_FAILED);
    assert_string_equal(part->failure, "It ended with exit code 7, its last words were \"no such library\".");
}

static void part_that_only_claims_to_be_ready_and_dies_counts_as_failed(void **state)
{
    struct cds_part *part = script(CDS_PART_AUTH, "printf 'READ' >&3; exit 0");
    sup.starting = true;
    start(part);
    turn_until(part, CDS_PART_FAILED);
    assert_string_equal(part->failure, "It ended with exit code 0.");
}

static void missing_program_is_an_error_of_the_start(void **state)
{
    struct cds_err err = {0};
    struct cds_part *part = &sup.parts[CDS_PART_AUTH];
    assert_int_equal(cds_part_start(part, &err), CDS_NOT_FOUND);
    assert_int_equal(part->state, CDS_PART_OFF);
    assert_null(part->output);
}

static void killed_part_is_started_again_after_a_pause(void **state)
{
    struct cds_part *part = script(CDS_PART_AUTH, SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    pid_t first = part->pid;
    kill(first, SIGKILL);
    turn_until_ended(part);
    assert_string_equal(ended.failure, "Signal 9 (Killed) ended it.");
    assert_int_equal(ended.backoff_ms, CDS_BACKOFF_FIRST_MS);
    turn_until(part, CDS_PART_READY);
    assert_int_not_equal(part->pid, first);
    assert_int_equal(part->restarts, 1);
    assert_string_equal(part->failure, "");
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static void crash_takes_the_processes_of_the_part_with_it(void **state)
{
    char path[128];
    struct cds_part *part = script(
        CDS_PART_LLMSERVER, "setsid sh -c 'echo $$ >\"$0.pid\"; exec sleep 600' \"$0\" & until [ -s \"$0.pid\" ]; do sleep 0.01; done; " SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(64);
    snprintf(path, sizeof(path), "%s/cds-llmserver.pid", folder);
    assert_int_equal(cds_read_file(path, &text, NULL), CDS_OK);
    pid_t worker = (pid_t)atoi(text.data);
    assert_int_equal(kill(worker, 0), 0);
    kill(part->pid, SIGKILL);
    turn_until_ended(part);
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (!is_gone(worker) && cds_ms_left(deadline_ms) > 0)
        cds_loop_once(sup.loop, 20);
    assert_true(is_gone(worker));
}

static void stop_ends_the_gateway_before_what_works_for_it(void **state)
{
    char path[128];
    static const char serve[] = "trap 'echo ${0##*/} >>\"${0%/*}/order\"; exit 0' TERM; " SERVE;
    struct cds_part *api = script(CDS_PART_API, serve), *auth = script(CDS_PART_AUTH, serve);
    start(auth);
    start(api);
    turn_until(auth, CDS_PART_READY);
    turn_until(api, CDS_PART_READY);
    cds_supervisor_end(&sup);
    assert_true(sup.stopped);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(256);
    snprintf(path, sizeof(path), "%s/order", folder);
    assert_int_equal(cds_read_file(path, &text, NULL), CDS_OK);
    assert_string_equal(text.data, "cds-api\ncds-auth\n");
}

static void stop_kills_a_part_that_ignores_it(void **state)
{
    struct cds_part *part = script(CDS_PART_UI, "trap '' TERM; " SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    pid_t pid = part->pid;
    cds_supervisor_end(&sup);
    assert_true(sup.stopped);
    assert_true(is_gone(pid));
}

static void stop_drops_a_planned_restart(void **state)
{
    struct cds_part *part = script(CDS_PART_UI, SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    hold = true;
    kill(part->pid, SIGKILL);
    turn_until_ended(part);
    cds_timer_set(part->timer, cds_now_ms()); /* it would come at once */
    cds_supervisor_end(&sup);
    assert_true(sup.stopped);
    assert_int_equal(part->state, CDS_PART_OFF);
    assert_int_equal(part->pid, 0);
}

static void status_tells_state_and_memory_of_each_part(void **state)
{
    struct cds_part *part = script(CDS_PART_API, SERVE);
    start(part);
    turn_until(part, CDS_PART_READY);
    CDS_JSON_AUTO status = cds_status_json(&sup);
    const cds_json *parts = cds_json_get(status, "parts");
    assert_int_equal(cds_json_size(parts), CDS_PART_COUNT);
    const cds_json *api = cds_json_at(parts, CDS_PART_API), *ui = cds_json_at(parts, CDS_PART_UI);
    assert_string_equal(cds_json_get_str(api, "state"), "ready");
    assert_int_equal(cds_json_get_i64(api, "pid", 0), part->pid);
    assert_true(cds_json_get_i64(api, "rss_bytes", 0) > 0);
    assert_string_equal(cds_json_get_str(ui, "state"), "off");
    assert_true(cds_json_is(cds_json_get(ui, "pid"), CDS_JSON_NULL));
}

/** Sends a line to the control socket and returns the answer's first bytes. */
static void ask(const char *line, char *answer, size_t size)
{
    char path[512];
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct cds_err err = {0};
    snprintf(path, sizeof(path), "%s/run/supervisor.sock", sup.home.path);
    assert_int_equal(cds_unix_connect(path, &fd, &err), CDS_OK);
    assert_int_equal(cds_write_all(fd, line, strlen(line), cds_now_ms() + WAIT_MS, &err), CDS_OK);
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    ssize_t n = -1;
    while (n < 0 && cds_ms_left(deadline_ms) > 0) {
        cds_loop_once(sup.loop, 10);
        n = read(fd, answer, size - 1);
    }
    answer[n > 0 ? n : 0] = '\0';
}

static void control_socket_answers_its_two_lines_and_refuses_others(void **state)
{
    char answer[8192];
    struct cds_err err = {0};
    assert_int_equal(cds_control_listen(&sup, &err), CDS_OK);
    ask("status\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "\"parts\""));
    ask("reboot\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "\"error\""));
    assert_false(sup.stopping);
    ask("down\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "\"stopping\""));
    assert_true(sup.stopping);
}

static void control_socket_closes_a_line_without_end(void **state)
{
    char answer[64] = "x";
    struct cds_err err = {0};
    assert_int_equal(cds_control_listen(&sup, &err), CDS_OK);
    ask("0123456789012345678901234567890123456789", answer, sizeof(answer));
    assert_string_equal(answer, "");
    assert_false(sup.stopping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(part_becomes_ready_by_its_pipe, setup, teardown),
        cmocka_unit_test_setup_teardown(part_that_fails_at_the_first_start_gives_its_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(part_that_ends_without_a_sentence_is_described_by_its_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(part_that_only_claims_to_be_ready_and_dies_counts_as_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_program_is_an_error_of_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_part_is_started_again_after_a_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(crash_takes_the_processes_of_the_part_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_ends_the_gateway_before_what_works_for_it, setup_patient, teardown),
        cmocka_unit_test_setup_teardown(stop_kills_a_part_that_ignores_it, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_drops_a_planned_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(status_tells_state_and_memory_of_each_part, setup, teardown),
        cmocka_unit_test_setup_teardown(control_socket_answers_its_two_lines_and_refuses_others, setup, teardown),
        cmocka_unit_test_setup_teardown(control_socket_closes_a_line_without_end, setup, teardown),
    };
    return RUN_ALL(tests);
}
