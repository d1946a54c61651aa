/* tests/sandbox/abuse/mode.h: whose rights the broker has, and what its kernel knows. */
#pragma once

#include "tests/sandbox/abuse/world.h"

const char *mode_name(enum world_mode mode);
/** MODE_COUNT: there is no such mode. */
enum world_mode mode_find(const char *name);
/**
 * Gives up rights, enters namespaces, installs the filter.
 * @param why  the reason where this machine cannot give the mode, else untouched
 * @return -1: go on here; else the exit code of the child that went on instead
 */
int mode_enter(struct world *w, char *why, size_t size);
