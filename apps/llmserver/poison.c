#include "apps/llmserver/poison.h"

#include <string.h>

static uint64_t add(uint64_t hash, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211ULL;
    return (hash ^ 0xFF) * 1099511628211ULL; /* an end, so that "ab" + "c" is not "a" + "bc" */
}

uint64_t cds_poison_fingerprint(const char *user_id, const char *model_id, const char *body, size_t len)
{
    uint64_t hash = add(1469598103934665603ULL, user_id, strlen(user_id));
    return add(add(hash, model_id, strlen(model_id)), body, len);
}

static bool fresh(const struct cds_poison *poison, unsigned i, uint64_t now_ms)
{
    return poison->suspects[i].deaths > 0 && now_ms - poison->suspects[i].at_ms < CDS_POISON_KEEP_MS;
}

void cds_poison_add(struct cds_poison *poison, uint64_t fingerprint, uint64_t now_ms)
{
    unsigned place = 0;
    for (unsigned i = 0; i < CDS_POISON_MAX; i++) {
        if (fresh(poison, i, now_ms) && poison->suspects[i].fingerprint == fingerprint) {
            poison->suspects[i].deaths++;
            poison->suspects[i].at_ms = now_ms;
            return;
        }
        bool older = poison->suspects[i].at_ms < poison->suspects[place].at_ms;
        if (fresh(poison, place, now_ms) && (!fresh(poison, i, now_ms) || older))
            place = i;
    }
    poison->suspects[place].fingerprint = fingerprint;
    poison->suspects[place].at_ms = now_ms;
    poison->suspects[place].deaths = 1;
}

cds_rc cds_poison_check(const struct cds_poison *poison, uint64_t fingerprint, uint64_t now_ms, struct cds_err *reterr)
{
    for (unsigned i = 0; i < CDS_POISON_MAX; i++)
        if (fresh(poison, i, now_ms) && poison->suspects[i].fingerprint == fingerprint && poison->suspects[i].deaths >= CDS_POISON_DEATHS) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model process died twice under this very request, so it is not tried again.");
            cds_err_rule(reterr, "llm.poison");
            cds_err_hint(reterr, "Change the request, or try it again in ten minutes.");
            return CDS_BAD_PARAM;
        }
    return CDS_OK;
}
