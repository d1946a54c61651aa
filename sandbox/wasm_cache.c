/* sandbox/wasm_cache.c: see wasm_cache.h. */
#include "sandbox/wasm_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/pool.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/wasm/request.h"

enum { PIECES = 64, FILES_MAX = 4096, QUEUE = 16, NAME_LEN = 2 * WASM_DIGEST, MAGIC = 8, HEAD = MAGIC + WASM_DIGEST };
enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
static const char magic[MAGIC + 1] = "CDSAOT1\n", suffix[] = ".aot", unfinished[] = ".new";
static const struct wasm_cache_limits usual = {64 << 20, 256 << 20};

struct piece {
    uint8_t key[WASM_DIGEST];
    int fd; /* sealed memory file; -1: free place */
    size_t len;
    uint64_t used; /* clock of uses */
};

/* One piece on its way from a worker into the cache. */
struct keeping {
    struct keeping *next, **prev;
    struct wasm_cache *cache;
    uint8_t key[WASM_DIGEST];
    int from, fd; /* the worker's file, and our copy */
    size_t len, disk_bytes;
};

struct wasm_cache {
    struct cds_pool *pool;
    struct wasm_cache_limits limits;
    struct wasm_cache_counts counts;
    struct piece pieces[PIECES];
    struct keeping *keeping;
    uint64_t clock;
    uint8_t mark_key[WASM_DIGEST];
    int dir; /* -1: in memory only */
};

static void file_name(const uint8_t key[static WASM_DIGEST], char out[static NAME_LEN + sizeof(suffix)])
{
    for (size_t i = 0; i < WASM_DIGEST; i++)
        snprintf(out + 2 * i, 3, "%02x", key[i]);
    memcpy(out + NAME_LEN, suffix, sizeof(suffix));
}

static void make_mark(const struct wasm_cache *cache, const uint8_t *key, const void *code, size_t len, uint8_t ret[static WASM_DIGEST])
{
    const struct wasm_part parts[] = {{magic, MAGIC}, {key, WASM_DIGEST}, {code, len}};
    wasm_hmac(cache->mark_key, parts, CDS_ARRAY_LEN(parts), ret);
}

/* A sealed copy. -1: no room. */
static int sealed_copy(const void *data, size_t len)
{
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("compiled", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || cds_write_all(fd, data, len, 0, NULL) || fcntl(fd, F_ADD_SEALS, SEALS))
        return -1;
    return cds_steal_fd(&fd);
}

/* ---- pieces in memory ---- */
static void forget(struct piece *piece)
{
    if (piece->fd >= 0)
        close(piece->fd);
    *piece = (struct piece){.fd = -1};
}

static struct piece *find(struct wasm_cache *cache, const uint8_t *key)
{
    for (size_t i = 0; i < PIECES; i++)
        if (cache->pieces[i].fd >= 0 && !memcmp(cache->pieces[i].key, key, WASM_DIGEST))
            return &cache->pieces[i];
    return NULL;
}

static struct piece *oldest(struct wasm_cache *cache)
{
    struct piece *old = NULL;
    for (size_t i = 0; i < PIECES; i++)
        if (cache->pieces[i].fd >= 0 && (!old || cache->pieces[i].used < old->used))
            old = &cache->pieces[i];
    return old;
}

/* Steals fd. */
static struct piece *insert(struct wasm_cache *cache, const uint8_t *key, int fd, size_t len)
{
    struct piece *place = find(cache, key);
    if (place)
        forget(place);
    for (;;) {
        size_t bytes = len;
        place = NULL;
        for (size_t i = 0; i < PIECES; i++)
            if (cache->pieces[i].fd < 0)
                place = &cache->pieces[i];
            else
                bytes += cache->pieces[i].len;
        struct piece *old = oldest(cache);
        if (place && (bytes <= cache->limits.memory_bytes || !old))
            break;
        forget(old);
    }
    *place = (struct piece){.fd = fd, .len = len, .used = ++cache->clock};
    memcpy(place->key, key, WASM_DIGEST);
    return place;
}

/* ---- pieces on disk ---- */
static bool mark_fits(const struct wasm_cache *cache, const uint8_t *key, const uint8_t *data, size_t len)
{
    uint8_t mark[WASM_DIGEST];
    if (len <= HEAD + WASM_DIGEST || memcmp(data, magic, MAGIC) != 0 || memcmp(data + MAGIC, key, WASM_DIGEST) != 0)
        return false;
    make_mark(cache, key, data + HEAD, len - HEAD - WASM_DIGEST, mark);
    return wasm_digest_equal(mark, data + len - WASM_DIGEST);
}

