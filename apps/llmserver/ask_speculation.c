#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

enum { DRAFT_MAX = 63 };

cds_json *cds_ask_speculation_of(const char *type)
{
    bool both = cds_streq(type, "auto"), lookup = both || cds_streq(type, "lookup"), draft = both || cds_streq(type, "draft");
    bool grammar = lookup || draft || cds_streq(type, "grammar");
    if (!grammar && !cds_streq(type, "off"))
        return NULL;
    return cds_json_pack("{s:b,s:b,s:b}", "lookup", lookup, "draft", draft, "grammar", grammar);
}

static cds_rc read_count(const cds_json *given, const char *name, int64_t min, const char *as, cds_json *to, struct cds_err *reterr)
{
    const cds_json *value = cds_ask_member(given, name);
    int64_t count = cds_json_i64(value, -1);
    if (!value)
        return CDS_OK;
    if (!cds_json_is(value, CDS_JSON_INTEGER) || count < min || count > DRAFT_MAX)
        return cds_ask_wrong(reterr, "speculation",
                             "{\"type\", \"min_tokens\" from 0 to 63, \"max_tokens\" from 1 to 63, \"min_confidence\", \"always\"}");
    cds_json_set(to, as, cds_json_int(count));
    return CDS_OK;
}

static cds_rc read_more(const cds_json *given, struct cds_ask *ask, cds_json *to, struct cds_err *reterr)
{
    static const char expected[] = "an object whose \"min_confidence\" is a number from 0 to 1, whose \"always\" is true or false, and whose "
                                   "\"min_tokens\" is at most \"max_tokens\"";
    const cds_json *confidence = cds_ask_member(given, "min_confidence"), *always = cds_ask_member(given, "always");
    cds_rc rc = read_count(given, "min_tokens", 0, "min", to, reterr);
    if (rc == CDS_OK)
        rc = read_count(given, "max_tokens", 1, "most", to, reterr);
    if (rc != CDS_OK)
        return rc;
    double share = cds_json_num(confidence, 0);
    if ((confidence && (!cds_ask_is_number(confidence) || !(share >= 0 && share <= 1))) || (always && !cds_ask_is_bool(always)) ||
        cds_json_get_i64(to, "min", 0) > cds_json_get_i64(to, "most", DRAFT_MAX))
        return cds_ask_wrong(reterr, "speculation", expected);
    if (confidence)
        cds_json_set(to, "confidence", cds_json_real(share));
    ask->always_guesses = cds_json_true(always, false);
    if (ask->always_guesses)
        cds_json_set(to, "always", cds_json_bool(true));
    return CDS_OK;
}

cds_rc cds_ask_speculation(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *given = cds_ask_member(body, "speculation");
    bool object = cds_json_is(given, CDS_JSON_OBJECT);
    if (!given)
        return CDS_OK;
    const char *type = object ? cds_json_get_str(given, "type") : cds_json_str(given);
    cds_json *to = cds_ask_speculation_of(object && !cds_ask_member(given, "type") ? "auto" : type);
    if (!to)
        return cds_ask_wrong(reterr, "speculation", "\"off\", \"lookup\", \"grammar\", \"draft\", \"auto\", or an object with such a \"type\"");
    cds_json_set(prompt, "speculation", to);
    ask->needs_draft = cds_streq(type, "draft");
    return object ? read_more(given, ask, to, reterr) : CDS_OK;
}
