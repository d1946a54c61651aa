/* Which steps become two batches, and what stands in which of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apps/llmworker/split.h"

enum { MOST = 512 };
static struct cds_row rows[MOST];
static int32_t order[MOST];
static int count;

static void add(int sequence, int position, bool sample)
{
    rows[count++] = (struct cds_row){.token = 1, .position = position, .sequence = sequence, .sample = sample};
}

/** `answers` requests of `cells` tokens each, then a piece of a prompt. */
static void step(int answers, int cells, int prompt, bool prompt_ends)
{
    count = 0;
    for (int i = 0; i < answers; i++)
        add(i, cells, true);
    for (int i = 0; i < prompt; i++)
        add(100, i, prompt_ends && i + 1 == prompt);
}

static void answers_that_are_long_get_a_batch_of_their_own(void **state)
{
    step(8, 500, 64, true);
    assert_int_equal(cds_split_step(rows, count, 1, order), 63);
    for (int i = 0; i < 63; i++)
        assert_int_equal(order[i], 8 + i);
    for (int i = 0; i < 8; i++)
        assert_int_equal(order[63 + i], i);
    assert_int_equal(order[71], 71); /* the end of the prompt has logits too, and comes behind its beginning */
}

static void every_row_stands_in_one_of_the_two(void **state)
{
    bool seen[MOST] = {false};
    step(5, 900, 64, false);
    assert_int_equal(cds_split_step(rows, count, 1, order), 64);
    for (int i = 0; i < count; i++) {
        assert_in_range(order[i], 0, count - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
}

static unsigned share_beside(int answers, int cells, double tile, unsigned most)
{
    step(answers, cells, 0, false);
    return cds_split_share(rows, count, tile, most);
}

static void a_prompt_fills_the_tile_of_rows_that_answers_have_begun(void **state)
{
    assert_int_equal(share_beside(1, 20, 1, 64), 63);
    assert_int_equal(share_beside(7, 20, 1, 64), 57);
    assert_int_equal(share_beside(32, 20, 0.1, 64), 32);
    for (int answers = 1; answers <= 32; answers++)
        assert_int_equal(share_beside(answers, 20, 0.01, 64) + (unsigned)answers, CDS_TILE);
}

static void a_prompt_beside_answers_with_a_batch_of_their_own_fills_its_own_tile(void **state)
{
    assert_int_equal(share_beside(8, 500, 1, 64), 64);
    assert_int_equal(share_beside(1, 500, 1, 64), 64);
    step(1, 500, 64, false);
    assert_int_equal(cds_split_step(rows, count, 1, order), 64); /* as was foreseen */
}

static void a_share_is_never_raised_and_stays_where_no_tiles_are_computed(void **state)
{
    assert_int_equal(share_beside(0, 0, 1, 64), 64);
    assert_int_equal(share_beside(3, 20, 0, 64), 64);
    assert_int_equal(share_beside(33, 20, 0.01, 64), 64);
    assert_int_equal(share_beside(3, 20, 1, 61), 61);
    assert_int_equal(share_beside(3, 20, 1, 10), 10);
    assert_int_equal(share_beside(3, 20, 1, 128), 128);
}

static void steps_that_the_library_does_row_by_row_stay_one(void **state)
{
    step(20, 2000, 43, true);
    assert_int_equal(count, 63);
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
    step(20, 2000, 44, true);
    assert_true(cds_split_step(rows, count, 1, order) > 0);
}

static void nothing_is_split_for_less_than_it_costs(void **state)
{
    step(2, 100, 64, true); /* 2 x 2 tiles and that of the prompt's end */
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
    assert_true(cds_split_step(rows, count, 2, order) > 0); /* a model whose tiles are dearer */
    step(8, 500, 64, true);
    assert_int_equal(cds_split_step(rows, count, 0, order), 0); /* no flash attention */
}

static void guesses_look_at_the_cells_of_their_answer(void **state)
{
    count = 0;
    for (int i = 0; i < 20; i++)
        add(0, 100 + i, true);
    for (int i = 0; i < 64; i++)
        add(1, i, false);
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
}

static void only_prompts_or_only_answers_stay_one(void **state)
{
    step(0, 0, 256, false);
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
    step(64, 2000, 0, false);
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
    step(64, 2000, 64, false); /* answers that would be tiled by themselves */
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
}

static void prompts_whose_chances_are_told_stay_one(void **state)
{
    step(8, 500, 64, true);
    rows[20].tell = true;
    assert_int_equal(cds_split_step(rows, count, 1, order), 0);
}

static void a_tile_costs_what_its_products_cost(void **state)
{
    assert_float_equal(cds_split_tile(576, 30, 134515008), 1.05, 0.01);    /* 135 M: as much as a row */
    assert_float_equal(cds_split_tile(1536, 28, 1543714304), 0.228, 0.01); /* 1.5 billion: a quarter of one */
    assert_float_equal(cds_split_tile(1, 1, 0), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_that_are_long_get_a_batch_of_their_own),
        cmocka_unit_test(a_prompt_fills_the_tile_of_rows_that_answers_have_begun),
        cmocka_unit_test(a_prompt_beside_answers_with_a_batch_of_their_own_fills_its_own_tile),
        cmocka_unit_test(a_share_is_never_raised_and_stays_where_no_tiles_are_computed),
        cmocka_unit_test(every_row_stands_in_one_of_the_two),
        cmocka_unit_test(steps_that_the_library_does_row_by_row_stay_one),
        cmocka_unit_test(nothing_is_split_for_less_than_it_costs),
        cmocka_unit_test(guesses_look_at_the_cells_of_their_answer),
        cmocka_unit_test(only_prompts_or_only_answers_stay_one),
        cmocka_unit_test(prompts_whose_chances_are_told_stay_one),
        cmocka_unit_test(a_tile_costs_what_its_products_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
