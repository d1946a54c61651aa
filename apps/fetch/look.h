/* apps/fetch/look.h: what the headers of a model say that is still at its server, without downloading it.
 *
 * Order:   source read → hub's list (or the address) → of each part the first bytes by Range, more of them until its header is whole → read in a
 *          confined child like that of a download. Nothing is written to a disk.
 * Says:    one line of JSON: {"source", "files": [{"name", "size_bytes", "sha256"}], "facts", "read_bytes", "refused": null | {"rule", "message",
 *          "hint"}}, or {"error": {"code", "message", "hint", "rule"}}. facts is of all parts, as in apps/fetch/facts.h.
 * Rules:   llm.inspect_ranges: the server does not send the bytes that were asked for; llm.inspect_header: the header is longer than
 *          CDS_LOOK_BYTES_MAX; llm.inspect_changed: the file is another one than a moment ago; llm.inspect_cut: it ends too early.
 * Threads: called by the only thread; it blocks.
 */
#pragma once

#include "apps/fetch/reach.h"

enum { CDS_LOOK_FIRST_BYTES = 256 << 10, CDS_LOOK_GROWTH = 4, CDS_LOOK_BYTES_MAX = 64 << 20 };

/** @param parameters_max  of the gate, which is told and refuses nothing here; 0: none. @return exit status */
int cds_look(const struct cds_reach_options *options, uint64_t parameters_max, int out);
