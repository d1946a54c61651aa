#include "apps/llmserver/ask.h"
#include "apps/llmserver/states_folder.h"
#include "lib/base/str.h"

static cds_rc read_priority(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    static const char *const names[] = {"low", "normal", "high"};
    const cds_json *given = cds_ask_member(body, "priority");
    for (unsigned i = 0; given && i < CDS_ARRAY_LEN(names); i++)
        if (cds_streq(cds_json_str(given), names[i])) {
            ask->priority = i;
            return CDS_OK;
        }
    return given ? cds_ask_wrong(reterr, "priority", "\"low\", \"normal\" or \"high\"") : CDS_OK;
}

static cds_rc read_deadline(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    const cds_json *given = cds_ask_member(body, "deadline_ms");
    int64_t ms = cds_json_i64(given, 0);
    if (given && (!cds_json_is(given, CDS_JSON_INTEGER) || ms < 1 || ms > 86400000))
        return cds_ask_wrong(reterr, "deadline_ms", "an integer from 1 to 86400000");
    ask->deadline_ms = (uint32_t)ms;
    return CDS_OK;
}

/** The prompt is read and kept warm, nothing is said. */
static cds_rc read_preload(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    bool preload;
    cds_rc rc = cds_ask_bool(body, "preload", false, &preload, reterr);
    if (rc != CDS_OK || !preload)
        return rc;
    if (ask->per_prompt > 1)
        return cds_ask_wrong(reterr, "preload", "false with several answers");
    ask->max_tokens = 1;
    cds_json_set(prompt, "preload", cds_json_bool(true));
    return CDS_OK;
}

/** The prompt is read and what the model made of it kept in a file; nothing is said. */
static cds_rc read_save(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *given = cds_ask_member(body, "save_state");
    if (!given)
        return CDS_OK;
    if (!cds_states_name(cds_json_str(given)))
        return cds_ask_wrong(reterr, "save_state", "a name of 1 to 64 letters, digits, \"-\", \"_\" and \".\", without \".\" in front");
    if (ask->per_prompt > 1 || ask->prompts > 1)
        return cds_ask_wrong(reterr, "save_state", "left out with several prompts or answers");
    ask->max_tokens = 1;
    cds_strcpy(ask->save_state, sizeof(ask->save_state), cds_json_str(given));
    cds_json_set(prompt, "preload", cds_json_bool(true));
    return CDS_OK;
}

/** The same text in any company: computed alone, without guesses, and drawn from one seed. */
static cds_rc read_deterministic(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = cds_ask_bool(body, "deterministic", false, &ask->deterministic, reterr);
    if (rc != CDS_OK || !ask->deterministic)
        return rc;
    if (cds_json_get(prompt, "preload"))
        return cds_ask_wrong(reterr, "deterministic", "false together with \"preload\" or \"save_state\": nothing of such a request is kept");
    if (ask->per_prompt > 1 || ask->prompts > 1)
        return cds_ask_wrong(reterr, "deterministic", "false with several prompts or answers");
    const cds_json *guesses = cds_ask_member(body, "speculation");
    if (guesses && !cds_streq(cds_json_str(guesses), "off"))
        return cds_ask_wrong(reterr, "speculation", "left out or \"off\" with \"deterministic\": how far guesses go depends on the clock");
    cds_json_set(prompt, "alone", cds_json_bool(true));
    if (!cds_json_get(prompt, "seed"))
        cds_json_set(prompt, "seed", cds_json_int(0)); /* with a seed there are no guesses that nobody asked for (settings.c) */
    return CDS_OK;
}

/** The last message of the user is not finished: the model types on. */
static cds_rc read_half(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    bool half;
    cds_rc rc = cds_ask_bool(body, "complete_prompt", false, &half, reterr);
    if (rc != CDS_OK || !half)
        return rc;
    const cds_json *messages = cds_json_get(prompt, "messages");
    const cds_json *last = cds_json_at(messages, cds_json_size(messages) - 1);
    if (!ask->chat || !cds_streq(cds_json_get_str(last, "role"), "user") || cds_json_str_len(cds_json_get(last, "content")) == 0)
        return cds_ask_wrong(reterr, "complete_prompt", "false unless the last message is a text of the user");
    if (cds_json_get(body, "tools") || cds_json_get(body, "continue_final_message"))
        return cds_ask_wrong(reterr, "complete_prompt", "false together with \"tools\" or \"continue_final_message\"");
    cds_json_set(prompt, "half", cds_json_bool(true));
    return CDS_OK;
}

/** Tokens that penalties for repetition leave alone. */
static cds_rc read_exempt(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 64 token ids";
    bool newline = true;
    cds_json *list = cds_ask_member(body, "penalty_exempt");
    cds_rc rc = cds_ask_bool(body, "penalize_newline", true, &newline, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!newline)
        cds_json_set(prompt, "penalize_newline", cds_json_bool(false));
    if (!list)
        return CDS_OK;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > 64)
        return cds_ask_wrong(reterr, "penalty_exempt", expected);
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *token = cds_json_at(list, i);
        if (!cds_json_is(token, CDS_JSON_INTEGER) || cds_json_i64(token, -1) < 0 || cds_json_i64(token, -1) > INT32_MAX)
            return cds_ask_wrong(reterr, "penalty_exempt", expected);
    }
    cds_json_set(prompt, "penalty_exempt", cds_json_ref(list));
    return CDS_OK;
}

cds_rc cds_ask_extras(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    bool tell_tokens = false, document = true;
    cds_rc rc = read_priority(body, ask, reterr);
    if (rc == CDS_OK)
        rc = read_deadline(body, ask, reterr);
    if (rc == CDS_OK)
        rc = read_preload(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_save(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_deterministic(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_exempt(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_half(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_bool(body, "return_tokens", false, &tell_tokens, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_bool(body, "document_parameters", true, &document, reterr);
    if (rc == CDS_OK && tell_tokens)
        cds_json_set(prompt, "tell_tokens", cds_json_bool(true));
    if (rc == CDS_OK && !document)
        cds_json_set(prompt, "document_parameters", cds_json_bool(false));
    return rc;
}
