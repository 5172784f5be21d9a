#include "block_graph.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace atalla {

namespace {

constexpr std::int32_t kNone = -1;
constexpr std::int32_t kPacket = 1;  // latency of edges that only demand a later packet
constexpr std::int32_t kTransfer = ATALLA_ROLE_LOAD | ATALLA_ROLE_STORE;

// Order on the weights of the array and on the rows of the transpose unit: calls `visit` with two places of `sequence`,
// a list of instructions, and the latency between them.
template <typename Visit>
void for_each_unit_order(const BlockCode& code, const std::vector<std::int32_t>& sequence, Visit visit) {
  std::int32_t last_push = kNone, last_transpose = kNone;
  std::vector<std::int32_t> products;
  for (std::int32_t at = 0; at < std::int32_t(sequence.size()); ++at) {
    const std::int32_t role = code.blocks.roles[code.kind(sequence[at])];
    if (role & ATALLA_ROLE_TRANSPOSE) {
      if (last_transpose != kNone)
        visit(last_transpose, at, code.blocks.row_cycles[code.kind(sequence[last_transpose])]);
      last_transpose = at;
    } else if (role & ATALLA_ROLE_PUSH) {
      for (const std::int32_t product : products) visit(product, at, code.blocks.array_drain_cycles);
      products.clear();
      if (last_push != kNone) visit(last_push, at, kPacket);
      last_push = at;
    } else if (role & ATALLA_ROLE_PRODUCT) {
      if (last_push != kNone) visit(last_push, at, kPacket);
      products.push_back(at);
    }
  }
}

}  // namespace

BlockCode::BlockCode(const atalla_blocks& blocks, std::int32_t number)
    : blocks(blocks),
      number(number),
      first_(blocks.block_starts[number]),
      size_(blocks.block_starts[number + 1] - blocks.block_starts[number]),
      use_starts_(1),
      def_starts_(1) {
  std::vector<std::int32_t> numbers(blocks.num_registers, kNone);  // here, of each register of all blocks
  for (std::int32_t index = 0; index < size_; ++index) add(first_ + index, numbers);
  const auto marked = [&](const std::int32_t* live, const std::int32_t* starts) {
    std::vector<char> found(registers_.size());
    for (std::int32_t at = starts[number]; at < starts[number + 1]; ++at)
      if (numbers[live[at]] != kNone) found[numbers[live[at]]] = 1;
    return found;
  };
  live_in_ = marked(blocks.live_in, blocks.live_in_starts);
  live_out_ = marked(blocks.live_out, blocks.live_out_starts);
}

bool BlockCode::carries() const {
  if (!blocks.repeats[number]) return false;
  std::vector<char> leaves(blocks.num_registers);
  for (std::int32_t at = blocks.live_out_starts[number]; at < blocks.live_out_starts[number + 1]; ++at)
    leaves[blocks.live_out[at]] = 1;
  const std::int32_t* starts = blocks.live_in_starts + number;
  return std::any_of(blocks.live_in + starts[0], blocks.live_in + starts[1],
                     [&](std::int32_t value) { return leaves[value]; });
}

// Adds instruction `at` of all.
void BlockCode::add(std::int32_t at, std::vector<std::int32_t>& numbers) {
  const auto own = [&](std::int32_t value) {
    if (numbers[value] == kNone) {
      numbers[value] = num_registers();
      registers_.push_back(value);
    }
    return numbers[value];
  };
  for (std::int32_t read = blocks.read_starts[at]; read < blocks.read_starts[at + 1]; ++read)
    if (!blocks.is_hard_wired[blocks.reads[read]]) uses_.push_back(own(blocks.reads[read]));
  for (std::int32_t def = blocks.def_starts[at]; def < blocks.def_starts[at + 1]; ++def) {
    defs_.push_back(own(blocks.defs[def]));
    if (blocks.merges[at]) uses_.push_back(defs_.back());
  }
  use_starts_.push_back(std::int32_t(uses_.size()));
  def_starts_.push_back(std::int32_t(defs_.size()));
}

