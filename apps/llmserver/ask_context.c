#include "apps/llmserver/ask.h"

cds_rc cds_ask_context(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    bool shift;
    cds_rc rc = cds_ask_bool(body, "context_shift", false, &shift, reterr);
    const cds_json *keep = cds_ask_member(body, "n_keep");
    int64_t tokens = cds_json_i64(keep, 0);
    if (rc != CDS_OK)
        return rc;
    if (keep && (ask->chat || !cds_json_is(keep, CDS_JSON_INTEGER) || tokens < 0 || tokens > CDS_ASK_TOKENS_MAX))
        return cds_ask_wrong(reterr, "n_keep", ask->chat ? "left out: a chat keeps its system messages" : "an integer of 0 or more");
    if (shift)
        cds_json_set(prompt, "shift", cds_json_bool(true));
    if (shift && keep)
        cds_json_set(prompt, "keep", cds_json_int(tokens));
    return CDS_OK;
}
