/* sandbox/wasm/module.c: see module.h. */
#include "sandbox/wasm/module.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"
#include "sandbox/wasm/reader.h"

enum section { CUSTOM = 0, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT, TAG, SECTIONS };
/* Where each may stand: rising; custom sections anywhere. */
static const uint8_t order[SECTIONS] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};

struct check {
    struct wasm_facts facts;
    uint32_t pages_max, declared, elements; /* functions declared by the function section; elements of segments so far */
    struct cds_err *err;
};

static cds_rc refuse(struct check *c, const char *rule, const char *fmt, ...) CDS_PRINTF(3, 4);
static cds_rc refuse(struct check *c, const char *rule, const char *fmt, ...)
{
    char why[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    cds_fail(c->err, CDS_DENIED, "wasm_module_check", "The module was refused: %s", why);
    cds_err_rule(c->err, rule);
    return CDS_DENIED;
}

static cds_rc malformed(struct check *c, const char *where)
{
    return refuse(c, "wasm.malformed", "its %s is cut off or not WebAssembly.", where);
}

static cds_rc too_many(struct check *c, const char *what, uint64_t found, uint64_t most)
{
    return refuse(c, "wasm.too_big", "%llu %s, and %llu is the most.", (unsigned long long)found, what, (unsigned long long)most);
}

/* ---- pieces ---- */
static bool is_value_type(uint8_t t)
{
    return t == 0x7f || t == 0x7e || t == 0x7d || t == 0x7c || t == 0x7b || t == 0x70 || t == 0x6f;
}

/* A name of at most WASM_NAME_MAX bytes of UTF-8, borrowed. */
static const char *take_name(struct wasm_reader *r, size_t *ret_len)
{
    size_t len = wasm_u32(r);
    const char *name = (const char *)r->data + r->at;
    if (len > WASM_NAME_MAX)
        r->bad = true;
    wasm_skip(r, len);
    if (!r->bad && !cds_utf8_valid(name, len))
        r->bad = true;
    *ret_len = r->bad ? 0 : len;
    return r->bad ? "" : name;
}

static bool named(const char *name, size_t len, const char *wanted)
{
    return strlen(wanted) == len && !memcmp(name, wanted, len);
}

/* A constant expression up to its end. */
static void skip_expression(struct wasm_reader *r)
{
    while (wasm_more(r))
        switch (wasm_u8(r)) {
        case 0x0b: /* end */
            return;
        case 0x41: /* i32.const */
            wasm_skip_leb(r, 5);
            break;
        case 0x42: /* i64.const */
            wasm_skip_leb(r, 10);
            break;
        case 0x43: /* f32.const */
            wasm_skip(r, 4);
            break;
        case 0x44: /* f64.const */
            wasm_skip(r, 8);
            break;
        case 0x23: /* global.get */
        case 0xd2: /* ref.func */
            wasm_u32(r);
            break;
        case 0xd0: /* ref.null */
            wasm_u8(r);
            break;
        case 0x6a: /* add, sub, mul of i32 and i64: extended constant expressions */
        case 0x6b:
        case 0x6c:
        case 0x7c:
        case 0x7d:
        case 0x7e:
            break;
        case 0xfd: /* v128.const */
            if (wasm_u32(r) != 12)
                r->bad = true;
            wasm_skip(r, 16);
            break;
        default:
            r->bad = true;
        }
    r->bad = true;
}

/* ---- sections ---- */
static cds_rc check_types(struct check *c, struct wasm_reader *r)
{
    uint32_t count = wasm_u32(r);
    if (count > WASM_ENTRIES_MAX)
        return too_many(c, "types", count, WASM_ENTRIES_MAX);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint8_t form = wasm_u8(r);
        if (form == 0x50 || form == 0x4f || form == 0x4e || form == 0x5f || form == 0x5e)
            return refuse(c, "wasm.unsupported", "it uses types of the garbage collection proposal, which this engine does not have.");
        if (form != 0x60)
            r->bad = true;
        for (int side = 0; side < 2; side++) {
            uint32_t values = wasm_u32(r);
            if (values > WASM_PARAMS_MAX)
                return too_many(c, "values in one function type", values, WASM_PARAMS_MAX);
            for (uint32_t k = 0; k < values && !r->bad; k++)
                if (!is_value_type(wasm_u8(r)))
                    r->bad = true;
        }
    }
    return CDS_OK;
}

