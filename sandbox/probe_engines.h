/* sandbox/probe_engines.h: asks every engine, one after the other, what works here.
 *
 * Source:  struct cds_engine_ops, member probe (sandbox/sandbox.h).
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"

struct probe_engines;

/** @param engines  array of {name, backend, works, boundary, limits, reason, remedy, took_ms}, a row for each tier; the callee owns it
 *  @param runs     engine run works */
typedef void probe_engines_done(void *user, cds_json *engines, bool runs);

/** Begins with the first engine. done is called once, possibly before this returns; until then *ret is the walk, which probe_engines_drop ends. */
void probe_engines(struct broker *broker, probe_engines_done *done, void *user, struct probe_engines **ret);
/** The broker ends: done is not called any more. NULL is allowed. */
void probe_engines_drop(struct probe_engines **probe);
