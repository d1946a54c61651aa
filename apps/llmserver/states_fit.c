#include "apps/llmserver/states_fit.h"

#include <stdio.h>
#include <string.h>

#include "apps/llmserver/adapters.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

/* Settings of the load that change what lies in the cells, or how. */
static const char *const settings[] = {"cache_type_k", "cache_type_v", "flash_attention", "swa_full", "metadata"};

/** An adapter of the model by its id, as cds_adapters_show has it. */
static const cds_json *adapter_of(const cds_json *list, const char *id)
{
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (cds_streq(cds_json_get_str(cds_json_at(list, i), "id"), id))
            return cds_json_at(list, i);
    return NULL;
}

cds_json *cds_states_made_with(const struct cds_model *model, const char *user_id, const char *name, const cds_json *state)
{
    CDS_JSON_AUTO registered = cds_adapters_show(model);
    const cds_json *used = cds_json_get(state, "adapters");
    cds_json *with = cds_json_object(), *adapters = cds_json_array();
    for (size_t i = 0; i < CDS_ARRAY_LEN(settings); i++)
        cds_json_set(with, settings[i], cds_json_ref(cds_json_get(model->loaded_with, settings[i])));
    for (size_t i = 0; i < cds_json_size(used); i++) {
        const cds_json *one = cds_json_at(used, i), *known = adapter_of(registered, cds_json_get_str(one, "id"));
        cds_json_append(adapters, cds_json_pack("{s:O,s:O,s:O?,s:O?}", "id", cds_json_get(one, "id"), "scale", cds_json_get(one, "scale"), "file",
                                                cds_json_get(known, "file"), "size_bytes", cds_json_get(known, "size_bytes")));
    }
    return cds_json_pack("{s:s,s:s,s:s,s:I,s:s,s:o,s:o,s:O,s:I}", "user", user_id, "name", name, "model", model->alias, "file_bytes",
                         (long long)model->file_bytes, "library", model->library, "settings", with, "adapters", adapters, "tokens",
                         cds_json_get(state, "tokens"), "created", (long long)(cds_wall_ms() / 1000));
}

static cds_rc differs(struct cds_err *reterr, const cds_json *head, const char *what, const cds_json *then, const cds_json *now)
{
    CDS_CLEANUP(cds_free_ptr) char *before = then ? cds_json_dumps(then, NULL) : NULL;
    CDS_CLEANUP(cds_free_ptr) char *after = now ? cds_json_dumps(now, NULL) : NULL;
    cds_fail(reterr, CDS_CONFLICT, __func__, "The state \"%.64s\" was made with %s %.80s; now it is %.80s.", cds_json_get_str(head, "name"), what,
             before ? before : "none", after ? after : "none");
    return cds_err_hint(reterr, "Load the model as it was, or save the state again.");
}

cds_rc cds_states_fit(const struct cds_model *model, const cds_json *head, struct cds_err *reterr)
{
    CDS_JSON_AUTO alias = cds_json_string(model->alias);
    CDS_JSON_AUTO bytes = cds_json_int((int64_t)model->file_bytes);
    CDS_JSON_AUTO library = cds_json_string(model->library);
    CDS_JSON_AUTO registered = cds_adapters_show(model);
    const struct {
        const char *member, *what;
        const cds_json *now;
    } facts[] = {{"model", "the model", alias}, {"file_bytes", "a model file of so many bytes:", bytes}, {"library", "libllama", library}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(facts); i++)
        if (!cds_json_equal(cds_json_get(head, facts[i].member), facts[i].now))
            return differs(reterr, head, facts[i].what, cds_json_get(head, facts[i].member), facts[i].now);
    const cds_json *with = cds_json_get(head, "settings"), *adapters = cds_json_get(head, "adapters");
    for (size_t i = 0; i < CDS_ARRAY_LEN(settings); i++) {
        char what[64];
        snprintf(what, sizeof(what), "the setting \"%s\"", settings[i]);
        if (!cds_json_equal(cds_json_get(with, settings[i]), cds_json_get(model->loaded_with, settings[i])))
            return differs(reterr, head, what, cds_json_get(with, settings[i]), cds_json_get(model->loaded_with, settings[i]));
    }
    for (size_t i = 0; i < cds_json_size(adapters); i++) {
        const cds_json *one = cds_json_at(adapters, i);
        const char *id = cds_json_get_str(one, "id");
        const cds_json *known = adapter_of(registered, id);
        char what[128];
        snprintf(what, sizeof(what), "the adapter \"%.64s\" from the file", id ? id : "");
        if (!known || !cds_json_equal(cds_json_get(known, "file"), cds_json_get(one, "file")))
            return differs(reterr, head, what, cds_json_get(one, "file"), cds_json_get(known, "file"));
        snprintf(what, sizeof(what), "the adapter \"%.64s\" of so many bytes:", id);
        if (!cds_json_equal(cds_json_get(known, "size_bytes"), cds_json_get(one, "size_bytes")))
            return differs(reterr, head, what, cds_json_get(one, "size_bytes"), cds_json_get(known, "size_bytes"));
    }
    int64_t tokens = cds_json_get_i64(head, "tokens", 0);
    if (tokens < 1 || tokens >= model->request_tokens) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "The state \"%.64s\" has %lld tokens, but a request of the model may have %lld now.",
                 cds_json_get_str(head, "name"), (long long)tokens, (long long)model->request_tokens);
        return cds_err_hint(reterr, "Raise the setting \"request_tokens\" of the model and load it again.");
    }
    return CDS_OK;
}
