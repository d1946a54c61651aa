/* Passwords: which are taken, and that only the right one opens. Cost 4 keeps the tests quick. */
#include "apps/auth/password.h"

#include <time.h>

#include "tests/support/test.h"

static void takes(const char *password)
{
    assert_int_equal(cds_password_policy(password, strlen(password), "ada@example.org", NULL), CDS_OK);
}

static void refuses(const char *password, size_t len, const char *rule)
{
    struct cds_err err = {0};
    assert_int_equal(cds_password_policy(password, len, "ada.lovelace@example.org", &err), CDS_BAD_PARAM);
    assert_string_equal(err.rule, rule);
    assert_string_equal(err.pointer, "/password");
    assert_true(*err.message && *err.hint);
    /* The sentence must not carry the password anywhere. */
    if (len >= 8)
        assert_null(strstr(err.message, password));
}

static void policy_takes_long_and_unusual_passwords(void **state)
{
    char longest[73];
    takes("quiet lamp 47");
    takes("twelve-chars");
    takes("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f-ABCD-123");
    for (int i = 0; i < 72; i++)
        longest[i] = (char)('!' + i);
    longest[72] = '\0';
    takes(longest);
}

static void policy_refuses_fewer_than_twelve_characters(void **state)
{
    refuses("", 0, "password.short");
    refuses("elevenchars", 11, "password.short");
    refuses("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\xa4\xc3\xb6", 12, "password.short"); /* twelve bytes, six characters */
}

static void policy_refuses_more_than_seventy_two_bytes(void **state)
{
    char text[74];
    for (int i = 0; i < 73; i++)
        text[i] = (char)('!' + i);
    text[73] = '\0';
    refuses(text, 73, "password.long");
}

static void policy_refuses_nul_and_bytes_that_are_no_text(void **state)
{
    refuses("twelve\0chars!", 13, "password.text");
    refuses("twelve-chars\xff", 13, "password.text");
}

static void policy_refuses_what_is_guessed_first(void **state)
{
    refuses("password1234", 12, "password.common");
    refuses("PassWord1234", 12, "password.common");
    refuses("administrator", 13, "password.common");
    refuses("aaaaaaaaaaaaaaaa", 16, "password.common");
    refuses("121212121212121212", 18, "password.common");
    refuses("ADA.lovelace@example.org", 24, "password.common"); /* the mail itself */
}

static void hash_verifies_its_own_password_and_no_other(void **state)
{
    char hash[CDS_HASH_SIZE], again[CDS_HASH_SIZE];
    assert_int_equal(cds_password_hash("quiet lamp 47", 13, 4, hash, NULL), CDS_OK);
    assert_int_equal(strlen(hash), 60);
    assert_memory_equal(hash, "$2b$04$", 7);
    assert_true(cds_password_verify("quiet lamp 47", 13, hash));
    assert_false(cds_password_verify("quiet lamp 48", 13, hash));
    assert_false(cds_password_verify("quiet lamp 4", 12, hash));
    assert_false(cds_password_verify("", 0, hash));
    assert_int_equal(cds_password_hash("quiet lamp 47", 13, 4, again, NULL), CDS_OK);
    assert_string_not_equal(hash, again); /* a salt of its own */
}

static void hash_agrees_with_a_published_bcrypt_vector(void **state)
{
    /* From the bcrypt test set that OpenBSD's implementation is checked with. */
    assert_true(cds_password_verify("U*U*U", 5, "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"));
    assert_false(cds_password_verify("U*U*", 4, "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"));
}

