// Single steps of an engine, each as a line: the PC and the registers that the packet writes.
#pragma once

#include <cstdint>
#include <string>

#include "include/atalla_engine.h"

namespace atalla {

// The line of the packet at `pc`, which was just executed: "0000001c x10=ffffffff v3=..", slots in order.
std::string trace_line(const atalla_engine* engine, std::uint32_t pc, std::size_t lanes);

}  // namespace atalla
