// What must stay in order inside a block, and which instructions are urgent; see dependence.py and priorities.py.
#pragma once

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "atalla_codegen.h"

namespace atalla {

// One block of several: instruction i is number `first + i` of all. Registers have numbers of their own here, from 0.
class BlockCode {
 public:
  BlockCode(const atalla_blocks& blocks, std::int32_t number);

  std::int32_t size() const { return size_; }
  std::int32_t num_registers() const { return std::int32_t(registers_.size()); }
  std::int32_t kind(std::int32_t index) const { return blocks.kinds[first_ + index]; }
  bool is_control(std::int32_t index) const { return blocks.roles[kind(index)] & ATALLA_ROLE_CONTROL; }
  std::int32_t file(std::int32_t value) const { return blocks.files[registers_[value]]; }

  template <typename Visit>
  void for_each_use(std::int32_t index, Visit visit) const {
    for (std::int32_t at = use_starts_[index]; at < use_starts_[index + 1]; ++at) visit(uses_[at]);
  }

  template <typename Visit>
  void for_each_def(std::int32_t index, Visit visit) const {
    for (std::int32_t at = def_starts_[index]; at < def_starts_[index + 1]; ++at) visit(defs_[at]);
  }

  // Calls `visit` with the registers, numbered as those of all blocks, that an instruction reads by ports.
  template <typename Visit>
  void for_each_read(std::int32_t index, Visit visit) const {
    const std::int32_t at = first_ + index;
    for (std::int32_t read = blocks.read_starts[at]; read < blocks.read_starts[at + 1]; ++read)
      visit(blocks.reads[read]);
  }

  template <typename Visit>
  void for_each_access(std::int32_t index, Visit visit) const {
    const std::int32_t set = blocks.access_sets[first_ + index];
    for (std::int32_t at = blocks.access_starts[set]; at < blocks.access_starts[set + 1]; ++at) visit(at);
  }

  // Whether each register holds a value at the start of the block, and one that is needed after it.
  const std::vector<char>& live_in() const { return live_in_; }
  const std::vector<char>& live_out() const { return live_out_; }
  // Whether the block repeats itself and a value lives from run to run, also one that it does not touch.
  bool carries() const;

  const atalla_blocks& blocks;
  const std::int32_t number;

 private:
  void add(std::int32_t index, std::vector<std::int32_t>& numbers);

  const std::int32_t first_;
  const std::int32_t size_;
  std::vector<std::int32_t> registers_;  // as they are numbered in all blocks
  std::vector<std::int32_t> use_starts_, uses_, def_starts_, defs_;
  std::vector<char> live_in_, live_out_;
};

struct BlockEdge {
  std::int32_t first;
  std::int32_t second;
  std::int32_t latency;
};

// For a block that repeats itself: when each instruction may issue in the next run, by what the run before holds up.
std::vector<std::int32_t> carried_waits(const BlockCode& code, const std::int32_t* issue_cycles);

// The edges of a block. There may be several between the same instructions: the longest counts.
class BlockGraph {
 public:
  explicit BlockGraph(const BlockCode& code);

  // Edges ordered by `first`; those of instruction i are `starts[i]` to `starts[i + 1] - 1`.
  const std::vector<BlockEdge>& edges() const { return edges_; }
  const std::vector<std::int32_t>& starts() const { return starts_; }
  const std::vector<std::int32_t>& num_predecessors() const { return num_predecessors_; }

  // Cycles from each instruction to the end of the longest chain that starts with it.
  std::vector<std::int32_t> heights() const;
  // How urgent each instruction is.
  std::vector<std::int32_t> priorities() const;

 private:
  using Heights = std::vector<std::int32_t>;

  void add(std::int32_t first, std::int32_t second, std::int32_t latency);
  void add_register_edges();
  void add_control_edges();
  void arrange();
  void settle(Heights& heights) const;
  Heights depths() const;
  void hurry_what_leaves(Heights& heights) const;
  void hurry_what_is_carried(Heights& heights) const;
  void queue(Heights& heights) const;

  const BlockCode& code_;
  std::vector<BlockEdge> edges_;
  std::vector<std::int32_t> starts_;
  std::vector<std::int32_t> num_predecessors_;
  std::vector<std::int32_t> added_to_;       // the last instruction that got an edge from each one,
  std::vector<std::int32_t> added_latency_;  // and its latency
};

// Edges between accesses that may touch the same memory.
class MemoryOrder {
 public:
  explicit MemoryOrder(const BlockCode& code);

  // Calls `visit(earlier, latency)` for what access number `access` of instruction `index` must follow.
  template <typename Visit>
  void for_each_earlier(std::int32_t index, std::int32_t access, Visit visit) const {
    const atalla_blocks& blocks = code_.blocks;
    const std::int32_t own = blocks.access_objects[access];
    const auto follow = [&](std::int32_t object, bool is_whole) {
      const History& history = histories_[object];
      std::size_t at = 0, end = history.last_writes.size();
      if (!is_whole) std::tie(at, end) = range(history, access);
      const bool also_reads = blocks.access_writes[access] && !blocks.access_waits[access];
      for (; at < end; ++at) {
        if (history.last_writes[at] >= 0) visit(history.last_writes[at], latency(history.last_writes[at], index));
        if (!also_reads) continue;
        for (const std::int32_t read : history.reads[at]) visit(read, latency(read, index));
      }
    };
    if (!blocks.is_any_object[own]) {
      follow(own, false);
      const std::int32_t any = any_of_space_[blocks.object_spaces[own]];
      if (any >= 0) follow(any, true);
      return;
    }
    for (const std::int32_t object : objects_)
      if (blocks.object_spaces[object] == blocks.object_spaces[own]) follow(object, object != own);
  }

  void record(std::int32_t index, std::int32_t access);

 private:
  // Accesses to one object so far, by the ranges between neighbouring bounds of its accesses.
  struct History {
    std::vector<std::int32_t> bounds;
    std::vector<std::int32_t> last_writes;
    std::vector<std::vector<std::int32_t>> reads;
  };

  std::pair<std::size_t, std::size_t> range(const History& history, std::int32_t access) const;
  std::int32_t latency(std::int32_t first, std::int32_t second) const;

  const BlockCode& code_;
  std::vector<History> histories_;          // of each object
  std::vector<std::int32_t> objects_;       // that the block touches
  std::vector<std::int32_t> any_of_space_;  // the object that may be anything in the space, -1: not touched
};

}  // namespace atalla
