/* apps/llmserver/catalogue.h: the models we name to an admin, from one data file.
 *
 * Source:  apps/llmserver/catalogue.json, found as <program>/../share/catalogue.json; a studio without it has an empty catalogue.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

/** Reads the file once; what is wrong with it is logged and leaves the catalogue empty. */
void cds_catalogue_read(struct cds_llm *app);
/** Is it a catalogue: an array of {id, name, purpose, source, parameters, note}? Exposed for tests. */
CDS_MUST_USE cds_rc cds_catalogue_check(const cds_json *catalogue, struct cds_err *reterr);
/** Each entry with whether it is here (and its model id) and whether the gate refuses it; owned by the caller. */
cds_json *cds_catalogue_list(struct cds_llm *app);
