/* apps/studio-ui/server/files.h: the built page as a table of files.
 *
 * The folder is walked once at start; only what was found then is ever served, by exact path, so no request can name anything else.
 * Source:  RFC 9110 section 12.5.3 (Accept-Encoding), RFC 9111 (Cache-Control).
 * Threads: loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "lib/http/server.h"

enum { FILES_MAX = 4096 /**< most files of a page */ };

struct files;
/** @param dir  folder with index.html; every *.br and *.gz is an encoding of the file beside it */
CDS_MUST_USE cds_rc files_open(const char *dir, struct files **ret, struct cds_err *reterr);
void files_free(struct files **files);
/** Answers with the file of that path ("/assets/app.js"); false when there is none. */
bool files_serve(struct files *files, struct cds_http_req *req, const char *path);
