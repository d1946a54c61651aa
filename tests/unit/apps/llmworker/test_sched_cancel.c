/* What a cancel frees and when, and everything at once. */
#include "tests/unit/apps/llmworker/sched_model.h"

static void cancel_frees_the_capacity_within_one_step_in_200_of_200_tries(void **state)
{
    limits.slots = 32;
    limits.kept = 16;
    limits.cells = 16384;
    unsigned seed = 5, inside = 0;
    for (int try = 0; try < 200; try++) {
        make();
        int count = try % 4 == 0 ? 1 : 32;
        for (int i = 1; i <= count + 2; i++)
            begin(plain(i, 0, i % 3 ? 20 : 700, 300));
        for (int i = try % 7; i > 0; i--)
            cds_sched_step(sched);
        int64_t id = 1 + rand_r(&seed) % (count + 2);
        if (got[id].ended)
            continue;
        uint64_t steps = cds_sched_counters(sched).steps;
        if (try % 2) {
            model->cancel_inside = id;
            cds_sched_step(sched);
            inside++;
        } else {
            cds_sched_cancel(sched, id);
        }
        assert_true(got[id].ended);
        assert_int_equal(got[id].report.end, CDS_JOB_CANCELLED);
        assert_true(cds_sched_counters(sched).steps - steps <= 1);
        assert_true(cds_sched_counters(sched).cancel_steps <= 1);
        if (!(try % 2)) {
            begin(plain(400, 0, 10, 1));
            for (int i = 0; i < 2 && !got[400].tokens; i++)
                cds_sched_step(sched);
        }
    }
    assert_true(inside >= 90);
}

static void cancel_of_all_requests_of_a_step_gives_the_step_up(void **state)
{
    begin(plain(1, 0, 500, 10));
    cds_sched_step(sched);
    model->cancel_inside = 1;
    cds_sched_step(sched);
    assert_true(model->asked_dead);
    assert_true(got[1].ended);
    assert_int_equal(got[1].report.evaluated_tokens, 128);
    assert_int_equal(cds_sched_counters(sched).aborted_steps, 1);
    assert_int_equal(cds_sched_counters(sched).steps, 1);
    begin((struct ask){.id = 2, .own = 500, .max_tokens = 3, .like = 1});
    run();
    assert_int_equal(got[2].report.cached_tokens, 128);
    assert_text((struct ask){.id = 2, .own = 500, .max_tokens = 3, .like = 1});
}

static void what_cannot_be_cut_is_read_again_after_a_step_that_failed_in_the_middle(void **state)
{
    limits.share = false;
    make();
    model->uncut = true;
    begin(plain(1, 0, 30, 20));
    for (int i = 0; i < 4; i++)
        cds_sched_step(sched);
    assert_true(got[1].tokens > 0);
    begin(plain(2, 0, 30, 5));
    model->fails_behind = 2;
    run();
    assert_int_equal(got[2].report.end, CDS_JOB_FAILED);
    assert_text(plain(1, 0, 30, 20)); /* nothing of the step that failed is in it */
    assert_true(got[1].report.recomputed_tokens > 0);
    assert_int_equal(got[1].report.evaluated_tokens, 30);
}

static void storm_of_everything_keeps_every_text_and_every_count_right(void **state)
{
    unsigned seed = 11;
    for (int round = 0; round < 30; round++) {
        limits.slots = 1 + rand_r(&seed) % 6;
        limits.kept = rand_r(&seed) % 5;
        limits.cells = 300 + rand_r(&seed) % 300;
        limits.answer_reserve = rand_r(&seed) % 3 * 16;
        limits.share = round % 5 != 4;
        /* Guesses are mostly wrong here, and must leave nothing behind. */
        speculation = (struct cds_speculation){.lookup = round % 2, .always = true, .most = 1 + rand_r(&seed) % 20};
        make();
        struct ask asks[60];
        for (int i = 1; i < 60; i++) {
            asks[i] = (struct ask){.id = i,
                                   .shared = rand_r(&seed) % 4 * 40,
                                   .own = 1 + rand_r(&seed) % 30,
                                   .max_tokens = 1 + rand_r(&seed) % 90,
                                   .scope = 1 + rand_r(&seed) % 3,
                                   .priority = rand_r(&seed) % 3};
            if (i > 1 && rand_r(&seed) % 6 == 0) {
                asks[i] = asks[i - 1];
                asks[i].id = i;
                asks[i].like = asks[i - 1].like ? asks[i - 1].like : (uint32_t)i - 1;
                asks[i].fork_of = i - 1;
            }
            assert_int_equal(add(asks[i]), CDS_OK);
            cds_sched_start(sched, i, 1 + rand_r(&seed) % 40);
            for (int n = rand_r(&seed) % 6; n > 0; n--) {
                int64_t other = 1 + rand_r(&seed) % i;
                if (rand_r(&seed) % 9 == 0)
                    model->cancel_inside = other;
                else if (rand_r(&seed) % 14 == 0)
                    cds_sched_cancel(sched, other);
                else
                    cds_sched_grant(sched, other, got[other].tokens + 20, false);
                cds_sched_step(sched);
                struct cds_sched_counters c = cds_sched_counters(sched);
                assert_int_equal(c.cells_live + c.cells_kept, model->used);
                model->cancel_inside = 0;
            }
        }
        for (int i = 1; i < 60; i++)
            cds_sched_grant(sched, i, 90, true);
        run();
        for (int i = 1; i < 60; i++) {
            assert_true(got[i].ended);
            assert_int_not_equal(got[i].report.end, CDS_JOB_FAILED);
            assert_text(asks[i]);
        }
        struct cds_sched_counters c = cds_sched_counters(sched);
        assert_int_equal(c.prompt_rows, computed_sum);
        assert_int_equal(c.active + c.waiting + c.cells_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(cancel_frees_the_capacity_within_one_step_in_200_of_200_tries),
        T(cancel_of_all_requests_of_a_step_gives_the_step_up),
        T(what_cannot_be_cut_is_read_again_after_a_step_that_failed_in_the_middle),
        T(storm_of_everything_keeps_every_text_and_every_count_right),
    };
    return RUN_ALL(tests);
}
