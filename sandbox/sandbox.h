/* sandbox/sandbox.h: what every engine that runs programs looks like to the broker.
 *
 * Source:  schemas/rpc/run.exec.json; ARCHITECTURE.md section 2.
 * Threads: loop thread only. Nothing here blocks for long: starting a job is a handful of system calls, its life is events.
 * Rule:    an engine that cannot give its boundary refuses with the step that failed. None is ever replaced by a weaker one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/loop.h"

/** Why a job ended. Exactly one; the first cause wins. The names are those of schemas/rpc/run.exec.json. */
enum cds_run_end {
    CDS_END_OK,            /**< exit code 0 */
    CDS_END_EXIT,          /**< another exit code */
    CDS_END_SIGNAL,        /**< a signal nobody of us sent */
    CDS_END_CPU_TIME,      /**< limit of CPU time */
    CDS_END_WALL_TIME,     /**< limit of the wall clock */
    CDS_END_MEMORY,        /**< the kernel killed a task of the job for memory */
    CDS_END_OUTPUT,        /**< ended because of its output; no engine does that today: output past the ceiling is dropped */
    CDS_END_TASKS,         /**< failed after it was refused a task */
    CDS_END_DISK,          /**< wrote more than a file or the project may hold */
    CDS_END_REFUSED,       /**< not started: a rule forbids it */
    CDS_END_CANCELLED,     /**< the caller asked for it, or went away */
    CDS_END_ENGINE_FAILED, /**< not started, or lost: a step of the engine failed; reason names it */
    CDS_END_COUNT
};
const char *cds_run_end_name(enum cds_run_end end); /**< "ok", "cpu_time", ...; static storage */

/** What one job may use. Every member is set: there is no "without limit". */
struct cds_run_limits {
    uint32_t wall_ms;      /**< wall clock, milliseconds */
    uint32_t cpu_ms;       /**< CPU time of all its tasks, milliseconds */
    uint64_t memory_bytes; /**< memory of all its tasks, bytes; with "rlimit": of each task */
    uint64_t output_bytes; /**< stdout + stderr passed on, bytes; the rest is counted and dropped */
    uint32_t max_tasks;    /**< processes and threads alive at once */
    uint64_t tmp_bytes;    /**< size of its /tmp, bytes */
};

/** What to run. All pointers are borrowed for the length of the exec call. */
struct cds_job_spec {
    const char *language;    /**< "python", "node", "sh", "c" */
    const char *path;        /**< file below the project, already parsed (sandbox/path.h); NULL: code */
    const char *code;        /**< text to run when path is NULL */
    size_t code_len;         /**< bytes of code */
    const char *const *args; /**< arguments of the program */
    size_t arg_count;
    const char *stdin_data; /**< what it reads on standard input; NULL: end of file at once */
    size_t stdin_len;
    int project_fd; /**< directory (O_PATH) that becomes /work; borrowed */
    struct cds_run_limits limits;
};

/** The fate of a job. Holds no pointers to free. */
struct cds_job_result {
    enum cds_run_end end;
    int exit_code; /**< -1: it did not exit by itself */
    int signo;     /**< 0: no signal ended it */
    uint32_t wall_ms, cpu_ms;
    uint64_t peak_memory_bytes, stdout_bytes, stderr_bytes, dropped_bytes;
    const char *enforced_by; /**< what held memory and tasks: "cgroup", "rlimit" */
    char reason[192];        /**< ENGINE_FAILED and REFUSED: a sentence that names the step; else "" */
};

/** What a job uses at the moment. */
struct cds_job_stats {
    uint32_t wall_ms, cpu_ms;
    uint64_t peak_memory_bytes, stdout_bytes, stderr_bytes, dropped_bytes;
};

struct cds_engine;
struct cds_job;

struct cds_job_events {
    /** Output in order, below the ceiling; data is borrowed. stream: 1 or 2. May call hold and kill. */
    void (*on_output)(void *user, int stream, const char *data, size_t len);
    /** Called exactly once per job that exec returned, never inside exec. Nothing of the job lives any more; job is freed after it. */
    void (*on_end)(void *user, const struct cds_job_result *result);
};

/** What a probe found. */
struct cds_engine_report {
    const char *name;     /**< "run" */
    const char *boundary; /**< "process" */
    const char *limits;   /**< "cgroup", "rlimit" */
    bool works;
    uint32_t took_ms;
    char reason[256]; /**< why it does not work, or what is weaker than it could be; "" when all is there */
};
typedef void cds_probe_fn(void *user, const struct cds_engine_report *report);

struct cds_engine_ops {
    const char *name, *backend, *boundary;
    /** Runs the real thing once, with a deadline; done is called once, never inside probe. */
    cds_rc (*probe)(struct cds_engine *engine, cds_probe_fn *done, void *user, struct cds_err *reterr);
    /** Starts a job. @return CDS_OK; CDS_NOT_FOUND (no such interpreter here); CDS_BAD_PARAM; CDS_BUSY (no slot); CDS_EXHAUSTED */
    cds_rc (*exec)(struct cds_engine *engine, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user, struct cds_job **ret,
                   struct cds_err *reterr);
    /** Stops or resumes reading output, so that a slow reader slows the job down instead of filling memory. */
    void (*hold)(struct cds_job *job, bool hold);
    /** Ends the whole tree at once; idempotent, the first reason stays. on_end follows. */
    void (*kill)(struct cds_job *job, enum cds_run_end reason);
    void (*stats)(const struct cds_job *job, struct cds_job_stats *ret);
    /** Kills what runs (on_end is not called any more) and frees the engine. */
    void (*release)(struct cds_engine *engine);
};

/** First member of every engine. */
struct cds_engine {
    const struct cds_engine_ops *ops;
};