/* All of WASI preview 1. Its socket calls need a socket that nobody hands over, and the jail has no network. */
static const char *const wasi_names[] = {
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
};

static bool is_wasi(const char *module, size_t module_len, const char *name, size_t len)
{
    if (!named(module, module_len, "wasi_snapshot_preview1") && !named(module, module_len, "wasi_unstable"))
        return false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(wasi_names); i++)
        if (named(name, len, wasi_names[i]))
            return true;
    return false;
}

static cds_rc check_import(struct check *c, struct wasm_reader *r)
{
    size_t module_len, len;
    const char *module = take_name(r, &module_len), *name = take_name(r, &len);
    uint8_t kind = wasm_u8(r);
    if (r->bad)
        return CDS_OK;
    if (kind == 2 && (wasm_u8(r) & 2))
        return refuse(c, "wasm.threads", "it imports a shared memory; modules run in one thread here.");
    if (kind != 0)
        return refuse(c, "wasm.import", "it imports %.*s.%.*s, which is not a function; only functions of WASI preview 1 can be imported.",
                      (int)cds_utf8_complete(module, module_len < 64 ? module_len : 64), module, (int)cds_utf8_complete(name, len < 64 ? len : 64),
                      name);
    wasm_u32(r);
    if (!r->bad && !is_wasi(module, module_len, name, len))
        return refuse(c, "wasm.import", "it imports the function %.*s.%.*s; only those of WASI preview 1 can be imported.",
                      (int)cds_utf8_complete(module, module_len < 64 ? module_len : 64), module, (int)cds_utf8_complete(name, len < 64 ? len : 64),
                      name);
    c->facts.wasi = true;
    return CDS_OK;
}

static cds_rc check_imports(struct check *c, struct wasm_reader *r)
{
    cds_rc rc = CDS_OK;
    c->facts.imports = wasm_u32(r);
    if (c->facts.imports > WASM_IMPORTS_MAX)
        return too_many(c, "imports", c->facts.imports, WASM_IMPORTS_MAX);
    for (uint32_t i = 0; i < c->facts.imports && !r->bad && !rc; i++)
        rc = check_import(c, r);
    return rc;
}

static cds_rc check_functions(struct check *c, struct wasm_reader *r)
{
    c->declared = wasm_u32(r);
    if (c->declared > WASM_FUNCTIONS_MAX)
        return too_many(c, "functions", c->declared, WASM_FUNCTIONS_MAX);
    for (uint32_t i = 0; i < c->declared && !r->bad; i++)
        wasm_u32(r);
    return CDS_OK;
}

static cds_rc check_tables(struct check *c, struct wasm_reader *r)
{
    uint32_t count = wasm_u32(r);
    if (count > WASM_TABLES_MAX)
        return too_many(c, "tables", count, WASM_TABLES_MAX);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint8_t type = wasm_u8(r), flags = wasm_u8(r);
        if (!r->bad && ((type != 0x70 && type != 0x6f) || flags > 1))
            return refuse(c, "wasm.unsupported", "a table has a type or an address size that this engine does not have.");
        uint32_t min = wasm_u32(r);
        if (flags & 1)
            wasm_u32(r);
        if (!r->bad && min > WASM_TABLE_MAX)
            return too_many(c, "elements in one table", min, WASM_TABLE_MAX);
    }
    return CDS_OK;
}

static cds_rc check_memories(struct check *c, struct wasm_reader *r)
{
    struct wasm_facts *f = &c->facts;
    uint32_t count = wasm_u32(r);
    if (count > 1)
        return refuse(c, "wasm.memory", "it has %u memories; this engine gives one.", count);
    if (count == 0 || r->bad)
        return CDS_OK;
    uint8_t flags = wasm_u8(r);
    if (flags & 2)
        return refuse(c, "wasm.threads", "its memory is shared between threads; modules run in one thread here.");
    if (flags > 1)
        return refuse(c, "wasm.memory", "its memory has 64-bit addresses or pages of another size; this engine gives 32-bit memory.");
    f->has_memory = true;
    f->memory_pages_min = wasm_u32(r);
    f->memory_pages_max = flags & 1 ? wasm_u32(r) : WASM_PAGES_MAX;
    if (r->bad)
        return CDS_OK;
    if (f->memory_pages_min > WASM_PAGES_MAX || f->memory_pages_max > WASM_PAGES_MAX || f->memory_pages_min > f->memory_pages_max)
        return refuse(c, "wasm.malformed", "its memory has impossible limits.");
    if (f->memory_pages_min > c->pages_max)
        return refuse(c, "wasm.memory", "it begins with %u MiB of memory and may have %u; ask for a higher memory_bytes.", f->memory_pages_min / 16,
                      c->pages_max / 16);
    return CDS_OK;
}

