/* apps/llmworker/shift.h: a chat that is too long for its context goes on without its oldest turns.
 *
 * A turn begins with a message of the user and holds what follows it up to the next one; what stands before the first is a turn too. System
 * messages always stay, and so does the last turn, so the template sees a chat like any other.
 * Threads: pure functions.
 */
#pragma once

#include "lib/json/json.h"

/** How many turns could be dropped. */
unsigned cds_shift_turns(const cds_json *messages);
/** The chat without its oldest turns; owned by the caller, NULL when memory is out. @param ret_dropped  messages that are missing in it */
cds_json *cds_shift_drop(const cds_json *messages, unsigned turns, unsigned *ret_dropped);
