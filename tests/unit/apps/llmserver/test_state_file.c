/* Files of states: what was written is read, and nothing else is. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/llmserver/state_file.h"
#include "apps/llmserver/states_folder.h"

static char dir[] = "/tmp/cds-state-XXXXXX", path[64], key_path[64];
static unsigned char key[CDS_STATE_KEY];
static int memory;

static int made(void **state)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a.state", dir);
    snprintf(key_path, sizeof(key_path), "%s/key", dir);
    assert_int_equal(cds_state_key(key_path, key, NULL), CDS_OK);
    memory = memfd_create("test", MFD_CLOEXEC);
    for (int i = 0; i < 300000; i++)
        assert_int_equal(pwrite(memory, &(int){i * 7}, sizeof(int), (off_t)i * 4), 4);
    assert_int_equal(cds_state_write(path, key, "{\"name\":\"a\"}", memory, 1200000, NULL), CDS_OK);
    return 0;
}
static int gone(void **state)
{
    close(memory);
    unlink(path);
    unlink(key_path);
    return rmdir(dir);
}

static cds_rc read_it(int to)
{
    char *head = NULL;
    struct cds_err err = {0};
    cds_rc rc = cds_state_peek(path, &head, &err);
    if (rc == CDS_OK)
        rc = cds_state_read(path, key, head, to, &err);
    free(head);
    assert_true(rc == CDS_OK || err.message[0]);
    return rc;
}

static void states_that_were_written_are_read_as_they_were(void **state)
{
    struct stat st;
    int to = memfd_create("to", MFD_CLOEXEC), value = 0;
    assert_int_equal(read_it(to), CDS_OK);
    assert_int_equal(fstat(to, &st), 0);
    assert_int_equal(st.st_size, 1200000);
    assert_int_equal(pread(to, &value, 4, 4 * 299999), 4);
    assert_int_equal(value, 299999 * 7);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char part[80];
    snprintf(part, sizeof(part), "%s.part", path);
    assert_int_not_equal(access(part, F_OK), 0);
    close(to);
}

static void states_with_one_other_byte_are_refused(void **state)
{
    int to = memfd_create("to", MFD_CLOEXEC), fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    const off_t places[] = {0, 8, 14, 40, st.st_size / 2, st.st_size - 33, st.st_size - 1};
    for (size_t i = 0; i < CDS_ARRAY_LEN(places); i++) {
        unsigned char byte, other;
        assert_int_equal(pread(fd, &byte, 1, places[i]), 1);
        other = byte ^ 1;
        assert_int_equal(pwrite(fd, &other, 1, places[i]), 1);
        assert_int_equal(read_it(to), CDS_BAD_PARAM);
        assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
    }
    assert_int_equal(read_it(to), CDS_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ftruncate(fd, st.st_size - (i ? 40000 << i : 1)), 0);
        assert_int_equal(read_it(to), CDS_BAD_PARAM);
    }
    close(fd);
    close(to);
}

static void states_of_another_key_are_refused(void **state)
{
    int to = memfd_create("to", MFD_CLOEXEC);
    key[3] ^= 1;
    assert_int_equal(read_it(to), CDS_BAD_PARAM);
    key[3] ^= 1;
    close(to);
}

static void state_keys_are_kept_and_those_that_others_can_read_refused(void **state)
{
    unsigned char again[CDS_STATE_KEY];
    assert_int_equal(cds_state_key(key_path, again, NULL), CDS_OK);
    assert_memory_equal(again, key, sizeof(key));
    assert_int_equal(chmod(key_path, 0640), 0);
    assert_int_equal(cds_state_key(key_path, again, NULL), CDS_DENIED);
    assert_int_equal(chmod(key_path, 0600), 0);
    assert_int_equal(truncate(key_path, 31), 0);
    assert_int_equal(cds_state_key(key_path, again, NULL), CDS_SYSTEM);
}

static void state_names_are_plain(void **state)
{
    static const char *const good[] = {"a", "A-b_c.9"}, *const bad[] = {"", ".a", "a/b", "a b", "ä"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(good); i++)
        assert_true(cds_states_name(good[i]));
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++)
        assert_false(cds_states_name(bad[i]));
    assert_false(cds_states_name(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(states_that_were_written_are_read_as_they_were, made, gone),
        cmocka_unit_test_setup_teardown(states_with_one_other_byte_are_refused, made, gone),
        cmocka_unit_test_setup_teardown(states_of_another_key_are_refused, made, gone),
        cmocka_unit_test_setup_teardown(state_keys_are_kept_and_those_that_others_can_read_refused, made, gone),
        cmocka_unit_test(state_names_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
