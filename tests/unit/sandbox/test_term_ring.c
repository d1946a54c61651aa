#include "sandbox/term_ring.h"
#include "tests/support/test.h"

enum { CAP = 16 };

static void what_was_added_is_read_back_from_any_byte(void **state)
{
    struct term_ring ring;
    char out[64] = "";
    assert_int_equal(term_ring_open(&ring, CAP, NULL), CDS_OK);
    assert_int_equal(term_ring_read(&ring, 0, out, sizeof(out)), 0);
    term_ring_add(&ring, "hello", 5);
    assert_int_equal(term_ring_begin(&ring), 0);
    assert_int_equal(term_ring_read(&ring, 0, out, sizeof(out)), 5);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(term_ring_read(&ring, 3, out, sizeof(out)), 2);
    assert_memory_equal(out, "lo", 2);
    assert_int_equal(term_ring_read(&ring, 1, out, 2), 2);
    assert_memory_equal(out, "el", 2);
    assert_int_equal(term_ring_read(&ring, 5, out, sizeof(out)), 0);
    assert_int_equal(term_ring_read(&ring, 6, out, sizeof(out)), 0);
    term_ring_free(&ring);
}

static void the_oldest_bytes_make_room_and_are_refused_afterwards(void **state)
{
    struct term_ring ring;
    char out[64];
    assert_int_equal(term_ring_open(&ring, CAP, NULL), CDS_OK);
    for (int i = 0; i < 10; i++)
        term_ring_add(&ring, "abcdefg", 7);
    assert_int_equal(ring.end, 70);
    assert_int_equal(term_ring_begin(&ring), 70 - CAP);
    assert_int_equal(term_ring_read(&ring, 70 - CAP - 1, out, sizeof(out)), 0);
    assert_int_equal(term_ring_read(&ring, 70 - CAP, out, sizeof(out)), CAP);
    assert_memory_equal(out, "fgabcdefgabcdefg", CAP);
    term_ring_free(&ring);
}

static void more_than_it_holds_at_once_leaves_the_end(void **state)
{
    struct term_ring ring;
    char out[64], big[100];
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)('A' + i % 26);
    assert_int_equal(term_ring_open(&ring, CAP, NULL), CDS_OK);
    term_ring_add(&ring, "xyz", 3);
    term_ring_add(&ring, big, sizeof(big));
    assert_int_equal(ring.end, 103);
    assert_int_equal(term_ring_read(&ring, 103 - CAP, out, sizeof(out)), CAP);
    assert_memory_equal(out, big + sizeof(big) - CAP, CAP);
    term_ring_add(&ring, big, CAP); /* exactly full */
    assert_int_equal(term_ring_read(&ring, ring.end - CAP, out, sizeof(out)), CAP);
    assert_memory_equal(out, big, CAP);
    term_ring_free(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_read_back_from_any_byte),
        cmocka_unit_test(the_oldest_bytes_make_room_and_are_refused_afterwards),
        cmocka_unit_test(more_than_it_holds_at_once_leaves_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