static void hash_refuses_what_bcrypt_would_cut(void **state)
{
    char hash[CDS_HASH_SIZE] = "untouched", text[74];
    memset(text, 'x', 73);
    text[73] = '\0';
    assert_int_equal(cds_password_hash(text, 73, 4, hash, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_password_hash("twelve\0chars!", 13, 4, hash, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_password_hash("quiet lamp 47", 13, 3, hash, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_password_hash("quiet lamp 47", 13, 16, hash, NULL), CDS_BAD_PARAM);
    assert_string_equal(hash, "untouched");
}

static void verify_refuses_a_password_that_only_begins_like_the_right_one(void **state)
{
    char hash[CDS_HASH_SIZE], text[74];
    memset(text, 'x', 73);
    text[73] = '\0';
    assert_int_equal(cds_password_hash(text, 72, 4, hash, NULL), CDS_BAD_PARAM); /* text has 73 bytes: length and text disagree */
    text[72] = '\0';
    assert_int_equal(cds_password_hash(text, 72, 4, hash, NULL), CDS_OK);
    assert_true(cds_password_verify(text, 72, hash));
    text[72] = 'x';
    assert_false(cds_password_verify(text, 73, hash));
    /* Nor does a password that is too long count as the empty one. */
    assert_int_equal(cds_password_hash("", 0, 4, hash, NULL), CDS_OK);
    assert_false(cds_password_verify(text, 73, hash));
}

static void verify_refuses_damaged_hashes(void **state)
{
    static const char *const hashes[] = {
        "", "*0", "*1", "x", "$2b$04$short", "$1$abc$", "$9z$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(hashes); i++)
        assert_false(cds_password_verify("quiet lamp 47", 13, hashes[i]));
}

static void dummy_looks_like_a_hash_of_the_cost_and_fits_no_password(void **state)
{
    char dummy[CDS_HASH_SIZE] = "untouched";
    assert_int_equal(cds_password_dummy(16, dummy, NULL), CDS_BAD_PARAM);
    assert_string_equal(dummy, "untouched");
    assert_int_equal(cds_password_dummy(4, dummy, NULL), CDS_OK);
    assert_int_equal(strlen(dummy), 60);
    assert_false(cds_password_stale(dummy, 4));
    assert_false(cds_password_verify("", 0, dummy));
    assert_false(cds_password_verify("quiet lamp 47", 13, dummy));
}

static void stale_tells_a_lower_cost_or_another_method(void **state)
{
    char hash[CDS_HASH_SIZE];
    assert_int_equal(cds_password_hash("quiet lamp 47", 13, 5, hash, NULL), CDS_OK);
    assert_false(cds_password_stale(hash, 5));
    assert_false(cds_password_stale(hash, 4)); /* never weaker than it was */
    assert_true(cds_password_stale(hash, 12));
    hash[2] = 'a';
    assert_true(cds_password_stale(hash, 5));
}

/* Of the processor, whatever else the machine does. */
static uint64_t spent_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Shortens *best to the time that a guess at the hash takes. */
static void time_guess(const char *hash, unsigned padded_to, uint64_t *best)
{
    uint64_t begin = spent_ns();
    assert_false(cds_password_verify("x", 1, hash));
    if (padded_to)
        cds_password_pad(hash, padded_to);
    uint64_t took = spent_ns() - begin;
    *best = took < *best ? took : *best;
}

static void tuned_cost_rises_with_the_time_it_may_take_and_keeps_its_bounds(void **state)
{
    assert_int_equal(cds_password_tune(1), CDS_COST_MIN);
    assert_int_equal(cds_password_tune(60000), CDS_COST_MAX);
    unsigned cost = cds_password_tune(CDS_HASH_TARGET_MS);
    assert_in_range(cost, CDS_COST_MIN, CDS_COST_MAX);
}

static void cost_of_the_option_is_zero_for_tuned_or_ten_and_more(void **state)
{
    unsigned cost = 77;
    struct cds_err err = {0};
    assert_int_equal(cds_password_set_cost(9, &cost, &err), CDS_BAD_PARAM);
    assert_int_equal(cost, 77);
    assert_int_equal(cds_password_set_cost(10, &cost, &err), CDS_OK);
    assert_int_equal(cost, 10);
    assert_int_equal(cds_password_set_cost(0, &cost, &err), CDS_OK);
    assert_in_range(cost, CDS_COST_MIN, CDS_COST_MAX);
}

static void a_cheaper_hash_is_padded_to_the_work_of_one_at_our_cost(void **state)
{
    char cheap[CDS_HASH_SIZE], dear[CDS_HASH_SIZE];
    uint64_t whole = UINT64_MAX, best = UINT64_MAX;
    assert_int_equal(cds_password_dummy(5, cheap, NULL), CDS_OK);
    assert_int_equal(cds_password_dummy(9, dear, NULL), CDS_OK);
    assert_int_equal(cds_password_cost(cheap), 5);
    assert_int_equal(cds_password_cost("*"), 0);
    for (int i = 0; i < 5; i++) { /* in turns, so that both see the machine as it is */
        time_guess(dear, 0, &whole);
        time_guess(cheap, 9, &best);
    }
    assert_true(best > whole / 2 && best < whole * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_takes_long_and_unusual_passwords),
        cmocka_unit_test(policy_refuses_fewer_than_twelve_characters),
        cmocka_unit_test(policy_refuses_more_than_seventy_two_bytes),
        cmocka_unit_test(policy_refuses_nul_and_bytes_that_are_no_text),
        cmocka_unit_test(policy_refuses_what_is_guessed_first),
        cmocka_unit_test(hash_verifies_its_own_password_and_no_other),
        cmocka_unit_test(hash_agrees_with_a_published_bcrypt_vector),
        cmocka_unit_test(hash_refuses_what_bcrypt_would_cut),
        cmocka_unit_test(verify_refuses_a_password_that_only_begins_like_the_right_one),
        cmocka_unit_test(verify_refuses_damaged_hashes),
        cmocka_unit_test(dummy_looks_like_a_hash_of_the_cost_and_fits_no_password),
        cmocka_unit_test(stale_tells_a_lower_cost_or_another_method),
        cmocka_unit_test(tuned_cost_rises_with_the_time_it_may_take_and_keeps_its_bounds),
        cmocka_unit_test(cost_of_the_option_is_zero_for_tuned_or_ten_and_more),
        cmocka_unit_test(a_cheaper_hash_is_padded_to_the_work_of_one_at_our_cost),
    };
    return RUN_ALL(tests);
}
