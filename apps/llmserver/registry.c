#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/inspection.h"
#include "apps/llmserver/settings.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/** Is this the tag of a number format: q4_1, iq2_xs, f16, bf16, mxfp4 ...? */
static bool is_quantization(const char *tag)
{
    if (cds_streq(tag, "f16") || cds_streq(tag, "f32") || cds_streq(tag, "bf16") || cds_streq(tag, "fp16") || cds_starts_with(tag, "mxfp"))
        return true;
    if (tag[0] == 'i')
        tag++;
    return tag[0] == 'q' && isdigit((unsigned char)tag[1]) && strspn(tag + 1, "0123456789_abcdefghijklmnopqrstuvwxyz") == strlen(tag + 1);
}

bool cds_model_name(const char *file, char *ret_id, char *ret_alias)
{
    size_t len = strlen(file);
    if (len < 6 || len - 5 > CDS_MODEL_ID_MAX || strcasecmp(file + len - 5, ".gguf") != 0 || file[0] == '.')
        return false;
    len -= 5;
    /* Of a split model the first part stands for all, without its number. */
    unsigned part, parts;
    int end = 0;
    if (len > 15 && sscanf(file + len - 15, "-%5u-of-%5u%n", &part, &parts, &end) == 2 && end == 15) {
        if (part != 1 || len == 15)
            return false;
        len -= 15;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)tolower((unsigned char)file[i]);
        ret_alias[i] = isalnum(c) || c == '.' || c == '_' || c == '-' ? (char)c : '-';
    }
    ret_alias[len] = '\0';
    memcpy(ret_id, ret_alias, len + 1);
    for (size_t i = len; i-- > 1;) {
        if (ret_id[i] != '.' && ret_id[i] != '-')
            continue;
        if (is_quantization(ret_id + i + 1))
            ret_id[i] = '\0';
        break;
    }
    return true;
}

void cds_models_init(struct cds_llm *app)
{
    struct cds_models *models = &app->models;
    char program_dir[PATH_MAX];
    cds_program_dir(program_dir, sizeof(program_dir));
    cds_config_path(app->config, "models", models->dirs[0], sizeof(models->dirs[0]));
    cds_config_path(app->config, "run", models->run_dir, sizeof(models->run_dir));
    snprintf(models->dirs[1], sizeof(models->dirs[1]), "%.4000s/../share/models", program_dir);
    snprintf(models->program, sizeof(models->program), "%.4000s/cds-llmworker", program_dir);
    snprintf(models->fetch, sizeof(models->fetch), "%.4000s/cds-fetch", program_dir);
    const char *lib_dir = cds_config_str(app->config, CDS_OPT_LLM_LIB_DIR);
    models->lib_dir_given = *lib_dir != '\0';
    char found[PATH_MAX];
    if (models->lib_dir_given)
        snprintf(found, sizeof(found), "%.4000s", lib_dir);
    else
        snprintf(found, sizeof(found), "%.4000s/../lib/llama", program_dir);
    cds_strcpy(models->lib_base, sizeof(models->lib_base), found);
    if (!realpath(found, models->lib_dir))
        snprintf(models->lib_dir, sizeof(models->lib_dir), "%.4000s", found);
}

static struct cds_model *by_path(struct cds_llm *app, const char *path)
{
    struct cds_model *model = app->models.first;
    while (model && !cds_streq(model->path, path))
        model = model->next;
    return model;
}

static bool id_taken(struct cds_llm *app, const char *id)
{
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        if (cds_streq(model->id, id) || cds_streq(model->alias, id))
            return true;
    return false;
}

cds_rc cds_models_add_file(struct cds_llm *app, const char *path, struct cds_model **ret, struct cds_err *reterr)
{
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real) || stat(real, &st) != 0 || !S_ISREG(st.st_mode)) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "The model file %s is not there.", path);
        return cds_err_hint(reterr, "Set llm.model to a GGUF file, or to \"none\".");
    }
    struct cds_model *model = by_path(app, real);
    if (model) {
        cds_inspection_seen(model, &st);
        *ret = model;
        return CDS_OK;
    }
    const char *file = strrchr(path, '/');
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1];
    if (!cds_model_name(file ? file + 1 : path, id, alias))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model file %s does not have a name that ends in .gguf and is at most 128 bytes long.",
                        path);
    if (id_taken(app, alias) || app->models.count >= CDS_MODELS_MAX)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "The model file %s has the name of another one, or there are too many.", path);
    model = calloc(1, sizeof(*model));
    if (!model)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    model->app = app;
    cds_strcpy(model->alias, sizeof(model->alias), alias);
    cds_strcpy(model->id, sizeof(model->id), id_taken(app, id) ? alias : id);
    cds_strcpy(model->path, sizeof(model->path), real);
    cds_settings_read(model);
    cds_inspection_seen(model, &st);
    struct cds_model **link = &app->models.first;
    while (*link && strcmp((*link)->id, model->id) < 0)
        link = &(*link)->next;
    model->next = *link;
    *link = model;
    app->models.count++;
    *ret = model;
    return CDS_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_model_file(const struct dirent *entry)
{
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1];
    return cds_model_name(entry->d_name, id, alias);
}

