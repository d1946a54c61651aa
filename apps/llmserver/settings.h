/* apps/llmserver/settings.h: what administrators set for one model.
 *
 * A value comes from the request, else from the setting of the model, else from an option of the server, else it is the default of the library
 * ("effective value and origin"). Those of answers hold from the next request on; those of the load (reload) from the next load on.
 * Stored: <home>/models/<full name of the model>.settings.json, written whole and renamed; a value in it that is not allowed is left out and logged.
 * Source:  apps/llmworker/sampling.c and loading.c take what is told here; deps/llama/include/llama.h (defaults of the library).
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/memory.h"
#include "apps/llmserver/request.h"
#include "lib/config/config.h"

enum { CDS_SETTINGS_OVERRIDES_MAX = 8, CDS_SETTINGS_OVERRIDE_BYTES = 192, CDS_SETTINGS_FILE_MAX = 65536, CDS_SETTINGS_LOAD_MAX = 8192 };

enum cds_setting_kind {
    CDS_SETTING_NUMBER,
    CDS_SETTING_WHOLE,
    CDS_SETTING_CHOICE,
    CDS_SETTING_SWITCH,
    CDS_SETTING_LAYERS,
    CDS_SETTING_OVERRIDES,
    CDS_SETTING_ADAPTERS
};
struct cds_setting {
    const char *name;
    enum cds_setting_kind kind;
    double min, max;         /**< of numbers */
    double otherwise;        /**< default; of a switch 0 or 1 */
    const char *choices;     /**< words with spaces between them; the first one is the default */
    enum cds_opt option;     /**< of the server, CDS_OPT_COUNT: there is none */
    bool reload;             /**< holds from the next load on */
    const char *description; /**< one sentence */
};
/** settings_table.c: all of them. */
const struct cds_setting *cds_settings_table(size_t *ret_count);
/** NULL: there is no such setting. */
const struct cds_setting *cds_settings_find(const char *name);
/** settings_table.c: may the setting have this value? @return CDS_OK; CDS_BAD_PARAM naming it and what is expected */
CDS_MUST_USE cds_rc cds_settings_check(const struct cds_setting *setting, const cds_json *value, struct cds_err *reterr);

/** Value that holds without a request; owned by the caller. ret_origin (may be NULL): "model", "server", "default". */
cds_json *cds_settings_value(const struct cds_model *model, const char *name, const char **ret_origin);
uint64_t cds_settings_u64(const struct cds_model *model, const char *name);
/** {"model", "state", "reload_needed", "need_bytes", "gpu_bytes", "settings": [{"name", "value", "origin", ...}]}; owned by the caller. */
cds_json *cds_settings_show(const struct cds_model *model);
/** changes: {"name": value}; null takes a setting back. All are checked before one is taken, and the file is written before they hold.
 *  @return CDS_OK; CDS_BAD_PARAM with the pointer at the member; CDS_SYSTEM, CDS_EXHAUSTED: nothing has changed */
CDS_MUST_USE cds_rc cds_settings_change(struct cds_model *model, const cds_json *changes, struct cds_err *reterr);
/** Reads the file of a model that was found; no file: no settings. */
void cds_settings_read(struct cds_model *model);
void cds_settings_forget(struct cds_model *model);

/** Puts the values of the model into a request that leaves them open. */
void cds_settings_apply(const struct cds_model *model, struct cds_ask *ask);
/** Memory of a load with the settings of the model and that many cells. */
struct cds_memory_need cds_settings_need(const struct cds_model *model, uint64_t cells, uint64_t batch);
/** What the model process is told about the load, as the text of an object; noted in the model, to see later what has changed since. */
void cds_settings_for_load(struct cds_model *model, char *buf, size_t size);