std::vector<std::int32_t> carried_waits(const BlockCode& code, const std::int32_t* issue_cycles) {
  const atalla_blocks& blocks = code.blocks;
  std::vector<std::int32_t> body;
  for (std::int32_t index = 0; index < code.size(); ++index)
    if (!(blocks.roles[code.kind(index)] & ATALLA_ROLE_CONTROL)) body.push_back(index);
  std::vector<std::int32_t> last_write(code.num_registers(), kNone), last_read(code.num_registers());  // its cycle
  for (const std::int32_t index : body) {
    code.for_each_use(index, [&](std::int32_t value) {
      last_read[value] = std::max(last_read[value], issue_cycles[index]);
    });
    code.for_each_def(index, [&](std::int32_t value) { last_write[value] = index; });
  }
  std::vector<std::int32_t> waits(code.size());
  const auto wait = [&](std::int32_t index, std::int32_t cycle) { waits[index] = std::max(waits[index], cycle); };
  std::vector<char> is_written(code.num_registers());
  for (const std::int32_t index : body) {
    code.for_each_use(index, [&](std::int32_t value) {
      const std::int32_t writer = last_write[value];
      if (writer != kNone && !is_written[value]) wait(index, issue_cycles[writer] + blocks.latencies[code.kind(writer)]);
    });
    code.for_each_def(index, [&](std::int32_t value) {
      if (is_written[value]) return;
      is_written[value] = 1;
      const std::int32_t writer = last_write[value];
      wait(index, last_read[value]);
      wait(index, issue_cycles[writer] + std::max(kPacket, blocks.latencies[code.kind(writer)]));
    });
  }
  std::vector<std::int32_t> twice = body;
  twice.insert(twice.end(), body.begin(), body.end());
  const std::int32_t size = std::int32_t(body.size());
  for_each_unit_order(code, twice, [&](std::int32_t first, std::int32_t second, std::int32_t latency) {
    if (first < size && second >= size) wait(twice[second], issue_cycles[twice[first]] + latency);
  });
  return waits;
}

BlockGraph::BlockGraph(const BlockCode& code)
    : code_(code), added_to_(code.size(), kNone), added_latency_(code.size()) {
  add_register_edges();
  MemoryOrder memory(code);
  for (std::int32_t index = 0; index < code.size(); ++index)
    code.for_each_access(index, [&](std::int32_t access) {
      memory.for_each_earlier(index, access, [&](std::int32_t earlier, std::int32_t latency) {
        if (earlier != index) add(earlier, index, latency);
      });
      memory.record(index, access);
    });
  std::vector<std::int32_t> all(code.size());
  std::iota(all.begin(), all.end(), 0);
  for_each_unit_order(code, all, [&](std::int32_t first, std::int32_t second, std::int32_t latency) {
    add(first, second, latency);
  });
  add_control_edges();
  arrange();
}

void BlockGraph::add(std::int32_t first, std::int32_t second, std::int32_t latency) {
  if (added_to_[first] == second && added_latency_[first] >= latency) return;
  added_to_[first] = second;
  added_latency_[first] = latency;
  edges_.push_back({first, second, latency});
}

void BlockGraph::add_register_edges() {
  const atalla_blocks& blocks = code_.blocks;
  std::vector<std::int32_t> writer(code_.num_registers(), kNone);
  std::vector<std::int32_t> last_read(code_.num_registers(), kNone);  // since the last write
  std::vector<std::pair<std::int32_t, std::int32_t>> reads;          // the reader, and the read before
  const auto latency = [&](std::int32_t index) { return blocks.latencies[code_.kind(index)]; };
  for (std::int32_t index = 0; index < code_.size(); ++index) {
    code_.for_each_use(index, [&](std::int32_t value) {
      if (writer[value] != kNone) add(writer[value], index, latency(writer[value]));
      reads.emplace_back(index, last_read[value]);
      last_read[value] = std::int32_t(reads.size()) - 1;
    });
    code_.for_each_def(index, [&](std::int32_t value) {
      for (std::int32_t read = last_read[value]; read != kNone; read = reads[read].second)
        if (reads[read].first != index) add(reads[read].first, index, 0);
      last_read[value] = kNone;
      if (writer[value] != kNone) add(writer[value], index, std::max(kPacket, latency(writer[value])));
      writer[value] = index;
    });
  }
}

