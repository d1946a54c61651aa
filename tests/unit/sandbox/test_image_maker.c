/* The program that makes images, taken over: other scripts stand in its place, in its jail, with what it has, and try what it must not be able to do.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "sandbox/confine/jail.h"
#include "sandbox/image_maker.h"
#include "sandbox/image_store.h"
#include "tests/support/drain.h"
#include "tests/support/jail_rig.h"

enum { TREE_MAX = 8 << 20 };

struct scene {
    struct jail_rig rig; /* its project is the folder of work */
    struct cds_pool *pool;
    struct image_maker *maker;
    char script[64], source[64];
    int source_fd;
    bool done;
    cds_rc rc;
    struct cds_err err;
    struct image_facts facts;
};

static void run(const char *command)
{
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): our own words
}

static int open_scene(void **state)
{
    static const struct jail_rig_options options = {.key = "imagetest", .slots = 2};
    struct scene *s = calloc(1, sizeof(*s));
    *state = s;
    if (!s || jail_rig_open(&s->rig, &options) || cds_pool_new(s->rig.loop, 1, 8, &s->pool, NULL))
        return -1;
    snprintf(s->script, sizeof(s->script), "%s/make.py", s->rig.base);
    snprintf(s->source, sizeof(s->source), "%s/source", s->rig.base);
    if (mkdir(s->source, 0755))
        return -1;
    s->source_fd = open(s->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return image_maker_new(s->rig.host, s->pool, s->script, &s->maker, NULL);
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    char command[256];
    image_maker_free(&s->maker);
    jail_rig_wait_for_boxes(&s->rig);
    test_drain(s->rig.loop, s->pool); /* a look at the disk under way frees itself on the loop */
    cds_pool_free(&s->pool);
    close(s->source_fd);
    snprintf(command, sizeof(command), "rm -rf %s/project %s/source %s", s->rig.base, s->rig.base, s->script);
    run(command);
    jail_rig_close(&s->rig);
    free(s);
    return 0;
}

static void on_done(void *user, const struct image_facts *facts, const struct cds_err *err)
{
    struct scene *s = user;
    s->done = true;
    s->rc = err ? err->code : CDS_OK;
    if (err)
        s->err = *err;
    else
        s->facts = *facts;
}

static struct image_plan plan_of(const struct scene *s)
{
    return (struct image_plan){
        .source_fd = s->source_fd, .folder = true, .work_fd = s->rig.project, .bytes_max = TREE_MAX, .entries_max = 100, .wall_ms = 20000};
}

/* With this program in the place of make.py. */
static void make_with(struct scene *s, const char *script, const struct image_plan *plan)
{
    unlink(s->script);
    assert_int_equal(cds_write_file_atomic(s->script, script, strlen(script), 0644, NULL), CDS_OK);
    s->done = false;
    s->err = (struct cds_err){0};
    assert_int_equal(image_maker_start(s->maker, plan, on_done, s, &s->err), CDS_OK);
    assert_true(jail_rig_wait(&s->rig, &s->done));
}

static void it_sees_its_source_read_only_and_nothing_else_of_the_machine(void **state)
{
    static const char script[] = "import json, os, socket\n"
                                 "bad = []\n"
                                 "def no(what, f):\n"
                                 "    try: f(); bad.append(what)\n"
                                 "    except OSError: pass\n"
                                 "assert open('/opt/source/given').read() == 'given'\n"
                                 "no('write the source', lambda: open('/opt/source/given', 'w'))\n"
                                 "no('add to the source', lambda: open('/opt/source/new', 'w'))\n"
                                 "if not os.statvfs('/opt/source').f_flag & os.ST_RDONLY: bad.append('mount')\n"
                                 "no('shadow', lambda: open('/etc/shadow'))\n"
                                 "no('home', lambda: os.listdir('/home'))\n"
                                 "no('device', lambda: os.mknod('/work/null', 0o20666, os.makedev(1, 3)))\n"
                                 "no('network', lambda: socket.create_connection(('127.0.0.1', 22), 1))\n"
                                 "no('root', lambda: os.setuid(0))\n"
                                 "no('own it', lambda: os.chown('/work', 0, 0))\n"
                                 "open('/work/image', 'w').write('x')\n"
                                 "os.write(4, json.dumps({'rule': 'image.entry', 'message': ' '.join(bad) or 'none'}).encode())\n";
    struct scene *s = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/given", s->source);
    assert_int_equal(cds_write_file_atomic(path, "given", 5, 0644, NULL), CDS_OK);
    const struct cds_job_identity *who = &s->rig.host->who; /* its own, so that nothing but the mount keeps it from writing */
    assert_int_equal(who->change ? chown(path, who->uid, who->gid) | chown(s->source, who->uid, who->gid) : 0, 0);
    const struct image_plan plan = plan_of(s);
    make_with(s, script, &plan);
    assert_string_equal(s->err.message, "The image was not taken: none.");
    struct stat st;
    assert_int_equal(fstatat(s->rig.project, "image", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_uid, s->rig.host->who.uid);
}

static void one_large_file_ends_at_the_ceiling(void **state)
{
    static const char script[] = "f = open('/work/image', 'wb')\nwhile True: f.write(b'x' * 1048576)\n";
    struct scene *s = *state;
    struct image_plan plan = plan_of(s);
    struct stat st;
    make_with(s, script, &plan);
    assert_true(s->rc == CDS_SYSTEM || s->rc == CDS_EXHAUSTED);
    assert_int_equal(fstatat(s->rig.project, "image", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true((uint64_t)st.st_size <= TREE_MAX + TREE_MAX / 8 + (64ULL << 20));
}

static void many_files_end_at_the_watch_over_the_disk(void **state)
{
    static const char script[] =
        "import time\nfor i in range(100):\n    open(f'/work/{i}', 'wb').write(b'x' * (4 << 20)); time.sleep(0.02)\ntime.sleep(60)\n";
    struct scene *s = *state;
    const struct image_plan plan = plan_of(s);
    make_with(s, script, &plan);
    assert_int_equal(s->rc, CDS_EXHAUSTED);
    assert_string_equal(s->err.rule, "image.disk");
}

static void one_that_does_not_end_is_ended_with_all_it_started(void **state)
{
    static const char script[] = "import os, time\nif os.fork() == 0:\n    os.setsid()\ntime.sleep(600)\n";
    struct scene *s = *state;
    struct image_plan plan = plan_of(s);
    plan.wall_ms = 1000;
    make_with(s, script, &plan);
    assert_int_equal(s->rc, CDS_TIMED_OUT);
    assert_true(jail_rig_wait_for_boxes(&s->rig));
}

static void a_report_of_another_form_is_no_image(void **state)
{
    static const char *const scripts[] = {"", "import sys\nsys.exit(3)\n", "import os\nos.write(4, b'{\"languages\":[\"c\"]}')\n",
                                          "import os\nos.write(4, b'{' * 4096)\n",
                                          "import os\nos.write(4, b'{\"rule\":\"fs.quota\",\"message\":\"x\"}')\n"};
    struct scene *s = *state;
    const struct image_plan plan = plan_of(s);
    for (size_t i = 0; i < CDS_ARRAY_LEN(scripts); i++) {
        make_with(s, scripts[i], &plan);
        assert_int_equal(s->rc, CDS_SYSTEM);
    }
}

static void one_is_made_at_a_time_and_a_cancelled_one_says_so(void **state)
{
    static const char script[] = "import time\ntime.sleep(600)\n";
    struct scene *s = *state;
    struct cds_err err;
    const struct image_plan plan = plan_of(s);
    assert_int_equal(cds_write_file_atomic(s->script, script, strlen(script), 0644, NULL), CDS_OK);
    assert_int_equal(image_maker_start(s->maker, &plan, on_done, s, &err), CDS_OK);
    assert_int_equal(image_maker_start(s->maker, &plan, on_done, s, &err), CDS_BUSY);
    image_maker_cancel(s->maker);
    assert_true(jail_rig_wait(&s->rig, &s->done));
    assert_int_equal(s->rc, CDS_CANCELLED);
}

/* The name of the source leads somewhere else by the time it is bound: the jail does not show that. */
static void a_source_that_was_swapped_is_not_shown(void **state)
{
    struct scene *s = *state;
    const struct sandbox_host *host = s->rig.host;
    const struct cds_run_limits limits = {10000, 10000, 256 << 20, 4096, 16, 1 << 20, 0};
    static const char *const argv[] = {"/bin/true", NULL}, *const env[] = {NULL};
    struct cds_jail_report report = {.kind = 0};
    struct cds_err err;
    int low = open("/dev/null", O_RDWR | O_CLOEXEC), null = fcntl(low, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST), pidfd, out, go, status;
    int other = fcntl(s->source_fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    pid_t pid;
    const struct cds_jail_bind binds[] = {{.from = "/etc", .to = "source", .of = other}};
    const struct cds_jail_plan plan = {.who = &host->who,
                                       .limits = &limits,
                                       .base = host->root_dir,
                                       .project_fd = -1,
                                       .access = CDS_PROJECT_NONE,
                                       .binds = binds,
                                       .bind_count = 1,
                                       .argv = argv,
                                       .env = env,
                                       .stdin_fd = null,
                                       .stdout_fd = null,
                                       .stderr_fd = null,
                                       .said_fd = -1,
                                       .order_fd = -1,
                                       .start_fd = -1,
                                       .clone_cgroup_fd = -1};
    assert_int_equal(cds_jail_start(&plan, &pid, &pidfd, &out, &go, &err), CDS_OK);
    assert_int_equal(cds_jail_go(&host->who, pid, &go, &err), CDS_OK);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(read(out, &report, sizeof(report)), sizeof(report));
    assert_int_equal(report.kind, CDS_REPORT_FAILED);
    assert_int_equal(report.step, CDS_STEP_SYSTEM);
    assert_int_equal(report.sys_errno, ESTALE);
    const int all[] = {low, null, other, pidfd, out};
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++)
        close(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_sees_its_source_read_only_and_nothing_else_of_the_machine, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(one_large_file_ends_at_the_ceiling, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(many_files_end_at_the_watch_over_the_disk, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(one_that_does_not_end_is_ended_with_all_it_started, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_report_of_another_form_is_no_image, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(one_is_made_at_a_time_and_a_cancelled_one_says_so, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_source_that_was_swapped_is_not_shown, open_scene, close_scene),
    };
    return RUN_ALL(tests);
}