/** Files in name order, so that ids do not depend on the order of the folder. */
static void scan_dir(struct cds_llm *app, const char *dir)
{
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_model_file, by_name);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct cds_model *model;
        int n = snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
        if (n > 0 && (size_t)n < sizeof(path)) {
            cds_rc rc = cds_models_add_file(app, path, &model, NULL);
            (void)rc; /* a file that cannot be listed is as if it were not there */
        }
        free(entries[i]);
    }
    free(entries);
}

/** Notes how the folders look now. @return whether that is how they looked a moment ago */
static bool looked_already(struct cds_models *models)
{
    uint64_t now = cds_now_ms();
    bool same = models->looked_ms && now - models->looked_ms < CDS_MODELS_FRESH_MS;
    for (size_t i = 0; i < CDS_ARRAY_LEN(models->dirs); i++) {
        struct stat st;
        struct timespec changed = stat(models->dirs[i], &st) == 0 ? st.st_mtim : (struct timespec){0};
        same = same && changed.tv_sec == models->seen[i].tv_sec && changed.tv_nsec == models->seen[i].tv_nsec;
        models->seen[i] = changed;
    }
    if (!same)
        models->looked_ms = now;
    return same;
}

void cds_models_scan(struct cds_llm *app)
{
    if (looked_already(&app->models))
        return;
    for (struct cds_model **link = &app->models.first; *link;) {
        struct cds_model *model = *link;
        bool idle = model->state == CDS_MODEL_UNLOADED && !model->proc && !model->lexicon;
        if (!idle || access(model->path, F_OK) == 0) {
            link = &model->next;
            continue;
        }
        *link = model->next;
        app->models.count--;
        cds_timer_remove(&model->timer);
        cds_inspection_forget(model);
        cds_settings_forget(model);
        cds_json_unref(model->compute);
        cds_json_unref(model->skipped);
        cds_json_unref(model->work);
        free(model);
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(app->models.dirs); i++)
        scan_dir(app, app->models.dirs[i]);
    cds_inspection_run(app);
}

static struct cds_model *chats_in(const struct cds_llm *app, enum cds_model_state state)
{
    struct cds_model *model = app->models.first;
    while (model && (model->state != state || cds_model_kind(model) != CDS_KIND_CHAT || !cds_adapters_is_model(model)))
        model = model->next;
    return model;
}

/** The chat model used when a request names none. */
static struct cds_model *default_model(struct cds_llm *app)
{
    if (chats_in(app, CDS_MODEL_LOADED))
        return chats_in(app, CDS_MODEL_LOADED);
    if (chats_in(app, CDS_MODEL_LOADING))
        return chats_in(app, CDS_MODEL_LOADING);
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1];
    cds_model_name(CDS_MODEL_DEFAULT_FILE, id, alias);
    struct cds_model *model = app->models.first;
    while (model && !cds_streq(model->alias, alias))
        model = model->next;
    if (model)
        return model;
    for (model = app->models.first;
         model && (model->file.state == CDS_FILE_CORRUPT || cds_model_kind(model) != CDS_KIND_CHAT || !cds_adapters_is_model(model));)
        model = model->next;
    return model;
}

struct cds_model *cds_models_find(struct cds_llm *app, const char *id)
{
    if (*id == '\0')
        return default_model(app);
    for (int pass = 0; pass < 2; pass++) {
        for (struct cds_model *model = app->models.first; model; model = model->next)
            if (cds_streq(model->id, id) || cds_streq(model->alias, id))
                return model;
        if (pass == 0)
            cds_models_scan(app);
    }
    return NULL;
}

void cds_models_free(struct cds_llm *app)
{
    cds_json_unref(app->models.system);
    app->models.system = NULL;
    while (app->models.first) {
        struct cds_model *model = app->models.first;
        app->models.first = model->next;
        cds_timer_remove(&model->timer);
        cds_inspection_forget(model);
        cds_settings_forget(model);
        cds_json_unref(model->compute);
        cds_json_unref(model->skipped);
        cds_json_unref(model->work);
        free(model);
    }
}
