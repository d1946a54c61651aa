/* sandbox/sandbox.h: what every engine that runs programs looks like to the broker.
 *
 * Order:   probe (does it work here?) → prepare (make ready what takes long) → acquire (a box: from the pool, from a template, or cold) → exec (one
 *          job in that box) → output, write, resize, hold, stats → kill or its own end → on_end. A box serves one job and is gone with it, so
 *          box and job are one handle; release is for a box that got no job.
 * Source:  schemas/rpc/run.exec.json; ARCHITECTURE.md section 2; docs/adr/0025-driver-interface.md.
 * Threads: loop thread only. Nothing here blocks for long: starting a job is a handful of system calls, its life is events.
 * Rule:    an engine that cannot give its boundary refuses with the step that failed. None is ever replaced by a weaker one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
    uint64_t fuel;         /**< wasm: instructions it may execute; other engines do not count them */
};

/** A file that travels with the job: it appears below /tmp, beside the code. */
struct cds_job_file {
    const char *path; /**< relative, already parsed (sandbox/path.h) */
    const char *data;
    size_t len; /**< bytes of data */
};

/** A typed argument of an exported function. */
struct cds_wasm_value {
    enum cds_wasm_type { CDS_WASM_I32, CDS_WASM_I64, CDS_WASM_F32, CDS_WASM_F64 } type;
    union {
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } of;
};

enum { CDS_TERMINAL_SIDE_MAX = 1000 }; /**< most rows and most columns of a terminal */

/** What a job may reach outside; borrowed. The broker does not look into the rules: cds-egress does. */
struct cds_job_network {
    const char *project, *request_id;
    const char *rules; /**< JSON array of strings: docs/adr/0034-egress.md */
};

/** How a job sees its project at /work. */
enum cds_project_access { CDS_PROJECT_READ_WRITE, CDS_PROJECT_READ_ONLY, CDS_PROJECT_NONE /**< an empty folder stands there */ };

struct returned;

/** Another root image of the engine micro than its own; borrowed, and the descriptor is. */
struct cds_job_image {
    const char *name, *digest; /**< digest: the same one is the same file */
    int fd;
};

/** What to run. All pointers are borrowed for the length of the acquire and exec calls. */
struct cds_job_spec {
    const char *language;    /**< "python", "node", "sh", "c", "cpp"; the wasm engine does not look at it */
    const char *path;        /**< file below the project, already parsed (sandbox/path.h); NULL: code */
    const char *code;        /**< text, or with wasm the module's bytes, when path is NULL */
    size_t code_len;         /**< bytes of code */
    const char *const *args; /**< arguments of the program */
    size_t arg_count;
    const char *const *env; /**< "NAME=value", checked by the caller; added to the job's own environment */
    size_t env_count;
    const struct cds_job_file *files;
    size_t file_count;
    const char *stdin_data; /**< what it reads on standard input; NULL: end of file at once */
    size_t stdin_len;
    const char *export_name;             /**< wasm: function to call; NULL: run _start as a WASI program */
    const struct cds_wasm_value *values; /**< wasm: arguments of that function */
    size_t value_count;
    unsigned rows, cols; /**< a terminal of that size instead of pipes; 0: pipes. Its output is stream 1, its input comes by write */
    int project_fd;      /**< directory (O_PATH) that becomes /work; borrowed */
    enum cds_project_access access;
    const struct cds_job_network *network; /**< NULL: none */
    const struct cds_job_image *image;     /**< NULL: the engine's own; engines without images do not look at it */
    struct cds_run_limits limits;
    /**
     * Called with the user of exec: what a job with a copy of its project has changed there (read-write access; sandbox/returned.h); right before
     * on_end, and not at all when the job was ended from outside or its machine failed. Taken over: *files becomes NULL. NULL: nobody wants it.
     */
    void (*on_return)(void *user, struct returned **files);
};

/** The fate of a job. Holds no pointers to free. */
struct cds_job_result {
    enum cds_run_end end;
    int exit_code; /**< -1: it did not exit by itself */
    int signo;     /**< 0: no signal ended it */
    uint32_t wall_ms, cpu_ms;
    bool never_started; /**< REFUSED and ENGINE_FAILED: not a step of the program was made, so another engine may take the job */
    uint64_t peak_memory_bytes, stdout_bytes, stderr_bytes, dropped_bytes;
    uint64_t memory_limit_bytes; /**< what held, where that is less than was asked for; 0: as asked */
    const char *enforced_by;     /**< what held memory and tasks: "cgroup", "rlimit"; static */
    const char *backend;         /**< "jail", "wasmer", "qemu-tcg", "qemu-kvm", "msb-kvm"; static */
    const char *boundary;        /**< "process", "language", "emulated", "hardware"; static */
    const char *origin;          /**< where the box came from: "pool", "snapshot", "cold"; static */
    struct cds_job_phases {
        uint64_t acquire_us, start_us, run_us, teardown_us; /**< microseconds */
    } phases;
    char values[1024]; /**< wasm: what the function returned, JSON array of {type, value}; "" otherwise */
    char rule[48];     /**< REFUSED: the rule, e.g. "wasm.import"; else "" */
    char reason[256];  /**< a sentence: the step with ENGINE_FAILED and REFUSED, the trap of a module; else "" */
};

