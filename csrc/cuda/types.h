// The element types in the order of collsched/runtime/dtypes.py; a build for one test may have fewer.
#pragma once

#include "numbers.h"

#ifndef COLLSCHED_TYPES
#define COLLSCHED_TYPES(visit)                                                                                                 \
  visit(0, Half) visit(1, Bfloat) visit(2, float) visit(3, double) visit(4, i8) visit(5, i16) visit(6, i32) visit(7, i64)      \
      visit(8, u8) visit(9, u16) visit(10, u32) visit(11, u64)
#endif
