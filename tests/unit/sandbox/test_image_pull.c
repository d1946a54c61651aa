/* Fetching from a registry: the words msb gets, and what becomes of what it does. A program of the test stands in msb's place; the real one is tried
 * as far as a machine without a registry goes, which is a refusal with its own words. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "sandbox/image_pull.h"
#include "tests/support/drain.h"
#include "tests/support/jail_rig.h"

struct scene {
    struct jail_rig rig; /* its project is the folder of work */
    struct image_pull *pull;
    struct cds_pool *pool;
    char program[512];
    bool done;
    cds_rc rc;
    struct cds_err err;
};

static int open_scene(void **state)
{
    static const struct jail_rig_options options = {.key = "pulltest", .slots = 1};
    struct scene *s = calloc(1, sizeof(*s));
    *state = s;
    if (!s || jail_rig_open(&s->rig, &options) || cds_pool_new(s->rig.loop, 1, 8, &s->pool, NULL))
        return -1;
    snprintf(s->program, sizeof(s->program), "%s/msb", s->rig.base);
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    char command[700];
    image_pull_free(&s->pull);
    test_drain(s->rig.loop, s->pool); /* a look at the disk under way frees itself on the loop */
    cds_pool_free(&s->pool);
    snprintf(command, sizeof(command), "rm -rf %s/project %s", s->rig.base, s->program);
    int bad = system(command); // NOLINT(cert-env33-c): our own words
    jail_rig_close(&s->rig);
    free(s);
    return bad;
}

static void on_done(void *user, const struct cds_err *err)
{
    struct scene *s = user;
    s->pull = NULL;
    s->done = true;
    s->rc = err ? err->code : CDS_OK;
    if (err)
        s->err = *err;
}

static void start(struct scene *s, const char *script, uint64_t bytes_max, uint32_t wall_ms)
{
    const struct image_pull_plan plan = {
        .msb = s->program, .reference = "debian:12", .work_fd = s->rig.project, .bytes_max = bytes_max, .pool = s->pool, .wall_ms = wall_ms};
    if (script)
        assert_int_equal(cds_write_file_atomic(s->program, script, strlen(script), 0755, NULL), CDS_OK);
    assert_int_equal(image_pull_start(s->rig.host, &plan, on_done, s, &s->pull, &s->err), CDS_OK);
}

