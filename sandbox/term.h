/* sandbox/term.h: terminals of projects: programs on a pty that outlive the connection they were opened on.
 *
 * A terminal belongs to one user's project. What it writes goes into a ring, also while nobody is attached, so that its program never waits for a
 * reader that is not there; a reader follows the ring from the byte it asks for. Terminals have places of their own, beside those of runs.
 * Ends:    its program's own end, kill, the wall clock, nobody attached for too long, the project's disk quota, the broker's end.
 * Source:  schemas/rpc/term.*.json; options term.*; docs/adr/0030-terminals.md.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"
#include "sandbox/disk_watch.h"
#include "sandbox/term_ring.h"

enum {
    TERM_RING_BYTES = 256 * 1024,        /**< what can be replayed */
    TERM_BEHIND_BYTES = 64 * 1024,       /**< the program waits while a reader is further behind than this ... */
    TERM_STALL_MS = 2000,                /**< ... but no longer than this; the reader then loses what the ring cannot keep */
    TERM_TOLD_MS = 600000,               /**< an ended terminal is kept this long for a reader who has not heard of it */
    TERM_INPUT_MAX = 65536,              /**< bytes of one term.input */
    TERM_PIECE_BYTES = 32 * 1024,        /**< most bytes of one notification */
    TERM_PEER_BYTES = 512 * 1024,        /**< a reader waits while more than this waits for the gateway */
    TERM_PAUSE_MS = 5,                   /**< notifications of a flood are this far apart, so that they are few and large */
    TERM_COLLECT_BYTES = TERM_RING_BYTES /**< most bytes of an answer that collects */
};

struct term {
    struct term *next, **prev;
    struct broker *broker;
    const struct cds_engine_ops *ops;
    struct cds_job *job; /**< NULL: it has ended, result says how */
    struct cds_job_result result;
    struct term_ring ring;
    struct term_reader *readers;
    struct disk_watch *disk; /**< one of a project's terminals watches for all of them */
    struct cds_timer *clock;
    const char *why;                /**< why it was ended by us, e.g. "idle"; static; NULL: the result's own end */
    uint64_t detached_ms, ended_ms; /**< since when nobody is attached, when it ended; 0: somebody is, it has not */
    uint64_t held_ms;               /**< since when its program waits for readers; 0: it does not */
    uint64_t opened_ms;
    bool told; /**< a reader has heard of its end */
    unsigned rows, cols;
    char id[37], project[37], user[40], session[40], program[8]; /* session: the one that opened it; "" when it was not told */
};

/** One call of term.attach. */
struct term_reader {
    struct term *term;
    struct term_reader *next, **prev;           /**< of the terminal */
    struct term_reader *mine_next, **mine_prev; /**< of the client */
    struct client *client;
    struct cds_timer *timer;
    cds_json *id;
    int64_t call;
    uint64_t seq, lost_bytes;     /**< next byte to send; how many it missed */
    uint64_t acked, window_bytes; /**< it wants at most window_bytes beyond acked; 0: no window */
    uint64_t sent_ms;             /**< when the last piece was sent */
    uint64_t deadline_ms;         /**< of a reader that collects; 0: it streams */
    bool held;                    /**< the gateway's own queue is full */
    bool lagging;                 /**< was waited for in vain: no more, until it has caught up */
};

/** What term.open asks for; checked. All borrowed. */
struct term_wish {
    const char *project, *user, *session, *program;
    unsigned rows, cols;
    const struct cds_job_network *network; /**< NULL: none */
};

/** @param ret  borrowed @return CDS_OK; CDS_BUSY: all places are taken; CDS_NOT_FOUND: no such project or program; CDS_SYSTEM ... */
CDS_MUST_USE cds_rc term_open(struct broker *broker, const struct term_wish *wish, struct term **ret, struct cds_err *reterr);
/** The user's terminal of that project and id; NULL: there is none. */
struct term *term_find(const struct broker *broker, const char *project, const char *user, const char *id);
/** Does something run in it that its end would take along: a program in front of the shell, or an interpreter? */
bool term_is_busy(const struct term *term);
/** Ends it; one that has ended is forgotten. why: a word of term.attach's `end`. */
void term_end(struct term *term, const char *why);
/** All of a user, or those that one session opened (NULL or "": all), end: their rights have. */
void terms_end_all(struct broker *broker, const char *user, const char *session);
CDS_MUST_USE cds_rc term_resize(struct term *term, unsigned rows, unsigned cols, struct cds_err *reterr);
/** "exit", "signal", "killed", "idle", ...; "running" before its end. */
const char *term_end_name(const struct term *term);
unsigned term_count(const struct broker *broker);
/** The broker ends: forgets all; their jobs end with the engine. */
void terms_free(struct broker *broker);

/* term_reader.c */
/** Follows the terminal from byte `seq`; its call is answered by its end, by term_reader_detach, or never when the client is gone. */
CDS_MUST_USE cds_rc term_reader_new(struct term *term, struct client *client, const struct cds_rpc_request *request, struct cds_err *reterr);
/** Sends what may be sent, waits for the rest. May free the reader, never its terminal. */
void term_reader_pump(struct term_reader *reader);
/** Takes it off its terminal. answer: its call is answered with end "detached". */
void term_reader_detach(struct term_reader *reader, bool answer);
/** Tells all readers of a new size. */
void term_readers_tell_size(struct term *term);
/** Looks whether the program has to wait for its readers. */
void term_look_at_readers(struct term *term);
/** Nobody is attached any more, or somebody is again. */
void term_readers_changed(struct term *term);
