/* apps/api/responses_kept.c: what a socket remembers of its responses, so that the next turn sends only what is new (see responses.h). */
#include "apps/api/responses.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

cds_json *responses_items(const cds_json *input)
{
    if (!cds_json_str(input))
        return cds_json_copy(input);
    cds_json *list = cds_json_array();
    cds_json_append(list, cds_json_pack("{s:s,s:s,s:o}", "type", "message", "role", "user", "content", cds_json_copy(input)));
    return list;
}

static void forget(struct responses_kept **place)
{
    struct responses_kept *kept = *place;
    *place = kept->next;
    cds_json_unref(kept->items);
    free(kept);
}

const cds_json *responses_kept_find(const struct responses_socket *s, const char *id, size_t *ret_bytes)
{
    const struct responses_kept *kept = s->kept;
    while (kept && !cds_streq(kept->id, id))
        kept = kept->next;
    *ret_bytes = kept ? kept->bytes : 0;
    return kept ? kept->items : NULL;
}

/* The newest ones that fit stay. */
static void shorten(struct responses_socket *s)
{
    size_t bytes = 0, count = 0;
    struct responses_kept **place = &s->kept;
    while (*place) {
        bytes += (*place)->bytes;
        if (++count > RESPONSES_KEPT_MAX || bytes > RESPONSES_KEPT_BYTES) {
            while (*place)
                forget(place);
            return;
        }
        place = &(*place)->next;
    }
}

void responses_kept_add(struct responses_socket *s, const cds_json *input, const cds_json *response)
{
    const char *id = cds_json_get_str(response, "id");
    const cds_json *output = cds_json_get(response, "output");
    CDS_JSON_AUTO items = responses_items(input);
    if (!id || !cds_json_is(items, CDS_JSON_ARRAY) || !cds_json_is(output, CDS_JSON_ARRAY))
        return;
    for (size_t i = 0; i < cds_json_size(output); i++)
        if (cds_json_append(items, cds_json_ref(cds_json_at(output, i))))
            return;
    size_t bytes = 0;
    char *text = cds_json_dumps(items, &bytes);
    struct responses_kept *kept = text ? calloc(1, sizeof(*kept)) : NULL;
    free(text);
    if (!kept)
        return; /* a client that goes on with it is told that it is not kept */
    cds_strcpy(kept->id, sizeof(kept->id), id);
    kept->items = cds_json_ref(items);
    kept->bytes = bytes;
    kept->next = s->kept;
    s->kept = kept;
    shorten(s);
}

void responses_kept_free(struct responses_socket *s)
{
    while (s->kept)
        forget(&s->kept);
}