static cds_rc check_globals(struct check *c, struct wasm_reader *r)
{
    uint32_t count = wasm_u32(r);
    if (count > WASM_ENTRIES_MAX)
        return too_many(c, "globals", count, WASM_ENTRIES_MAX);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        if (!is_value_type(wasm_u8(r)) || wasm_u8(r) > 1)
            r->bad = true;
        skip_expression(r);
    }
    return CDS_OK;
}

static cds_rc check_exports(struct check *c, struct wasm_reader *r)
{
    static const char metering[] = "wasmer_metering_"; /* the fuel gauge is exported under such names */
    c->facts.exports = wasm_u32(r);
    c->facts.export_entries = (struct wasm_span){r->at, r->end - r->at};
    if (c->facts.exports > WASM_ENTRIES_MAX)
        return too_many(c, "exports", c->facts.exports, WASM_ENTRIES_MAX);
    for (uint32_t i = 0; i < c->facts.exports && !r->bad; i++) {
        size_t len;
        const char *name = take_name(r, &len);
        if ((len >= sizeof(metering) - 1 && !memcmp(name, metering, sizeof(metering) - 1)) || named(name, len, WASM_START_EXPORT))
            return refuse(c, "wasm.export", "it exports %.*s, a name that the studio uses itself.", (int)len, name);
        if (wasm_u8(r) > 4)
            r->bad = true;
        wasm_u32(r);
    }
    return CDS_OK;
}

static cds_rc check_start(struct check *c, struct wasm_reader *r)
{
    c->facts.has_start = true;
    c->facts.start = wasm_u32(r);
    return CDS_OK;
}

/* Table, offset and kind of elements, as the flags say. True: elements are expressions. */
static bool element_head(struct wasm_reader *r)
{
    uint32_t flags = wasm_u32(r);
    if (flags > 7)
        r->bad = true;
    if ((flags & 3) == 2)
        wasm_u32(r); /* table */
    if (!(flags & 1))
        skip_expression(r);
    if (flags & 3)
        wasm_u8(r); /* kind or type */
    return flags & 4;
}

static cds_rc check_elements(struct check *c, struct wasm_reader *r)
{
    uint32_t count = wasm_u32(r);
    if (count > WASM_ENTRIES_MAX)
        return too_many(c, "element segments", count, WASM_ENTRIES_MAX);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        bool expressions = element_head(r);
        uint32_t elements = wasm_u32(r);
        if (r->bad)
            break;
        if (elements > WASM_ELEMENTS_MAX - c->elements)
            return too_many(c, "elements in its segments", (uint64_t)c->elements + elements, WASM_ELEMENTS_MAX);
        c->elements += elements;
        for (uint32_t k = 0; k < elements && !r->bad; k++)
            if (expressions)
                skip_expression(r);
            else
                wasm_u32(r);
    }
    return CDS_OK;
}

static cds_rc check_body(struct check *c, struct wasm_reader body)
{
    uint64_t locals = 0;
    uint32_t groups = wasm_u32(&body);
    for (uint32_t i = 0; i < groups && !body.bad; i++) {
        locals += wasm_u32(&body);
        if (!is_value_type(wasm_u8(&body)))
            body.bad = true;
        if (!body.bad && locals > WASM_LOCALS_MAX)
            return too_many(c, "locals in one function", locals, WASM_LOCALS_MAX);
    }
    if (body.bad || body.at >= body.end || body.data[body.end - 1] != 0x0b)
        return malformed(c, "code section");
    return CDS_OK;
}

static cds_rc check_code(struct check *c, struct wasm_reader *r)
{
    cds_rc rc = CDS_OK;
    c->facts.functions = wasm_u32(r);
    if (c->facts.functions > WASM_FUNCTIONS_MAX)
        return too_many(c, "functions", c->facts.functions, WASM_FUNCTIONS_MAX);
    c->facts.code_bytes = r->end - r->at;
    for (uint32_t i = 0; i < c->facts.functions && !r->bad && !rc; i++) {
        uint32_t len = wasm_u32(r);
        if (len > WASM_FUNCTION_MAX && !r->bad)
            return too_many(c, "bytes in one function", len, WASM_FUNCTION_MAX);
        struct wasm_reader body = wasm_sub(r, len);
        rc = body.bad ? CDS_OK : check_body(c, body);
    }
    return rc;
}