/** What a job uses at the moment. */
struct cds_job_stats {
    uint32_t wall_ms, cpu_ms;
    uint64_t peak_memory_bytes, stdout_bytes, stderr_bytes, dropped_bytes;
    bool in_front; /**< of a job with a terminal: another program than its first is in front */
};

struct cds_engine;
struct cds_job;
struct cds_jail_doors;

struct cds_job_events {
    /** Output in order, below the ceiling; data is borrowed. stream: 1 or 2. May call hold and kill. */
    void (*on_output)(void *user, int stream, const char *data, size_t len);
    /**
     * Called exactly once per job that exec returned, never inside exec. Nothing of the job lives any more, except that a jail may still hold its
     * own init, which is on its way out; job is freed after it.
     */
    void (*on_end)(void *user, const struct cds_job_result *result);
};

/** What a probe found: one report for each tier of the engine, the strongest first. */
struct cds_engine_report {
    const char *name;     /**< "run", "wasm", "micro" */
    const char *backend;  /**< as in the result */
    const char *boundary; /**< as in the result */
    const char *limits;   /**< "cgroup", "rlimit" */
    bool works;
    uint32_t took_ms;
    char reason[256]; /**< why it does not work, or what is weaker than it could be; "" when all is there */
    char remedy[160]; /**< what an admin can do about it; "" when nothing is to do */
};
/** @param reports  borrowed for the length of the call; at least one */
typedef void cds_probe_fn(void *user, const struct cds_engine_report *reports, size_t count);
typedef void cds_prepare_fn_done(void *user, const struct cds_err *err); /**< err NULL: ready */

struct cds_engine_ops {
    const char *name;
    /** Runs the real thing once on each tier, with a deadline; done is called once, never inside probe. */
    cds_rc (*probe)(struct cds_engine *engine, cds_probe_fn *done, void *user, struct cds_err *reterr);
    /**
     * Makes ready what acquire takes from (template, snapshot, pool); idempotent, two callers wait for one build. done is called once, never
     * inside prepare. NULL: nothing takes long here.
     */
    cds_rc (*prepare)(struct cds_engine *engine, const char *language, cds_prepare_fn_done *done, void *user, struct cds_err *reterr);
    /**
     * Takes a place and a box for this job.
     * @return CDS_OK; CDS_NOT_FOUND (no such interpreter or image here); CDS_BAD_PARAM; CDS_BUSY (no slot, see retry_after_ms); CDS_EXHAUSTED;
     *         CDS_DENIED (a rule, e.g. no backend gives the boundary)
     */
    cds_rc (*acquire)(struct cds_engine *engine, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr);
    /** Starts the job in its box. When it fails the box is released. @return CDS_OK; CDS_BAD_PARAM; CDS_DENIED; CDS_EXHAUSTED; CDS_SYSTEM */
    cds_rc (*exec)(struct cds_job *job, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user, struct cds_err *reterr);
    /** Input of a job with a terminal. @return CDS_OK; CDS_BUSY (the job does not read, nothing was taken); CDS_CONFLICT (it has no terminal) */
    cds_rc (*write)(struct cds_job *job, const char *data, size_t len, struct cds_err *reterr);
    /** New size of a job's terminal. */
    cds_rc (*resize)(struct cds_job *job, unsigned rows, unsigned cols, struct cds_err *reterr);
    /** Stops or resumes reading output, so that a slow reader slows the job down instead of filling memory. */
    void (*hold)(struct cds_job *job, bool hold);
    /** Ends the whole tree at once; idempotent, the first reason stays. on_end follows. */
    void (*kill)(struct cds_job *job, enum cds_run_end reason);
    void (*stats)(const struct cds_job *job, struct cds_job_stats *ret);
    /**
     * Sockets in the network of the job, see confine/doors.h; the engine's, and gone with the job. NULL as answer: not there (yet). NULL: jobs of
     * this engine have no network at all.
     */
    struct cds_jail_doors *(*doors)(struct cds_job *job);
    /** A process in that network, for /proc/<pid>/net; 0: none. Set where doors is. */
    pid_t (*network_pid)(const struct cds_job *job);
    /** Gives back a box that got no job. */
    void (*release)(struct cds_job *job);
    /** Kills what runs (on_end is not called any more) and frees the engine. */
    void (*close)(struct cds_engine *engine);
};

/** First member of every engine. */
struct cds_engine {
    const struct cds_engine_ops *ops;
};
/** First member of every engine's job: the broker calls job->engine->ops. */
struct cds_job {
    struct cds_engine *engine;
};
