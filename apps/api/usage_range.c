#include "apps/api/usage_range.h"

#include <stdio.h>
#include <stdlib.h>

#include "apps/api/message.h"
#include "apps/api/owned.h"
#include "lib/base/str.h"

/* Days since the epoch of a civil date; -1: there is no such day. */
static long day_number(const char *text)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    static const int length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    long year = atol(text), month = atol(text + 5), day = atol(text + 8);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > length[month - 1] + (leap && month == 2))
        return -1;
    long past = year - 1;
    return past * 365 + past / 4 - past / 100 + past / 400 + before[month - 1] + (leap && month > 2) + day - 1;
}

int usage_days(const char *from, const char *to)
{
    long first = day_number(from), last = day_number(to);
    return first < 0 || last < first ? 0 : (int)(last - first + 1);
}

static bool wrong(struct call *call, const char *member, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, CDS_BAD_PARAM, "usage", "%s", message);
    cds_err_pointer(&err, "/params/%s", member);
    cds_err_rule(&err, "usage.range");
    cds_err_hint(&err, "%s", hint);
    call_fail(call, &err);
    return false;
}

bool usage_whose(struct call *call, const char **ret_user_id)
{
    struct cds_err err;
    *ret_user_id = NULL;
    if (!cds_json_true(cds_json_get(call->params, "everybody"), false))
        return (*ret_user_id = owned_whose(call, "usage")) != NULL;
    if (cds_json_get(call->params, "user_id"))
        return wrong(call, "everybody", "\"everybody\" and \"user_id\" cannot both be meant.", "Leave one of them out.");
    if (cds_credential_need(call_who(call), CDS_ROLE_ADMIN, "the usage of everybody", &err) == CDS_OK)
        return true;
    call_fail(call, &err);
    return false;
}

bool usage_range_read(struct call *call, struct usage_range *ret)
{
    if (!usage_whose(call, &ret->user_id))
        return false;
    const char *zone = cds_json_get_str(call->params, "time_zone");
    ret->from = cds_json_get_str(call->params, "from");
    ret->to = cds_json_get_str(call->params, "to");
    ret->time_zone = zone ? zone : "UTC";
    ret->model = cds_json_get_str(call->params, "model");
    int days = usage_days(ret->from, ret->to);
    if (day_number(ret->from) < 0)
        return wrong(call, "from", "There is no such day.", "Write it as 2026-02-28.");
    if (days == 0)
        return wrong(call, "to", "There is no such day, or it is before the first one.", "Write it as 2026-02-28.");
    if (days > USAGE_DAYS_MAX)
        return wrong(call, "to", "These are more than 400 days.", "Ask for them in several calls.");
    return true;
}

struct call *usage_queried(void *ticket, const struct cds_err *err)
{
    if (!err || err->code != CDS_BAD_PARAM)
        return call_queried(ticket, err);
    struct call *call = ticket_take(ticket);
    if (call && cds_json_get(call->params, "cursor"))
        wrong(call, "cursor", "This cursor is not one of this list, or there is no such time zone.", "Begin again without a cursor.");
    else if (call)
        wrong(call, "time_zone", "There is no such time zone.", "Use a name of the IANA list, as Europe/Berlin.");
    return NULL;
}
