/* tests/sandbox/abuse/play.h: plays the cases of a row: jobs, file operations, drills. Whatever is not as the row says becomes a complaint. */
#pragma once

#include "sandbox/disk_watch.h"
#include "sandbox/run_params.h"
#include "tests/sandbox/abuse/row.h"
#include "tests/sandbox/abuse/world.h"

enum { PLAY_OUT_MAX = 192 << 10, PLAY_TOGETHER_MAX = 64 };

/** One job of a case. */
struct play {
    struct world *world;
    const char *name; /**< of the case */
    struct cds_job *job;
    pid_t init;
    struct disk_watch *disk;
    struct cds_job_result result;
    char *out; /**< both streams as they came, PLAY_OUT_MAX; mapped, so that it does not count for the broker afterwards */
    size_t out_len;
    bool ended;
};

/** Text with @NAME@ replaced by what this host is about; malloc'ed. Names: OUTSIDE, CANARY, PROJECT, BROKER, UID, TCP, UDP, ABSTRACT. */
char *play_fill_in(const struct world *w, const char *text);

/** Plays it. @return false when it could not be played here; *ret_why says why */
bool play_case(struct world *w, const struct row *row, const struct row_case *c, const char **ret_why);

/** Starts a job. CDS_OK, or what the engine answered. Whatever comes after it ends with play_finish. */
cds_rc play_start(struct play *p, struct world *w, const struct row_case *c, const struct cds_job_spec *spec, struct cds_err *err);
void play_wait(struct play *p, uint64_t kill_after_ms);
void play_finish(struct play *p);
/** verdict.c: the result against what the case expects. */
void play_check(const struct play *p, const struct row_case *c);

/** files.c: "operation path -> outcome..."; the row's file operations on the host. */
void play_fs_lines(struct world *w, const struct row_case *c);
/** Plays each race line until its turns are over or *ended. */
void play_races(struct world *w, const struct row_case *c, const struct play *p);

/** host_side.c: what the host puts into the project. False with the reason where this host cannot. */
bool play_prepare(struct world *w, const struct row_case *c, const char **ret_why);
/** Services of the host that no job may reach; once per mode. */
int host_doors_open(const struct world *w);
/** Complains when somebody was there. */
void host_doors_check(struct world *w);
unsigned host_door_tcp(void);
unsigned host_door_udp(void);
const char *host_door_abstract(void);

/** drill.c. False when there is no such drill. */
bool play_drill(struct world *w, const struct row_case *c, const char *drill);
