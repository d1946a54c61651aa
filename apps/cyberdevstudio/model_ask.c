/* apps/cyberdevstudio/model_ask.c: `model chat|complete|infill` and `model inspect gpu|estimate|measure`: questions to the running model server. */
#include <string.h>
#include <unistd.h>

#include "apps/cyberdevstudio/wire.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { LINE_MAX_BYTES = 65536, PATH_BYTES = 256 };

/** What all three take: --model, --max-tokens, --temperature, --seed. @return NULL after a complaint; owned by the caller */
static cds_json *request_of(struct cds_command *rest)
{
    const char *model = NULL, *tokens = NULL, *temperature = NULL, *seed = NULL;
    uint64_t number;
    if (!cds_take_value(rest, "--model", &model) || !cds_take_value(rest, "--max-tokens", &tokens) ||
        !cds_take_value(rest, "--temperature", &temperature) || !cds_take_value(rest, "--seed", &seed))
        return NULL;
    CDS_JSON_AUTO body = cds_json_pack("{s:b,s:{s:b}}", "stream", true, "stream_options", "include_usage", true);
    if (model)
        cds_json_set(body, "model", cds_json_string(model));
    bool good = !tokens || cds_parse_u64(tokens, 1, 131072, &number) == CDS_OK;
    if (tokens && good)
        cds_json_set(body, "max_tokens", cds_json_int((int64_t)number));
    good = good && (!seed || cds_parse_u64(seed, 0, UINT32_MAX, &number) == CDS_OK);
    if (seed && good)
        cds_json_set(body, "seed", cds_json_int((int64_t)number));
    cds_json *degrees = NULL;
    good = good && (!temperature || (cds_json_parse(temperature, strlen(temperature), &degrees, NULL) == CDS_OK));
    if (degrees)
        cds_json_set(body, "temperature", degrees);
    if (!good) {
        fprintf(stderr, "cyberdevstudio: --max-tokens, --temperature and --seed take numbers.\n");
        return NULL;
    }
    return cds_json_ref(body);
}

struct telling {
    struct cds_buf text; /**< the whole answer, for the history of a chat */
    cds_json *usage, *cost;
};

static void on_event(void *user, const cds_json *event)
{
    struct telling *telling = user;
    const cds_json *choice = cds_json_at(cds_json_get(event, "choices"), 0), *delta = cds_json_get(choice, "delta");
    const char *text = delta ? cds_json_get_str(delta, "content") : cds_json_get_str(choice, "text");
    cds_json *usage = cds_json_get(event, "usage"), *cost = cds_json_get(cds_json_get(event, "cds"), "cost_micro");
    if (text && cds_buf_add(&telling->text, text, strlen(text)) == CDS_OK) {
        fputs(text, stdout);
        fflush(stdout);
    }
    if (cds_json_is(usage, CDS_JSON_OBJECT)) {
        cds_json_unref(telling->usage);
        telling->usage = cds_json_ref(usage);
    }
    if (cost) {
        cds_json_unref(telling->cost);
        telling->cost = cds_json_ref(cost);
    }
}

/** Sends it, prints the answer as it comes and what it took. *ret_text (may be NULL) is the answer, owned by the caller. */
static cds_rc tell(struct cds_wire *wire, const char *path, const cds_json *body, cds_json **ret_text, struct cds_err *reterr)
{
    struct telling telling = {.text = cds_buf_init(CDS_WIRE_ANSWER_MAX)};
    cds_rc rc = cds_wire_stream(wire, path, body, on_event, &telling, reterr);
    if (telling.text.len)
        fputc('\n', stdout);
    if (rc == CDS_OK)
        fprintf(stderr, "%lld prompt tokens, %lld answer tokens, %lld micro-credits\n",
                (long long)cds_json_get_i64(telling.usage, "prompt_tokens", 0), (long long)cds_json_get_i64(telling.usage, "completion_tokens", 0),
                (long long)cds_json_i64(telling.cost, 0));
    if (rc == CDS_OK && ret_text)
        *ret_text = cds_json_stringn(telling.text.data ? telling.text.data : "", telling.text.len);
    cds_json_unref(telling.usage);
    cds_json_unref(telling.cost);
    cds_buf_free(&telling.text);
    return rc;
}

