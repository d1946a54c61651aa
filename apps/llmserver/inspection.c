#include "apps/llmserver/inspection.h"

#include <string.h>

#include "apps/llmserver/app.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

void cds_inspection_seen(struct cds_model *model, const struct stat *st)
{
    struct cds_model_file *file = &model->file;
    bool same = file->changed.tv_sec == st->st_mtim.tv_sec && file->changed.tv_nsec == st->st_mtim.tv_nsec &&
                (file->facts || model->file_bytes == (uint64_t)st->st_size);
    bool in_use = model->state == CDS_MODEL_LOADING || model->state == CDS_MODEL_LOADED;
    /* What is being read, or loaded, keeps its facts; the change is seen at a later look. */
    if (file->state != CDS_FILE_UNREAD && (same || file->state == CDS_FILE_READING || in_use))
        return;
    file->changed = st->st_mtim;
    file->state = CDS_FILE_UNREAD;
    model->file_bytes = (uint64_t)st->st_size;
}

static void corrupt(struct cds_model *model, const char *why)
{
    model->file.state = CDS_FILE_CORRUPT;
    cds_strcpy(model->file.problem, sizeof(model->file.problem), why);
    cds_log(CDS_LOG_WARN, "a model file cannot be used", CDS_LS("model", model->id), CDS_LS("file", model->path), CDS_LS("reason", why));
}

static void on_line(void *user, const cds_json *line)
{
    struct cds_model *model = user;
    const cds_json *error = cds_json_get(line, "error");
    const char *message = cds_json_get_str(error, "message");
    if (error) {
        corrupt(model, message ? message : "The file is no usable GGUF model.");
    } else if (cds_json_get_str(line, "architecture") && cds_json_get_i64(line, "parameters", -1) >= 0) {
        cds_json_unref(model->file.facts);
        model->file.facts = cds_json_copy(line);
        model->file.state = CDS_FILE_FINE;
        model->file_bytes = (uint64_t)cds_json_get_i64(line, "file_bytes", (int64_t)model->file_bytes);
        model->file.problem[0] = '\0';
    }
}

static void on_exit(void *user, int status)
{
    struct cds_model *model = user;
    model->file.helper = NULL;
    if (model->file.state == CDS_FILE_READING)
        corrupt(model, "The process that read the header of the file ended over it.");
    cds_model_file_read(model);
    cds_inspection_run(model->app);
    cds_admin_files_read(model->app);
}

void cds_inspection_run(struct cds_llm *app)
{
    static const struct cds_helper_ops ops = {.on_line = on_line, .on_exit = on_exit};
    unsigned running = 0;
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        running += model->file.helper != NULL;
    for (struct cds_model *model = app->models.first; model && app->loop && running < CDS_INSPECTIONS_MAX; model = model->next) {
        if (model->file.state != CDS_FILE_UNREAD)
            continue;
        struct cds_err err = {0};
        const char *argv[] = {app->models.fetch, "inspect", model->path, NULL};
        model->file.state = CDS_FILE_READING;
        if (cds_helper_start(app->loop, argv, cds_now_ms() + CDS_INSPECTION_MS, &ops, model, &model->file.helper, &err) == CDS_OK)
            running++;
        else
            corrupt(model, err.message);
    }
}

bool cds_inspection_idle(const struct cds_llm *app)
{
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        if (model->file.helper || (app->loop && model->file.state == CDS_FILE_UNREAD))
            return false;
    return true;
}

void cds_inspection_forget(struct cds_model *model)
{
    cds_helper_free(&model->file.helper);
    cds_json_unref(model->file.facts);
    model->file.facts = NULL;
}

int64_t cds_inspection_count(const struct cds_model *model, const char *name)
{
    return cds_json_get_i64(model->file.facts, name, 0);
}

cds_rc cds_inspection_allows(const struct cds_model *model, struct cds_err *reterr)
{
    const char *type = cds_json_get_str(model->file.facts, "type");
    int64_t parameters = cds_inspection_count(model, "parameters");
    uint64_t most = cds_config_u64(model->app->config, CDS_OPT_LLM_PARAMETERS_MAX);
    if (model->file.state != CDS_FILE_FINE) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of the model %s is corrupt: %s", model->id, model->file.problem);
        return cds_err_hint(reterr, "Remove it and download it again.");
    }
    if (!cds_streq(type, "model"))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s is no model that can be loaded alone, but a file of the kind \"%s\".", model->id,
                        type ? type : "");
    if (most && parameters > (int64_t)most) {
        cds_fail(reterr, CDS_DENIED, __func__, "The model %s has %lld parameters, counted from its tensors; at most %llu are allowed here.",
                 model->id, (long long)parameters, (unsigned long long)most);
        cds_err_rule(reterr, "llm.parameters_max");
        return cds_err_hint(reterr, "Choose a smaller model, or let an administrator raise llm.parameters_max (0 lifts the gate).");
    }
    return CDS_OK;
}
