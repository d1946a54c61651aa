/* What a watch tells of a project, and what it must not miss or follow. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/fs_watch.h"
#include "tests/support/test.h"

#define LAST ".last" /* made after each command: what was told before it is all of it */

enum { PATIENCE_MS = 120000, QUIET_TURNS = 4 };

static char base[] = "/tmp/cds-test-watch-XXXXXX";
static struct cds_loop *loop;
static struct fs_watch *watch;
static struct cds_job_identity who;
static char told[65536];
static bool overflowed, all;
static int project;

static void on_changes(void *user, const struct fs_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (!strcmp(changes->list[i].path, LAST))
            all = true;
        else
            snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s %s%s\n", fs_change_name(changes->list[i].what), changes->list[i].path,
                     changes->list[i].folder ? "/" : "");
    overflowed = overflowed || changes->overflow;
}

static void shell(const char *command)
{
    char line[4096];
    snprintf(line, sizeof(line), "cd %s/p && %s", base, command);
    assert_int_equal(system(line), 0);
}

/* What is told of one command. */
static const char *after(const char *command)
{
    told[0] = '\0';
    overflowed = false;
    all = false;
    shell(command);
    shell("echo x >>" LAST); /* the kernel tells in order */
    for (uint64_t end = cds_now_ms() + PATIENCE_MS; !all && !overflowed && cds_now_ms() < end;)
        cds_loop_once(loop, 50);
    assert_true(all || overflowed);
    for (int i = 0; i < QUIET_TURNS; i++) /* nothing follows */
        cds_loop_once(loop, 50);
    return told;
}

static void a_new_file_is_created_once_and_a_later_write_changes_it(void **state)
{
    assert_string_equal(after("echo a >one; echo b >>one"), "created one\n");
    assert_string_equal(after("echo c >>one"), "changed one\n");
    assert_string_equal(after("rm one"), "deleted one\n");
}

static void what_is_made_in_a_new_folder_is_not_missed(void **state)
{
    after("mkdir -p d/e/f && echo x >d/e/f/deep && echo y >d/e/two");
    assert_non_null(strstr(told, "created d/\n"));
    assert_non_null(strstr(told, "created d/e/f/deep\n"));
    assert_non_null(strstr(told, "created d/e/two\n"));
    assert_non_null(strstr(after("echo z >>d/e/f/deep"), "changed d/e/f/deep\n"));
}

static void a_renamed_folder_is_told_under_its_new_name_only(void **state)
{
    after("mkdir -p old/in && echo x >old/in/file");
    after("mv old new");
    assert_non_null(strstr(told, "deleted old/\n"));
    assert_non_null(strstr(told, "created new/in/file\n"));
    assert_string_equal(after("echo y >>new/in/file"), "changed new/in/file\n");
}

static void a_link_to_a_folder_outside_is_not_followed(void **state)
{
    after("mkdir ../outside && ln -s ../outside out");
    assert_string_equal(after("echo x >../outside/secret"), "");
}

static void our_temporary_files_and_unnameable_names_are_not_told(void **state)
{
    assert_string_equal(after("echo x >.cds-tmp-0011223344556677; printf x >\"$(printf 'a\\nb')\""), "");
}

static void more_changes_than_a_bundle_holds_say_overflow(void **state)
{
    /* They are read in several turns: so many that a pause between two of them leaves too many for either bundle. */
    after("i=0; while [ $i -lt 2000 ]; do : >many$i; i=$((i+1)); done");
    assert_true(overflowed);
    assert_non_null(strstr(told, "created many0\n"));
}

static void a_hundred_starts_and_stops_leave_no_descriptor(void **state)
{
    struct cds_err err;
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), later;
    close(before);
    for (int i = 0; i < 100; i++) {
        struct fs_watch *one = NULL;
        assert_int_equal(fs_watch_start(loop, &who, project, on_changes, NULL, &one, &err), CDS_OK);
        fs_watch_stop(&one);
        assert_null(one);
    }
    cds_loop_once(loop, 0);
    later = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(later);
    assert_int_equal(later, before);
}

static int setup(void **state)
{
    char path[256];
    struct cds_err err;
    cds_job_identity_find(false, &who);
    snprintf(path, sizeof(path), "%s/p", mkdtemp(base));
    if (chmod(base, 0755) || mkdir(path, 0777) || chmod(path, 0777))
        return -1;
    project = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return cds_loop_new(&loop, &err) || fs_watch_start(loop, &who, project, on_changes, NULL, &watch, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    char line[300];
    fs_watch_stop(&watch);
    cds_loop_free(&loop);
    close(project);
    snprintf(line, sizeof(line), "rm -rf %s", base);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file_is_created_once_and_a_later_write_changes_it), cmocka_unit_test(what_is_made_in_a_new_folder_is_not_missed),
        cmocka_unit_test(a_renamed_folder_is_told_under_its_new_name_only),        cmocka_unit_test(a_link_to_a_folder_outside_is_not_followed),
        cmocka_unit_test(our_temporary_files_and_unnameable_names_are_not_told),   cmocka_unit_test(more_changes_than_a_bundle_holds_say_overflow),
        cmocka_unit_test(a_hundred_starts_and_stops_leave_no_descriptor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