static void read_of(const struct scene *s, const char *name, char *ret, size_t size)
{
    int fd = openat(s->rig.project, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);
    ret[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static void msb_gets_words_and_no_shell_sees_them(void **state)
{
    const struct image_pull_plan plan = {.msb = "/x/msb", .reference = "debian:12"};
    static const char *const wanted[2][IMAGE_PULL_ARGS] = {{"/x/msb", "pull", "--quiet", "debian:12"},
                                                           {"/x/msb", "save", "--quiet", "--output", "archive.tar", "debian:12"}};
    const char *argv[IMAGE_PULL_ARGS];
    for (int step = 0; step < 2; step++) {
        image_pull_command(&plan, step, argv);
        size_t i = 0;
        for (; wanted[step][i]; i++)
            assert_string_equal(argv[i], wanted[step][i]);
        assert_null(argv[i]);
    }
}

static void what_msb_saves_is_the_archive(void **state)
{
    static const char script[] =
        "#!/bin/sh\n"
        "case $1 in\n"
        "pull) mkdir \"$MSB_HOME\" && echo \"$3\" >\"$MSB_HOME/store\" ;;\n"
        "save) { cat \"$MSB_HOME/store\"; id -u; env | sort | cut -d= -f1 | tr '\\n' ' '; ls /proc/self/fd | wc -l; } >\"$4\" ;;\n"
        "esac\n";
    struct scene *s = *state;
    char text[512], wanted[64];
    struct stat st;
    start(s, script, 1 << 20, 20000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_OK);
    read_of(s, IMAGE_PULL_ARCHIVE, text, sizeof(text));
    snprintf(wanted, sizeof(wanted), "debian:12\n%u\n", (unsigned)s->rig.host->who.uid);
    assert_memory_equal(text, wanted, strlen(wanted));
    assert_non_null(strstr(text, "HOME LANG MSB_HOME PATH PWD ")); /* nothing of the broker's environment */
    assert_int_equal(fstatat(s->rig.project, IMAGE_PULL_ARCHIVE, &st, 0), 0);
    assert_int_equal(st.st_uid, s->rig.host->who.uid);
}

static void its_own_words_are_the_reason(void **state)
{
    struct scene *s = *state;
    start(s, "#!/bin/sh\necho 'warning: x'; echo 'error: no such image' >&2\nexit 1\n", 1 << 20, 20000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_UNAVAILABLE);
    assert_string_equal(s->err.message, "msb could not fetch the image: no such image");
    s->done = false;
    start(s, "#!/bin/sh\n[ $1 = pull ] || { echo 'error: no room' >&2; exit 1; }\n", 1 << 20, 20000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_string_equal(s->err.message, "msb could not save the image: no room");
}

static void too_large_too_late_and_cancelled_are_ends_of_their_own(void **state)
{
    struct scene *s = *state;
    struct stat st = {.st_size = 0};
    start(s, "#!/bin/sh\n[ $1 = pull ] || head -c 4000000 /dev/zero >$4\n", 1 << 20, 20000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_UNAVAILABLE);
    assert_int_equal(fstatat(s->rig.project, IMAGE_PULL_ARCHIVE, &st, 0), 0);
    assert_true(st.st_size <= 1 << 20);
    s->done = false;
    start(s, "#!/bin/sh\nsleep 600 & wait\n", 1 << 20, 300);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_TIMED_OUT);
    s->done = false;
    start(s, "#!/bin/sh\nsleep 600 & wait\n", 1 << 20, 60000);
    image_pull_cancel(s->pull);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_CANCELLED);
}

/* Each file is below the ceiling of files. */
static void what_it_fetches_is_bounded_as_a_whole_too(void **state)
{
    struct scene *s = *state;
    start(s, "#!/bin/sh\ni=0; while [ $i -lt 600 ]; do head -c 500000 /dev/zero >layer$i; i=$((i+1)); sleep 0.02; done; sleep 600\n", 1 << 20, 60000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_EXHAUSTED);
    assert_string_equal(s->err.rule, "image.disk");
    assert_non_null(strstr(s->err.message, "more than the 4 MiB it may"));
}

/* In the groups of the host; without them only those that stay in its session. */
static void nothing_that_it_started_lives_on_also_what_left_its_session(void **state)
{
    struct scene *s = *state;
    if (cds_cgroups_kind(s->rig.host->cgroups) == CDS_CGROUP_NONE)
        skip();
    start(s,
          "#!/bin/sh\nsetsid -f sh -c 'while :; do echo x >>alive; sleep 0.02; done' >/dev/null 2>&1\n"
          "while ! [ -s alive ]; do sleep 0.02; done\nexit 1\n",
          1 << 20, 60000);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_UNAVAILABLE);
    struct stat one, later;
    assert_int_equal(fstatat(s->rig.project, "alive", &one, 0), 0);
    usleep(300000);
    assert_int_equal(fstatat(s->rig.project, "alive", &later, 0), 0);
    assert_int_equal(later.st_size, one.st_size);
}

static void the_real_msb_is_asked_and_says_why_not(void **state)
{
    struct scene *s = *state;
    struct stat st;
    snprintf(s->program, sizeof(s->program), "%s/share/micro/msb/bin/msb", CDS_BINARY_DIR);
    if (strlen(s->program) + 1 >= sizeof(s->program) || access(s->program, X_OK)) {
        snprintf(s->program, sizeof(s->program), "%s/msb", s->rig.base);
        print_message("msb is not here (make micro fetches it): its words could not be heard\n");
        skip();
    }
    const struct image_pull_plan plan = {
        .msb = s->program, .reference = "localhost:1/none:none", .work_fd = s->rig.project, .bytes_max = 1 << 30, .pool = s->pool, .wall_ms = 30000};
    assert_int_equal(image_pull_start(s->rig.host, &plan, on_done, s, &s->pull, &s->err), CDS_OK);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    snprintf(s->program, sizeof(s->program), "%s/msb", s->rig.base);
    assert_int_equal(s->rc, CDS_UNAVAILABLE);
    print_message("the real msb: %s\n", s->err.message);
    assert_true(strlen(s->err.message) > strlen("msb could not fetch the image: "));
    assert_int_not_equal(fstatat(s->rig.project, IMAGE_PULL_ARCHIVE, &st, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msb_gets_words_and_no_shell_sees_them),
        cmocka_unit_test_setup_teardown(what_msb_saves_is_the_archive, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(its_own_words_are_the_reason, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(too_large_too_late_and_cancelled_are_ends_of_their_own, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(what_it_fetches_is_bounded_as_a_whole_too, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(nothing_that_it_started_lives_on_also_what_left_its_session, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(the_real_msb_is_asked_and_says_why_not, open_scene, close_scene),
    };
    return RUN_ALL(tests);
}
