/* sandbox/micro.c: the engine micro for the broker. See micro.h; the life of a job is in micro_job.c. */
#include "sandbox/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/micro_priv.h"

struct micro_probe {
    struct micro *engine;
    cds_probe_fn *done;
    void *user;
    struct cds_err err; /* why there is nothing to try */
};

/* ---- probe ---- */
static void report(void *user)
{
    struct micro_probe *p = user;
    struct micro *m = p->engine;
    struct cds_engine_report all[MICRO_TIERS];
    for (int tier = 0; tier < MICRO_TIERS; tier++) {
        const struct micro_tier_state *s = &m->tiers[tier];
        struct cds_engine_report *r = &all[tier];
        *r = (struct cds_engine_report){.name = "micro",
                                        .backend = micro_backend_name((enum micro_tier)tier),
                                        .boundary = micro_boundary_name((enum micro_tier)tier),
                                        .limits = sandbox_host_limits(m->host),
                                        .works = !p->err.code && s->state == MICRO_WORKS,
                                        .took_ms = s->took_ms};
        cds_strcpy(r->reason, sizeof(r->reason), p->err.code && s->state != MICRO_FAILS ? p->err.message : s->reason);
        cds_strcpy(r->remedy, sizeof(r->remedy), p->err.code && s->state != MICRO_FAILS ? p->err.hint : s->remedy);
        if (r->works && tier == MICRO_TIER_TCG)
            snprintf(r->reason, sizeof(r->reason), "Emulated: no virtualisation is used, programs that compute take about 12 times as long.");
        r->reason[cds_utf8_complete(r->reason, strlen(r->reason))] = '\0';
    }
    p->done(p->user, all, MICRO_TIERS);
    free(p);
}

static cds_rc micro_probe(struct cds_engine *base, cds_probe_fn *done, void *user, struct cds_err *reterr)
{
    struct micro *m = (struct micro *)base;
    struct micro_probe *p = calloc(1, sizeof(*p));
    if (!p)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *p = (struct micro_probe){.engine = m, .done = done, .user = user};
    cds_rc rc = micro_ready(m, &p->err) ? cds_loop_post(m->host->loop, report, p) : micro_try(m, true, report, p, reterr);
    if (rc)
        free(p);
    return rc;
}

/* ---- prepare ---- */
struct preparing {
    struct micro *engine;
    cds_prepare_fn_done *done;
    void *user;
};

static void prepared(void *user, const struct cds_err *err)
{
    struct preparing *p = user;
    p->done(p->user, err);
    free(p);
}

static void prepare_now(void *user)
{
    struct preparing *p = user;
    struct cds_err err;
    enum micro_tier tier;
    cds_rc rc = micro_choose(p->engine, &tier, &err);
    if (!rc && (!micro_tier_has_template(tier) || micro_template_ready(&p->engine->template, tier)))
        prepared(p, NULL);
    else if (rc || micro_template_make(&p->engine->template, tier, prepared, p, &err))
        prepared(p, &err);
}

static cds_rc micro_prepare(struct cds_engine *base, const char *language, cds_prepare_fn_done *done, void *user, struct cds_err *reterr)
{
    struct micro *m = (struct micro *)base;
    enum micro_tier tier;
    cds_rc rc = micro_ready(m, reterr);
    if (rc || (rc = micro_choose(m, &tier, reterr)))
        return rc;
    struct preparing *p = malloc(sizeof(*p));
    if (!p)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *p = (struct preparing){m, done, user};
    if (micro_language_of(language) != MICRO_NO_LANGUAGE && tier != MICRO_TIER_MSB)
        m->pool.used_ms[micro_language_of(language)] = cds_now_ms();
    rc = tier == MICRO_TIERS ? micro_try(m, false, prepare_now, p, reterr) : cds_loop_post(m->host->loop, prepare_now, p);
    if (rc)
        free(p);
    return rc;
}

/* ---- life ---- */
static void micro_close(struct cds_engine *base)
{
    struct micro *m = (struct micro *)base;
    micro_jobs_end(m);
    micro_pool_end(m);
    micro_try_end(m);
    micro_template_end(&m->template);
    micro_roots_end(m);
    micro_vms_end(&m->vms);
    if (m->have_files)
        micro_image_close(&m->files);
    free(m);
}

cds_rc cds_micro_engine_new(struct sandbox_host *host, const struct micro_settings *s, struct cds_engine **ret, struct cds_err *reterr)
{
    static const struct cds_engine_ops ops = {.name = "micro",
                                              .probe = micro_probe,
                                              .prepare = micro_prepare,
                                              .acquire = micro_acquire,
                                              .exec = micro_exec,
                                              .write = micro_write,
                                              .resize = micro_resize,
                                              .hold = micro_hold,
                                              .kill = micro_kill,
                                              .stats = micro_stats,
                                              .release = micro_release,
                                              .close = micro_close};
    struct micro *m = calloc(1, sizeof(*m));
    if (!m)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *m = (struct micro){.base = {&ops},
                        .host = host,
                        .memory_mib = s->memory_mib,
                        .pool_target = s->pool < MICRO_POOL_MAX ? s->pool : MICRO_POOL_MAX,
                        .pool_ttl_ms = s->pool_ttl_ms,
                        .templates = s->templates,
                        .files = {-1, -1, -1, 0}};
    micro_template_init(&m->template, m, &m->files);
    cds_strcpy(m->image_dir, sizeof(m->image_dir), s->image_dir);
    cds_strcpy(m->agent, sizeof(m->agent), s->agent);
    cds_strcpy(m->image, sizeof(m->image), s->image);
    cds_strcpy(m->qemu, sizeof(m->qemu), s->qemu);
    cds_strcpy(m->msb, sizeof(m->msb), s->msb);
    cds_strcpy(m->cache, sizeof(m->cache), s->cache);
    cds_rc rc = micro_pool_open(m, reterr);
    if (rc)
        free(m);
    else
        *ret = &m->base;
    return rc;
}
