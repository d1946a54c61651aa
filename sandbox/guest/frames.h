/* sandbox/guest/frames.h: what the host and the agent inside a microVM say to each other. Used by both sides; nothing but the C library.
 *
 * A frame is a header of 12 bytes, little endian, and len bytes of payload:   u32 len | u8 type | u8 flags | u16 zero | u32 id
 *
 * Order:   guest READY → host [PRESTART → guest PONG], snapshot; after boot or restore → host SEED → [WARM → guest WARMED]* → FILE*, STDIN*, EOF →
 *          EXEC → guest STARTED → OUT, ERR, OVERFLOW → EXIT [→ [BACK, BACK_DATA*]* → BACK_END]. Nothing may follow: EXIT is the last frame, and
 *          BACK_END where the host has asked for the project (MICRO_WORK_BACK). One EXEC per VM, and none before SEED: a clone that was not
 *          reseeded repeats the random numbers of its siblings.
 * Back:    what the program has changed below /work against the files that came with FILE, each path once: first what is gone, then folders from
 *          the top down and files. A file of size n is BACK and then BACK_DATA of n bytes together. What cannot come is named with its kind.
 * id:      chosen by the host for what it starts (WARM, EXEC, PRESTART, PING); the guest repeats it in what belongs to it. READY and FAILED: 0.
 * Source:  docs/adr/0028-microvm.md. The host's decoder is sandbox/micro_frames.c, fuzzed by tests/fuzz/fuzz_micro_frames.c.
 * Threads: no state.
 */
#pragma once

#include <stdint.h>

enum {
    MICRO_VERSION = 2,
    MICRO_HEADER = 12,
    MICRO_PAYLOAD_MAX = 65536,     /**< bytes of one payload, both ways */
    MICRO_EXEC_MAX = 4 << 20,      /**< bytes of one EXEC, the only longer frame: arguments and variables */
    MICRO_STRINGS_MAX = 192,       /**< arguments and variables of one EXEC */
    MICRO_STDIN_MAX = 1 << 20,     /**< bytes of standard input */
    MICRO_REASON_MAX = 160,        /**< text of FAILED and REFUSED */
    MICRO_SEED_BYTES = 32,         /**< random bytes of one SEED */
    MICRO_BACK_FILES = 2000,       /**< entries of one return, of all kinds together */
    MICRO_BACK_FILE_MAX = 524288,  /**< bytes of one file that returns: as large as fs.write takes */
    MICRO_BACK_BYTES = 8 << 20,    /**< bytes of all files that return */
    MICRO_PATH_MAX = 4096,         /**< bytes of a path, both ways */
    MICRO_TMP_MIB = 64,            /**< size of /tmp and of /work unless EXEC says otherwise */
    MICRO_BEHIND_S = 2 * 24 * 3600 /**< how far behind the host's the clock of a template is: see SEED in guest/README.md */
};

enum micro_type {
    /* host → guest */
    MICRO_SEED = 1, /**< struct micro_seed */
    MICRO_FILE,     /**< u16 path length, path, data; flags MICRO_FILE_* */
    MICRO_EXEC,     /**< struct micro_exec, then argv and env, each string with its NUL */
    MICRO_STDIN,    /**< data */
    MICRO_EOF,      /**< end of standard input */
    MICRO_SIGNAL,   /**< u32 signal number, for the main process and its group */
    MICRO_RESIZE,   /**< u16 rows, u16 columns */
    MICRO_PING,     /**< answered by PONG */
    MICRO_PRESTART, /**< struct micro_prestart; start the interpreters and let them wait; answered by PONG when they do */
    MICRO_WARM,     /**< u8 enum micro_language: run that language once without a job, so that its code is translated; answered by WARMED */
    /* guest → host */
    MICRO_READY = 64, /**< struct micro_ready */
    MICRO_STARTED,
    MICRO_OUT,      /**< data */
    MICRO_ERR,      /**< data */
    MICRO_EXIT,     /**< struct micro_exit; last frame of a job unless its files return */
    MICRO_OVERFLOW, /**< output is over its ceiling: it is counted from here on, not sent */
    MICRO_PONG,
    MICRO_WARMED,
    MICRO_REFUSED,   /**< text: why the frame with this id was not obeyed */
    MICRO_FAILED,    /**< text: a step of the agent failed; the VM is of no use */
    MICRO_BACK,      /**< struct micro_back, path */
    MICRO_BACK_DATA, /**< data of the file before */
    MICRO_BACK_END   /**< struct micro_back_end; last frame */
};

