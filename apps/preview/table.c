/* apps/preview/table.c: what is open: labels, secrets, ceilings, ends. See preview.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/preview/door.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/service/service.h"

enum { TICK_MS = 500, UNWATCHED_S = 60 /* what a token of a key lives (cds-auth) */ };

static const char *const end_names[END_COUNT] = {"job", "closed", "idle", "session"};

static void hex(char *out, size_t digits)
{
    unsigned char bytes[SECRET_LEN / 2];
    cds_random(bytes, digits / 2);
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof(bytes));
}

bool preview_same_secret(const char *a, const char *b)
{
    unsigned char differs = 0;
    for (size_t i = 0; i < SECRET_LEN; i++)
        differs |= (unsigned char)(a[i] ^ b[i]);
    return !differs;
}

/* ---- life ---- */
static void on_tick(void *user)
{
    struct previews *all = user;
    uint64_t now = cds_now_ms(), idle = cds_config_u64(all->config, CDS_OPT_PREVIEW_IDLE_MS);
    int64_t wall_s = (int64_t)(cds_wall_ms() / 1000);
    for (struct preview *preview = all->list, *next; preview; preview = next) {
        next = preview->next;
        if (preview->until_s <= wall_s)
            preview_end(preview, END_SESSION);
        else if (!preview->forwards && now - preview->used_ms >= idle)
            preview_end(preview, END_IDLE);
    }
    cds_timer_set(all->tick, all->list ? now + TICK_MS : UINT64_MAX);
}

cds_rc previews_open(struct previews *all, struct cds_err *reterr)
{
    char origin[300];
    cds_rc rc = cds_service_preview_origin(all->config, origin, sizeof(origin), reterr);
    if (rc)
        return rc;
    const char *star = strchr(origin, '*');
    all->https = cds_starts_with(origin, "https:");
    cds_strcpy(all->scheme, sizeof(all->scheme), all->https ? "https" : "http");
    cds_strcpy(all->tail, sizeof(all->tail), star + 1);
    cds_config_path(all->config, "run/preview-doors.sock", all->doors_path, sizeof(all->doors_path));
    return cds_timer_add(all->loop, UINT64_MAX, on_tick, all, &all->tick) ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.") : CDS_OK;
}

void previews_close(struct previews *all)
{
    for (struct preview *preview = all->list, *next; preview; preview = next) {
        next = preview->next;
        preview_end(preview, END_CLOSED);
    }
    cds_timer_remove(&all->tick);
}

static unsigned count_of(const struct previews *all, const char *user)
{
    unsigned n = 0;
    for (const struct preview *preview = all->list; preview; preview = preview->next)
        n += cds_streq(preview->user, user);
    return n;
}

cds_rc preview_room(const struct previews *all, const char *user, struct cds_err *reterr)
{
    unsigned mine = (unsigned)cds_config_u64(all->config, CDS_OPT_PREVIEW_PER_USER),
             most = (unsigned)cds_config_u64(all->config, CDS_OPT_PREVIEW_SLOTS);
    if (count_of(all, user) < mine && all->count < most)
        return CDS_OK;
    bool own = count_of(all, user) >= mine;
    cds_fail(reterr, CDS_BUSY, __func__, own ? "You have %u previews open, the most there may be." : "%u previews are open, the most there may be.",
             own ? mine : most);
    cds_err_rule(reterr, "preview.limit");
    if (reterr)
        reterr->retry_after_ms = 5000;
    return cds_err_hint(reterr, own ? "Close one of them." : "Try again when another one has ended.");
}

cds_rc preview_new(struct previews *all, const struct preview_wish *wish, struct door *door, struct preview **ret, struct cds_err *reterr)
{
    cds_rc rc = preview_room(all, wish->user, reterr);
    if (rc)
        return rc;
    struct preview *preview = calloc(1, sizeof(*preview));
    if (!preview)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    preview->all = all;
    preview->door = door;
    door_ref(door);
    hex(preview->label, LABEL_LEN);
    hex(preview->cookie, SECRET_LEN);
    cds_strcpy(preview->user, sizeof(preview->user), wish->user);
    cds_strcpy(preview->session, sizeof(preview->session), wish->session);
    cds_strcpy(preview->project, sizeof(preview->project), wish->project);
    cds_strcpy(preview->term_id, sizeof(preview->term_id), wish->term_id);
    cds_strcpy(preview->run_id, sizeof(preview->run_id), wish->run_id);
    preview->port = wish->port;
    preview->until_s = wish->until_s;
    preview->keyed = wish->keyed;
    preview->opened_ms = preview->used_ms = cds_now_ms();
    if ((preview->next = all->list))
        preview->next->prev = &preview->next;
    preview->prev = &all->list;
    all->list = preview;
    all->count++;
    cds_timer_set(all->tick, cds_now_ms() + TICK_MS);
    cds_log(CDS_LOG_INFO, "preview opened", CDS_LS("preview", preview->label), CDS_LS("user_id", preview->user), CDS_LS("project", preview->project),
            CDS_LI("port", preview->port));
    *ret = preview;
    return CDS_OK;
}

