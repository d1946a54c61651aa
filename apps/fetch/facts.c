#include "apps/fetch/facts.h"

#include "lib/base/str.h"

cds_rc cds_facts_add(cds_json **sum, const cds_json *facts, unsigned index, unsigned count, const char *file, struct cds_err *reterr)
{
    static const char *const added[] = {"parameters", "tensors", "tensor_bytes", "needed_bytes"};
    unsigned parts = (unsigned)cds_json_get_i64(facts, "parts", 0), part = (unsigned)cds_json_get_i64(facts, "part", 0);
    if ((count > 1 && (parts != count || part != index)) || (count == 1 && parts > 1))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%.100s says that it is part %u of %u, which is not what its name says.", file, part + 1,
                        parts);
    bool first = !*sum;
    if (first)
        *sum = cds_json_copy(facts);
    for (size_t i = 0; *sum && !first && i < CDS_ARRAY_LEN(added); i++) {
        int64_t all = 0;
        if (__builtin_add_overflow(cds_json_get_i64(*sum, added[i], 0), cds_json_get_i64(facts, added[i], 0), &all))
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The parts of the model have an impossible size together.");
        if (cds_json_set(*sum, added[i], cds_json_int(all)) != 0)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the facts of a model.");
    }
    return *sum ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the facts of a model.");
}

cds_rc cds_facts_gate(const cds_json *sum, uint64_t most, struct cds_err *reterr)
{
    int64_t parameters = cds_json_get_i64(sum, "parameters", 0);
    if (!most || parameters <= (int64_t)most)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "The model has %lld parameters, counted from its tensors; at most %llu are allowed here.",
             (long long)parameters, (unsigned long long)most);
    cds_err_rule(reterr, "llm.parameters_max");
    return cds_err_hint(reterr, "Choose a smaller model, or let an administrator raise llm.parameters_max (0 lifts the gate).");
}
