/* apps/llmserver/grammars.h: the grammars that come with the server, by name.
 *
 * Source:  share/grammars/<name>.gbnf, checked like a client's when they are read.
 * Threads: loop thread only. Read once, at the start.
 */
#pragma once

#include "lib/base/err.h"

struct cds_grammars;
/** Reads every *.gbnf of the folder; a missing folder gives an empty set. @return CDS_OK; CDS_BAD_PARAM (a file is no grammar); CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_grammars_open(const char *folder, struct cds_grammars **ret, struct cds_err *reterr);
void cds_grammars_free(struct cds_grammars **grammars);
/** Text of a grammar, borrowed; NULL with an error that lists the names. */
const char *cds_grammars_find(const struct cds_grammars *grammars, const char *name, struct cds_err *reterr);
