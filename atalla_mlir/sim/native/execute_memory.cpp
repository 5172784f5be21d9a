// Scalar memory, pad rows and scratchpad DMA (machine reference 2.5, 2.10, 2.11): an access is checked completely before
// anything changes, so a trap leaves memory as it was.
#include <cstring>

#include "executor.h"

namespace atalla {
namespace {

std::uint32_t read_little(const std::uint8_t* bytes, std::uint32_t size) {
  std::uint32_t value = 0;
  for (std::uint32_t i = 0; i < size; ++i) value |= std::uint32_t{bytes[i]} << (8 * i);
  return value;
}

void write_little(std::uint8_t* bytes, std::uint32_t value, std::uint32_t size) {
  for (std::uint32_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
void copy_elements(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i ^ 1];
}
#else
void copy_elements(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
#endif

}  // namespace

// Scalar memory

bool Executor::scalar_address(const Op& op, std::uint32_t size, std::uint32_t& address) {
  address = scalar(op, 2) + constant(op, 1);
  if (address % size != 0)
    return stop(trap_, TrapKind::MISALIGNED_ACCESS, "dram address 0x%X is not a multiple of %u bytes", address, size);
  if (std::uint64_t{address} + size > state_.dram.size())
    return stop(trap_, TrapKind::DRAM_RANGE, "dram address 0x%X is outside the %llu bytes of dram", address,
                wide(state_.dram.size()));
  state_.scalar_address = address;
  return true;
}

bool Executor::load(const Op& op, std::uint32_t size) {
  std::uint32_t address;
  if (!scalar_address(op, size, address)) return false;
  const std::uint32_t value = read_little(state_.dram.at(address), size);
  x_[op.target] = size == kWordBytes ? value : value << 16;
  core_.bytes_loaded += size;
  return true;
}

bool Executor::store(const Op& op, std::uint32_t size) {
  std::uint32_t address;
  if (!scalar_address(op, size, address)) return false;
  state_.dram.touch(address, address);
  write_little(state_.dram.at(address), size == kWordBytes ? scalar(op, 0) : scalar(op, 0) >> 16, size);
  core_.bytes_stored += size;
  return true;
}

// Pads

bool Executor::check_pad(std::uint32_t pad) {
  if (pad < static_cast<std::uint64_t>(state_.machine.pads)) return true;
  return stop(trap_, TrapKind::PAD_RANGE, "pad %u does not exist; the machine has %lld pads", pad,
              static_cast<long long>(state_.machine.pads));
}

bool Executor::pad_row(const Op& op, std::uint32_t& row) {
  const std::uint32_t pad = constant(op, 4);
  if (!check_pad(pad)) return false;
  row = (scalar(op, 1) >> state_.row_shift) + scalar(op, 2);
  if (row >= static_cast<std::uint64_t>(state_.machine.pad_rows))
    return stop(trap_, TrapKind::PAD_RANGE, "row %u is outside the %lld rows of pad %u", row,
                static_cast<long long>(state_.machine.pad_rows), pad);
  state_.pad_row[pad] = row;
  return true;
}

bool Executor::load_row(const Op& op) {
  std::uint32_t row;
  if (!pad_row(op, row)) return false;
  std::uint32_t* const to = target(op);
  state_.kernels->load_row(to, state_.pad(constant(op, 4), row), lanes_);
  for (int lane = op.operands[3] + 1; lane < lanes_; ++lane) to[lane] = 0;
  return true;
}

bool Executor::store_row(const Op& op) {
  std::uint32_t row;
  if (!pad_row(op, row)) return false;
  std::uint16_t* const to = state_.pad(constant(op, 4), row);
  const int cols = op.operands[3] + 1;
  if (cols >= lanes_) {
    state_.kernels->store_row(to, vector(op, 0), lanes_);
  } else {
    for (int lane = 0; lane < cols; ++lane) to[lane] = static_cast<std::uint16_t>(vector(op, 0)[lane] >> 16);
  }
  return true;
}

// Scratchpad DMA

bool Executor::dma(const Op& op, DmaAccess& access) {
  const Machine& machine = state_.machine;
  access = decode_dma(scalar(op, 0), scalar(op, 1), scalar(op, 2), state_.row_bytes);
  if (!check_pad(access.pad)) return false;
  if (access.cols > static_cast<std::uint32_t>(lanes_))
    return stop(trap_, TrapKind::PAD_RANGE, "dma of %u columns into rows of %d lanes", access.cols, lanes_);
  if (std::uint64_t{access.row} + access.rows > static_cast<std::uint64_t>(machine.pad_rows))
    return stop(trap_, TrapKind::PAD_RANGE, "dma rows %u..%u are outside the %lld rows of pad %u", access.row,
                access.row + access.rows - 1, static_cast<long long>(machine.pad_rows), access.pad);
  if (access.pitch < access.cols)
    return stop(trap_, TrapKind::DMA_PITCH, "dma pitch of %u elements is less than its %u columns", access.pitch,
                access.cols);
  if (access.address % kElementBytes != 0)
    return stop(trap_, TrapKind::MISALIGNED_ACCESS, "dma address 0x%X is not a multiple of %u bytes", access.address,
                static_cast<unsigned>(kElementBytes));
  if (access.end() > state_.dram.size())
    return stop(trap_, TrapKind::DRAM_RANGE, "dma bytes 0x%X..0x%llX are outside the %llu bytes of dram",
                access.address, wide(access.end() - 1), wide(state_.dram.size()));
  state_.dma = access;
  return true;
}

bool Executor::dma_load(const Op& op) {
  DmaAccess access;
  if (!dma(op, access)) return false;
  const std::size_t row_bytes = kElementBytes * access.cols;
  for (std::uint32_t row = 0; row < access.rows; ++row)
    copy_elements(reinterpret_cast<std::uint8_t*>(state_.pad(access.pad, access.row + row)),
                  state_.dram.at(access.row_address(row)), row_bytes);
  core_.bytes_loaded += row_bytes * access.rows;
  return true;
}

bool Executor::dma_store(const Op& op) {
  DmaAccess access;
  if (!dma(op, access)) return false;
  const std::size_t row_bytes = kElementBytes * access.cols;
  for (std::uint32_t row = 0; row < access.rows; ++row) {
    const std::uint64_t address = access.row_address(row);
    state_.dram.touch(address, address + row_bytes - 1);
    copy_elements(state_.dram.at(address),
                  reinterpret_cast<const std::uint8_t*>(state_.pad(access.pad, access.row + row)), row_bytes);
  }
  core_.bytes_stored += row_bytes * access.rows;
  return true;
}

// 5.1 rule 3: units and ports leave one legal pair that can meet, a scalar load beside a scpad.st.
bool Executor::check_conflict(const Packet& packet) {
  const Op& load = packet.ops[packet.guarded_load];
  const Op& store = packet.ops[packet.guarded_store];
  const std::uint32_t word = (scalar(load, 2) + constant(load, 1)) / kWordBytes;
  const DmaAccess access = decode_dma(scalar(store, 0), scalar(store, 1), scalar(store, 2), state_.row_bytes);
  const std::uint32_t runs = access.is_contiguous() ? 1 : access.rows;
  for (std::uint32_t run = 0; run < runs; ++run) {
    const std::uint64_t first = access.row_address(run);
    const std::uint64_t last = runs == 1 && access.is_contiguous() ? access.end() - 1
                                                                   : first + kElementBytes * access.cols - 1;
    if (word < first / kWordBytes || word > last / kWordBytes) continue;
    trap_.op = packet.guarded_load > packet.guarded_store ? packet.guarded_load : packet.guarded_store;
    return stop(trap_, TrapKind::MEMORY_CONFLICT, "the load and the store of this packet meet in dram word 0x%llX",
                wide(std::uint64_t{word} * kWordBytes));
  }
  return true;
}

}  // namespace atalla
