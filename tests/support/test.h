/* tests/support/test.h: cmocka with its includes in the order it needs, and small helpers for every unit test. */
#pragma once

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_ALL(tests) cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL)