void preview_end(struct preview *preview, enum preview_end why)
{
    struct previews *all = preview->all;
    struct ended *ended = &all->ended[all->ended_at++ % ENDED_KEPT];
    cds_strcpy(ended->label, sizeof(ended->label), preview->label);
    ended->why = why;
    if ((*preview->prev = preview->next))
        preview->next->prev = preview->prev;
    all->count--;
    cds_log(CDS_LOG_INFO, "preview ended", CDS_LS("preview", preview->label), CDS_LS("user_id", preview->user), CDS_LS("end", end_names[why]));
    visits_end(preview);
    door_unref(preview->door);
    explicit_bzero(preview, sizeof(*preview));
    free(preview);
}

/* ---- finding ---- */
struct preview *preview_find(const struct previews *all, const char *label)
{
    struct preview *preview = all->list;
    while (preview && !cds_streq(preview->label, label))
        preview = preview->next;
    return preview;
}

bool preview_was(const struct previews *all, const char *label, enum preview_end *ret_why)
{
    for (size_t i = 0; i < ENDED_KEPT; i++)
        if (cds_streq(all->ended[i].label, label)) {
            *ret_why = all->ended[i].why;
            return true;
        }
    return false;
}

struct preview *preview_of(const struct previews *all, const struct preview_wish *wish)
{
    for (struct preview *preview = all->list; preview; preview = preview->next)
        if (preview->port == wish->port && cds_streq(preview->user, wish->user) && cds_streq(preview->project, wish->project) &&
            door_has_key(preview->door, wish->grant) && door_is_open(preview->door))
            return preview;
    return NULL;
}

void previews_renew(const struct previews *all, const char *user, const char *session, int64_t until_s)
{
    for (struct preview *preview = all->list; preview; preview = preview->next)
        if (until_s > preview->until_s && cds_streq(preview->user, user) && cds_streq(preview->session, session))
            preview->until_s = until_s;
}

void previews_unwatched(const struct previews *all)
{
    int64_t at_most_s = (int64_t)(cds_wall_ms() / 1000) + UNWATCHED_S;
    for (struct preview *preview = all->list; preview; preview = preview->next)
        if (preview->keyed && preview->until_s > at_most_s)
            preview->until_s = at_most_s;
}

char *preview_origin(const struct preview *preview, char *buf, size_t size)
{
    snprintf(buf, size, "%s://%s%s", preview->all->scheme, preview->label, preview->all->tail);
    return buf;
}

/* ---- secrets ---- */
const char *preview_cookie_name(const struct previews *all)
{
    /* The prefix makes the browser insist on what we say: this host alone, over TLS. */
    return all->https ? "__Host-cds_preview" : "cds_preview";
}

const char *preview_ticket(struct preview *preview)
{
    struct ticket *ticket = &preview->tickets[0];
    for (size_t i = 1; i < TICKETS; i++)
        if (preview->tickets[i].until_ms < ticket->until_ms)
            ticket = &preview->tickets[i];
    hex(ticket->text, SECRET_LEN);
    ticket->until_ms = cds_now_ms() + cds_config_u64(preview->all->config, CDS_OPT_PREVIEW_TICKET_MS);
    preview->used_ms = cds_now_ms();
    return ticket->text;
}

bool preview_enter(struct preview *preview, const char *text, size_t len)
{
    bool good = false;
    for (size_t i = 0; i < TICKETS && len == SECRET_LEN; i++) {
        struct ticket *ticket = &preview->tickets[i];
        if (!ticket->text[0] || !preview_same_secret(ticket->text, text))
            continue;
        good = cds_now_ms() < ticket->until_ms;
        *ticket = (struct ticket){.until_ms = 0}; /* once, in time or not */
    }
    return good;
}