static struct piece *load(struct wasm_cache *cache, const uint8_t *key)
{
    char name[NAME_LEN + sizeof(suffix)];
    struct stat st;
    int copy = -1;
    file_name(key, name);
    CDS_CLEANUP(cds_close_fd) int fd = cache->dir < 0 ? -1 : openat(cache->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return NULL;
    size_t len = st.st_size > 0 && st.st_size <= WASM_AOT_MAX + HEAD + WASM_DIGEST ? (size_t)st.st_size : 0;
    /* Read, not mapped: what is checked must be what is used, whoever writes to the file meanwhile. */
    CDS_CLEANUP(cds_free_ptr) uint8_t *data = len ? malloc(len) : NULL;
    bool fits = data && pread(fd, data, len, 0) == (ssize_t)len && mark_fits(cache, key, data, len);
    if (fits)
        copy = sealed_copy(data + HEAD, len - HEAD - WASM_DIGEST);
    if (!fits) {
        cds_log(CDS_LOG_WARN, "compiled code on disk was not as it was written; it is removed", CDS_LS("file", name));
        cache->counts.refused++;
        unlinkat(cache->dir, name, 0);
    }
    if (copy < 0)
        return NULL;
    futimens(fd, NULL); /* used now: it goes last */
    return insert(cache, key, copy, len - HEAD - WASM_DIGEST);
}

struct file {
    char name[NAME_LEN + sizeof(suffix)];
    struct timespec used;
    size_t len;
};

static int by_use(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* Half-written files of a former start. */
static void remove_unfinished(const struct wasm_cache *cache)
{
    int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CDS_CLEANUP(cds_close_dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strlen(entry->d_name) == NAME_LEN + sizeof(unfinished) - 1 && cds_streq(entry->d_name + NAME_LEN, unfinished))
            unlinkat(cache->dir, entry->d_name, 0);
}

/* Everything of ours in the folder. */
static size_t list_files(const struct wasm_cache *cache, struct file *files, size_t *ret_bytes)
{
    int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CDS_CLEANUP(cds_close_dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    size_t count = 0;
    *ret_bytes = 0;
    for (struct dirent *entry; dir && count < FILES_MAX && (entry = readdir(dir));) {
        struct stat st;
        if (strlen(entry->d_name) != NAME_LEN + sizeof(suffix) - 1 || fstatat(cache->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        cds_strcpy(files[count].name, sizeof(files[count].name), entry->d_name);
        files[count].used = st.st_mtim;
        files[count].len = (size_t)st.st_size;
        *ret_bytes += files[count++].len;
    }
    return count;
}

/* Makes room on disk; the longest unused goes first. */
static void shrink_with(struct wasm_cache *cache, struct file *files)
{
    size_t bytes, at = 0, count = list_files(cache, files, &bytes);
    if (bytes <= cache->limits.disk_bytes && count < FILES_MAX)
        return;
    qsort(files, count, sizeof(*files), by_use);
    while (at < count && (bytes > cache->limits.disk_bytes || count - at >= FILES_MAX)) {
        if (!unlinkat(cache->dir, files[at].name, 0))
            cache->counts.evicted++;
        bytes -= files[at++].len;
    }
}

static void shrink(struct wasm_cache *cache)
{
    struct file *files = cache->dir < 0 ? NULL : calloc(FILES_MAX, sizeof(*files));
    if (files)
        shrink_with(cache, files);
    free(files);
}

static void write_piece(const struct wasm_cache *cache, const struct keeping *k, const void *code)
{
    char name[NAME_LEN + sizeof(suffix)], temp[NAME_LEN + 8];
    uint8_t mark[WASM_DIGEST];
    if (cache->dir < 0)
        return;
    file_name(k->key, name);
    snprintf(temp, sizeof(temp), "%.*s%s", NAME_LEN, name, unfinished);
    make_mark(cache, k->key, code, k->len, mark);
    unlinkat(cache->dir, temp, 0);
    CDS_CLEANUP(cds_close_fd) int fd = openat(cache->dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* Not synced: what a power cut leaves has no fitting mark and is made again. */
    if (fd < 0 || cds_write_all(fd, magic, MAGIC, 0, NULL) || cds_write_all(fd, k->key, WASM_DIGEST, 0, NULL) ||
        cds_write_all(fd, code, k->len, 0, NULL) || cds_write_all(fd, mark, WASM_DIGEST, 0, NULL) || renameat(cache->dir, temp, cache->dir, name))
        unlinkat(cache->dir, temp, 0);
}

/* ---- from a worker ---- */
static void keeping_free(struct keeping *k)
{
    *k->prev = k->next;
    if (k->next)
        k->next->prev = k->prev;
    k->cache->counts.writing--;
    cds_close_fd(&k->from);
    cds_close_fd(&k->fd);
    free(k);
}

/* On the pool's thread. The copy is charged to us: the worker's own memory belongs to its job. */
static void keep_run(void *user)
{
    struct keeping *k = user;
    void *code = mmap(NULL, k->len, PROT_READ, MAP_SHARED, k->from, 0);
    if (code == MAP_FAILED)
        return;
    k->fd = sealed_copy(code, k->len);
    munmap(code, k->len);
    void *copy = k->fd < 0 ? MAP_FAILED : mmap(NULL, k->len, PROT_READ, MAP_SHARED, k->fd, 0);
    if (copy == MAP_FAILED)
        return;
    write_piece(k->cache, k, copy);
    munmap(copy, k->len);
}

static void keep_done(void *user)
{
    struct keeping *k = user;
    if (k->fd >= 0) {
        insert(k->cache, k->key, cds_steal_fd(&k->fd), k->len);
        k->cache->counts.kept++;
        shrink(k->cache);
    }
    keeping_free(k);
}

void wasm_cache_keep(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST], int fd)
{
    struct stat st;
    if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS || fstat(fd, &st) || st.st_size <= 0 || st.st_size > WASM_AOT_MAX)
        return;
    struct keeping *k = calloc(1, sizeof(*k));
    if (!k)
        return;
    *k = (struct keeping){.cache = cache, .from = fcntl(fd, F_DUPFD_CLOEXEC, 0), .fd = -1, .len = (size_t)st.st_size};
    memcpy(k->key, key, WASM_DIGEST);
    if ((k->next = cache->keeping))
        k->next->prev = &k->next;
    k->prev = &cache->keeping;
    cache->keeping = k;
    cache->counts.writing++;
    if (k->from < 0 || cds_pool_submit(cache->pool, keep_run, keep_done, k))
        keeping_free(k);
}

int wasm_cache_find(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST])
{
    struct piece *piece = find(cache, key);
    if (piece) {
        cache->counts.from_memory++;
        piece->used = ++cache->clock;
    } else if ((piece = load(cache, key))) {
        cache->counts.from_disk++;
    }
    return piece ? piece->fd : -1;
}

void wasm_cache_drop(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST])
{
    char name[NAME_LEN + sizeof(suffix)];
    struct piece *piece = find(cache, key);
    if (piece)
        forget(piece);
    file_name(key, name);
    if (cache->dir >= 0)
        unlinkat(cache->dir, name, 0);
}

void wasm_cache_count(const struct wasm_cache *cache, struct wasm_cache_counts *ret)
{
    *ret = cache->counts;
}

/* ---- open and free ---- */
static cds_rc read_mark_key(struct wasm_cache *cache, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(cache->dir, "key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && read(fd, cache->mark_key, WASM_DIGEST) == WASM_DIGEST)
        return CDS_OK;
    /* None, or a broken one: a new key, under which nothing of before fits. */
    cds_random(cache->mark_key, WASM_DIGEST);
    unlinkat(cache->dir, "key", 0);
    CDS_CLEANUP(cds_close_fd) int made = openat(cache->dir, "key", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (made < 0)
        return cds_fail_errno(reterr, errno, __func__, "The key of the cache of compiled modules cannot be made.");
    return cds_write_all(made, cache->mark_key, WASM_DIGEST, 0, reterr);
}

static cds_rc open_folder(struct wasm_cache *cache, const char *dir, struct cds_err *reterr)
{
    cds_rc rc = cds_mkdir_p(dir, 0700, reterr);
    if (rc)
        return rc;
    cache->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (cache->dir < 0)
        return cds_fail_errno(reterr, errno, __func__, "The folder of compiled modules cannot be opened.");
    if ((rc = read_mark_key(cache, reterr)))
        return rc;
    remove_unfinished(cache);
    shrink(cache);
    return CDS_OK;
}

cds_rc wasm_cache_open(struct cds_loop *loop, const char *dir, const struct wasm_cache_limits *limits, struct wasm_cache **ret,
                       struct cds_err *reterr)
{
    struct wasm_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cache->limits = limits ? *limits : usual;
    cache->dir = -1;
    for (size_t i = 0; i < PIECES; i++)
        cache->pieces[i].fd = -1;
    cds_rc rc = dir ? open_folder(cache, dir, reterr) : CDS_OK;
    if (!rc)
        rc = cds_pool_new(loop, 1, QUEUE, &cache->pool, reterr);
    if (rc) {
        wasm_cache_free(&cache);
        return rc;
    }
    *ret = cache;
    return CDS_OK;
}

void wasm_cache_free(struct wasm_cache **cache)
{
    struct wasm_cache *c = *cache;
    if (!c)
        return;
    if (c->pool)
        cds_pool_free(&c->pool);
    for (struct keeping *k = c->keeping, *next; k; k = next) {
        next = k->next;
        keeping_free(k);
    }
    for (size_t i = 0; i < PIECES; i++)
        forget(&c->pieces[i]);
    cds_close_fd(&c->dir);
    free(c);
    *cache = NULL;
}
