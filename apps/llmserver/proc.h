/* apps/llmserver/proc.h: one model process: start it, talk to it, know when it ended.
 *
 * Source:  pidfd_open(2), socketpair(2), close_range(2); apps/llmworker/README.md for the frames.
 * Threads: loop thread only.
 * Life:    from start until on_exit, which is called exactly once, after the process was reaped (its memory is back then).
 */
#pragma once

#include <sys/types.h>

#include "lib/base/loop.h"
#include "lib/json/json.h"

struct cds_proc;
struct cds_proc_ops {
    void (*on_frame)(void *user, const char *method, const cds_json *params);
    /** why: sentence for the log ("signal 9", "exit status 1"). The proc is freed after it returns. */
    void (*on_exit)(void *user, const char *why);
};
struct cds_proc_options {
    const char *draft_path;                                       /**< NULL: no draft model */
    const char *adapter_dir;                                      /**< folder of adapters that load names; NULL: none */
    const char *load;                                             /**< settings of the load, text of an object; NULL: none */
    const char *backend, *offload;                                /**< which build of libllama lib_dir is; what goes to its GPU */
    const char *gpu_devices;                                      /**< numbers with commas, "": all of them */
    const char *program, *model_path, *lib_dir, *dir, *log_level; /**< absolute paths; borrowed for the call */
    bool lib_dir_given;                                           /**< the library folder was configured: the loader must look there first */
    bool vocabulary_only;                                         /**< no weights: for questions about words (lexicon.h) */
    uint64_t context_tokens, request_tokens, slots, threads, jobs;
    uint64_t memory_bytes; /**< most data memory of the process; 0: no limit of ours */
};
CDS_MUST_USE cds_rc cds_proc_start(struct cds_loop *loop, const struct cds_proc_options *options, const struct cds_proc_ops *ops, void *user,
                                   struct cds_proc **ret, struct cds_err *reterr);
/** Sends a frame; steals params. A process that does not read is killed, and on_exit tells. */
void cds_proc_send(struct cds_proc *proc, const char *method, cds_json *params);
/** Closes the socket, which ends the process; SIGTERM after half of grace_ms, SIGKILL after all of it. on_exit still comes. Idempotent. */
void cds_proc_stop(struct cds_proc *proc, uint32_t grace_ms);
/** The memory file it shares with us, for states of sequences (apps/llmworker/exchange.h); -1: there is none. Borrowed. */
int cds_proc_exchange(const struct cds_proc *proc);
pid_t cds_proc_pid(const struct cds_proc *proc);
/** Milliseconds (cds_now_ms clock) of the last frame. */
uint64_t cds_proc_heard_ms(const struct cds_proc *proc);
