/* apps/api/logfile.c: see logfile.h. */
#include "apps/api/logfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/* A sequence number is 22 bits of the file's inode and 31 bits of the place in it: a whole number that JavaScript can hold. */
enum { PLACE_BITS = 31, FILE_BITS = 22 };
static const int64_t place_mask = ((int64_t)1 << PLACE_BITS) - 1, file_mask = ((int64_t)1 << FILE_BITS) - 1;

static int64_t seq_of(ino_t inode, off_t place)
{
    return (((int64_t)inode & file_mask) << PLACE_BITS) | ((int64_t)place & place_mask);
}

/* number 0: the newest. Returns a descriptor or -1. */
static int open_number(const struct logfile *file, int number, struct stat *ret)
{
    char path[sizeof(file->path) + 16];
    snprintf(path, sizeof(path), number ? "%s.%d" : "%s", file->path, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, ret) == 0 && S_ISREG(ret->st_mode))
        return fd;
    cds_close_fd(&fd);
    return -1;
}

/* ---- where a reader begins ---- */
static bool ends_a_line(int fd, off_t place)
{
    char c;
    return place == 0 || (pread(fd, &c, 1, place - 1) == 1 && c == '\n');
}

static bool open_after(struct logfile *file, const char *after)
{
    uint64_t seq;
    struct stat st;
    if (!after || cds_parse_u64(after, 1, ((uint64_t)1 << (PLACE_BITS + FILE_BITS)) - 1, &seq))
        return false;
    for (int number = 0; number <= LOGFILE_KEPT_MAX; number++) {
        int fd = open_number(file, number, &st);
        off_t place = (off_t)((int64_t)seq & place_mask);
        if (fd >= 0 && seq_of(st.st_ino, place) == (int64_t)seq && place <= st.st_size && ends_a_line(fd, place)) {
            file->fd = fd;
            file->offset = place;
            return true;
        }
        cds_close_fd(&fd);
    }
    return false;
}

static void open_near_the_end(struct logfile *file)
{
    struct stat st;
    file->fd = open_number(file, 0, &st);
    file->offset = 0;
    if (file->fd < 0 || st.st_size <= LOGFILE_BACKLOG)
        return;
    file->offset = st.st_size - LOGFILE_BACKLOG;
    char *tail = malloc(LOGFILE_BACKLOG);
    ssize_t n = tail ? pread(file->fd, tail, LOGFILE_BACKLOG, file->offset) : 0;
    const char *newline = n > 0 ? memchr(tail, '\n', (size_t)n) : NULL;
    if (newline)
        file->offset += newline - tail + 1; /* begin with a whole line */
    free(tail);
}

void logfile_open(struct logfile *file, const char *path, const char *after)
{
    cds_strcpy(file->path, sizeof(file->path), path);
    file->fd = -1;
    if (!open_after(file, after))
        open_near_the_end(file);
}

void logfile_close(struct logfile *file)
{
    cds_close_fd(&file->fd);
    file->fd = -1;
}

/* ---- reading on ---- */
/* Tells the whole lines of one piece. *ret_end: nothing more stands in the file than a begun line. */
static bool read_piece(struct logfile *file, ino_t inode, logfile_line_fn *fn, void *user, bool *ret_end)
{
    char *piece = malloc(LOGFILE_PIECE);
    ssize_t n = piece ? pread(file->fd, piece, LOGFILE_PIECE, file->offset) : -1;
    size_t from = 0;
    bool goes_on = true;
    for (ssize_t i = 0; i < n && goes_on; i++) {
        if (piece[i] != '\n')
            continue;
        goes_on = fn(user, piece + from, (size_t)i - from, seq_of(inode, file->offset + i + 1));
        if (goes_on)
            from = (size_t)i + 1;
    }
    if (n == LOGFILE_PIECE && from == 0 && goes_on)
        from = LOGFILE_PIECE; /* a line longer than a piece: skipped */
    *ret_end = goes_on && n >= 0 && n < LOGFILE_PIECE;
    file->offset += (off_t)from;
    free(piece);
    return goes_on;
}

/* Opens the file that was written after ours. Names move on while we look: ours must still be where it was found when the next one is open. */
static int open_next(const struct logfile *file, ino_t inode)
{
    struct stat st, again;
    int oldest = -1;
    for (int number = 0; number <= LOGFILE_KEPT_MAX; number++) {
        int fd = open_number(file, number, &st);
        if (fd < 0)
            continue;
        close(fd);
        oldest = number;
        if (st.st_ino != inode)
            continue;
        int next = number ? open_number(file, number - 1, &st) : -1;
        fd = open_number(file, number, &again);
        bool moved = fd < 0 || again.st_ino != inode;
        cds_close_fd(&fd);
        if (moved)
            cds_close_fd(&next);
        return moved ? -1 : next;
    }
    return oldest < 0 ? -1 : open_number(file, oldest, &st); /* ours is not kept any more */
}

void logfile_read(struct logfile *file, logfile_line_fn *fn, void *user)
{
    struct stat own, st;
    bool end = false;
    if (file->fd < 0) {
        file->fd = open_number(file, 0, &st);
        file->offset = 0;
    }
    if (file->fd < 0 || fstat(file->fd, &own))
        return;
    if (file->offset > own.st_size)
        file->offset = 0; /* somebody emptied it */
    /* Looked at before reading: the writer has left a file for good before the next one has its name. */
    bool rotated = stat(file->path, &st) == 0 && st.st_ino != own.st_ino;
    if (!read_piece(file, own.st_ino, fn, user, &end) || !rotated || !end)
        return;
    int next = open_next(file, own.st_ino);
    if (next < 0)
        return;
    close(file->fd);
    file->fd = next;
    file->offset = 0;
}