// The control instruction comes last; what halts gets a packet of its own.
void BlockGraph::add_control_edges() {
  const std::int32_t last = code_.size() - 1;
  if (last < 0) return;
  const std::int32_t role = code_.blocks.roles[code_.kind(last)];
  if (!(role & ATALLA_ROLE_CONTROL)) return;
  for (std::int32_t index = 0; index < last; ++index) add(index, last, role & ATALLA_ROLE_HALT ? kPacket : 0);
}

void BlockGraph::arrange() {
  starts_.assign(code_.size() + 1, 0);
  num_predecessors_.assign(code_.size(), 0);
  for (const BlockEdge& edge : edges_) {
    ++starts_[edge.first + 1];
    ++num_predecessors_[edge.second];
  }
  for (std::int32_t index = 0; index < code_.size(); ++index) starts_[index + 1] += starts_[index];
  std::vector<std::int32_t> next(starts_.begin(), starts_.end() - 1);
  std::vector<BlockEdge> ordered(edges_.size());
  for (const BlockEdge& edge : edges_) ordered[next[edge.first]++] = edge;
  edges_ = std::move(ordered);
}

std::vector<std::int32_t> BlockGraph::heights() const {
  Heights heights(code_.size());
  settle(heights);
  return heights;
}

std::vector<std::int32_t> BlockGraph::priorities() const {
  Heights heights = this->heights();
  if (code_.carries())
    hurry_what_is_carried(heights);
  else if (code_.blocks.is_in_loop[code_.number])
    hurry_what_leaves(heights);
  queue(heights);
  settle(heights);
  return heights;
}

// Raises heights to those of the successors and the latencies to them.
void BlockGraph::settle(Heights& heights) const {
  for (std::int32_t index = code_.size() - 1; index >= 0; --index)
    for (std::int32_t at = starts_[index]; at < starts_[index + 1]; ++at)
      heights[index] = std::max(heights[index], heights[edges_[at].second] + edges_[at].latency);
}

BlockGraph::Heights BlockGraph::depths() const {
  Heights depths(code_.size());
  for (const BlockEdge& edge : edges_)
    depths[edge.second] = std::max(depths[edge.second], depths[edge.first] + edge.latency);
  return depths;
}

// Slow results that are needed after the block come early.
void BlockGraph::hurry_what_leaves(Heights& heights) const {
  const atalla_blocks& blocks = code_.blocks;
  for (std::int32_t index = 0; index < code_.size(); ++index) {
    bool is_slow = blocks.roles[code_.kind(index)] & ATALLA_ROLE_LOAD, leaves = false;
    code_.for_each_def(index, [&](std::int32_t value) {
      is_slow = is_slow || code_.file(value) == blocks.vector_file;
      leaves = leaves || code_.live_out()[value];
    });
    if (is_slow && leaves) heights[index] = std::max(heights[index], blocks.latencies[code_.kind(index)]);
  }
  settle(heights);
}

// What makes a carried value does not wait for anything less than the next iteration's first reader.
void BlockGraph::hurry_what_is_carried(Heights& heights) const {
  const Heights depths = this->depths();
  std::vector<std::int32_t> first_read(code_.num_registers(), kNone);
  for (std::int32_t index = 0; index < code_.size(); ++index)
    code_.for_each_use(index, [&](std::int32_t value) {
      if (first_read[value] == kNone) first_read[value] = depths[index];
    });
  for (std::int32_t index = 0; index < code_.size(); ++index)
    code_.for_each_def(index, [&](std::int32_t value) {
      if (!code_.live_in()[value] || !code_.live_out()[value] || first_read[value] == kNone) return;
      heights[index] = std::max(heights[index], code_.blocks.latencies[code_.kind(index)] - first_read[value]);
    });
  settle(heights);
}

