/* sandbox/micro_frames.h: the host's half of the protocol with the agent in a microVM: builds frames, takes hostile bytes apart.
 *
 * Everything that comes from a guest is hostile: a wrong byte breaks the decoder for good, with a sentence that says which rule was broken.
 * Source:  sandbox/guest/frames.h. Fuzzed by tests/fuzz/fuzz_micro_frames.c.
 * Threads: one owner at a time. Memory: a decoder holds one frame, 64 KiB at most.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "sandbox/guest/frames.h"

struct micro_decoder {
    char frame[MICRO_HEADER + MICRO_PAYLOAD_MAX];
    size_t have;
    bool ready, started, exited;
    uint32_t asked;      /**< id of the PONG or WARMED that is due; 0: none */
    uint32_t job;        /**< id of EXEC; 0: not sent */
    uint64_t output_max; /**< bytes of OUT and ERR the job may send */
    uint64_t output;
    bool back;                        /**< the files of the job return: EXIT is not the last frame */
    bool over;                        /**< the last frame was heard: whatever follows breaks the decoder */
    uint32_t back_entries, back_left; /**< BACK frames so far; bytes the last one has to come */
    uint64_t back_bytes;
    char broken[MICRO_REASON_MAX]; /**< rule that was broken; "" */
};

/** payload is borrowed for the length of the call. False ends the decoding: the decoder is gone or of no interest any more. */
typedef bool micro_frame_fn(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len);

/** As after a boot (ready: false), or after a restore, where READY was said before the template was saved. */
void micro_decoder_init(struct micro_decoder *d, bool ready);
/** Takes bytes as they come. @return false once a rule was broken: d->broken */
CDS_MUST_USE bool micro_decode(struct micro_decoder *d, const char *data, size_t len, micro_frame_fn *fn, void *user);

/** Appends one frame. @return CDS_OK; CDS_TOO_LARGE, CDS_EXHAUSTED as cds_buf_add */
cds_rc micro_frame_add(struct cds_buf *out, enum micro_type type, unsigned flags, uint32_t id, const void *data, size_t len);
/** Appends as many FILE frames as the file needs. where: MICRO_FILE_WORK or 0 */
cds_rc micro_frame_add_file(struct cds_buf *out, unsigned where, uint32_t id, const char *path, const char *data, size_t len);
/** Appends EXEC; argc and envc of e are set here. */
cds_rc micro_frame_add_exec(struct cds_buf *out, uint32_t id, struct micro_exec e, const char *const *argv, size_t argc, const char *const *env,
                            size_t envc);
/** SEED with fresh random bytes and the time of now. */
cds_rc micro_frame_add_seed(struct cds_buf *out);
