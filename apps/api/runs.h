/* apps/api/runs.h: the history of runs (table runs): written beside the run, read by run.history.
 *
 * Source:  database/migrations/0006_runs.sql, schemas/rpc/run.history.json.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/api/call.h"

/** @param note  params of run.started */
void runs_started(struct call *call, const cds_json *note);
/** @param result  result of run.exec; a run that was refused before it started has no row and stays without one */
void runs_ended(struct call *call, const cds_json *result);
/** Its result will not come. @param end  "cancelled": the client is gone; "engine_failed": the sandbox is */
void runs_gone(struct call *call, const char *run_id, const char *end);
/** run.history */
void run_history(struct call *call);
