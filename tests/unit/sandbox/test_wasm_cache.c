/* tests/unit/sandbox/test_wasm_cache.c: compiled code is given back only as it came, and only to the broker's own mark. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/wasm_cache.h"
#include "tests/support/test.h"

enum { SEALED = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, WAIT_MS = 120000 };
static char dir[] = "/tmp/cds-test-cache-XXXXXX", folder[64];
static struct cds_loop *loop;
static struct cds_err err;

static void key_of(uint8_t which, uint8_t key[static WASM_DIGEST])
{
    wasm_sha256(&(struct wasm_part){&which, 1}, 1, key);
}

static void path_of(uint8_t which, char path[static 200])
{
    uint8_t key[WASM_DIGEST];
    int at = snprintf(path, 200, "%s/", folder);
    key_of(which, key);
    for (size_t i = 0; i < WASM_DIGEST; i++)
        at += snprintf(path + at, 200 - (size_t)at, "%02x", key[i]);
    snprintf(path + at, 200 - (size_t)at, ".aot");
}

static struct wasm_cache *open_cache(const struct wasm_cache_limits *limits)
{
    struct wasm_cache *cache = NULL;
    assert_int_equal(wasm_cache_open(loop, folder, limits, &cache, &err), CDS_OK);
    return cache;
}

static struct wasm_cache_counts counts(const struct wasm_cache *cache)
{
    struct wasm_cache_counts c;
    wasm_cache_count(cache, &c);
    return c;
}

/* As a worker leaves it: len bytes of which, sealed or not. */
static void keep(struct wasm_cache *cache, uint8_t which, size_t len, int seals)
{
    uint8_t key[WASM_DIGEST];
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("compiled", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CDS_CLEANUP(cds_free_ptr) char *data = malloc(len);
    memset(data, which, len);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    key_of(which, key);
    wasm_cache_keep(cache, key, fd);
    for (uint64_t began = cds_now_ms(); counts(cache).writing && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    assert_int_equal(counts(cache).writing, 0);
}

static bool has(struct wasm_cache *cache, uint8_t which, size_t len)
{
    uint8_t key[WASM_DIGEST], first = 0;
    struct stat st;
    key_of(which, key);
    int fd = wasm_cache_find(cache, key);
    if (fd < 0)
        return false;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, len);
    assert_int_equal(pread(fd, &first, 1, 0), 1);
    assert_int_equal(first, which);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & SEALED, SEALED);
    return true;
}

