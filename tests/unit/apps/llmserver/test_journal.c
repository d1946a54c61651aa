/* The file of settlements that wait: what is in it after a kill, what cannot be read, when it is full, when it waits for the disk. */
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/llmserver/journal.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "tests/support/own_clock.h"

enum { PLACES = 4, BYTES = PLACES * CDS_JOURNAL_PLACE };

/* The disk is slow where it matters; here it is counted. */
static int syncs;
int fdatasync(int fd)
{
    return syncs++ < 0 ? fd : 0;
}

static char dir[] = "/tmp/cds-journal-XXXXXX", path[64];
static struct cds_loop *loop;
static struct cds_journal *journal;
static int found_count, found_place;
static struct cds_journal_entry last;

static void on_found(void *user, const struct cds_journal_entry *entry, int place)
{
    found_count++;
    found_place = place;
    last = *entry;
}

static cds_rc open_it(struct cds_journal **ret, struct cds_err *reterr)
{
    const struct cds_journal_options options = {.loop = loop, .path = path, .places = PLACES, .found = on_found};
    found_count = 0;
    return cds_journal_open(&options, ret, reterr);
}
static void reopen(void)
{
    cds_journal_close(&journal);
    assert_int_equal(open_it(&journal, NULL), CDS_OK);
}

static int made(void **state)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/j", dir);
    assert_int_equal(cds_loop_new(&loop, NULL), CDS_OK);
    assert_int_equal(open_it(&journal, NULL), CDS_OK);
    assert_int_equal(found_count, 0);
    syncs = 0;
    return 0;
}

/** The only other file of the folder; "" when there is none. */
static const char *kept_aside(void)
{
    static char name[sizeof(dir) + 256];
    DIR *entries = opendir(dir);
    *name = '\0';
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strstr(entry->d_name, ".damaged-"))
            snprintf(name, sizeof(name), "%s/%s", dir, entry->d_name);
    closedir(entries);
    return name;
}

static int gone(void **state)
{
    cds_journal_close(&journal);
    cds_loop_free(&loop);
    unlink(path);
    if (*kept_aside())
        unlink(kept_aside());
    return rmdir(dir);
}

static struct cds_journal_entry entry(unsigned number)
{
    struct cds_journal_entry e = {.node = "22222222-2222-4222-8222-222222222222",
                                  .user_id = "11111111-1111-4111-8111-111111111111",
                                  .model = "m",
                                  .admitted = "2026-11-26T10:49:51.123Z",
                                  .used = {10, 4, number},
                                  .outcome = "stop"};
    snprintf(e.request_id, sizeof(e.request_id), "00000000-0000-4000-8000-%012u", number);
    return e;
}
static int put(unsigned number)
{
    struct cds_journal_entry e = entry(number);
    return cds_journal_put(journal, CDS_JOURNAL_NO_PLACE, &e);
}
static off_t size_of_file(void)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}
/** Changes a byte of the closed file, or writes behind its end. */
static void write_byte(off_t at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, at), 1);
    close(fd);
}

