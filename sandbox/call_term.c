/* sandbox/call_term.c: term.*: from parameters to a terminal. The gateway names the user; a foreign terminal is not found. */
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/run_params.h"
#include "sandbox/term.h"

static const char *param(const cds_json *params, const char *key)
{
    const char *text = cds_json_get_str(params, key);
    return text ? text : "";
}

static cds_rc take_size(const cds_json *params, unsigned *ret_rows, unsigned *ret_cols, struct cds_err *err)
{
    int64_t rows = cds_json_get_i64(params, "rows", 0), cols = cds_json_get_i64(params, "cols", 0);
    if (rows < 1 || cols < 1 || rows > CDS_TERMINAL_SIDE_MAX || cols > CDS_TERMINAL_SIDE_MAX) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "A terminal has 1 to %d rows and columns.", CDS_TERMINAL_SIDE_MAX);
        cds_err_pointer(err, rows < 1 || rows > CDS_TERMINAL_SIDE_MAX ? "/params/rows" : "/params/cols");
        return CDS_BAD_PARAM;
    }
    *ret_rows = (unsigned)rows;
    *ret_cols = (unsigned)cols;
    return CDS_OK;
}

static cds_rc find(const struct client *client, const cds_json *params, struct term **ret, struct cds_err *err)
{
    *ret = term_find(client->broker, param(params, "project"), param(params, "user"), param(params, "term_id"));
    if (*ret)
        return CDS_OK;
    cds_fail(err, CDS_NOT_FOUND, __func__, "There is no such terminal in this project, or it belongs to someone else.");
    cds_err_hint(err, "term.list names your terminals of a project. One that has ended is forgotten when its end was told.");
    cds_err_pointer(err, "/params/term_id");
    return CDS_NOT_FOUND;
}

/* ---- one function per method: each answers, or fails with err ---- */
typedef cds_rc method_fn(struct client *client, const struct cds_rpc_request *request, struct cds_err *err);

static cds_rc call_open(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    const char *program = cds_json_get_str(request->params, "program");
    struct term_wish wish = {.project = param(request->params, "project"),
                             .user = param(request->params, "user"),
                             .session = param(request->params, "session"),
                             .program = program ? program : "shell"};
    struct term *term = NULL;
    struct cds_job_network network;
    CDS_CLEANUP(cds_free_ptr) char *rules = NULL;
    if (!cds_streq(wish.program, "shell") && !cds_streq(wish.program, "python") && !cds_streq(wish.program, "node"))
        return cds_fail(err, CDS_BAD_PARAM, __func__, "A terminal runs shell, python or node.");
    if (!wish.user[0])
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The gateway did not say whose terminal this is.");
    cds_rc rc = take_size(request->params, &wish.rows, &wish.cols, err);
    wish.network = run_params_network(request->params, &network, &rules) ? &network : NULL;
    if (!rc)
        rc = term_open(client->broker, &wish, &term, err);
    if (!rc)
        client_result(client, request->id,
                      cds_json_pack("{s:s,s:s,s:I,s:I}", "term_id", term->id, "program", term->program, "rows", (int64_t)term->rows, "cols",
                                    (int64_t)term->cols));
    return rc;
}

static cds_rc call_attach(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct term *term = NULL;
    cds_rc rc = find(client, request->params, &term, err);
    return rc || !request->id ? rc : term_reader_new(term, client, request, err);
}

static cds_rc call_input(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct term *term = NULL;
    const cds_json *data = cds_json_get(request->params, "data");
    size_t len = cds_json_str_len(data);
    cds_rc rc = find(client, request->params, &term, err);
    if (rc)
        return rc;
    if (!cds_json_str(data) || len > TERM_INPUT_MAX)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "Input is a text of at most %d bytes.", TERM_INPUT_MAX);
    if (!term->job)
        return cds_fail(err, CDS_CONFLICT, __func__, "This terminal has ended.");
    rc = term->ops->write(term->job, cds_json_str(data), len, err);
    if (!rc)
        client_result(client, request->id, cds_json_pack("{s:I}", "accepted_bytes", (int64_t)len));
    return rc;
}

static cds_rc call_resize(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct term *term = NULL;
    unsigned rows, cols;
    cds_rc rc = find(client, request->params, &term, err);
    if (rc || (rc = take_size(request->params, &rows, &cols, err)) || (rc = term_resize(term, rows, cols, err)))
        return rc;
    client_result(client, request->id, cds_json_pack("{s:I,s:I}", "rows", (int64_t)rows, "cols", (int64_t)cols));
    return CDS_OK;
}

