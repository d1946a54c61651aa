/* What goes when the context is full: the oldest turns of a chat, the older half of a text. */
#include "tests/unit/apps/llmworker/sched_model.h"

#include "apps/llmworker/shift.h"

static cds_json *chat(const char *roles)
{
    cds_json *list = cds_json_array();
    for (int i = 0; roles[i]; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        const char *role = roles[i] == 's' ? "system" : roles[i] == 'u' ? "user" : roles[i] == 't' ? "tool" : "assistant";
        cds_json_append(list, cds_json_pack("{s:s,s:s}", "role", role, "content", text));
    }
    return list;
}
static void assert_left(const char *roles, unsigned turns, const char *left)
{
    CDS_JSON_AUTO messages = chat(roles);
    unsigned dropped;
    CDS_JSON_AUTO list = cds_shift_drop(messages, turns, &dropped);
    char got_left[64] = "";
    for (size_t i = 0; i < cds_json_size(list); i++)
        strncat(got_left, cds_json_get_str(cds_json_at(list, i), "content"), 2);
    assert_string_equal(got_left, left);
    assert_int_equal(dropped, strlen(roles) - strlen(left));
}

static void shift_drops_whole_turns_and_keeps_system_messages_and_the_last_turn(void **state)
{
    CDS_JSON_AUTO messages = chat("suauatau");
    assert_int_equal(cds_shift_turns(messages), 2);
    assert_left("suauatau", 0, "01234567");
    assert_left("suauatau", 1,
                "0"
                "34567");
    assert_left("suauatau", 2, "07");
    assert_left("ausuatu", 1,
                "12"
                "3456"); /* what stands before the first user is a turn; a later system message stays */
    assert_left("ausuatu", 2,
                "2"
                "3456");
    CDS_JSON_AUTO one = chat("su");
    CDS_JSON_AUTO none = chat("ss");
    assert_int_equal(cds_shift_turns(one), 0);
    assert_int_equal(cds_shift_turns(none), 0);
}

/** What the model says when its text loses its older half each time it fills the window. */
static void expected(uint32_t prompt, uint32_t window, uint32_t keep, uint32_t tokens, char *text)
{
    int32_t list[2000];
    uint32_t count = prompt;
    struct ask a = plain(1, 0, prompt, 1);
    for (uint32_t i = 0; i < prompt; i++)
        list[i] = token_at(&a, i);
    for (uint32_t n = 0; n < tokens; n++) {
        uint64_t state = 7;
        for (uint32_t i = 0; i < count; i++)
            state = mix(state, list[i]);
        int32_t next = answer(state);
        if (next == 'z')
            break;
        text[strlen(text)] = (char)next;
        list[count++] = next;
        if (count >= window) {
            uint32_t dropped = (count - keep) / 2;
            memmove(list + keep, list + keep + dropped, (count - keep - dropped) * sizeof(*list));
            count -= dropped;
        }
    }
}

static void begin_windowed(uint32_t prompt, uint32_t window, uint32_t keep, uint32_t tokens, uint32_t granted)
{
    struct ask a = plain(1, 0, prompt, tokens);
    struct cds_job_spec spec = {
        .id = 1, .token_count = prompt, .max_tokens = tokens, .scope = 1, .window = window, .keep = keep, .speculation = speculation};
    cds_text_reset(&spec.text);
    spec.tokens = calloc(prompt, sizeof(int32_t));
    for (uint32_t i = 0; i < prompt; i++)
        spec.tokens[i] = token_at(&a, i);
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_OK);
    cds_sched_start(sched, 1, granted);
}

static void shift_lets_an_answer_outgrow_its_window(void **state)
{
    limits.cells = 300;
    for (int how = 0; how < 4; how++) {
        uint32_t keep = how % 2 ? 20 : 0, granted = how < 2 ? 600 : 60;
        make();
        speculation = (struct cds_speculation){.lookup = how % 2, .always = true};
        char text[TEXT_MAX] = "";
        expected(60, 100, keep, 600, text);
        begin_windowed(60, 100, keep, 600, granted);
        for (; granted <= 600; granted += 60) {
            run();
            cds_sched_grant(sched, 1, granted + 60, false);
        }
        run();
        assert_true(got[1].ended);
        assert_string_equal(got[1].text, text);
        const struct cds_job_report *r = &got[1].report;
        assert_int_equal(r->prompt_tokens, 60); /* billed as it came, and once */
        assert_int_equal(r->evaluated_tokens, 60);
        assert_true(strlen(text) < 45 || (r->shifted_tokens >= 40 && r->recomputed_tokens > 0));
        assert_true(model->used <= 300);
    }
}

static void shift_never_takes_cells_of_others(void **state)
{
    limits.cells = 260;
    make();
    begin_windowed(60, 100, 10, 300, 300);
    begin(plain(2, 0, 60, 90));
    run();
    char text[TEXT_MAX] = "";
    expected(60, 100, 10, 300, text);
    assert_string_equal(got[1].text, text);
    assert_text(plain(2, 0, 60, 90));
    assert_int_equal(cds_sched_counters(sched).cells_live, 0);
}

static void shift_refuses_a_window_that_cannot_be(void **state)
{
    struct cds_job_spec spec = {.id = 1, .token_count = 4, .max_tokens = 9, .window = 4};
    int32_t tokens[4] = {0};
    spec.tokens = tokens;
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_CONTEXT_LENGTH);
    spec.window = limits.cells + 1;
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_CONTEXT_LENGTH);
    spec.window = 20;
    spec.keep = 10;
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_CONTEXT_LENGTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shift_drops_whole_turns_and_keeps_system_messages_and_the_last_turn),
        cmocka_unit_test_setup_teardown(shift_lets_an_answer_outgrow_its_window, fresh, cleared),
        cmocka_unit_test_setup_teardown(shift_never_takes_cells_of_others, fresh, cleared),
        cmocka_unit_test_setup_teardown(shift_refuses_a_window_that_cannot_be, fresh, cleared),
    };
    return RUN_ALL(tests);
}
