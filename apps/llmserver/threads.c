#include "apps/llmserver/threads.h"

#include <sched.h>
#include <string.h>

#include "apps/llmserver/app.h"

void cds_threads_split(uint32_t budget, const uint32_t *demand, uint32_t *ret_share, unsigned count)
{
    uint64_t all = 0;
    uint32_t given = 0;
    for (unsigned i = 0; i < count; i++)
        all += demand[i];
    for (unsigned i = 0; i < count; i++) {
        ret_share[i] = all ? (uint32_t)((uint64_t)budget * demand[i] / all) : 0;
        if (demand[i] && ret_share[i] == 0)
            ret_share[i] = 1;
        given += ret_share[i];
    }
    /* Rounding: what is left goes, one by one, to whom most is missing; what is too much comes from whom most was given. */
    while (all && given != budget) {
        unsigned best = count;
        double most = 0;
        for (unsigned i = 0; i < count; i++) {
            double missing = (double)budget * demand[i] / (double)all - ret_share[i];
            double want = given < budget ? missing : -missing;
            bool possible = demand[i] && (given < budget || ret_share[i] > 1);
            if (possible && (best == count || want > most)) {
                best = i;
                most = want;
            }
        }
        if (best == count)
            return; /* more models than threads: one each */
        ret_share[best] += given < budget ? 1 : (uint32_t)-1;
        given += given < budget ? 1 : (uint32_t)-1;
    }
}

static uint32_t budget_of(const struct cds_llm *app)
{
    cpu_set_t set;
    uint64_t configured = cds_config_u64(app->config, CDS_OPT_LLM_THREADS);
    if (configured)
        return (uint32_t)configured;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (uint32_t)count : 1;
}

void cds_threads_share(struct cds_llm *app)
{
    struct cds_model *models[CDS_THREADS_MODELS_MAX];
    uint32_t demand[CDS_THREADS_MODELS_MAX], share[CDS_THREADS_MODELS_MAX];
    unsigned count = 0;
    for (struct cds_model *model = app->models.first; model && count < CDS_THREADS_MODELS_MAX; model = model->next) {
        if (!model->up)
            continue;
        demand[count] = model->running;
        models[count++] = model;
    }
    cds_threads_split(budget_of(app), demand, share, count);
    for (unsigned i = 0; i < count; i++) {
        if (share[i] == 0 || share[i] == models[i]->threads)
            continue;
        models[i]->threads = share[i];
        cds_proc_send(models[i]->proc, "threads", cds_json_pack("{s:I}", "threads", (long long)share[i]));
    }
}
