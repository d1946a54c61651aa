/* tests/unit/apps/llmserver/test_answer.c: the end of an event stream when memory is out. The objects of wire.c are made here: any of them may
 * fail. */
#include "apps/llmserver/generation.h"
#include "tests/unit/lib/http/rig.h"

static bool finish_fails, usage_fails, role_fails;

cds_json *cds_wire_role(const struct cds_wire *wire, unsigned index)
{
    return role_fails ? NULL : cds_json_pack("{s:s}", "part", "role");
}

cds_json *cds_wire_text(const struct cds_wire *wire, unsigned index, const char *text, size_t len, cds_json *logprobs)
{
    return cds_json_stringn(text, len);
}

cds_json *cds_wire_finish(const struct cds_wire *wire, unsigned index, const char *reason, bool last, const struct cds_wire_end *end)
{
    return finish_fails ? NULL : cds_json_pack("{s:s}", "part", "finish");
}

cds_json *cds_wire_usage(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    return usage_fails ? NULL : cds_json_pack("{s:s}", "part", "usage");
}

cds_json *cds_wire_delta(const struct cds_wire *wire, unsigned index, cds_json *delta, cds_json *logprobs)
{
    return delta;
}

cds_json *cds_wire_choice(const struct cds_wire *wire, unsigned index, cds_json *body, cds_json *logprobs, const char *reason)
{
    return body;
}

cds_json *cds_wire_own(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    return cds_json_object();
}

cds_json *cds_wire_answer(const struct cds_wire *wire, cds_json *choices, const struct cds_wire_end *end)
{
    cds_json_unref(choices);
    return cds_json_object();
}

static struct cds_llm app;

static void left(void *user)
{
    struct cds_gen *gen = user;
    gen->req = NULL;
    cds_gen_left(gen, true);
}

static void sent(void *user)
{
    struct cds_gen *gen = user;
    gen->req = NULL;
    cds_gen_left(gen, false);
}

/* A generation that is decided: only its last bytes are missing. */
static void end_at_once(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    struct cds_gen *gen = calloc(1, sizeof(*gen));
    assert_non_null(gen);
    gen->app = &app;
    gen->dialect = &cds_dialect_chat;
    gen->req = req;
    gen->job = ++app.jobs;
    gen->stage = CDS_GEN_LEAVING;
    gen->ask.stream = true;
    gen->wire.chat = gen->wire.include_usage = true;
    gen->end = (struct cds_wire_end){.finish_reason = "stop", .ended = "finished"};
    gen->pace.told = true; /* nobody limits rates here */
    gen->out = cds_buf_init(CDS_GEN_OUT_MAX);
    gen->choices = calloc(1, sizeof(*gen->choices));
    assert_non_null(gen->choices);
    cds_choice_init(&gen->choices[0]);
    gen->choice_count = 1;
    assert_int_equal(cds_timer_add(rig->loop, UINT64_MAX, left, gen, &gen->deadline), CDS_OK);
    assert_int_equal(cds_timer_add(rig->loop, UINT64_MAX, left, gen, &gen->alive), CDS_OK);
    gen->next = app.gens[(uint64_t)gen->job % CDS_GEN_BUCKETS];
    app.gens[(uint64_t)gen->job % CDS_GEN_BUCKETS] = gen;
    cds_http_set_user(req, gen, left, sent);
    cds_gen_write_end(gen);
}

static void ends(struct rig *rig, bool whole)
{
    rig_ask(rig, RIG_GET("/v1/chat/completions")); /* fails when the connection does not end */
    assert_int_equal(rig_has(rig, "data: [DONE]"), whole);
    assert_int_equal(rig_has(rig, "\r\n0\r\n\r\n"), whole); /* the last chunk: without it the client sees that the stream broke */
    RIG_UNTIL(rig, cds_gen_count(&app) == 0 && !app.gens[app.jobs]);
}

static void a_stream_whose_last_events_cannot_be_made_is_cut_and_not_left_open(void **state)
{
    static struct rig rig;
    rig_open(&rig, end_at_once);
    ends(&rig, true);
    assert_true(rig_has(&rig, "\"role\"") && rig_has(&rig, "\"finish\"") && rig_has(&rig, "\"usage\""));
    finish_fails = true;
    ends(&rig, false);
    finish_fails = false;
    usage_fails = true;
    ends(&rig, false);
    usage_fails = false;
    role_fails = true;
    ends(&rig, false);
    role_fails = false;
    ends(&rig, true);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_stream_whose_last_events_cannot_be_made_is_cut_and_not_left_open)};
    return RUN_ALL(tests);
}
