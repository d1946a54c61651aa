/* apps/api/access.c: what ends when a credential no longer holds: sockets, calls and runs, log readers here; terminals in cds-sandboxd; previews.
 *
 * Streams of the model that go through /v1 are ended by cds-llmserver, which follows the changes itself. */
#include "apps/api/message.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

cds_rc api_access_check(const struct api *api, struct cds_credential *who, bool unknown, struct cds_err *reterr)
{
    return unknown ? cds_standing_unknown(reterr) : cds_standing_check(api->standing, who, reterr);
}

/* A person who signs out keeps the terminals that still run; one who ends a session elsewhere wants nothing of it to go on. */
static const char *session_of(const struct cds_standing_change *change)
{
    return cds_streq(change->why, "logout") ? NULL : change->subject;
}

static bool lost_programs(const struct cds_standing_change *change)
{
    return change->kind == CDS_STANDING_USER && (!change->active || change->role < CDS_ROLE_DEVELOPER);
}

static void tell_sandbox(void *user, const struct cds_standing_change *change)
{
    if (lost_programs(change))
        sandbox_end_all(user, change->user_id, NULL);
    else if (change->kind != CDS_STANDING_USER && session_of(change))
        sandbox_end_all(user, change->user_id, session_of(change));
}

void api_access_tell_sandbox(struct api *api)
{
    if (api->standing)
        cds_standing_each(api->standing, tell_sandbox, api);
}

void api_access_changed(void *user, const struct cds_standing_change *change)
{
    struct api *api = user;
    if (change) {
        cds_log(CDS_LOG_INFO, "rights changed", CDS_LS("user_id", change->user_id), CDS_LS("subject", change->subject), CDS_LS("why", change->why));
        tell_sandbox(api, change);
        if (lost_programs(change))
            preview_end_all(api, change->user_id, NULL);
        else if (change->kind != CDS_STANDING_USER)
            preview_end_all(api, change->user_id, change->subject);
    }
    /* What a key has opened holds as long as the key, and nobody knows now how long that is. */
    if (!change)
        preview_end_all(api, NULL, NULL);
    api_sockets_recheck(api, !change);
    api_exchanges_recheck(api, !change);
    api_responses_recheck(api, !change);
    if (api->logs)
        api_logs_recheck(api->logs, !change);
}
