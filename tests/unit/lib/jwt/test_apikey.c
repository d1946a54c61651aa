/* The text of API keys. */
#include "lib/jwt/apikey.h"

#include "tests/support/test.h"

#define ID "01234567-89ab-7cde-8f01-23456789abcd"
#define SECRET "AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDD-_9"

static void a_key_is_read_back_with_its_id(void **state)
{
    char key[CDS_APIKEY_LEN + 1], id[37] = "untouched";
    cds_apikey_make(ID, SECRET, key);
    assert_int_equal(strlen(key), CDS_APIKEY_LEN);
    assert_true(cds_apikey_is(key, strlen(key)));
    assert_int_equal(cds_apikey_parse(key, strlen(key), id, NULL), CDS_OK);
    assert_string_equal(id, ID);
    assert_memory_equal(key, "cds_key_0123456789ab7cde8f0123456789abcd_" SECRET "_", CDS_APIKEY_LEN - 8);
}

static void every_changed_character_is_noticed(void **state)
{
    char key[CDS_APIKEY_LEN + 1], id[37] = "untouched";
    cds_apikey_make(ID, SECRET, key);
    for (size_t i = 0; i < CDS_APIKEY_LEN; i++) {
        char was = key[i];
        struct cds_err err = {0};
        key[i] = was == '1' ? '2' : '1';
        assert_int_equal(cds_apikey_parse(key, CDS_APIKEY_LEN, id, &err), CDS_UNAUTHENTICATED);
        assert_string_equal(err.rule, "key.malformed");
        key[i] = was;
    }
    assert_string_equal(id, "untouched");
}

static void a_cut_or_longer_text_is_refused(void **state)
{
    char key[CDS_APIKEY_LEN + 2], id[37];
    cds_apikey_make(ID, SECRET, key);
    for (size_t len = 0; len < CDS_APIKEY_LEN; len++)
        assert_int_equal(cds_apikey_parse(key, len, id, NULL), CDS_UNAUTHENTICATED);
    key[CDS_APIKEY_LEN] = '0';
    assert_int_equal(cds_apikey_parse(key, CDS_APIKEY_LEN + 1, id, NULL), CDS_UNAUTHENTICATED);
    assert_false(cds_apikey_is("cds_ke", 6));
    assert_false(cds_apikey_is("eyJhbGciOi", 10));
}

static void the_checksum_is_the_usual_crc32(void **state)
{
    /* python3: '%08x' % zlib.crc32(b'cds_key_' + b'0'*32 + b'_' + b'A'*43) */
    char key[CDS_APIKEY_LEN + 1];
    cds_apikey_make("00000000-0000-0000-0000-000000000000", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", key);
    assert_string_equal(key + CDS_APIKEY_LEN - 8, "4ef90331");
}

static void the_hash_depends_on_key_and_pepper(void **state)
{
    unsigned char one[32] = {1}, two[32] = {2};
    char a[65], b[65], c[65];
    cds_apikey_hash(one, "key", a);
    cds_apikey_hash(two, "key", b);
    cds_apikey_hash(one, "kez", c);
    assert_int_equal(strlen(a), 64);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    cds_apikey_hash(one, "key", b);
    assert_string_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_read_back_with_its_id),     cmocka_unit_test(every_changed_character_is_noticed),
        cmocka_unit_test(a_cut_or_longer_text_is_refused),    cmocka_unit_test(the_checksum_is_the_usual_crc32),
        cmocka_unit_test(the_hash_depends_on_key_and_pepper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
