/* apps/llmworker/exchange.h: states of sequences on their way to and from files of the server.
 *
 * This process can open no file for writing. It shares one memory file with the server (memfd_create(2)), inherited at its start: tokens as
 * little-endian 32-bit numbers, then the state as libllama writes it. One state is in it at a time; the server says when. Threads: one owner, that of
 * the scheduler. Neither call may come while the engine computes.
 */
#pragma once

#include "apps/llmworker/scheduler.h"
#include "lib/json/json.h"

/**
 * Writes the state of a sequence whose tokens are these.
 * @param fd  the memory file; below 0: the server keeps no states
 * @return {"bytes": of tokens and state, "tokens"}, or {"problem"}: why there is none; owned by the caller
 */
cds_json *cds_exchange_save(int fd, const struct cds_engine_ops *ops, void *engine, int sequence, const int32_t *tokens, size_t count,
                            uint64_t most_bytes);
/**
 * Puts what lies in the memory file beside the kept sequences of the scheduler.
 * @param params  {"bytes", "tokens", "scope"}
 * @return CDS_OK; CDS_BAD_PARAM: it does not fit this model; CDS_BUSY: running requests hold all cells or sequences; CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_exchange_restore(int fd, struct cds_sched *sched, uint32_t vocabulary, const struct cds_adapter_set *adapters,
                                         const cds_json *params, struct cds_err *reterr);
