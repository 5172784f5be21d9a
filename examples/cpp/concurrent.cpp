// Runs one model on several cores at the same time, each in a thread of its own, and compares what they give.
//
//   c++ -std=c++17 -I<include> concurrent.cpp -latalla_engine -pthread -o concurrent
//   ./concurrent model.atalla 4
//
// Inputs are 0, 1/16, 2/16, .. in every element type. Shows how the C interface is used from C++: handles that close
// themselves, codes that become exceptions, log lines in a function of one's own.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "atalla_runtime.h"

namespace {

struct Close {
  void operator()(atalla_device* device) const { atalla_device_close(device); }
  void operator()(atalla_program* program) const { atalla_program_close(program); }
};
using Device = std::unique_ptr<atalla_device, Close>;
using Program = std::unique_ptr<atalla_program, Close>;
using Bytes = std::vector<std::uint8_t>;

void check(std::int64_t code) {
  if (code < 0)
    throw std::runtime_error(std::string(atalla_error_text()) + " (" + atalla_error_name(static_cast<int>(code)) + ")");
}

Device open_device() {
  atalla_device* device = nullptr;
  check(atalla_device_open(nullptr, &device));
  return Device(device);
}

Program open_program(const Device& device, const char* path) {
  atalla_program* program = nullptr;
  check(atalla_program_open(device.get(), path, &program));
  return Program(program);
}

// Element `index` of a sequence that every type can hold, in the bytes of `type`.
void put_element(std::uint32_t type, std::size_t index, std::uint8_t* to) {
  constexpr int kSteps = 16;
  const float value = static_cast<float>(index % kSteps) / kSteps;
  const double wide = value;
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (type == ATALLA_F32) std::memcpy(to, &value, sizeof value);
  if (type == ATALLA_F64) std::memcpy(to, &wide, sizeof wide);
  if (type == ATALLA_BF16) std::memcpy(to, reinterpret_cast<const std::uint8_t*>(&bits) + 2, 2);
}

std::vector<Bytes> bind(atalla_program* program, atalla_direction direction) {
  const std::int64_t count = atalla_program_tensors(program, ATALLA_WHOLE, direction);
  check(count);
  std::vector<Bytes> buffers;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    atalla_tensor tensor;
    check(atalla_program_tensor(program, ATALLA_WHOLE, direction, i, &tensor));
    const std::size_t item = atalla_type_bytes(tensor.model_type);
    Bytes& buffer = buffers.emplace_back(tensor.count * item);
    if (direction == ATALLA_INPUT)
      for (std::size_t at = 0; at < tensor.count; ++at) put_element(tensor.model_type, at, &buffer[at * item]);
    check(atalla_program_bind(program, ATALLA_WHOLE, direction, i, buffer.data(), buffer.size()));
  }
  return buffers;
}

struct Result {
  std::vector<Bytes> outputs;
  atalla_counters counters{};
  std::exception_ptr problem;
};

// All that one core does; what goes wrong is kept for the thread that asked.
void run(const Device& device, const char* path, Result& result) {
  try {
    const Program program = open_program(device, path);
    const auto inputs = bind(program.get(), ATALLA_INPUT);
    result.outputs = bind(program.get(), ATALLA_OUTPUT);
    check(atalla_program_launch(program.get(), ATALLA_WHOLE, nullptr));
    check(atalla_program_wait(program.get(), ATALLA_FOREVER));
    result.counters.size = sizeof result.counters;
    check(atalla_program_counters(program.get(), &result.counters));
  } catch (...) {
    result.problem = std::current_exception();
  }
}

void count_line(void* context, atalla_level, const char*) { ++*static_cast<int*>(context); }

int run_all(const char* path, std::size_t cores) {
  int lines = 0;
  atalla_log_to(count_line, &lines, ATALLA_LOG_INFO);
  const Device device = open_device();
  std::vector<Result> results(cores);
  std::vector<std::thread> threads;
  for (Result& result : results) threads.emplace_back([&] { run(device, path, result); });
  for (std::thread& thread : threads) thread.join();
  atalla_log_to(nullptr, nullptr, ATALLA_LOG_WARNING);
  bool agree = true;
  for (const Result& result : results) {
    if (result.problem) std::rethrow_exception(result.problem);
    agree &= result.outputs == results[0].outputs && result.counters.cycles == results[0].counters.cycles;
  }
  std::printf("%zu programs on %s: %llu cycles each, outputs %s, %d lines of log\n", cores,
              atalla_device_name(device.get()), static_cast<unsigned long long>(results[0].counters.cycles),
              agree ? "equal" : "DIFFER", lines);
  return agree ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::atoi(argv[2]) < 1) {
    std::fprintf(stderr, "usage: concurrent FILE CORES\n");
    return 2;
  }
  try {
    return run_all(argv[1], static_cast<std::size_t>(std::atoi(argv[2])));
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "concurrent: %s\n", problem.what());
    return 1;
  }
}
