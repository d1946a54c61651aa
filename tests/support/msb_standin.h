/* tests/support/msb_standin.h: one machine's worth of msb with the stand-in (tests/support/msb), opened and closed around each test.
 *
 * Threads: the test's.
 */
#pragma once

#include "tests/support/msb_rig.h"

#define STANDIN CDS_SOURCE_DIR "/tests/support/msb/bin/msb"
static struct msb_rig rig;
static struct msb_job job;

static int open_rig(void **state)
{
    msb_rig_open(&rig, STANDIN, NULL, false, 2);
    return 0;
}

static int close_rig(void **state)
{
    msb_rig_close(&rig);
    return 0;
}

static void run(const char *language, const char *code)
{
    const struct cds_job_spec spec = msb_rig_spec(&rig, language, code);
    msb_rig_run(&rig, &spec, &job);
}