static cds_rc check_data(struct check *c, struct wasm_reader *r)
{
    uint32_t count = wasm_u32(r);
    if (count > WASM_ENTRIES_MAX)
        return too_many(c, "data segments", count, WASM_ENTRIES_MAX);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint32_t flags = wasm_u32(r);
        if (flags > 2)
            r->bad = true;
        if (flags == 2)
            wasm_u32(r);
        if (flags != 1)
            skip_expression(r);
        uint32_t len = wasm_u32(r);
        wasm_skip(r, len);
        c->facts.data_bytes += r->bad ? 0 : len;
    }
    return CDS_OK;
}

static cds_rc check_tags(struct check *c, struct wasm_reader *r)
{
    return refuse(c, "wasm.unsupported", "it uses exceptions, which this engine does not have.");
}

static cds_rc check_data_count(struct check *c, struct wasm_reader *r)
{
    wasm_u32(r);
    return CDS_OK;
}

static cds_rc check_section(struct check *c, uint8_t id, struct wasm_span whole, struct wasm_reader *body)
{
    static const struct {
        const char *name;
        cds_rc (*check)(struct check *c, struct wasm_reader *r);
    } sections[SECTIONS] = {
        [TYPE] = {"type section", check_types},
        [IMPORT] = {"import section", check_imports},
        [FUNCTION] = {"function section", check_functions},
        [TABLE] = {"table section", check_tables},
        [MEMORY] = {"memory section", check_memories},
        [GLOBAL] = {"global section", check_globals},
        [EXPORT] = {"export section", check_exports},
        [START] = {"start section", check_start},
        [ELEMENT] = {"element section", check_elements},
        [CODE] = {"code section", check_code},
        [DATA] = {"data section", check_data},
        [DATA_COUNT] = {"data count section", check_data_count},
        [TAG] = {"tag section", check_tags},
    };
    struct wasm_facts *f = &c->facts;
    if (id == MEMORY)
        f->memory_section = whole;
    else if (id == EXPORT)
        f->export_section = whole;
    else if (id == START)
        f->start_section = whole;
    if (!sections[id].check)
        return malformed(c, "list of sections");
    cds_rc rc = sections[id].check(c, body);
    return rc ? rc : body->bad || body->at != body->end ? malformed(c, sections[id].name) : CDS_OK;
}

static cds_rc check_head(struct check *c, const uint8_t *data, size_t len)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm'}, core[] = {1, 0, 0, 0}, component[] = {13, 0, 1, 0};
    if (len > WASM_MODULE_MAX)
        return too_many(c, "bytes", len, WASM_MODULE_MAX);
    if (len < 8 || memcmp(data, magic, 4) != 0)
        return refuse(c, "wasm.malformed", "it does not begin like a WebAssembly module (\\0asm).");
    if (!memcmp(data + 4, component, 4))
        return refuse(c, "wasm.unsupported", "it is a component; this engine runs core modules (target wasm32-wasip1).");
    return memcmp(data + 4, core, 4) ? refuse(c, "wasm.unsupported", "it has another version than 1.") : CDS_OK;
}

cds_rc wasm_module_check(const uint8_t *data, size_t len, uint32_t pages_max, struct wasm_facts *ret, struct cds_err *reterr)
{
    struct check c = {.pages_max = pages_max, .err = reterr};
    struct wasm_reader r = {data, 8, len, false};
    uint8_t before = 0;
    cds_rc rc = check_head(&c, data, len);
    while (!rc && wasm_more(&r)) {
        size_t at = r.at;
        uint8_t id = wasm_u8(&r);
        struct wasm_reader body = wasm_sub(&r, wasm_u32(&r));
        if (r.bad || id >= SECTIONS || (id != CUSTOM && order[id] <= before))
            return malformed(&c, "list of sections");
        if (id == CUSTOM)
            continue;
        before = order[id];
        rc = check_section(&c, id, (struct wasm_span){at, r.at - at}, &body);
    }
    if (!rc && c.declared != c.facts.functions)
        rc = refuse(&c, "wasm.malformed", "it declares %u functions and has %u.", c.declared, c.facts.functions);
    if (!rc && c.facts.has_start && c.facts.start >= c.facts.imports + c.facts.functions)
        rc = malformed(&c, "start section");
    if (!rc)
        *ret = c.facts;
    return rc;
}
