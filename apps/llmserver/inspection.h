/* apps/llmserver/inspection.h: model files are read by a throw-away process before they are listed or loaded.
 *
 * Source:  apps/fetch/README.md (cds-fetch inspect); docs/adr/0044.
 * Threads: loop thread only.
 */
#pragma once

#include <sys/stat.h>

#include "apps/llmserver/model.h"

enum { CDS_INSPECTIONS_MAX = 2, CDS_INSPECTION_MS = 20000 };

/** The registry looked at the file: a new or changed one has to be read (again). */
void cds_inspection_seen(struct cds_model *model, const struct stat *st);
/** Starts what may be started now. */
void cds_inspection_run(struct cds_llm *app);
/** No file waits to be read. */
bool cds_inspection_idle(const struct cds_llm *app);
/** The model leaves the list. */
void cds_inspection_forget(struct cds_model *model);
/** A count from the file's header, 0 when it is not known. */
int64_t cds_inspection_count(const struct cds_model *model, const char *name);
/** May this model be loaded here? @return CDS_OK; CDS_BAD_PARAM: corrupt, or no model; CDS_DENIED: over the gate of llm.parameters_max */
CDS_MUST_USE cds_rc cds_inspection_allows(const struct cds_model *model, struct cds_err *reterr);