static void settlement_is_there_when_its_process_was_killed(void **state)
{
    int status;
    cds_journal_close(&journal);
    pid_t child = fork();
    if (child == 0) {
        if (open_it(&journal, NULL) == CDS_OK && put(1) >= 0 && put(2) >= 0)
            cds_journal_drop(journal, put(3));
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(open_it(&journal, NULL), CDS_OK);
    assert_int_equal(found_count, 2);
    assert_true(last.used.completion_tokens == 1 || last.used.completion_tokens == 2);
}

static void settlement_stays_until_it_is_dropped_however_often_it_is_opened(void **state)
{
    put(1);
    for (int i = 0; i < 3; i++) {
        reopen();
        assert_int_equal(found_count, 1);
        assert_string_equal(last.request_id, entry(1).request_id);
        assert_int_equal(last.used.completion_tokens, 1);
    }
    cds_journal_drop(journal, found_place);
    reopen();
    assert_int_equal(found_count, 0);
}

static void places_are_used_again_and_the_file_keeps_its_length(void **state)
{
    assert_int_equal(size_of_file(), BYTES);
    for (unsigned i = 0; i < 1000; i++) {
        int place = put(i);
        assert_in_range(place, 0, PLACES - 1);
        cds_journal_drop(journal, place);
    }
    assert_int_equal(size_of_file(), BYTES);
}

static void settlement_is_written_over_where_it_stands(void **state)
{
    struct cds_journal_entry e = entry(2);
    int place = put(1);
    assert_int_equal(cds_journal_put(journal, place, &e), place);
    reopen();
    assert_int_equal(found_count, 1);
    assert_int_equal(last.used.completion_tokens, 2);
}

static void journal_that_is_full_has_no_room_until_what_it_could_not_take_is_booked(void **state)
{
    struct cds_err err = {0};
    for (unsigned i = 0; i < PLACES; i++)
        assert_true(put(i) >= 0);
    assert_int_equal(cds_journal_room(journal, PLACES - 1, NULL), CDS_OK);
    assert_int_equal(put(9), CDS_JOURNAL_NO_PLACE);
    assert_int_equal(cds_journal_room(journal, 0, &err), CDS_BUSY);
    assert_string_equal(err.rule, "ledger.journal");
    assert_true(err.retry_after_ms > 0 && *err.hint);
    cds_journal_drop(journal, 0);
    assert_int_equal(cds_journal_room(journal, 0, NULL), CDS_BUSY); /* that one is in memory only, still */
    cds_journal_drop(journal, CDS_JOURNAL_NO_PLACE);
    assert_int_equal(cds_journal_room(journal, 0, NULL), CDS_OK);
}

static void journal_has_room_for_as_many_open_requests_as_places(void **state)
{
    assert_int_equal(cds_journal_room(journal, PLACES - 1, NULL), CDS_OK);
    assert_int_equal(cds_journal_room(journal, PLACES, NULL), CDS_BUSY);
    assert_int_equal(cds_journal_room(NULL, UINT32_MAX, NULL), CDS_OK);
}

static void settlement_that_the_disk_refuses_takes_no_place(void **state)
{
    const struct rlimit small = {CDS_JOURNAL_PLACE, RLIM_INFINITY};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int first = put(1), second = put(2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(first, 0);
    assert_int_equal(second, CDS_JOURNAL_NO_PLACE);
    assert_int_equal(cds_journal_room(journal, 0, NULL), CDS_BUSY);
    cds_journal_drop(journal, second);
    assert_true(put(3) > 0);
}

static void damaged_place_is_kept_aside_and_the_others_are_read(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf before = cds_buf_init(BYTES + 1), aside = cds_buf_init(BYTES + 1);
    put(1);
    int bad = put(2);
    put(3);
    cds_journal_close(&journal);
    write_byte(bad * CDS_JOURNAL_PLACE + 300);
    assert_int_equal(cds_read_file(path, &before, NULL), CDS_OK);
    reopen();
    assert_int_equal(found_count, 2);
    assert_int_equal(cds_read_file(kept_aside(), &aside, NULL), CDS_OK);
    assert_int_equal(aside.len, before.len);
    assert_memory_equal(aside.data, before.data, before.len);
    unlink(kept_aside());
    reopen(); /* said and kept once */
    assert_int_equal(found_count, 2);
    assert_string_equal(kept_aside(), "");
    assert_int_equal(cds_journal_room(journal, 1, NULL), CDS_OK);
}

static void end_that_is_not_a_whole_place_is_cut(void **state)
{
    put(1);
    cds_journal_close(&journal);
    write_byte(BYTES + 100);
    reopen();
    assert_int_equal(found_count, 1);
    assert_string_equal(kept_aside(), "");
    assert_int_equal(size_of_file(), BYTES + CDS_JOURNAL_PLACE); /* filled up */
    assert_int_equal(truncate(path, BYTES - 100), 0);
    reopen();
    assert_int_equal(found_count, 1);
    assert_int_equal(size_of_file(), BYTES);
}

static void longer_file_keeps_its_places(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf bytes = cds_buf_init(BYTES + 1);
    put(1);
    cds_journal_close(&journal);
    assert_int_equal(cds_read_file(path, &bytes, NULL), CDS_OK);
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    close(fd);
    reopen();
    assert_int_equal(found_count, 2);
    assert_int_equal(cds_journal_room(journal, 2 * PLACES - 1, NULL), CDS_OK);
}

static void file_that_is_none_of_ours_is_refused_and_left_as_it_is(void **state)
{
    struct cds_err err = {0};
    cds_journal_close(&journal);
    assert_int_equal(truncate(path, (off_t)64 << 20), 0);
    assert_int_equal(open_it(&journal, &err), CDS_CONFLICT);
    assert_true(*err.hint);
    assert_int_equal(size_of_file(), (off_t)64 << 20);
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(open_it(&journal, &err), CDS_SYSTEM);
}

static void second_process_does_not_get_it(void **state)
{
    struct cds_journal *second = NULL;
    struct cds_err err = {0};
    put(1);
    assert_int_equal(open_it(&second, &err), CDS_CONFLICT);
    assert_null(second);
    assert_true(strstr(err.message, path) && *err.hint);
}

static void nobody_else_may_read_it(void **state)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void wait_for_syncs(int count)
{
    for (int i = 0; i < 2000 && syncs < count; i++) {
        cds_loop_once(loop, 0);
        usleep(1000);
    }
    assert_int_equal(syncs, count);
}

static void many_that_wait_are_synced_in_one_go_and_those_that_do_not_never(void **state)
{
    cds_journal_drop(journal, put(1));
    own_clock_pass(loop, UINT64_C(2) * CDS_JOURNAL_SYNC_MS);
    assert_int_equal(syncs, 0);
    for (unsigned i = 0; i < PLACES - 1; i++)
        put(i);
    own_clock_pass(loop, CDS_JOURNAL_SYNC_MS - 20);
    assert_int_equal(syncs, 0);
    own_clock_pass(loop, 40);
    wait_for_syncs(1);
    own_clock_pass(loop, UINT64_C(3) * CDS_JOURNAL_SYNC_MS);
    assert_int_equal(syncs, 1); /* nothing was written since */
    put(9);
    own_clock_pass(loop, CDS_JOURNAL_SYNC_MS + 20);
    wait_for_syncs(2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, made, gone)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(settlement_is_there_when_its_process_was_killed),
        T(settlement_stays_until_it_is_dropped_however_often_it_is_opened),
        T(places_are_used_again_and_the_file_keeps_its_length),
        T(settlement_is_written_over_where_it_stands),
        T(journal_that_is_full_has_no_room_until_what_it_could_not_take_is_booked),
        T(journal_has_room_for_as_many_open_requests_as_places),
        T(settlement_that_the_disk_refuses_takes_no_place),
        T(damaged_place_is_kept_aside_and_the_others_are_read),
        T(end_that_is_not_a_whole_place_is_cut),
        T(longer_file_keeps_its_places),
        T(file_that_is_none_of_ours_is_refused_and_left_as_it_is),
        T(second_process_does_not_get_it),
        T(nobody_else_may_read_it),
        T(many_that_wait_are_synced_in_one_go_and_those_that_do_not_never),
    };
    return RUN_ALL(tests);
}
