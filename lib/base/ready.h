/* lib/base/ready.h: how a process tells its supervisor that it serves.
 *
 * The supervisor passes a pipe in CDS_READY_FD. The process writes "READY\n" once, or "FAILED <sentence>\n" before it
 * exits; without the variable (started by hand) both are no-ops. The descriptor is closed afterwards.
 * Threads: main thread only: they read and change the environment.
 */
#pragma once

void cds_notify_ready(void);
void cds_notify_failed(const char *sentence);
