/* apps/llmserver/model.h: the GGUF files this server knows, and the process of each loaded one.
 *
 * States: unloaded -> loading -> loaded; a process that dies after it was loaded goes back to loading by itself (with back-off) and its
 * waiting requests stay; a first load that fails, or six starts in a row that fail, end in failed. unload ends every state. A load is refused
 * (and the model stays as it was) over the gate, for a corrupt file, and when its memory is not there (memory.h).
 * Ids: the file name without ".gguf" in lower case, without its quantization ("SmolLM2-135M-Instruct.Q4_1.gguf" is
 * "smollm2-135m-instruct"); the name with quantization works too, and is the id when two files would share one. Of a split model
 * ("name-00001-of-00003.gguf") the first part stands for all.
 * Files: each is looked at by a process of its own before it is listed or loaded (inspection.h).
 * Threads: loop thread only.
 */
#pragma once

#include <limits.h>
#include <time.h>

#include "apps/llmserver/helper.h"
#include "apps/llmserver/proc.h"
#include "apps/llmserver/queue.h"
#include "lib/config/config.h"

enum cds_model_state { CDS_MODEL_UNLOADED, CDS_MODEL_LOADING, CDS_MODEL_LOADED, CDS_MODEL_FAILED };
enum { CDS_MODELS_MAX = 256, CDS_MODEL_ID_MAX = 128, CDS_MODEL_STARTS_MAX = 6 };

struct cds_llm;
struct cds_lexicon;

/** What the header of the file says, read by a process of its own (inspection.h). */
struct cds_model_file {
    enum { CDS_FILE_UNREAD, CDS_FILE_READING, CDS_FILE_FINE, CDS_FILE_CORRUPT } state;
    cds_json *facts;         /**< owned; NULL until it is fine */
    char problem[320];       /**< why it is corrupt */
    struct timespec changed; /**< the file's time when it was read */
    struct cds_helper *helper;
};

struct cds_model {
    struct cds_model *next;
    struct cds_llm *app;
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1], path[PATH_MAX];
    uint64_t file_bytes; /**< of all parts */
    struct cds_model_file file;
    bool load_wanted; /**< a load waits for the file to be read */
    enum cds_model_state state;
    struct cds_err failure; /**< why it failed or ended last */
    int percent;            /**< of the running load */
    /* From the model process: */
    int64_t parameters, request_tokens, cells; /**< 0: not known yet */
    char description[128], library[32];
    enum { CDS_INFILL_UNKNOWN, CDS_INFILL_NO, CDS_INFILL_YES } infill; /**< can it fill a gap in a text? */
    char draft_problem[320];                                           /**< why it has none although one was named; "": none was named */
    struct cds_lexicon *lexicon; /**< process of its vocabulary while it is not loaded (lexicon.h); NULL: none */
    const char *backend;         /**< "cuda", "vulkan", "cpu" of the load (backend.h); NULL: none yet */
    cds_json *skipped, *compute; /**< backends that did not work; what the process computes with; owned */
    struct cds_proc *proc;       /**< NULL: no process */
    bool up;                     /**< said hello and was not stopped */
    bool was_up;                 /**< this load reached hello once: a death is followed by a new start */
    bool unloading;
    bool backend_set;           /**< the backend is the one that is set: no other is tried */
    uint64_t drain_deadline_ms; /**< while it unloads: running requests may go on so long */
    /* Of residency.h: */
    uint64_t up_ms, used_ms, wanted_ms; /**< came up; had a request; waits for room since */
    bool on_demand;                     /**< a request asked for this load */
    bool wants_room;                    /**< it waits until another model left */
    bool yielding, evicting;            /**< lets new requests wait; leaves, and its waiting requests stay */
    bool stopping;                      /**< the process was told to end */
    bool drafts;                        /**< its process has a draft model */
    uint64_t need_bytes;                /**< estimate of its memory, without what lies on a GPU (memory.h) */
    uint64_t gpu_bytes;                 /**< the part on a GPU: the sure layers; once it is up those that went there */
    uint64_t solo_bytes;                /**< part of it: the context for deterministic answers, once one was asked for */
    uint64_t limit_bytes;               /**< what its process may take */
    int64_t probe_job;                  /**< job number of the token /readyz asked for (probe.h); 0: none is asked for */
    uint64_t probe_since_ms;
    uint64_t progress_ms; /**< its load began, or went on */
    unsigned starts_failed;
    uint64_t restarts;
    struct cds_timer *timer; /**< next start, or the check that it is alive */
    struct cds_queue queue;  /**< prepared requests that wait for a slot */
    unsigned running;        /**< requests that hold a slot, or take one over just now: up to twice as many as there are slots */
    uint32_t slot_ms;        /**< how long requests held a slot lately; 0: not known */
    uint32_t threads;        /**< its share of the compute threads as it was told last; 0: not yet */
    cds_json *settings;      /**< what administrators set for it (settings.h); NULL: nothing */
    cds_json *loaded_with;   /**< settings of its last load, as they held then; NULL: none yet */
    uint64_t weights_mark;   /**< how its files looked when its process was started (weights.h) */
    uint64_t cells_wanted;   /**< KV cells of the load: fewer than the setting when memory was short */
    cds_json *work;          /**< what the process counted since it started, as it sent it last (README of llmworker); NULL: nothing yet */
};

