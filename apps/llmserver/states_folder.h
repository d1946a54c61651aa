/* apps/llmserver/states_folder.h: the folder of states: <home>/states/<user>/<name>.state.
 *
 * Threads: loop thread only.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"

/** Is this a name? Letters, digits, "-", "_" and ".", 1 to 64 of them, no "." first. */
bool cds_states_name(const char *name);
void cds_states_path(const char *folder, const char *user_id, const char *name, char ret[static PATH_MAX]);
/** Number and bytes of the states of a user, those of `but` left out (NULL: none is). each (may be NULL) is told the name of every one. */
unsigned cds_states_count(const char *folder, const char *user_id, const char *but, uint64_t *ret_bytes,
                          void (*each)(void *user, const char *name, const char *path, uint64_t bytes), void *user);
/** A row of the list: name, bytes, and what the head says; owned by the caller. */
cds_json *cds_states_show(const char *name, const char *path, uint64_t bytes);
