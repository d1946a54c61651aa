#include <math.h>

#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

enum { ENTRIES_MAX = 8, ID_MAX = 64, SCALE_MAX = 100 }; /* as in apps/llmworker/adapters.h */

/** Which adapters there are, only the model process knows; here is seen what can be none. */
cds_rc cds_ask_lora(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 8 objects {\"id\": text, \"scale\"?: number from -100 to 100}, no id twice";
    cds_json *list = cds_ask_member(body, "lora");
    if (!list)
        return CDS_OK;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > ENTRIES_MAX)
        return cds_ask_wrong(reterr, "lora", expected);
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *entry = cds_json_at(list, i), *scale = cds_ask_member(entry, "scale");
        const char *id = cds_json_get_str(entry, "id");
        size_t len = id ? cds_json_str_len(cds_json_get(entry, "id")) : 0;
        if (len < 1 || len > ID_MAX || (scale && (!cds_ask_is_number(scale) || !(fabs(cds_json_num(scale, 0)) <= SCALE_MAX))))
            return cds_ask_wrong(reterr, "lora", expected);
        for (size_t k = 0; k < i; k++)
            if (cds_streq(cds_json_get_str(cds_json_at(list, k), "id"), id))
                return cds_ask_wrong(reterr, "lora", expected);
    }
    cds_json_set(prompt, "lora", cds_json_ref(list));
    return CDS_OK;
}