/** The arguments that are left must be so many texts. */
static bool texts_left(const struct cds_command *rest, int least, int most, const char *what)
{
    bool good = rest->argc >= least && rest->argc <= most;
    for (int i = 0; good && i < rest->argc; i++)
        good = !cds_starts_with(rest->argv[i], "--");
    if (!good)
        fprintf(stderr, "cyberdevstudio: this command takes %s, --email, --model, --max-tokens, --temperature and --seed.\n", what);
    return good;
}

/** One message after the other, with what was said before; text NULL: each line of stdin is one. */
static cds_rc converse(struct cds_wire *wire, cds_json *body, const char *text, struct cds_err *reterr)
{
    static char line[LINE_MAX_BYTES];
    cds_json *messages = cds_json_get(body, "messages");
    for (;;) {
        if (!text && isatty(STDIN_FILENO))
            fputs("> ", stderr);
        if (!text && !cds_read_line(line, sizeof(line)))
            return CDS_OK;
        CDS_JSON_AUTO answer = NULL;
        cds_json_append(messages, cds_json_pack("{s:s,s:s}", "role", "user", "content", text ? text : line));
        cds_rc rc = tell(wire, "/v1/chat/completions", body, &answer, reterr);
        if (rc != CDS_OK || text)
            return rc;
        cds_json_append(messages, cds_json_pack("{s:s,s:O}", "role", "assistant", "content", answer));
    }
}

enum cds_exit cds_cmd_model_chat(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct cds_err err = {0};
    const char *system = NULL;
    CDS_CLEANUP(cds_wire_close) struct cds_wire *wire = NULL;
    CDS_JSON_AUTO body = request_of(&rest);
    if (!body || !cds_take_value(&rest, "--system", &system))
        return CDS_EXIT_USAGE;
    cds_rc rc = cds_wire_open(&rest, &wire, &err);
    if (rc == CDS_OK && !texts_left(&rest, 0, 1, "at most one message (else each line of stdin is one), --system"))
        return CDS_EXIT_USAGE;
    cds_json *messages = cds_json_array();
    cds_json_set(body, "messages", messages);
    if (system)
        cds_json_append(messages, cds_json_pack("{s:s,s:s}", "role", "system", "content", system));
    if (rc == CDS_OK)
        rc = converse(wire, body, rest.argc ? rest.argv[0] : NULL, &err);
    return rc == CDS_OK ? CDS_EXIT_OK : cds_complain(stderr, &err);
}

/** complete and infill: texts of the arguments become members of the request. */
static enum cds_exit one_text(const struct cds_command *cmd, const char *path, const char *const *members, int count, const char *what)
{
    struct cds_command rest = *cmd;
    struct cds_err err = {0};
    CDS_CLEANUP(cds_wire_close) struct cds_wire *wire = NULL;
    CDS_JSON_AUTO body = request_of(&rest);
    if (!body)
        return CDS_EXIT_USAGE;
    cds_rc rc = cds_wire_open(&rest, &wire, &err);
    if (rc == CDS_OK && !texts_left(&rest, count, count, what))
        return CDS_EXIT_USAGE;
    for (int i = 0; rc == CDS_OK && i < count; i++)
        cds_json_set(body, members[i], cds_json_string(rest.argv[i]));
    if (rc == CDS_OK)
        rc = tell(wire, path, body, NULL, &err);
    return rc == CDS_OK ? CDS_EXIT_OK : cds_complain(stderr, &err);
}

enum cds_exit cds_cmd_model_complete(const struct cds_command *cmd)
{
    static const char *const members[] = {"prompt"};
    return one_text(cmd, "/v1/completions", members, 1, "one text");
}

enum cds_exit cds_cmd_model_infill(const struct cds_command *cmd)
{
    static const char *const members[] = {"input_prefix", "input_suffix"};
    return one_text(cmd, "/v1/infill", members, 2, "the text before and the text behind the gap");
}

/* --- inspect ------------------------------------------------------------------------------------------------------------- */

