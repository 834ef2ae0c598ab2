/* How many of up to EDGES rising edges lie at or below a value: all are compared at once, which is cheaper than a search among so few.
 * Never in here: which edges, Python.
 */
#ifndef INFERD_EDGES_H
#define INFERD_EDGES_H

#include <stdint.h>
#include <string.h>

enum { EDGES = 24 };           /* those that are missing are infinite */

typedef float inferd_edges __attribute__((vector_size(16)));
typedef int32_t inferd_hits __attribute__((vector_size(16)));

static inline int edges_at_or_below(const float *edges, float value) {
    inferd_edges values = {value, value, value, value};
    inferd_hits hits = {0, 0, 0, 0};
#pragma GCC unroll 8
    for (int i = 0; i < EDGES; i += 4) {
        inferd_edges some;
        memcpy(&some, edges + i, sizeof some);
        hits -= (inferd_hits)(some <= values);     /* -1 where it is so */
    }
    return hits[0] + hits[1] + hits[2] + hits[3];
}

#endif
