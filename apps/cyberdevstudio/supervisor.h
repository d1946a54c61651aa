/* apps/cyberdevstudio/supervisor.h: the running studio: its parts, their states, and what the files of this folder share.
 *
 * up.c starts everything in order; life.c starts, watches and restarts one part; stop.c ends them; control.c answers `status` and `down`.
 * Threads: one thread, one loop.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "apps/cyberdevstudio/home.h"
#include "apps/cyberdevstudio/parts.h"
#include "apps/cyberdevstudio/pg.h"
#include "apps/cyberdevstudio/studiolog.h"
#include "lib/base/loop.h"
#include "lib/json/json.h"

enum {
    CDS_READY_MS = 30000,   /**< time a part has to become ready */
    CDS_PROGRESS_MS = 2000, /**< a step that takes longer says so, again and again */
    CDS_FLAGS_MAX = 128,    /**< most flags passed on to the parts */
    CDS_SENTENCE_MAX = 512,
};

enum cds_part_state {
    CDS_PART_OFF,      /**< no process; not to be started either */
    CDS_PART_STARTING, /**< process runs, not ready yet */
    CDS_PART_READY,
    CDS_PART_WAITING,  /**< crashed; starts again when the pause is over */
    CDS_PART_STOPPING, /**< asked to end */
    CDS_PART_FAILED,   /**< did not come up during the first start */
    CDS_PART_EXTERNAL, /**< a database the studio does not run itself */
};
const char *cds_part_state_name(enum cds_part_state state);

struct cds_supervisor;

struct cds_part {
    const struct cds_part_def *def;
    struct cds_supervisor *sup;
    enum cds_part_state state;
    pid_t pid;           /**< 0: none */
    uint64_t started_ms; /**< cds_now_ms of the last start */
    uint32_t ready_after_ms, backoff_ms;
    unsigned restarts;
    bool asked_to_quit; /**< PostgreSQL: the fast shutdown took too long */
    int ready_fd;       /**< read end of the readiness pipe, -1: none */
    struct cds_watch *ready_watch;
    struct cds_timer *timer; /**< starting: deadline or next look; waiting: next start */
    struct cds_logsource *output;
    size_t ready_len;
    char ready_text[CDS_SENTENCE_MAX];
    char failure[CDS_SENTENCE_MAX]; /**< why it is not ready, one sentence, or "" */
};

struct cds_control;
struct cds_command;

struct cds_supervisor {
    bool quiet;     /**< nothing on stdout: a command that only needs the database */
    FILE *terminal; /**< where a quiet command tells that it waits; borrowed, NULL: nowhere */
    const struct cds_config *config;
    struct cds_home home;
    struct cds_identity services;
    struct cds_loop *loop;
    struct cds_studiolog *log;
    struct cds_pg *pg;   /**< NULL: external database */
    char db_version[64]; /**< of the connected database, "" before */
    char pgml[64];       /**< version of its extension pgml; "": it has none */
    struct cds_control *control;
    struct cds_part parts[CDS_PART_COUNT];
    const char *flags[CDS_FLAGS_MAX];
    int flag_count;
    char program_dir[PATH_MAX];
    uint64_t started_ms;
    bool preparing; /**< pg.h waits for helpers of its own: leave unknown children alone */
    bool starting;  /**< first start: a part that fails ends the whole start */
    bool stopping;
    bool stopped; /**< the last process is gone */
    int stop_wave;
    uint64_t stop_started_ms;
    struct cds_timer *stop_timer;
};

/* session.c */
void cds_supervisor_init(struct cds_supervisor *sup, const struct cds_command *cmd);
/** Lock, user, folders, log, loop, signals; with_servers: also free ports and the control socket. stderr is the log afterwards. */
CDS_MUST_USE cds_rc cds_supervisor_open(struct cds_supervisor *sup, bool with_servers, struct cds_err *reterr);
/** The private cluster, made when absent, started and ready; or nothing, when database.url names another. */
CDS_MUST_USE cds_rc cds_supervisor_database(struct cds_supervisor *sup, struct cds_err *reterr);
/** Starts a part and turns the loop until it is ready. @return CDS_OK; CDS_CANCELLED (stopped meanwhile); CDS_SYSTEM with the part's sentence */
CDS_MUST_USE cds_rc cds_part_bring_up(struct cds_part *part, struct cds_err *reterr);
/** Ends every process and waits for that. */
void cds_supervisor_end(struct cds_supervisor *sup);
/** Frees what open made, the lock last. */
void cds_supervisor_close(struct cds_supervisor *sup);
cds_rc cds_interrupted(struct cds_err *reterr);
/** Prints one line on stdout and flushes it, unless quiet. */
void cds_say(const struct cds_supervisor *sup, const char *fmt, ...) CDS_PRINTF(2, 3);

/** Prints a line every CDS_PROGRESS_MS for a step that takes long; a quiet command prints it on its terminal. */
struct cds_progress {
    const struct cds_supervisor *sup;
    const char *what;
    uint64_t begin_ms, next_ms;
};
struct cds_progress cds_progress_begin(const struct cds_supervisor *sup, const char *what);
void cds_progress_look(struct cds_progress *progress);

/* life.c */
/** Starts the part's process. @return CDS_OK: state STARTING; else state unchanged */
CDS_MUST_USE cds_rc cds_part_start(struct cds_part *part, struct cds_err *reterr);
/** SIGCHLD: collects ended processes, plans restarts, ends orphans. */
void cds_supervisor_reap(struct cds_supervisor *sup);
/** Sends SIGKILL to processes that were handed to us by the death of their parent. @return how many there were */
int cds_supervisor_sweep(struct cds_supervisor *sup);

/* stop.c */
/** Begins to end everything; a second call shortens the wait. `stopped` is set when the last process is gone. */
void cds_supervisor_stop(struct cds_supervisor *sup);
/** A part ended while everything stops: goes on with the next wave when it was the last of this one. */
void cds_supervisor_stop_next(struct cds_supervisor *sup);
/** Milliseconds after the begin of the stop at which wave is killed. */
uint32_t cds_stop_deadline_ms(int wave, uint32_t drain_ms);

/* control.c */
CDS_MUST_USE cds_rc cds_control_listen(struct cds_supervisor *sup, struct cds_err *reterr);
void cds_control_close(struct cds_supervisor *sup);
/** The state as `status` shows it; owned. */
cds_json *cds_status_json(const struct cds_supervisor *sup);
