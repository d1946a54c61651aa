/* apps/cyberdevstudio/auth_program.h: a command of cds-auth, the only program that may see passwords and has the pepper of API keys.
 *
 * Threads: main thread only. It is killed after CDS_AUTH_PROGRAM_MS, or when the caller loses its patience.
 */
#pragma once

#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/commands.h"

enum { CDS_AUTH_PROGRAM_MS = 30000 };

/** Runs cds-auth with these words (NULL-terminated) behind the flags of the command line, and prints what it says.
 *  @param input  for its stdin, NULL: none
 *  @return CDS_OK; CDS_BAD_PARAM (wrong use), CDS_SYSTEM, each with its own words; CDS_TIMED_OUT; what cds_capture_run says */
CDS_MUST_USE cds_rc cds_run_auth(const struct cds_command *cmd, const char *const *words, const char *input, const struct cds_patience *patience,
                                 struct cds_err *reterr);