static void print_json(const cds_json *value)
{
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, NULL);
    printf("%s\n", text ? text : "null");
}

static cds_rc estimate(struct cds_wire *wire, const char *id, cds_json **ret, struct cds_err *reterr)
{
    char path[PATH_BYTES];
    CDS_JSON_AUTO answer = NULL;
    snprintf(path, sizeof(path), "/admin/models/%.128s/settings", id);
    cds_rc rc = cds_wire_call(wire, "GET", path, NULL, &answer, reterr);
    if (rc == CDS_OK)
        *ret = cds_json_pack("{s:O,s:O,s:O?,s:O?}", "model", cds_json_get(answer, "model"), "state", cds_json_get(answer, "state"), "need_bytes",
                             cds_json_get(answer, "need_bytes"), "gpu_bytes", cds_json_get(answer, "gpu_bytes"));
    return rc;
}

/** Loads it unless it is loaded, compares, and leaves it as it was. */
static cds_rc measure(struct cds_wire *wire, const char *id, cds_json **ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO before = NULL;
    CDS_JSON_AUTO done = NULL;
    CDS_JSON_AUTO status = NULL;
    CDS_JSON_AUTO left = NULL;
    CDS_JSON_AUTO body = cds_json_pack("{s:s}", "model", id);
    cds_rc rc = estimate(wire, id, &before, reterr);
    bool loaded = cds_streq(cds_json_get_str(before, "state"), "loaded");
    if (rc == CDS_OK && !loaded)
        rc = cds_wire_call(wire, "POST", "/admin/load", body, &done, reterr);
    if (rc == CDS_OK)
        rc = cds_wire_call(wire, "GET", "/admin/status", NULL, &status, reterr);
    const cds_json *models = cds_json_get(status, "models");
    for (size_t i = 0; i < cds_json_size(models); i++) {
        const cds_json *one = cds_json_at(models, i);
        if (cds_streq(cds_json_get_str(one, "id"), cds_json_get_str(before, "model")))
            *ret = cds_json_pack("{s:O,s:O?,s:O?,s:O?}", "model", cds_json_get(one, "id"), "need_bytes", cds_json_get(one, "need_bytes"),
                                 "resident_bytes", cds_json_get(one, "resident_bytes"), "cells", cds_json_get(one, "cells"));
    }
    if (rc == CDS_OK && !*ret)
        rc = cds_fail(reterr, CDS_CONFLICT, __func__, "The model %s was unloaded while it was measured.", id);
    if (rc == CDS_OK && !loaded)
        rc = cds_wire_call(wire, "POST", "/admin/unload", body, &left, reterr);
    return rc;
}

bool cds_cmd_model_inspects_server(const struct cds_command *cmd)
{
    return cmd->argc >= 1 && (cds_streq(cmd->argv[0], "gpu") || cds_streq(cmd->argv[0], "estimate") || cds_streq(cmd->argv[0], "measure"));
}

enum cds_exit cds_cmd_model_inspect_server(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct cds_err err = {0};
    CDS_CLEANUP(cds_wire_close) struct cds_wire *wire = NULL;
    CDS_JSON_AUTO answer = NULL;
    CDS_JSON_AUTO status = NULL;
    cds_rc rc = cds_wire_open(&rest, &wire, &err);
    bool gpu = cds_streq(rest.argv[0], "gpu");
    if (rc == CDS_OK && rest.argc != (gpu ? 1 : 2)) {
        fprintf(stderr, "cyberdevstudio: use \"model inspect gpu\", \"model inspect estimate MODEL\" or \"model inspect measure MODEL\".\n");
        return CDS_EXIT_USAGE;
    }
    if (rc == CDS_OK && gpu)
        rc = cds_wire_call(wire, "GET", "/admin/status", NULL, &status, &err);
    else if (rc == CDS_OK)
        rc = cds_streq(rest.argv[0], "estimate") ? estimate(wire, rest.argv[1], &answer, &err) : measure(wire, rest.argv[1], &answer, &err);
    if (rc != CDS_OK)
        return cds_complain(stderr, &err);
    print_json(gpu ? cds_json_get(status, "system") : answer);
    return CDS_EXIT_OK;
}