struct cds_models {
    struct cds_model *first;
    unsigned count;
    char dirs[2][PATH_MAX]; /**< folders that are searched: <home>/models, <program>/../share/models */
    char run_dir[PATH_MAX], lib_dir[PATH_MAX], program[PATH_MAX], fetch[PATH_MAX]; /**< fetch: the program cds-fetch */
    char lib_base[PATH_MAX]; /**< lib_dir as it was named: "-vulkan" and so on are put behind it */
    bool lib_dir_given;
    cds_json *system;        /**< what the last model process said about devices; NULL: none has come up yet */
    struct timespec seen[2]; /**< change times of dirs at the last look */
    uint64_t looked_ms;      /**< of the last look; 0: none yet */
};

/** Sets the folders. */
void cds_models_init(struct cds_llm *app);
void cds_models_free(struct cds_llm *app);
enum { CDS_MODELS_FRESH_MS = 1000 };
/** Looks for new and gone files; a model in use stays. A look serves for CDS_MODELS_FRESH_MS unless a folder changed: everybody may list
 *  models, and reading folders stops the loop. */
void cds_models_scan(struct cds_llm *app);
/** By id or alias, lower case; "" is the loaded one, or the one that would be loaded at start. NULL: unknown. */
struct cds_model *cds_models_find(struct cds_llm *app, const char *id);
/** A file named in the configuration, wherever it is. @return CDS_OK; CDS_NOT_FOUND; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc cds_models_add_file(struct cds_llm *app, const char *path, struct cds_model **ret, struct cds_err *reterr);
/** Id and alias of a file name; exposed for tests. id holds CDS_MODEL_ID_MAX + 1 bytes each. @return false: not a usable name */
bool cds_model_name(const char *file, char *ret_id, char *ret_alias);

const char *cds_model_state_name(enum cds_model_state state);
/** Starts loading unless it is loading or loaded. */
void cds_model_load(struct cds_model *model);
/** Loads it because a request wants it; the request waits. */
void cds_model_demand(struct cds_model *model);
/** Starts its process if there is room now. @return false: there is not, and why */
bool cds_model_try_room(struct cds_model *model, struct cds_err *reterr);
/** Gives its load up: the model is as it was, its requests get the error. */
void cds_model_refuse(struct cds_model *model, const struct cds_err *err);
/** inspection.h: the file was read (or is corrupt); a load that waited for it goes on. */
void cds_model_file_read(struct cds_model *model);
/** Ends the process: what runs may go on for llm.drain_ms, everything else gets an error at once. The state changes once the process is gone,
 *  and its memory is back then. */
void cds_model_unload(struct cds_model *model);
/** Stops every process, for the end of the server. */
void cds_models_stop(struct cds_llm *app);
