/* apps/llmworker/together.h: inside of the scheduler: short prompts of equals that came together are answered together.
 *
 * A prompt that is read up to its last token waits with that token while others like it are still read: of its class and its set of adapters, of its
 * own key or of one that has no more running, and with no more left than twice what it had to read itself. Then the last tokens of all go into one
 * step, and the answers go on side by side. Without this, of many that come at once each would begin a step after the one before it: the last one
 * waits twice as long as the one in the middle, and all their rows are computed in small batches beside the prompts of the rest, where a row costs
 * more than twice as much.
 *
 * Only prompts of at most CDS_TOGETHER_OWN tokens wait, for at most CDS_TOGETHER_ROWS prompt tokens of others and for at most CDS_TOGETHER_EACH
 * times their own. Requests that have said something or that only read never do.
 * Source:  docs/adr/0080-equals-begin-together.md
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/job.h"

enum { CDS_TOGETHER_OWN = 128, CDS_TOGETHER_ROWS = 2048, CDS_TOGETHER_EACH = 32 };

/** A step is being built: how long those that wait have waited. */
void cds_together_begin(struct cds_sched *sched);
/** Does the last token of its prompt wait? */
bool cds_together_waits(const struct cds_sched *sched, const struct cds_job *job);
