/* sandbox/run_return.h: takes what a run has changed in its copy of the project back into it, on the thread that makes all changes of files, in
 * slices, so that other projects' writes come in between.
 *
 * Source:  sandbox/returned.h, docs/adr/0038-files-come-back.md.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"
#include "sandbox/returned.h"

/** reason: why it was given up (the writer had no place for it), or NULL. Called once, later. */
typedef void run_return_done(void *user, const char *reason);
/**
 * @param files       borrowed until done
 * @param project_fd  borrowed until done
 * @param run_id      names what is kept beside another file: NAME.run-<its last 12 characters>
 */
void run_return_start(struct broker *broker, struct returned *files, int project_fd, const char *run_id, run_return_done *done, void *user);
