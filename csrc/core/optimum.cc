#include "core/digraph.h"
