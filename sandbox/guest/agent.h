/* sandbox/guest/agent.h: what the files of the guest agent share. The agent is pid 1 of a microVM, or the guest of another's pid 1 (microsandbox has
 * booted the machine): one thread, root, static, no file of the image.
 *
 * Threads: one. Owner: everything lives as long as the VM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/guest/frames.h"

enum { AGENT_JOB_UID = 1000, AGENT_TEXT = 256 };
#define AGENT_IMAGE "/root-of-vm"

/* ---- port.c: frames over the virtio port ---- */
/** Opens the port named "agent". False: it did not appear in time. */
bool port_open(void);
/** Instead of it: calls this vsock port of the host. When the host hangs up there is nothing left to do, and the agent ends. False: as above. */
bool port_call(unsigned port);
int port_fd(void);
void port_send(enum micro_type type, uint32_t id, const void *data, size_t len);
/** Sends REFUSED or FAILED with a text. */
void port_say(enum micro_type type, uint32_t id, const char *format, ...) __attribute__((format(printf, 3, 4)));
/** Reads one frame; blocks. payload is NUL-terminated and borrowed until the next call. False: the frame is too long, and was skipped. */
bool port_receive(struct micro_header *ret, char **payload);

/* ---- boot.c: from an empty memory to a root with /tmp, /work and control groups ---- */
/** False: *ret_step names what failed, errno says why. */
bool boot_modules(const char **ret_step);
bool boot_image(const char **ret_step);
/** Instead of these two where another pid 1 has done both: mounts of our own, which it does not see change. */
bool boot_hosted(const char **ret_step);
/** Makes the image the root. image: where it is mounted */
bool boot_root(const char *image, const char **ret_step);
/** Writes a small file of the kernel's. */
bool put_text(const char *path, const char *text);
uint64_t get_number(const char *path, const char *key);

/* ---- spawn.c: processes of the job's user in their own pid namespace ---- */
struct spawn {
    const char *const *argv, *const *env;
    int fd[4];          /**< become 0 to 3; -1 in fd[3]: none */
    const char *cgroup; /**< name of a group below MICRO_CGROUPS */
    bool terminal;      /**< fd[0] is a terminal to control it by */
};
/** Makes the pid namespace and its init. */
bool spawn_open(void);
pid_t spawn(const struct spawn *how);

/* ---- prestart.c: interpreters that wait ---- */
struct waiting {
    pid_t pid;      /**< 0: none */
    int ctl, fd[3]; /**< our ends of its control socket and of its stdin, stdout and stderr */
};
struct waiting *prestarted(enum micro_language language);
/** Starts all that the image has and returns when they wait. Null, or what failed. */
const char *prestart_all(void);
/** Gives it a job (kind "j") or a warm-up (kind "w"). */
bool prestart_give(struct waiting *w, const char *kind, const char *const *argv, size_t argc, const char *const *env, size_t envc);
/** Runs a language once for its code to be translated. */
void prestart_warm(enum micro_language language);

/* ---- job.c: the one job ---- */
void job_file(const struct micro_header *h, const char *payload);
void job_stdin(const char *data, size_t len);
void job_stdin_end(void);
void job_signal(uint32_t signo);
void job_resize(unsigned rows, unsigned cols);
/** Checks and starts it. */
void job_exec(const struct micro_header *h, const char *payload);
/** Sets the limits of a group, unless it has them. */
void job_limit_group(const char *name, uint64_t memory_bytes, uint32_t max_tasks);

/* ---- back.c: what the program has changed below /work ---- */
/** Remembers a folder or file that came with FILE. False: no memory, or more than there may be. Paths elsewhere are no concern of it. */
bool back_note_folder(const char *path);
bool back_note_file(const char *path);
/** The files are complete: what they look like now is what a program has not changed. */
bool back_begin(void);
/** Ends what is left of the job's processes, then sends BACK, BACK_DATA and BACK_END. */
void back_send(uint32_t id, const char *group);

/** Descriptors to poll; serves what is ready. */
struct pollfd;
size_t job_poll(struct pollfd *fds, size_t room);
void job_serve(const struct pollfd *fds, size_t count);
/** A child has ended. */
void job_reap(void);