// Raises heights to the time that a unit needs for what it serves afterwards.
void BlockGraph::queue(Heights& heights) const {
  std::vector<std::vector<std::int32_t>> groups(code_.blocks.num_groups);
  for (std::int32_t index = 0; index < code_.size(); ++index)
    groups[code_.blocks.groups[code_.kind(index)]].push_back(index);
  for (std::vector<std::int32_t>& members : groups) {
    std::sort(members.begin(), members.end(), [&](std::int32_t first, std::int32_t second) {
      return heights[first] != heights[second] ? heights[first] < heights[second] : first > second;
    });
    std::int32_t needed = 0;
    for (const std::int32_t index : members) {
      heights[index] = needed = std::max(heights[index], needed);
      needed += code_.blocks.unit_cycles[code_.kind(index)];
    }
  }
}

MemoryOrder::MemoryOrder(const BlockCode& code)
    : code_(code), histories_(code.blocks.num_objects), any_of_space_(code.blocks.num_spaces, kNone) {
  const atalla_blocks& blocks = code.blocks;
  std::vector<char> is_touched(blocks.num_objects);
  for (std::int32_t index = 0; index < code.size(); ++index)
    code.for_each_access(index, [&](std::int32_t access) {
      const std::int32_t object = blocks.access_objects[access];
      if (!is_touched[object]) objects_.push_back(object);
      is_touched[object] = 1;
      for (const std::int32_t bound : {blocks.access_lows[access], blocks.access_highs[access]})
        if (bound != ATALLA_UNKNOWN) histories_[object].bounds.push_back(bound);
    });
  for (const std::int32_t object : objects_) {
    History& history = histories_[object];
    std::sort(history.bounds.begin(), history.bounds.end());
    history.bounds.erase(std::unique(history.bounds.begin(), history.bounds.end()), history.bounds.end());
    const std::size_t num_ranges = std::max<std::size_t>(2, history.bounds.size()) - 1;
    history.last_writes.assign(num_ranges, kNone);
    history.reads.resize(num_ranges);
    if (blocks.is_any_object[object]) any_of_space_[blocks.object_spaces[object]] = object;
  }
}

std::pair<std::size_t, std::size_t> MemoryOrder::range(const History& history, std::int32_t access) const {
  const std::int32_t low = code_.blocks.access_lows[access], high = code_.blocks.access_highs[access];
  if (low == ATALLA_UNKNOWN || high == ATALLA_UNKNOWN) return {0, history.last_writes.size()};
  const auto place = [&](std::int32_t bound) {
    const auto at = std::lower_bound(history.bounds.begin(), history.bounds.end(), bound);
    return std::size_t(std::distance(history.bounds.begin(), at));
  };
  return {place(low), place(high)};
}

// A transfer takes its time, unless both are stores; all other accesses are served in order.
std::int32_t MemoryOrder::latency(std::int32_t first, std::int32_t second) const {
  const atalla_blocks& blocks = code_.blocks;
  const std::int32_t role = blocks.roles[code_.kind(first)];
  if (!(role & kTransfer)) return kPacket;
  const bool are_stores = role & blocks.roles[code_.kind(second)] & ATALLA_ROLE_STORE;
  return are_stores ? kPacket : blocks.latencies[code_.kind(first)];
}

void MemoryOrder::record(std::int32_t index, std::int32_t access) {
  const atalla_blocks& blocks = code_.blocks;
  History& history = histories_[blocks.access_objects[access]];
  const auto [first, end] = range(history, access);
  for (std::size_t at = first; at < end; ++at) {
    if (!blocks.access_writes[access]) {
      history.reads[at].push_back(index);
      continue;
    }
    history.last_writes[at] = index;
    if (!blocks.access_waits[access]) history.reads[at].clear();
  }
}

}  // namespace atalla
