#include "apps/llmserver/catalogue.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { CATALOGUE_BYTES = 256 << 10, ENTRIES_MAX = 256 };

cds_rc cds_catalogue_check(const cds_json *catalogue, struct cds_err *reterr)
{
    static const char *const texts[] = {"id", "name", "purpose", "source", "note"};
    if (!cds_json_is(catalogue, CDS_JSON_ARRAY) || cds_json_size(catalogue) > ENTRIES_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The catalogue is no list of at most %d models.", ENTRIES_MAX);
    for (size_t i = 0; i < cds_json_size(catalogue); i++) {
        const cds_json *one = cds_json_at(catalogue, i);
        for (size_t k = 0; k < CDS_ARRAY_LEN(texts); k++)
            if (!cds_json_get_str(one, texts[k]))
                return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Model %zu of the catalogue has no \"%s\".", i + 1, texts[k]);
        const char *purpose = cds_json_get_str(one, "purpose");
        if (cds_json_get_i64(one, "parameters", 0) <= 0 || (!cds_streq(purpose, "chat") && !cds_streq(purpose, "embedding")))
            return cds_fail(reterr, CDS_BAD_PARAM, __func__,
                            "Model %zu of the catalogue has no number of parameters, or another purpose than chat or embedding.", i + 1);
    }
    return CDS_OK;
}

void cds_catalogue_read(struct cds_llm *app)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CATALOGUE_BYTES);
    snprintf(path, sizeof(path), "%.4000s/../share/catalogue.json", cds_program_dir(dir, sizeof(dir)));
    cds_rc rc = cds_read_file(path, &text, &err);
    if (rc == CDS_OK)
        rc = cds_json_parse(text.data ? text.data : "", text.len, &app->catalogue, &err);
    if (rc == CDS_OK)
        rc = cds_catalogue_check(app->catalogue, &err);
    if (rc == CDS_OK)
        return;
    cds_log_err(CDS_LOG_WARN, "there is no catalogue of models", NULL, &err);
    cds_json_unref(app->catalogue);
    app->catalogue = NULL;
}

/** The model of our list that an entry became, NULL: not here. */
static const struct cds_model *here(const struct cds_llm *app, const char *id)
{
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        if (cds_streq(model->id, id) || cds_streq(model->alias, id))
            return model;
    return NULL;
}

cds_json *cds_catalogue_list(struct cds_llm *app)
{
    cds_json *all = cds_json_array();
    uint64_t most = cds_config_u64(app->config, CDS_OPT_LLM_PARAMETERS_MAX);
    for (size_t i = 0; i < cds_json_size(app->catalogue); i++) {
        cds_json *one = cds_json_copy(cds_json_at(app->catalogue, i));
        const struct cds_model *model = here(app, cds_json_get_str(one, "id"));
        bool over = most && cds_json_get_i64(one, "parameters", 0) > (int64_t)most;
        cds_json_set(one, "model", model ? cds_json_string(model->id) : cds_json_null());
        cds_json_set(one, "over_gate", cds_json_bool(over));
        cds_json_append(all, one);
    }
    return all;
}
