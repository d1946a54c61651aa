/* sandbox/guest/back.c: see agent.h. What a program has changed below /work, sent when it has ended. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { NOTES_MAX = 2 * MICRO_BACK_FILES + 64, DEPTH_MAX = 64, WORK_LEN = sizeof("/work/") - 1, KILL_TRIES = 500, TRY_US = 2000 };

/* What came with FILE. */
static struct note {
    char *path; /* below /work */
    bool folder;
    struct stat st;
} notes[NOTES_MAX];
static size_t note_count;
static int work = -1;
static uint32_t job_id, entries, left_out, bytes;
static char path[MICRO_PATH_MAX + 1], content[MICRO_BACK_FILE_MAX];

static bool note(const char *full, bool folder)
{
    if (strncmp(full, "/work/", WORK_LEN) != 0)
        return true;
    char *copy = note_count < NOTES_MAX ? strdup(full + WORK_LEN) : NULL;
    if (!copy) {
        errno = ENOMEM;
        return false;
    }
    notes[note_count++] = (struct note){.path = copy, .folder = folder};
    return true;
}

bool back_note_folder(const char *full)
{
    return note(full, true);
}

bool back_note_file(const char *full)
{
    return note(full, false);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct note *)a)->path, ((const struct note *)b)->path);
}

/* A change within one tick of the kernel's clock would not show, so files get a time of change that no write can give them. */
bool back_begin(void)
{
    struct timespec now;
    if ((work = open("/work", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct timespec times[2] = {{now.tv_sec - 1, 1}, {now.tv_sec - 1, 1}};
    for (size_t i = 0; i < note_count; i++)
        if ((!notes[i].folder && utimensat(work, notes[i].path, times, AT_SYMLINK_NOFOLLOW)) ||
            fstatat(work, notes[i].path, &notes[i].st, AT_SYMLINK_NOFOLLOW))
            return false;
    qsort(notes, note_count, sizeof(*notes), by_path);
    return true;
}

/* ---- frames ---- */
static void send_entry(enum micro_back_kind kind, const char *name, uint32_t size)
{
    static char frame[sizeof(struct micro_back) + MICRO_PATH_MAX];
    const size_t len = strlen(name);
    const struct micro_back b = {.size = size, .path_len = (uint16_t)len, .kind = (uint8_t)kind};
    if (entries == MICRO_BACK_FILES) {
        left_out++;
        return;
    }
    entries++;
    memcpy(frame, &b, sizeof(b));
    memcpy(frame + sizeof(b), name, len); /* NOLINT(bugprone-not-null-terminated-result): its length is in b */
    port_send(MICRO_BACK, job_id, frame, sizeof(b) + len);
}

static void send_file(int dir, const char *name, const struct stat *st)
{
    size_t size = (size_t)st->st_size, have = 0;
    if (st->st_size > MICRO_BACK_FILE_MAX) {
        send_entry(MICRO_BACK_TOO_BIG, path, 0);
        return;
    }
    if (bytes + size > MICRO_BACK_BYTES) {
        send_entry(MICRO_BACK_OVER, path, 0);
        return;
    }
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && have < size && (n = read(fd, content + have, size - have)) > 0;)
        have += (size_t)n;
    if (fd < 0 || have != size) {
        send_entry(MICRO_BACK_UNREADABLE, path, 0);
    } else if (entries == MICRO_BACK_FILES) {
        left_out++;
    } else {
        send_entry(MICRO_BACK_FILE, path, (uint32_t)size);
        bytes += (uint32_t)size;
        for (size_t at = 0; at < size; at += MICRO_PAYLOAD_MAX)
            port_send(MICRO_BACK_DATA, job_id, content + at, size - at < MICRO_PAYLOAD_MAX ? size - at : MICRO_PAYLOAD_MAX);
    }
    if (fd >= 0)
        close(fd);
}

/* ---- what is gone ---- */
/* Through a link nothing is looked at: what lies behind one counts as still there, so that nothing is deleted because of it. */
static bool is_gone(const struct note *n)
{
    const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    struct stat st = {0};
    int fd = (int)syscall(SYS_openat2, work, n->path, &how, sizeof(how));
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR;
    fstat(fd, &st);
    close(fd);
    return n->folder ? S_ISREG(st.st_mode) : S_ISDIR(st.st_mode);
}

/* ---- what is there ---- */
static bool is_new(const struct stat *st)
{
    const struct note key = {.path = path}, *n = bsearch(&key, notes, note_count, sizeof(*notes), by_path);
    if (!n || n->folder != S_ISDIR(st->st_mode))
        return true;
    const struct stat *was = &n->st;
    return !n->folder &&
           (was->st_ino != st->st_ino || was->st_size != st->st_size || was->st_mtim.tv_sec != st->st_mtim.tv_sec ||
            was->st_mtim.tv_nsec != st->st_mtim.tv_nsec || was->st_ctim.tv_sec != st->st_ctim.tv_sec || was->st_ctim.tv_nsec != st->st_ctim.tv_nsec);
}

static void walk(int fd, size_t path_len, int depth)
{
    DIR *dir = fdopendir(fd); /* takes fd */
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        size_t len = strlen(e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (path_len + len + 1 > MICRO_PATH_MAX || depth == DEPTH_MAX) {
            path[path_len - 1] = '\0'; /* the folder it is in */
            send_entry(MICRO_BACK_TOO_DEEP, path, 0);
            break;
        }
        memcpy(path + path_len, e->d_name, len + 1);
        bool new = is_new(&st);
        if (S_ISLNK(st.st_mode)) {
            send_entry(MICRO_BACK_LINK, path, 0);
        } else if (S_ISDIR(st.st_mode)) {
            int below = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (new)
                send_entry(MICRO_BACK_FOLDER, path, 0);
            path[path_len + len] = '/';
            if (below >= 0)
                walk(below, path_len + len + 1, depth + 1);
        } else if (!S_ISREG(st.st_mode)) {
            send_entry(MICRO_BACK_SPECIAL, path, 0);
        } else if (new) {
            send_file(dirfd(dir), e->d_name, &st);
        }
    }
    if (dir)
        closedir(dir);
    else
        close(fd);
}

/* A process that lives on would change what is being read. */
static void kill_rest(const char *group)
{
    char file[64];
    snprintf(file, sizeof(file), "/run/cgroup/%s/cgroup.kill", group);
    put_text(file, "1");
    snprintf(file, sizeof(file), "/run/cgroup/%s/cgroup.events", group);
    for (int i = 0; i < KILL_TRIES && get_number(file, "populated"); i++)
        usleep(TRY_US);
}

void back_send(uint32_t id, const char *group)
{
    job_id = id;
    kill_rest(group);
    for (size_t i = note_count; i-- > 0;) /* what is in a folder comes before it */
        if (is_gone(&notes[i]))
            send_entry(notes[i].folder ? MICRO_BACK_GONE_FOLDER : MICRO_BACK_GONE, notes[i].path, 0);
    int top = openat(work, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top >= 0)
        walk(top, 0, 1);
    const struct micro_back_end end = {.entries = entries, .left_out = left_out};
    port_send(MICRO_BACK_END, id, &end, sizeof(end));
}
