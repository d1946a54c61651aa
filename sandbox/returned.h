/* sandbox/returned.h: what a run in a machine of its own has changed in its copy of the project, until it is taken back: first the list of what was
 * given to it, then what its guest says.
 *
 * Source:  sandbox/guest/frames.h (kinds, ceilings), sandbox/fs_back.h (how it is taken back), docs/adr/0038-files-come-back.md.
 * Threads: one owner at a time.
 * Bounds:  MICRO_BACK_FILES entries and MICRO_BACK_BYTES of content, kept by the decoder of the frames.
 */
#pragma once

#include "lib/json/json.h"
#include "sandbox/fs_back.h"
#include "sandbox/guest/frames.h"

enum { RETURNED_TOLD = 32 /**< paths that a result names */ };

struct returned;
/** NULL: out of memory. Owned. */
CDS_MUST_USE struct returned *returned_new(void);
void returned_free(struct returned **r);
/** A file that is given to the program: its path and version. @return false: out of memory */
CDS_MUST_USE bool returned_given(struct returned *r, const char *path, const char *version);
/** A path that comes back. @return NULL, or which rule the guest broke: nothing of it may be believed */
CDS_MUST_USE const char *returned_add(struct returned *r, const struct micro_back *head, const char *path);
/** Data of the path before. @return as above */
CDS_MUST_USE const char *returned_data(struct returned *r, const char *data, size_t len);
void returned_end(struct returned *r, const struct micro_back_end *end);
/** Takes the next CDS_FS_BATCH_MAX paths into the project: as cds_fs_back. Any thread, one at a time. @return true: there are more */
bool returned_apply(struct returned *r, int project, const char *suffix);
size_t returned_count(const struct returned *r);
/** What a result tells (project_back of run.exec). reason: why nothing was taken, or NULL. r may be NULL then. Owned. */
cds_json *returned_json(const struct returned *r, const char *reason);
