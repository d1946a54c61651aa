/* The files of a model by their bytes: every one counts, a file that is as it was is read once, and one that was written to is noticed. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/llmserver/weights.h"
#include "lib/json/json.h"

enum { BYTES = 700000 };
static char dir[] = "/tmp/cds-weights-XXXXXX", whole[64], split[64], adapter[64];
static struct cds_weights_known known;

static void make(const char *path, int seed)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < BYTES; i++)
        fputc((i * 31 + seed) & 255, file);
    assert_int_equal(fclose(file), 0);
}

static const char *part(unsigned index)
{
    static char path[PATH_MAX];
    assert_true(cds_weights_part(split, index, path));
    return path;
}

static int made(void **state)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(whole, sizeof(whole), "%s/m.gguf", dir);
    snprintf(split, sizeof(split), "%s/s-00001-of-00003.gguf", dir);
    snprintf(adapter, sizeof(adapter), "%s/a.gguf", dir);
    make(whole, 1);
    make(adapter, 2);
    for (unsigned i = 0; i < 3; i++)
        make(part(i), 3 + (int)i);
    known = (struct cds_weights_known){.next = 0};
    return 0;
}

static int gone(void **state)
{
    unlink(whole);
    unlink(adapter);
    for (unsigned i = 0; i < 3; i++)
        unlink(part(i));
    return rmdir(dir);
}

/** One bit of one byte, with the length and, as far as one can, the times as they were. */
static void flip(const char *path, off_t at)
{
    struct stat st;
    int fd = open(path, O_RDWR);
    char byte;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static cds_json *head_of(const char *path)
{
    cds_json *head = cds_json_pack("{s:[{s:s,s:s}]}", "adapters", "id", "noise", "file", "a.gguf");
    assert_int_equal(cds_weights_note(&known, path, dir, head, NULL), CDS_OK);
    return head;
}

static void differs(const char *path, const cds_json *head, const char *why)
{
    struct cds_err err = {0};
    assert_int_equal(cds_weights_same(&known, path, dir, head, &err), CDS_CONFLICT);
    assert_non_null(strstr(err.message, why));
    assert_true(err.hint[0]);
}

static void weights_with_one_other_bit_anywhere_are_other_weights(void **state)
{
    CDS_JSON_AUTO head = head_of(whole);
    assert_int_equal(cds_weights_same(&known, whole, dir, head, NULL), CDS_OK);
    const off_t places[] = {0, BYTES / 64 * 40 + 6000, BYTES / 2 + 1, BYTES - 1};
    for (size_t i = 0; i < CDS_ARRAY_LEN(places); i++) {
        flip(whole, places[i]);
        differs(whole, head, "another file of this model");
        flip(whole, places[i]);
        assert_int_equal(cds_weights_same(&known, whole, dir, head, NULL), CDS_OK);
    }
    flip(adapter, 12345);
    differs(whole, head, "another file of the adapter \"noise\"");
    flip(adapter, 12345);
    assert_int_equal(cds_weights_same(&known, whole, dir, head, NULL), CDS_OK);
}

static void weights_of_a_split_model_are_those_of_all_parts_in_their_order(void **state)
{
    char path[PATH_MAX];
    CDS_JSON_AUTO head = head_of(split);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s", part(i));
        flip(path, 77);
        differs(split, head, "another file of this model");
        flip(path, 77);
    }
    assert_int_equal(cds_weights_same(&known, split, dir, head, NULL), CDS_OK);
    make(part(1), 5); /* the bytes of the third and the second change places */
    make(part(2), 4);
    differs(split, head, "another file of this model");
    assert_false(cds_weights_part(split, 3, path));
    assert_false(cds_weights_part(whole, 1, path));
    assert_false(cds_weights_part("/m/x-00002-of-00003.gguf", 1, path));
    assert_false(cds_weights_part("/m/x-00001-of-99999.gguf", 1, path));
}

static void weights_that_are_as_they_were_are_read_once(void **state)
{
    CDS_JSON_AUTO head = head_of(whole);
    assert_int_equal(known.read_bytes, 2 * BYTES);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cds_weights_same(&known, whole, dir, head, NULL), CDS_OK);
    assert_int_equal(known.read_bytes, 2 * BYTES);
    flip(whole, 1);
    differs(whole, head, "its weights have changed");
    assert_int_equal(known.read_bytes, 3 * BYTES);
}

static void weights_that_cannot_be_read_are_no_match(void **state)
{
    CDS_JSON_AUTO head = head_of(whole);
    struct cds_err err = {0};
    unlink(adapter);
    assert_int_equal(cds_weights_same(&known, whole, dir, head, &err), CDS_SYSTEM);
    assert_non_null(strstr(err.message, "a.gguf"));
    make(adapter, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_with_one_other_bit_anywhere_are_other_weights, made, gone),
        cmocka_unit_test_setup_teardown(weights_of_a_split_model_are_those_of_all_parts_in_their_order, made, gone),
        cmocka_unit_test_setup_teardown(weights_that_are_as_they_were_are_read_once, made, gone),
        cmocka_unit_test_setup_teardown(weights_that_cannot_be_read_are_no_match, made, gone),
    };
    return RUN_ALL(tests);
}
