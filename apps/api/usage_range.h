/* apps/api/usage_range.h: which lines of the ledger a call about use is about: whose, and the days of a time zone.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/api/call.h"

enum { USAGE_DAYS_MAX = 400 };

/** Borrowed from the call's parameters. */
struct usage_range {
    const char *user_id; /**< NULL: everybody's */
    const char *from, *to, *time_zone, *model;
};

/** Reads user_id, everybody, from, to, time_zone, model. @return false: refused, the call is answered */
bool usage_range_read(struct call *call, struct usage_range *ret);
/** Whose: user_id and everybody alone. @return false: refused, the call is answered */
bool usage_whose(struct call *call, const char **ret_user_id);
/** Days from `from` to `to` ("2026-02-01"), both counted; 0: one of them does not exist, or they are the wrong way round. */
int usage_days(const char *from, const char *to);
/** As call_queried, and what the database does not like about a time zone or a cursor is said in our words. */
struct call *usage_queried(void *ticket, const struct cds_err *err);

/** The lines `e` of the ledger in a range, for FROM: $1 user or NULL, $2 first day, $3 last day, $4 time zone, $5 model or NULL. A line stands in the
 *  month of its admission, and is written at most an hour and a few repeats later: the month before is read too, so that the index of user and month
 *  serves. Days may have 23 or 25 hours. */
#define USAGE_LINES                                                                                                                                  \
    "(SELECT $2::date::timestamp AT TIME ZONE $4::text AS a, ($3::date + 1)::timestamp AT TIME ZONE $4::text AS b) w"                                \
    " JOIN token_ledger e ON e.kind = 1 AND e.created_at >= w.a AND e.created_at < w.b"                                                              \
    "  AND e.period >= (date_trunc('month', w.a AT TIME ZONE 'UTC') - interval '1 month')::date"                                                     \
    "  AND e.period <= (w.b AT TIME ZONE 'UTC')::date"                                                                                               \
    "  AND ($1::uuid IS NULL OR e.user_id = $1::uuid) AND ($5::text IS NULL OR e.model = $5::text)"
/** "No key: a signed-in session" in the ledger. */
#define USAGE_NO_KEY "'00000000-0000-0000-0000-000000000000'::uuid"