static void digests_are_those_of_the_standards(void **state)
{
    /* FIPS 180-4: "abc"; RFC 4231, test case 2, with the key filled up with zeros as HMAC does. */
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                  0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t jefe[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
                                   0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const uint8_t key[WASM_DIGEST] = "Jefe";
    uint8_t got[WASM_DIGEST];
    wasm_sha256((const struct wasm_part[]){{"a", 1}, {"bc", 2}}, 2, got);
    assert_memory_equal(got, abc, WASM_DIGEST);
    wasm_hmac(key, (const struct wasm_part[]){{"what do ya want ", 16}, {"for nothing?", 12}}, 2, got);
    assert_memory_equal(got, jefe, WASM_DIGEST);
    assert_true(wasm_digest_equal(got, jefe));
    got[31] ^= 1;
    assert_false(wasm_digest_equal(got, jefe));
}

static void a_piece_comes_back_from_memory_and_after_a_restart_from_disk(void **state)
{
    struct wasm_cache *cache = open_cache(NULL);
    assert_false(has(cache, 1, 100));
    keep(cache, 1, 100, SEALED);
    assert_true(has(cache, 1, 100));
    assert_int_equal(counts(cache).from_memory, 1);
    wasm_cache_free(&cache);
    cache = open_cache(NULL);
    assert_true(has(cache, 1, 100));
    assert_int_equal(counts(cache).from_disk, 1);
    assert_false(has(cache, 2, 100));
    wasm_cache_free(&cache);
}

static void what_is_not_sealed_or_too_large_is_not_kept(void **state)
{
    struct wasm_cache *cache = open_cache(NULL);
    keep(cache, 3, 100, 0);
    keep(cache, 3, 100, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE); /* seals could still be taken for complete */
    keep(cache, 3, 100, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
    keep(cache, 3, (32 << 20) + 1, SEALED);
    assert_int_equal(counts(cache).kept, 0);
    assert_false(has(cache, 3, 100));
    wasm_cache_free(&cache);
}

/* Changes one byte of the file at that place, from the end when negative. */
static void tamper(uint8_t which, off_t at)
{
    char path[200];
    struct stat st;
    uint8_t byte;
    path_of(which, path);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    at += at < 0 ? st.st_size : 0;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void a_file_that_was_tampered_with_is_refused_and_removed(void **state)
{
    static const off_t places[] = {0, 8, 40, 90, -1}; /* magic, key, code, code, mark */
    for (size_t i = 0; i < CDS_ARRAY_LEN(places); i++) {
        char path[200];
        struct wasm_cache *cache = open_cache(NULL);
        keep(cache, 4, 100, SEALED);
        wasm_cache_free(&cache);
        tamper(4, places[i]);
        cache = open_cache(NULL);
        assert_false(has(cache, 4, 100));
        assert_int_equal(counts(cache).refused, 1);
        path_of(4, path);
        assert_int_not_equal(access(path, F_OK), 0);
        wasm_cache_free(&cache);
    }
}

static void a_file_that_is_cut_swapped_or_marked_with_another_key_is_refused(void **state)
{
    char path[200], other[200], key_path[100];
    struct wasm_cache *cache = open_cache(NULL);
    keep(cache, 5, 100, SEALED);
    keep(cache, 6, 100, SEALED);
    keep(cache, 7, 100, SEALED);
    wasm_cache_free(&cache);
    path_of(5, path);
    assert_int_equal(truncate(path, 60), 0);
    path_of(6, path);
    path_of(7, other);
    assert_int_equal(rename(path, other), 0); /* good code under the name of another module */
    cache = open_cache(NULL);
    assert_false(has(cache, 5, 100));
    assert_false(has(cache, 7, 100));
    keep(cache, 6, 100, SEALED);
    wasm_cache_free(&cache);
    snprintf(key_path, sizeof(key_path), "%s/key", folder);
    assert_int_equal(unlink(key_path), 0);
    cache = open_cache(NULL);
    assert_false(has(cache, 6, 100));
    wasm_cache_free(&cache);
}

/* The clock of files moves in steps that are longer than what is done here: this one was used so many seconds ago. */
static void age(uint8_t which, time_t seconds)
{
    char path[200];
    const struct timespec at = {.tv_sec = (time_t)(cds_wall_ms() / 1000) - seconds}, both[] = {at, at};
    path_of(which, path);
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static void the_longest_unused_goes_first_from_memory_and_from_disk(void **state)
{
    const struct wasm_cache_limits small = {2500, 3500};
    struct wasm_cache *cache = open_cache(&small);
    for (uint8_t which = 10; which < 13; which++) {
        keep(cache, which, 1000, SEALED);
        age(which, 100 - which);
    }
    assert_true(has(cache, 12, 1000) && has(cache, 11, 1000));
    unsigned from_disk = counts(cache).from_disk;
    assert_true(has(cache, 10, 1000)); /* out of memory, still on disk */
    assert_int_equal(counts(cache).from_disk, from_disk + 1);
    keep(cache, 13, 1000, SEALED); /* four do not fit on the disk */
    assert_int_equal(counts(cache).evicted, 1);
    wasm_cache_free(&cache);
    cache = open_cache(&small);
    assert_true(has(cache, 13, 1000) && has(cache, 10, 1000));
    assert_true(has(cache, 12, 1000));
    assert_false(has(cache, 11, 1000));
    wasm_cache_free(&cache);
}

static void a_dropped_piece_is_gone_from_both(void **state)
{
    uint8_t key[WASM_DIGEST];
    struct wasm_cache *cache = open_cache(NULL);
    keep(cache, 20, 100, SEALED);
    key_of(20, key);
    wasm_cache_drop(cache, key);
    assert_false(has(cache, 20, 100));
    wasm_cache_free(&cache);
    cache = open_cache(NULL);
    assert_false(has(cache, 20, 100));
    wasm_cache_free(&cache);
}

static int setup(void **state)
{
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s/cache", dir);
    snprintf(folder, sizeof(folder), "%s/cache", dir);
    return system(command) || cds_loop_new(&loop, NULL);
}

static int teardown(void **state)
{
    cds_loop_free(&loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(digests_are_those_of_the_standards, setup, teardown),
        cmocka_unit_test_setup_teardown(a_piece_comes_back_from_memory_and_after_a_restart_from_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_sealed_or_too_large_is_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_was_tampered_with_is_refused_and_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_cut_swapped_or_marked_with_another_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_unused_goes_first_from_memory_and_from_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dropped_piece_is_gone_from_both, setup, teardown),
    };
    char command[100];
    if (!mkdtemp(dir))
        return 1;
    int bad = RUN_ALL(tests);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return bad + system(command);
}