static cds_json *describe(const struct term *term)
{
    int64_t attached = 0;
    for (const struct term_reader *reader = term->readers; reader; reader = reader->next)
        attached++;
    return cds_json_pack("{s:s,s:s,s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "term_id", term->id, "program", term->program, "end", term_end_name(term),
                         "busy", (int)term_is_busy(term), "rows", (int64_t)term->rows, "cols", (int64_t)term->cols, "attached", attached, "age_ms",
                         (int64_t)(cds_now_ms() - term->opened_ms), "first_seq", (int64_t)term_ring_begin(&term->ring), "next_seq",
                         (int64_t)term->ring.end);
}

static cds_rc call_list(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    const char *project = param(request->params, "project"), *user = param(request->params, "user");
    cds_json *list = cds_json_array();
    (void)err;
    for (const struct term *term = client->broker->terms; term; term = term->next)
        if (cds_streq(term->project, project) && cds_streq(term->user, user))
            cds_json_append(list, describe(term));
    client_result(client, request->id, cds_json_pack("{s:o}", "terminals", list));
    return CDS_OK;
}

static cds_rc call_kill(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct term *term = NULL;
    cds_rc rc = find(client, request->params, &term, err);
    if (rc)
        return rc;
    const bool ran = term->job != NULL;
    term->told = true; /* by this very answer, whoever else is attached */
    term_end(term, "killed");
    client_result(client, request->id, cds_json_pack("{s:b}", "killed", (int)ran));
    return CDS_OK;
}

static struct term_reader *reader_of(const struct client *client, int64_t call)
{
    struct term_reader *reader = client->readers;
    while (reader && reader->call != call)
        reader = reader->mine_next;
    return reader;
}

/* Of the gateway: the reader of that call has shown what came before this byte. */
static void on_ack(struct client *client, const cds_json *params)
{
    struct term_reader *reader = reader_of(client, cds_json_get_i64(params, "call", 0));
    int64_t seq = cds_json_get_i64(params, "seq", 0);
    if (!reader || seq < 0 || (uint64_t)seq <= reader->acked || (uint64_t)seq > reader->seq)
        return;
    struct term *term = reader->term;
    reader->acked = (uint64_t)seq;
    term_reader_pump(reader);
    term_look_at_readers(term);
}

/* Of the gateway: its queue to the reader of that call is full, or empty again. */
static void on_hold(struct client *client, const cds_json *params)
{
    struct term_reader *reader = reader_of(client, cds_json_get_i64(params, "call", 0));
    if (!reader)
        return;
    struct term *term = reader->term;
    reader->held = cds_json_true(cds_json_get(params, "hold"), false);
    term_reader_pump(reader);
    term_look_at_readers(term);
}

void term_call(struct client *client, const struct cds_rpc_request *request)
{
    static const struct {
        const char *name;
        method_fn *run;
    } methods[] = {{"term.open", call_open},     {"term.attach", call_attach}, {"term.input", call_input},
                   {"term.resize", call_resize}, {"term.list", call_list},     {"term.kill", call_kill}};
    struct cds_err err;
    if (cds_streq(request->method, "term.hold")) {
        on_hold(client, request->params);
        return;
    }
    if (cds_streq(request->method, "term.ack")) {
        on_ack(client, request->params);
        return;
    }
    if (cds_streq(request->method, "term.end_all")) { /* of the gateway: a user or a session has lost its rights */
        terms_end_all(client->broker, param(request->params, "user"), param(request->params, "session"));
        return;
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(methods); i++)
        if (cds_streq(methods[i].name, request->method)) {
            if (methods[i].run(client, request, &err))
                client_error(client, request->id, &err);
            return;
        }
    cds_fail(&err, CDS_NO_METHOD, __func__, "The sandbox has no method %.64s.", request->method);
    client_error(client, request->id, &err);
}

void term_call_cancel(struct client *client, int64_t call)
{
    struct term_reader *reader = reader_of(client, call);
    if (reader)
        term_reader_detach(reader, true);
}

void term_call_drop_all(struct client *client)
{
    while (client->readers)
        term_reader_detach(client->readers, false);
}
