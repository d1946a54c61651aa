/* lib/credential/changes.h: the last changes of rights, found by whom or what they are about. Internal to lib/credential and its tests.
 *
 * Threads: one owner.
 * Memory:  CDS_STANDING_MAX entries, allocated at once; the newest change of a subject takes the place of its older one. Of one user's sessions and
 *          keys CDS_STANDING_OWN_MAX are remembered: whoever makes and ends them without end pushes out his own changes, not those of others.
 */
#pragma once

#include "lib/credential/standing.h"

enum { CDS_STANDING_OWN_MAX = 512 };

struct changes;
struct changes *changes_new(void); /**< NULL: out of memory */
void changes_free(struct changes **changes);
/** When all places are taken, or all that one user may have, the oldest of them makes room, and changes_floor rises to its time for whom it concerns.
 */
void changes_put(struct changes *changes, const struct cds_standing_change *change);
/** The last change of that subject; NULL: none is known. Borrowed until the next changes_put. */
const struct cds_standing_change *changes_find(const struct changes *changes, const char *subject);
/** Tokens of that user issued before this second may be touched by a change that is not remembered; 0: none was forgotten. */
int64_t changes_floor(const struct changes *changes, const char *user_id);
void changes_each(const struct changes *changes, cds_standing_fn *fn, void *user);
