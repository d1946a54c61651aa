/* sandbox/job_pool.c: see job_pool.h. */
#include "sandbox/job_pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/job_priv.h"

/* What a jail must be made for. */
struct key {
    char language[16];
    dev_t dev;
    ino_t ino;
    enum cds_project_access access;
    bool network; /* a socket listens in it; which rules hold is told with the order */
    struct cds_run_limits limits;
};

struct ready {
    struct key key;
    struct jail_job *job;
    uint64_t until_ms;
};

struct jail_pool {
    struct jail_engine *engine;
    struct ready list[JAIL_POOL_MAX]; /* oldest first */
    size_t count, size;
    struct cds_timer *timer;
    struct key expected; /* language "": nothing is to be made */
    int expected_fd;     /* its project */
};

static bool key_of(const struct cds_job_spec *spec, struct key *ret)
{
    struct stat st;
    *ret = (struct key){.access = spec->access, .network = spec->network != NULL, .limits = spec->limits};
    if (!spec->language || strlen(spec->language) >= sizeof(ret->language) || spec->rows || fstat(spec->project_fd, &st))
        return false;
    cds_strcpy(ret->language, sizeof(ret->language), spec->language);
    ret->dev = st.st_dev;
    ret->ino = st.st_ino;
    return true;
}

static bool key_equal(const struct key *a, const struct key *b)
{
    const struct cds_run_limits *x = &a->limits, *y = &b->limits;
    return !strcmp(a->language, b->language) && a->dev == b->dev && a->ino == b->ino && a->access == b->access && a->network == b->network &&
           x->wall_ms == y->wall_ms && x->cpu_ms == y->cpu_ms && x->memory_bytes == y->memory_bytes && x->output_bytes == y->output_bytes &&
           x->max_tasks == y->max_tasks && x->tmp_bytes == y->tmp_bytes;
}

static struct jail_job *forget(struct jail_pool *pool, size_t at)
{
    struct jail_job *job = pool->list[at].job;
    memmove(&pool->list[at], &pool->list[at + 1], (pool->count - at - 1) * sizeof(pool->list[0]));
    pool->count--;
    return job;
}

static void set_timer(struct jail_pool *pool)
{
    uint64_t next = pool->count ? pool->list[0].until_ms : UINT64_MAX;
    if (pool->expected.language[0])
        next = cds_now_ms() + JAIL_POOL_PAUSE_MS;
    cds_timer_set(pool->timer, next);
}

static void make_ready(struct jail_pool *pool)
{
    struct cds_err err;
    struct jail_job *job = NULL;
    const struct cds_job_spec spec = {.language = pool->expected.language,
                                      .project_fd = pool->expected_fd,
                                      .access = pool->expected.access,
                                      .network = pool->expected.network ? &job_any_network : NULL,
                                      .limits = pool->expected.limits};
    if (pool->count == pool->size)
        jail_job_release(&forget(pool, 0)->base);
    if (jail_job_wait_for_order(pool->engine, &spec, &job, &err))
        cds_log_err(CDS_LOG_WARN, "a jail could not be made ready", NULL, &err);
    else
        pool->list[pool->count++] = (struct ready){pool->expected, job, cds_now_ms() + JAIL_POOL_TTL_MS};
}

static void on_timer(void *user)
{
    struct jail_pool *pool = user;
    if (pool->expected.language[0]) {
        make_ready(pool);
        pool->expected.language[0] = '\0';
        cds_close_fd(&pool->expected_fd);
        pool->expected_fd = -1;
    }
    while (pool->count && pool->list[0].until_ms <= cds_now_ms())
        jail_job_release(&forget(pool, 0)->base);
    set_timer(pool);
}

cds_rc jail_pool_new(struct jail_engine *engine, unsigned size, struct jail_pool **ret, struct cds_err *reterr)
{
    struct jail_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *pool = (struct jail_pool){.engine = engine, .size = size < JAIL_POOL_MAX ? size : JAIL_POOL_MAX, .expected_fd = -1};
    if (cds_timer_add(engine->host->loop, UINT64_MAX, on_timer, pool, &pool->timer)) {
        free(pool);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    *ret = pool;
    return CDS_OK;
}

void jail_pool_free(struct jail_pool **pool)
{
    if (!*pool)
        return;
    while ((*pool)->count)
        jail_job_release(&forget(*pool, (*pool)->count - 1)->base);
    cds_timer_remove(&(*pool)->timer);
    cds_close_fd(&(*pool)->expected_fd);
    free(*pool);
    *pool = NULL;
}

struct jail_job *jail_pool_take(struct jail_pool *pool, const struct cds_job_spec *spec)
{
    struct key key;
    if (!pool || !key_of(spec, &key))
        return NULL;
    for (size_t i = pool->count; i-- > 0;)
        if (key_equal(&pool->list[i].key, &key)) {
            struct jail_job *job = forget(pool, i);
            set_timer(pool);
            return job;
        }
    return NULL;
}

void jail_pool_expect(struct jail_pool *pool, const struct cds_job_spec *spec)
{
    struct key key;
    if (!pool || !key_of(spec, &key))
        return;
    for (size_t i = 0; i < pool->count; i++)
        if (key_equal(&pool->list[i].key, &key))
            return; /* one is enough: who runs two at once starts one of them cold */
    int fd = fcntl(spec->project_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return;
    cds_close_fd(&pool->expected_fd);
    pool->expected_fd = fd;
    pool->expected = key;
    set_timer(pool);
}

void jail_pool_lost(struct jail_pool *pool, const struct jail_job *job)
{
    for (size_t i = 0; pool && i < pool->count; i++)
        if (pool->list[i].job == job) {
            forget(pool, i);
            return;
        }
}

size_t jail_pool_ready(const struct jail_pool *pool)
{
    return pool ? pool->count : 0;
}
