/* A settlement as it lies in the journal: what was written is read, and nothing else is. */
#include "tests/support/test.h"

#include "apps/llmserver/journal_place.h"
#include "lib/jwt/jwt.h"

static const struct cds_journal_entry whole = {
    .node = "22222222-2222-4222-8222-222222222222",
    .user_id = "11111111-1111-4111-8111-111111111111",
    .request_id = "00000000-0000-4000-8000-000000000001",
    .key_id = "33333333-3333-4333-8333-333333333333",
    .model = "smollm2-135m-instruct.Q8_0",
    .admitted = "2026-11-26T10:49:51.123Z",
    .used = {UINT32_MAX, 7, 4000000000U},
    .outcome = "length",
};

/** Makes the check right again after a byte was changed. */
static void check_again(unsigned char *place)
{
    unsigned char hash[32];
    memset(place + 8, 0, 8);
    cds_sha256(place, CDS_JOURNAL_PLACE, hash);
    memcpy(place + 8, hash, 8);
}

static enum cds_journal_content read_back(const struct cds_journal_entry *entry, struct cds_journal_entry *ret)
{
    unsigned char place[CDS_JOURNAL_PLACE];
    cds_journal_place_write(entry, place);
    return cds_journal_place_read(place, sizeof(place), ret);
}

static void entry_that_was_written_is_read_with_all_its_counts(void **state)
{
    struct cds_journal_entry got, most = whole;
    assert_int_equal(read_back(&whole, &got), CDS_JOURNAL_ENTRY);
    assert_string_equal(got.node, whole.node);
    assert_string_equal(got.user_id, whole.user_id);
    assert_string_equal(got.request_id, whole.request_id);
    assert_string_equal(got.key_id, whole.key_id);
    assert_string_equal(got.model, whole.model);
    assert_string_equal(got.admitted, whole.admitted);
    assert_string_equal(got.outcome, "length");
    assert_memory_equal(&got.used, &whole.used, sizeof(got.used));
    memset(most.model, 'm', CDS_JOURNAL_MODEL);
    *most.key_id = '\0';
    most.outcome = "cancelled";
    assert_int_equal(read_back(&most, &got), CDS_JOURNAL_ENTRY);
    assert_string_equal(got.model, most.model);
    assert_string_equal(got.key_id, "");
    assert_string_equal(got.outcome, "cancelled");
}

static void place_of_zeros_is_free_however_long(void **state)
{
    static const unsigned char zeros[CDS_JOURNAL_PLACE];
    struct cds_journal_entry got;
    assert_int_equal(cds_journal_place_read(zeros, sizeof(zeros), &got), CDS_JOURNAL_FREE);
    assert_int_equal(cds_journal_place_read(zeros, 3, &got), CDS_JOURNAL_FREE);
    assert_int_equal(cds_journal_place_read(zeros, 0, &got), CDS_JOURNAL_FREE);
}

static void place_with_one_other_bit_is_damaged(void **state)
{
    unsigned char place[CDS_JOURNAL_PLACE];
    struct cds_journal_entry got = {.model = "as it was"};
    cds_journal_place_write(&whole, place);
    for (size_t i = 0; i < sizeof(place); i++) {
        place[i] ^= 1;
        assert_int_equal(cds_journal_place_read(place, sizeof(place), &got), CDS_JOURNAL_DAMAGED);
        place[i] ^= 1;
    }
    assert_string_equal(got.model, "as it was");
}

static void place_that_was_cut_is_damaged(void **state)
{
    unsigned char place[CDS_JOURNAL_PLACE], *cut;
    struct cds_journal_entry got;
    cds_journal_place_write(&whole, place);
    for (size_t len = 1; len < sizeof(place); len++) {
        assert_non_null(cut = malloc(len)); /* so that a sanitizer sees a byte too far */
        memcpy(cut, place, len);
        assert_int_equal(cds_journal_place_read(cut, len, &got), CDS_JOURNAL_DAMAGED);
        free(cut);
    }
}

static void place_of_another_version_or_length_is_told_from_damage(void **state)
{
    unsigned char place[CDS_JOURNAL_PLACE];
    struct cds_journal_entry got;
    for (size_t at = 4; at < 8; at += 2) {
        cds_journal_place_write(&whole, place);
        place[at]++;
        check_again(place);
        assert_int_equal(cds_journal_place_read(place, sizeof(place), &got), CDS_JOURNAL_FOREIGN);
    }
}

/* They become parts of arrays in SQL, and another node or a time that is none would be refused for ever. */
static void texts_that_the_ledger_could_not_take_are_damage_even_with_a_right_check(void **state)
{
    struct cds_journal_entry got, bad[8];
    for (size_t i = 0; i < 8; i++)
        bad[i] = whole;
    strcpy(bad[0].model, "m},{x");
    strcpy(bad[1].model, "");
    bad[2].node[0] = 'x';
    bad[3].user_id[8] = '0';
    strcpy(bad[4].request_id, "");
    bad[5].key_id[35] = '}';
    bad[6].admitted[23] = 'z';
    bad[7].used.cached_tokens = UINT32_MAX;
    bad[7].used.prompt_tokens = 1;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(read_back(&bad[i], &got), CDS_JOURNAL_DAMAGED);
    bad[0] = whole;
    bad[0].outcome = "node_lost"; /* of the ledger's own; no server settles with it */
    assert_int_equal(read_back(&bad[0], &got), CDS_JOURNAL_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_that_was_written_is_read_with_all_its_counts),
        cmocka_unit_test(place_of_zeros_is_free_however_long),
        cmocka_unit_test(place_with_one_other_bit_is_damaged),
        cmocka_unit_test(place_that_was_cut_is_damaged),
        cmocka_unit_test(place_of_another_version_or_length_is_told_from_damage),
        cmocka_unit_test(texts_that_the_ledger_could_not_take_are_damage_even_with_a_right_check),
    };
    return RUN_ALL(tests);
}
