// Edge colouring of bipartite multigraphs.
#pragma once

#include <cstdint>
#include <vector>

namespace collsched {

// A colour in [0, colours) for each edge left[e] – right[e], such that no two edges at a vertex share one. It exists by
// König's theorem, since no vertex may have more than `colours` edges; throws std::invalid_argument where one has.
// Vertices are numbered from 0 on each side.
//
// Method (Gabow and Kariv, Algorithms for Edge Coloring Bipartite Graphs and Multigraphs, SIAM J. Comput. 1982): an Euler
// split halves the degree of every vertex; halves are coloured apart. Where the number of colours is odd the halves use
// one colour too many between them; the edges of the rarest are coloured again along alternating paths.
// Time O(E log D) for D a power of two; O(V E / D) more in the worst case for each odd level.
std::vector<std::int32_t> edge_colouring(const std::vector<std::int32_t> &left, const std::vector<std::int32_t> &right,
                                         std::int32_t colours);

} // namespace collsched
