/* tests/sandbox/abuse/machines.h: the engines beside the process engine, opened for the rows that need them: virtual machines with our agent or with
 * a hostile one, and programs in the place of QEMU.
 *
 * Threads: one.
 */
#pragma once

#include "tests/sandbox/abuse/play.h"

/** Whether rows of that engine can be played at all. */
bool machines_know(const char *engine);
/** The engine that plays the case; NULL with the reason where this mode or host has none. */
struct cds_engine *machines_pick(struct world *w, const struct row *row, const struct row_case *c, const char **ret_why);
void machines_close(struct world *w);
/** Runs the case's code with python in the place of QEMU: its jail, its filter, its descriptors. */
void machines_play_vmm(struct world *w, const struct row_case *c);
/** Tries to change the template's memory from outside of any machine. */
void machines_try_template(struct world *w, const struct row_case *c, unsigned number);
/** A machine that was not seeded is given a job. */
void machines_exec_without_seed(struct world *w, const struct row_case *c, unsigned number);
/** Changes each kept piece of compiled code, and opens the engine anew. */
void machines_tamper_code(struct world *w, const struct row_case *c, unsigned number);
/** The engine has refused so many pieces. */
void machines_check_refused_code(struct world *w, const struct row_case *c, unsigned number);
/** Complains when a word of the output was in that of an earlier job of this row. */
void machines_check_unique(struct world *w, const struct row_case *c, const char *text, size_t len);
