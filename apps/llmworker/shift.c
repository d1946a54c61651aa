#include "apps/llmworker/shift.h"

#include "lib/base/str.h"

static bool is(const cds_json *messages, size_t index, const char *role)
{
    return cds_streq(cds_json_get_str(cds_json_at(messages, index), "role"), role);
}

/** Number of the turn a message belongs to, system messages left out; `before` is that of the message before it, 0 for none yet. */
static unsigned turn_of(const cds_json *messages, size_t index, unsigned before)
{
    return is(messages, index, "user") || before == 0 ? before + 1 : before;
}

unsigned cds_shift_turns(const cds_json *messages)
{
    unsigned turn = 0;
    for (size_t i = 0; i < cds_json_size(messages); i++)
        if (!is(messages, i, "system"))
            turn = turn_of(messages, i, turn);
    return turn > 0 ? turn - 1 : 0;
}

cds_json *cds_shift_drop(const cds_json *messages, unsigned turns, unsigned *ret_dropped)
{
    cds_json *list = cds_json_array();
    unsigned turn = 0;
    *ret_dropped = 0;
    for (size_t i = 0; list && i < cds_json_size(messages); i++) {
        if (!is(messages, i, "system")) {
            turn = turn_of(messages, i, turn);
            if (turn <= turns) {
                (*ret_dropped)++;
                continue;
            }
        }
        if (cds_json_append(list, cds_json_ref(cds_json_at(messages, i))) != 0)
            return cds_json_unref(list), NULL;
    }
    return list;
}