/** What became of one path below /work. */
enum micro_back_kind {
    MICRO_BACK_GONE = 1, /**< a file that came with FILE is not there any more */
    MICRO_BACK_GONE_FOLDER,
    MICRO_BACK_FOLDER,    /**< new */
    MICRO_BACK_FILE,      /**< new or changed; the only kind with data */
    MICRO_BACK_LINK,      /**< a symbolic link: does not come */
    MICRO_BACK_SPECIAL,   /**< a device, pipe or socket: does not come */
    MICRO_BACK_TOO_BIG,   /**< a file over MICRO_BACK_FILE_MAX: does not come */
    MICRO_BACK_OVER,      /**< a file past MICRO_BACK_BYTES: does not come */
    MICRO_BACK_TOO_DEEP,  /**< what is in this folder has paths over MICRO_PATH_MAX: does not come */
    MICRO_BACK_UNREADABLE /**< could not be read */
};

/** What EXEC says of /work. */
enum micro_work { MICRO_WORK_OWN /**< stays in the machine */, MICRO_WORK_READ_ONLY, MICRO_WORK_BACK /**< what changes returns */ };

enum { MICRO_FILE_MORE = 1 /**< appended to the file before */, MICRO_FILE_WORK = 2 /**< below /work, else below /tmp */ };

enum micro_language { MICRO_NO_LANGUAGE, MICRO_PYTHON, MICRO_NODE, MICRO_SH, MICRO_LANGUAGES };

struct micro_header {
    uint32_t len;
    uint8_t type, flags;
    uint16_t zero;
    uint32_t id;
} __attribute__((packed));

struct micro_seed {
    uint64_t host_ns; /**< CLOCK_REALTIME of the host, nanoseconds */
    uint8_t random[MICRO_SEED_BYTES];
} __attribute__((packed));

struct micro_prestart {
    uint64_t host_ns;      /**< CLOCK_REALTIME of the host, nanoseconds */
    uint64_t memory_bytes; /**< what most jobs will be given: set beforehand, a job then need not change it */
    uint32_t max_tasks;
} __attribute__((packed));

struct micro_exec {
    uint64_t memory_bytes, tmp_bytes, output_bytes;
    uint32_t max_tasks, cpu_ms;
    uint16_t rows, cols; /**< a terminal of that size; 0: pipes */
    uint16_t argc, envc;
    uint8_t language;   /**< enum micro_language */
    uint8_t prestarted; /**< an interpreter that waits may take the job; argv from prestarted on is what it needs */
    uint8_t work;       /**< enum micro_work */
    uint8_t zero;
} __attribute__((packed));

struct micro_ready {
    uint32_t version;
    uint32_t seeded; /**< 0 */
} __attribute__((packed));

struct micro_exit {
    int32_t code;  /**< -1: a signal ended it */
    int32_t signo; /**< 0: it ended by itself */
    uint64_t utime_us, stime_us, peak_bytes;
    uint64_t stdout_bytes, stderr_bytes, dropped_bytes; /**< of the output; written, and not sent because of the ceiling */
    uint32_t oom_kills, tasks_refused;
} __attribute__((packed));

struct micro_back {
    uint32_t size; /**< bytes of the file; 0 with every other kind */
    uint16_t path_len;
    uint8_t kind; /**< enum micro_back_kind */
    uint8_t zero;
} __attribute__((packed));

struct micro_back_end {
    uint32_t entries;  /**< BACK frames before this one */
    uint32_t left_out; /**< changes past MICRO_BACK_FILES, which have no frame */
} __attribute__((packed));
