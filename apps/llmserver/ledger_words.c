/* apps/llmserver/ledger_words.c: what somebody is told whose budgets refuse. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/llmserver/ledger.h"
#include "lib/base/buf.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

static const struct {
    const char *scope, *whose;
} scopes[] = {{"user", "of this user"}, {"key", "of this key"}, {"global", "of the studio"}};
static const struct {
    const char *window, *adjective;
} windows[] = {{"hour", "hourly"}, {"day", "daily"}, {"week", "weekly"}, {"month", "monthly"}, {"lifetime", "whole"}};
static const struct {
    const char *unit, *kind, *plural;
} units[] = {{"tokens", "token", "tokens"}, {"microcredits", "credit", "micro-credits"}, {"requests", "request", "requests"}};

/** "of this user", "of the model m", "of this key for the model m". */
static void whose(const char *scope, const char *model, char *ret, size_t size)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(scopes); i++)
        if (cds_streq(scope, scopes[i].scope)) {
            cds_strcpy(ret, size, scopes[i].whose);
            return;
        }
    const char *first = cds_streq(scope, "user_model") ? "of this user for" : cds_streq(scope, "key_model") ? "of this key for" : "of";
    snprintf(ret, size, "%s the model %.64s", first, model ? model : "");
}

/** "2026-12-01" for the begin of a day, else with its time: "2026-11-26 14:00 UTC". */
static void when(const char *resets_at, char *ret, size_t size)
{
    if (strlen(resets_at) >= 16 && strncmp(resets_at + 10, "T00:00", 6) != 0)
        snprintf(ret, size, "; it resets on %.10s at %.5s UTC.", resets_at, resets_at + 11);
    else
        snprintf(ret, size, "; it resets on %.10s.", resets_at);
}

static void tell(const struct cds_ledger_op *op, const cds_json *first, size_t others, struct cds_err *err)
{
    const char *scope = cds_json_get_str(first, "scope"), *window = cds_json_get_str(first, "window"), *unit = cds_json_get_str(first, "unit");
    const char *resets_at = cds_json_get_str(first, "resets_at");
    int64_t held = cds_json_get_i64(first, "held", 0);
    size_t w = 0, u = 0;
    char of[100], held_text[80] = "", more[40] = "", resets[64] = ".", rule[48];
    while (w + 1 < CDS_ARRAY_LEN(windows) && !cds_streq(window, windows[w].window))
        w++;
    while (u + 1 < CDS_ARRAY_LEN(units) && !cds_streq(unit, units[u].unit))
        u++;
    whose(scope, cds_json_get_str(first, "model"), of, sizeof(of));
    if (held > 0)
        snprintf(held_text, sizeof(held_text), " and %" PRId64 " held by running requests", held);
    if (others)
        snprintf(more, sizeof(more), " (and %zu more)", others);
    if (resets_at)
        when(resets_at, resets, sizeof(resets));
    cds_fail(err, CDS_BUDGET_EXCEEDED, __func__, "The %s %s budget %s%s does not allow %" PRId64 " more %s: %" PRId64 " of %" PRId64 " are used%s%s",
             windows[w].adjective, units[u].kind, of, more, cds_json_get_i64(first, "needs", op->tokens), units[u].plural,
             cds_json_get_i64(first, "used", 0), cds_json_get_i64(first, "limit", 0), held_text, resets);
    cds_err_hint(err, resets_at ? "Ask for a shorter answer, wait for the reset, or ask an administrator for more."
                                : "Ask for a shorter answer, or ask an administrator for more.");
    snprintf(rule, sizeof(rule), "budget.%.12s.%.10s", scope ? scope : "user", windows[w].window);
    cds_err_rule(err, rule);
}

void cds_ledger_over_budget(const struct cds_ledger_op *op, const char *refused, struct cds_err *err)
{
    cds_json *parsed = NULL;
    if (!refused || cds_json_parse(refused, strlen(refused), &parsed, NULL) != CDS_OK) {
        cds_fail(err, CDS_BUDGET_EXCEEDED, __func__, "A budget does not allow %" PRIu32 " more tokens.", op->tokens);
        return;
    }
    CDS_JSON_AUTO list = parsed;
    tell(op, cds_json_at(list, 0), cds_json_size(list) > 1 ? cds_json_size(list) - 1 : 0, err);
}
