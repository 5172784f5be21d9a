// How long an iteration of a kernel takes; see issue_waits.py for what it does and why.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "atalla_codegen.h"
#include "slots.h"

namespace {

constexpr std::int32_t kNone = -1;

// The state of registers, units and ports between two packets.
class Issue {
 public:
  Issue(const atalla_body& body, const std::int32_t* banks)
      : body_(body),
        banks_(banks),
        ready_(body.num_registers),
        free_(body.num_units),
        read_by_(body.num_registers, kNone),
        waits_(body.num_registers),
        rivals_(body.num_registers, kNone),
        last_row_(-body.array_drain_cycles),
        writes_(body.num_banks) {}

  std::int64_t cursor() const { return cursor_; }
  // Of each register for how long packets waited for it or for its bank, and what was written in its place.
  std::vector<std::int32_t>& waits() { return waits_; }
  const std::vector<std::int32_t>& rivals() const { return rivals_; }

  // Issues a packet as soon as nothing makes it wait.
  void packet(const std::vector<std::int32_t>& packet) {
    std::int64_t at = cursor_;
    std::int32_t last = kNone;  // the register that is there last
    const auto await = [&](std::int32_t value) {
      if (ready_[value] <= at) return;
      at = ready_[value];
      last = value;
    };
    for (const std::int32_t index : packet) {
      for (std::int32_t use = body_.use_starts[index]; use < body_.use_starts[index + 1]; ++use)
        await(body_.uses[use]);
      for (std::int32_t def = body_.def_starts[index]; def < body_.def_starts[index + 1]; ++def)
        await(body_.defs[def]);
      const std::int32_t role = body_.roles[index];
      if (!(role & (ATALLA_ISSUE_ROW | ATALLA_ISSUE_TRANSFER))) at = std::max(at, free_[body_.units[index]]);
      if (role & ATALLA_ISSUE_PUSH) at = std::max(at, last_row_ + body_.array_drain_cycles);
    }
    if (last != kNone && ready_[last] == at) waits_[last] += std::int32_t(at - cursor_);
    at += bank_wait(packet);
    for (const std::int32_t index : packet) start(index, at);
    cursor_ = at + 1;
    ++num_packets_;
  }

 private:
  using Write = std::pair<std::int32_t, std::int32_t>;  // rank, and register or kNone

  std::int64_t bank_wait(const std::vector<std::int32_t>& packet) {
    std::int32_t reads[ATALLA_FILES][8] = {};
    std::int32_t most = 1;
    for (const std::int32_t index : packet)
      for (std::int32_t at = body_.read_starts[index]; at < body_.read_starts[index + 1]; ++at) {
        const std::int32_t value = body_.reads[at];
        if (banks_[value] < 0 || read_by_[value] == num_packets_) continue;
        read_by_[value] = num_packets_;
        const std::int32_t count = ++reads[body_.files[value]][banks_[value]];
        if (count > 1) waits_[value] += count;
        most = std::max(most, count);
      }
    return most > 1 ? most : 0;
  }

  void start(std::int32_t index, std::int64_t at) {
    const std::int32_t role = body_.roles[index];
    if (role & ATALLA_ISSUE_TRANSFER) return;
    std::int64_t& free = free_[body_.units[index]];
    std::int64_t late = 0;
    if (role & ATALLA_ISSUE_ROW) {
      const std::int64_t accepted = std::max(at + 1, free);
      free = accepted + body_.intervals[index];
      late = accepted - at - 1;
    } else {
      free = at + body_.intervals[index];
      if (role & ATALLA_ISSUE_PRODUCT) last_row_ = at;
    }
    for (std::int32_t def = body_.def_starts[index]; def < body_.def_starts[index + 1]; ++def)
      write(body_.defs[def], at + body_.distances[index] - 1 + late, body_.ranks[index]);
  }

  // Enters a result that is there from cycle `at` on; it may put off others that come after it in rank.
  void write(std::int32_t value, std::int64_t at, std::int32_t rank) {
    if (banks_[value] < 0 || body_.files[value] != body_.vector_file) {
      ready_[value] = at + 1;
      return;
    }
    std::vector<Write>& writes = writes_[banks_[value]];
    for (;; ++at) {
      if (std::size_t(at) >= writes.size()) writes.resize(at + 64, {0, kNone});
      Write& here = writes[at];
      if (here.second == kNone) break;
      if (rank < here.first) {
        ready_[value] = at + 1;
        std::swap(rank, here.first);
        std::swap(value, here.second);
      }
      rivals_[value] = here.second;
    }
    writes[at] = {rank, value};
    ready_[value] = at + 1;
  }

  const atalla_body& body_;
  const std::int32_t* banks_;
  std::vector<std::int64_t> ready_;     // when each register may be used
  std::vector<std::int64_t> free_;      // when each unit takes another instruction
  std::vector<std::int64_t> read_by_;   // the last packet that reads each register
  std::vector<std::int32_t> waits_, rivals_;
  std::int64_t cursor_ = 0;
  std::int64_t num_packets_ = 0;
  std::int64_t last_row_;
  std::vector<std::vector<Write>> writes_;  // what is written to each bank of vectors, by cycle
};

// A body as `order_slots` takes it.
class Body {
 public:
  explicit Body(const atalla_body& body) : body_(body) {}

  template <typename Visit>
  void for_each_use(std::int32_t index, Visit visit) const {
    for (std::int32_t at = body_.use_starts[index]; at < body_.use_starts[index + 1]; ++at) visit(body_.uses[at]);
  }

  template <typename Visit>
  void for_each_def(std::int32_t index, Visit visit) const {
    for (std::int32_t at = body_.def_starts[index]; at < body_.def_starts[index + 1]; ++at) visit(body_.defs[at]);
  }

  bool is_control(std::int32_t) const { return false; }

 private:
  const atalla_body& body_;
};

}  // namespace

std::int32_t atalla_pass_waits(const atalla_body* body, const std::int32_t* cycles, std::int32_t interval,
                                const std::int32_t* banks, std::int32_t* waits, std::int32_t* rivals) {
  std::vector<std::vector<std::int32_t>> packets(interval);
  for (std::int32_t index = 0; index < body->size; ++index) packets[cycles[index] % interval].push_back(index);
  for (std::vector<std::int32_t>& packet : packets)
    if (!packet.empty() && !atalla::order_slots(Body(*body), packet)) return -1;
  Issue issue(*body, banks);
  std::int64_t counted_from = 0;
  for (std::int32_t pass = 0; pass < body->passes; ++pass) {
    if (pass == body->passes - body->counted_passes) {
      counted_from = issue.cursor();
      std::fill(issue.waits().begin(), issue.waits().end(), 0);
    }
    for (const std::vector<std::int32_t>& packet : packets)
      if (!packet.empty()) issue.packet(packet);
  }
  std::copy(issue.waits().begin(), issue.waits().end(), waits);
  std::copy(issue.rivals().begin(), issue.rivals().end(), rivals);
  return std::int32_t(issue.cursor() - counted_from);
}
