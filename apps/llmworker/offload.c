#include "apps/llmworker/offload.h"

#include <string.h>

#include "lib/base/str.h"

enum { LAYERS_MAX = 1024, CELLS_MAX = 131072 };

static cds_rc wrong(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_BAD_PARAM, "offload", "The setting \"gpu_layers\" of the load cannot be read.");
    cds_err_pointer(reterr, "/gpu_layers");
    return CDS_BAD_PARAM;
}

static bool small(int64_t value, int64_t most)
{
    return value >= 0 && value <= most;
}

static cds_rc read_wish(const cds_json *wish, struct cds_offload *ret, struct cds_err *reterr)
{
    const char *word = cds_json_str(wish);
    if (!wish || cds_streq(word, "auto"))
        return CDS_OK;
    if (cds_streq(word, "max")) {
        ret->wish = CDS_OFFLOAD_MAX;
        return CDS_OK;
    }
    if (cds_json_is(wish, CDS_JSON_INTEGER)) {
        int64_t count = cds_json_i64(wish, -1);
        ret->wish = CDS_OFFLOAD_COUNT;
        ret->least = ret->most = (uint32_t)count;
        return small(count, LAYERS_MAX) ? CDS_OK : wrong(reterr);
    }
    if (!cds_json_is(wish, CDS_JSON_OBJECT))
        return wrong(reterr);
    if (cds_json_get(wish, "fit_context")) {
        int64_t cells = cds_json_get_i64(wish, "fit_context", -1);
        ret->wish = CDS_OFFLOAD_FIT;
        ret->cells = (uint32_t)cells;
        return small(cells, CELLS_MAX) ? CDS_OK : wrong(reterr);
    }
    int64_t least = cds_json_get_i64(wish, "min", 0), most = cds_json_get_i64(wish, "max", LAYERS_MAX);
    ret->wish = CDS_OFFLOAD_RANGE;
    ret->least = (uint32_t)least;
    ret->most = (uint32_t)most;
    return small(least, LAYERS_MAX) && small(most, LAYERS_MAX) && least <= most ? CDS_OK : wrong(reterr);
}

cds_rc cds_offload_read(const char *text, struct cds_offload *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO object = NULL;
    cds_rc rc = text ? cds_json_parse(text, strlen(text), &object, reterr) : CDS_OK;
    if (rc != CDS_OK)
        return rc;
    const struct {
        const char *name;
        uint64_t *at;
    } counts[] = {{"layer_bytes", &ret->layer_bytes},
                  {"output_bytes", &ret->output_bytes},
                  {"cell_bytes", &ret->cell_bytes},
                  {"buffer_bytes", &ret->buffer_bytes},
                  {"reserve_bytes", &ret->reserve_bytes}};
    *ret = (struct cds_offload){.wish = CDS_OFFLOAD_AUTO};
    for (size_t i = 0; i < CDS_ARRAY_LEN(counts); i++) {
        int64_t value = cds_json_get_i64(object, counts[i].name, 0);
        *counts[i].at = value > 0 ? (uint64_t)value : 0;
    }
    int64_t layers = cds_json_get_i64(object, "count", 0);
    ret->layers = small(layers, LAYERS_MAX) ? (uint32_t)layers : 0;
    return read_wish(cds_json_get(object, "layers"), ret, reterr);
}

/** Layers that have room beside each other; the output is the last to go. */
static uint32_t that_fit(const struct cds_offload *o, uint32_t cells, uint64_t free_bytes)
{
    uint64_t first = o->buffer_bytes + o->reserve_bytes, all = o->layers + 1u;
    uint64_t each = o->layer_bytes + (o->layers ? o->cell_bytes * cells / o->layers : 0);
    if (free_bytes <= first || !o->layers)
        return o->layers || free_bytes <= first ? 0 : (uint32_t)all;
    uint64_t left = free_bytes - first, fit = each ? left / each : o->layers;
    if (fit < o->layers)
        return (uint32_t)fit;
    return left - each * o->layers >= o->output_bytes ? (uint32_t)all : o->layers;
}

cds_rc cds_offload_choose(const struct cds_offload *offload, uint32_t cells, uint64_t free_bytes, uint32_t *ret_layers, struct cds_err *reterr)
{
    uint32_t all = offload->layers ? offload->layers + 1 : LAYERS_MAX;
    uint32_t fit = offload->layers ? that_fit(offload, offload->wish == CDS_OFFLOAD_FIT ? offload->cells : cells, free_bytes) : LAYERS_MAX;
    switch (offload->wish) {
    case CDS_OFFLOAD_MAX:
        *ret_layers = all;
        return CDS_OK;
    case CDS_OFFLOAD_COUNT:
        *ret_layers = offload->least < all ? offload->least : all;
        return CDS_OK;
    case CDS_OFFLOAD_RANGE:
        break;
    case CDS_OFFLOAD_AUTO:
    case CDS_OFFLOAD_FIT:
        *ret_layers = fit;
        return CDS_OK;
    }
    uint32_t least = offload->least < all ? offload->least : all;
    if (fit < least) {
        cds_fail(reterr, CDS_EXHAUSTED, __func__, "%u layers of the model must go to the GPU (gpu_layers) and only %u fit: it has %llu MiB free.",
                 least, fit, (unsigned long long)(free_bytes >> 20));
        cds_err_rule(reterr, "llm.gpu_layers");
        return cds_err_hint(reterr, "Lower the least number of layers or the context, or free memory of the GPU.");
    }
    *ret_layers = fit < offload->most ? fit : offload->most;
    return CDS_OK;
}
