// The bound that recurrences set to II; see recurrences.py and loop_graph.LoopGraph.recurrence.
//
// Starts from II = 1. As long as some circle of dependences gains cycles at an II, the II becomes the least one at which
// that circle does not; the last II is the least one for all circles, whichever were met. Longest paths are relaxed in
// an order in which only edges to later iterations lead back, and a circle of their last edges is one that gains.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "atalla_codegen.h"

namespace {

constexpr std::int32_t kNoEdge = -1;

class Recurrence {
 public:
  explicit Recurrence(const atalla_edges& edges) : edges_(edges), outgoing_(edges.num_nodes) {
    for (std::int32_t edge = 0; edge < edges.size; ++edge) outgoing_[edges.firsts[edge]].push_back(edge);
    sort();
  }

  std::int32_t bound() {
    std::int32_t interval = 1;
    for (;;) {
      const std::int32_t longer = gaining_circle(interval);
      if (!longer) return interval;
      interval = longer;
    }
  }

 private:
  // The nodes in an order in which edges inside an iteration lead forwards.
  void sort() {
    std::vector<std::int32_t> waits(edges_.num_nodes);
    for (std::int32_t edge = 0; edge < edges_.size; ++edge) waits[edges_.seconds[edge]] += !edges_.distances[edge];
    for (std::int32_t node = 0; node < edges_.num_nodes; ++node)
      if (!waits[node]) order_.push_back(node);
    for (std::size_t at = 0; at < order_.size(); ++at)
      for (const std::int32_t edge : outgoing_[order_[at]])
        if (!edges_.distances[edge] && !--waits[edges_.seconds[edge]]) order_.push_back(edges_.seconds[edge]);
  }

  // The least II at which some circle that gains at `interval` does not; 0 when none gains.
  std::int32_t gaining_circle(std::int32_t interval) {
    std::vector<std::int64_t> paths(edges_.num_nodes);
    last_edges_.assign(edges_.num_nodes, kNoEdge);
    for (;;) {
      bool is_longer = false;
      for (const std::int32_t node : order_)
        for (const std::int32_t edge : outgoing_[node]) {
          const std::int64_t path =
              paths[node] + edges_.latencies[edge] - std::int64_t(interval) * edges_.distances[edge];
          if (path <= paths[edges_.seconds[edge]]) continue;
          paths[edges_.seconds[edge]] = path;
          last_edges_[edges_.seconds[edge]] = edge;
          is_longer = true;
        }
      if (!is_longer) return 0;
      const std::int32_t longer = circle_of_last_edges();
      if (longer) return longer;
    }
  }

  // The least II of a circle that the last edges of longest paths form; 0 when they form none.
  std::int32_t circle_of_last_edges() const {
    std::vector<std::int32_t> visits(edges_.num_nodes);  // number of the walk that came to each node first
    for (std::int32_t start = 0; start < edges_.num_nodes; ++start) {
      std::int32_t node = start;
      while (!visits[node] && last_edges_[node] != kNoEdge) {
        visits[node] = start + 1;
        node = edges_.firsts[last_edges_[node]];
      }
      if (visits[node] == start + 1 && last_edges_[node] != kNoEdge) return interval_of(node);
    }
    return 0;
  }

  std::int32_t interval_of(std::int32_t node) const {
    std::int64_t latency = 0, distance = 0;
    std::int32_t at = node;
    do {
      latency += edges_.latencies[last_edges_[at]];
      distance += edges_.distances[last_edges_[at]];
      at = edges_.firsts[last_edges_[at]];
    } while (at != node);
    return std::int32_t((latency + distance - 1) / distance);
  }

  const atalla_edges& edges_;
  std::vector<std::vector<std::int32_t>> outgoing_;
  std::vector<std::int32_t> order_;
  std::vector<std::int32_t> last_edges_;
};

}  // namespace

int32_t atalla_recurrence(const atalla_edges* edges) { return Recurrence(*edges).bound(); }
