/* lib/base/pool.c: see pool.h. */
#include "lib/base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct job {
    struct job *next;
    struct cds_pool *pool;
    void (*run)(void *user);
    void (*done)(void *user);
    void *user;
};

struct cds_pool {
    struct cds_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t *threads;
    unsigned count;
    size_t waiting, queue_max;
    bool stop;
    struct job *first, *last;
};

static void finish(void *user)
{
    struct job *job = user;
    if (job->done)
        job->done(job->user);
    free(job);
}

static void *work(void *user)
{
    struct cds_pool *pool = user;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->stop)
            pthread_cond_wait(&pool->more, &pool->lock);
        if (pool->stop)
            break;
        struct job *job = pool->first;
        pool->first = job->next;
        if (!pool->first)
            pool->last = NULL;
        pool->waiting--;
        pthread_mutex_unlock(&pool->lock);
        job->run(job->user);
        if (cds_loop_post(pool->loop, finish, job))
            abort(); /* a lost answer would leave a request open for ever */
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

cds_rc cds_pool_new(struct cds_loop *loop, unsigned threads, size_t queue_max, struct cds_pool **ret_pool, struct cds_err *reterr)
{
    struct cds_pool *pool = calloc(1, sizeof(*pool));
    if (pool)
        pool->threads = calloc(threads, sizeof(*pool->threads));
    if (!pool || !pool->threads) {
        free(pool);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    pool->loop = loop;
    pool->queue_max = queue_max;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the loop thread */
    while (pool->count < threads && pthread_create(&pool->threads[pool->count], NULL, work, pool) == 0)
        pool->count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->count < threads) {
        cds_pool_free(&pool);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Cannot start %u threads.", threads);
    }
    *ret_pool = pool;
    return CDS_OK;
}

void cds_pool_free(struct cds_pool **pool_place)
{
    struct cds_pool *pool = *pool_place;
    if (!pool)
        return;
    *pool_place = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    while (pool->first) {
        struct job *job = pool->first;
        pool->first = job->next;
        free(job);
    }
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

cds_rc cds_pool_submit(struct cds_pool *pool, void (*run)(void *user), void (*done)(void *user), void *user)
{
    struct job *job = malloc(sizeof(*job));
    if (!job)
        return CDS_EXHAUSTED;
    *job = (struct job){NULL, pool, run, done, user};
    pthread_mutex_lock(&pool->lock);
    if (pool->waiting >= pool->queue_max) {
        pthread_mutex_unlock(&pool->lock);
        free(job);
        return CDS_BUSY;
    }
    pool->waiting++;
    if (pool->last)
        pool->last->next = job;
    else
        pool->first = job;
    pool->last = job;
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    return CDS_OK;
}
