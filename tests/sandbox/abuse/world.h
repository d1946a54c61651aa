/* tests/sandbox/abuse/world.h: the host around a row: folders, engine, canaries, another tenant; and what must be as before when the row is over.
 *
 * <base>/jail      what the engine mounts on
 * <base>/project   of the hostile tenant; <base>/neighbour of another one
 * <base>/outside   canary: a file that anyone could read and write, if it only could be reached
 * Threads: one; the pool's threads look at the project's size only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/compiler.h"
#include "lib/base/pool.h"
#include "sandbox/host.h"
#include "sandbox/sandbox.h"

enum world_mode { MODE_ROOT, MODE_UNPRIVILEGED, MODE_USERNS, MODE_USERNS_SINGLE, MODE_COUNT };
enum { WORLD_SLOTS = 64, WORLD_JAILS = 256 };

struct world {
    enum world_mode mode;
    bool old_kernel; /**< openat2, clone3 and landlock answer ENOSYS */
    bool storm;      /**< the long cases, too */
    bool pooled;     /**< each program is played a second time, in a jail that was ready before */
    char base[64], canary[80], secret[48];
    int base_fd, project, neighbour; /**< neighbour and project: O_PATH, as the broker holds them */
    struct cds_loop *loop;
    struct cds_pool *pool;
    struct sandbox_host *host;
    struct cds_engine *engine;
    struct cds_engine *machines[3]; /**< engine micro with our agent, with a hostile one, engine wasm; NULL: not opened (machines.h) */
    struct cds_engine *playing;     /**< the machine of the case; NULL: the case is played on engine, which drills and pools replace */
    char key[17];                   /**< names the control groups */
    uint64_t baseline_us;           /**< of another tenant's 1+2, nothing else running */
    int jails[WORLD_JAILS];         /**< pid namespaces of this row's jobs, held open so that no other one gets their number */
    size_t jail_count;
    ino_t own_jail; /**< our own pid namespace */
    struct world_before {
        unsigned fds, mounts;
        uint64_t private_kb;
        char host_name[65];
    } before;
    char complaints[4096]; /**< of this row; "" while all is well */
};

/** Says what is wrong with the row; the row has failed. */
void complain(struct world *w, const char *fmt, ...) CDS_PRINTF(2, 3);

/** Makes base folder and canaries; once per mode. 0, or -1 with a line on stderr. */
int world_make(struct world *w);
void world_unmake(struct world *w);
/** Opens loop, host and engine, empties the project. */
int world_open(struct world *w, unsigned slots);
/** Ends the jails that wait for a job. */
void world_drain_pool(struct world *w);
/** Ends and frees them without a look at what is left. */
void world_close(struct world *w);

/** Asks another tenant for 1+2. @return microseconds; 0: it did not answer 3 */
uint64_t world_ask_neighbour(struct world *w);

/** Remembers the namespace of a job that has just been started, until world_forget_jobs. */
void world_note_job(struct world *w, pid_t init);
void world_forget_jobs(struct world *w);
/** Pid of a child that is not among the known ones, 0: none. */
pid_t world_new_child(const pid_t *known, size_t count);
/** All children, at most size. */
size_t world_children(pid_t *ret, size_t size);
/** Processes of jobs that live although their jobs have ended. @param who  one of them; may be NULL */
unsigned world_survivors(const struct world *w, char *who, size_t size);

/** Until the kernel has taken the namespaces of jobs that are over apart; lets the loop go on. Complains when that does not come to an end. */
void world_wait_for_boxes(struct world *w);

void world_remember(struct world *w);
/** All host invariants that can be asked while the engine is open. */
void world_check_open(struct world *w);
/** Those that hold when it is closed. */
void world_check_closed(struct world *w);
/** Complains when text holds the secret or the canary. */
void world_check_text(struct world *w, const char *text, size_t len);
/** Removes what a job made in the project, whatever modes it gave it. */
void world_clean_project(struct world *w);
/** Undoes a mount that the host made for a row. */
void world_unmount(const char *path);
