// Many threads use everything of the runtime at the same time: programs of their own, one program together, devices that
// come and go, the log. Prints one line when all of them saw what a single thread sees.
//
//   stress_runtime FILE THREADS ROUNDS
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "atalla_runtime.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

void expect(std::int64_t code, std::int64_t wanted, const char* what) {
  if (code != wanted)
    throw std::runtime_error(std::string(what) + ": " + atalla_error_name(static_cast<int>(code)) + ", " +
                             atalla_error_text());
}

// A program with buffers, inputs all zero but for their first byte.
struct Bound {
  atalla_program* program = nullptr;
  std::vector<Bytes> inputs, outputs;

  explicit Bound(const Bytes& loadable, const char* name = nullptr) {
    atalla_device* device = nullptr;
    expect(atalla_device_open(name, &device), ATALLA_OK, "device");
    const int code = atalla_program_read(device, loadable.data(), loadable.size(), &program);
    atalla_device_close(device);
    expect(code, ATALLA_OK, "program");
    bind(ATALLA_INPUT, inputs);
    bind(ATALLA_OUTPUT, outputs);
  }
  Bound(const Bound&) = delete;
  ~Bound() { atalla_program_close(program); }

  void bind(atalla_direction direction, std::vector<Bytes>& buffers) {
    const std::int64_t count = atalla_program_tensors(program, ATALLA_WHOLE, direction);
    require(count > 0, "no tensors");
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      atalla_tensor tensor;
      expect(atalla_program_tensor(program, ATALLA_WHOLE, direction, i, &tensor), ATALLA_OK, "tensor");
      Bytes& buffer = buffers.emplace_back(tensor.count * atalla_type_bytes(tensor.model_type));
      if (direction == ATALLA_INPUT) buffer[3] = 0x3F;
      expect(atalla_program_bind(program, ATALLA_WHOLE, direction, i, buffer.data(), buffer.size()), ATALLA_OK, "bind");
    }
  }

  std::uint64_t run() {
    expect(atalla_program_launch(program, ATALLA_WHOLE, nullptr), ATALLA_OK, "launch");
    expect(atalla_program_wait(program, ATALLA_FOREVER), ATALLA_OK, "wait");
    return cycles();
  }

  std::uint64_t cycles() const {
    atalla_counters counters{};
    counters.size = sizeof counters;
    expect(atalla_program_counters(program, &counters), ATALLA_OK, "counters");
    return counters.cycles;
  }
};

struct Expected {
  std::vector<Bytes> outputs;
  std::uint64_t cycles = 0, cycles_again = 0;  // the first launch prepares the pads
};

// Programs of one's own: opened, run and closed while others do the same.
void own_programs(const Bytes& loadable, const Expected& expected, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    Bound mine(loadable);
    require(mine.run() == expected.cycles, "cycles of a program of one's own");
    require(mine.outputs == expected.outputs, "outputs of a program of one's own");
    std::uint32_t address = 0, left = 0;
    expect(atalla_pages_allocate(mine.program, 1, 2, 0, &address), ATALLA_OK, "allocate");
    expect(atalla_pages_available(mine.program, 1, &left), ATALLA_OK, "available");
    expect(atalla_pages_free(mine.program, 1, address, 2), ATALLA_OK, "free");
    require(address == 0 && left == 254, "pages of a program of one's own");
  }
}

// One program for all threads: each launch belongs to one of them, the others are told that it is under way.
void shared_program(Bound& shared, std::atomic<int>& launches, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const int code = atalla_program_launch(shared.program, ATALLA_WHOLE, nullptr);
    require(code == ATALLA_OK || code == ATALLA_RUNNING, "launch of a shared program");
    launches += code == ATALLA_OK;
    atalla_tensor tensor;
    expect(atalla_program_tensor(shared.program, ATALLA_WHOLE, ATALLA_INPUT, 0, &tensor), ATALLA_OK, "tensor");
    const int waited = atalla_program_wait(shared.program, round % 3 == 0 ? 0 : ATALLA_FOREVER);
    require(waited == ATALLA_OK || waited == ATALLA_TIMEOUT, "wait for a shared program");
  }
}

// Errors have their text per thread.
void errors(int number, int rounds) {
  const std::string name = "absent" + std::to_string(number);
  for (int round = 0; round < rounds; ++round) {
    atalla_device* device = nullptr;
    expect(atalla_device_open(name.c_str(), &device), ATALLA_NO_SUCH_DEVICE, "absent device");
    require(std::strstr(atalla_error_text(), ("'" + name + "'").c_str()) != nullptr, "text of another thread");
  }
}

int refuse_core(void*, const atalla_core_options*, void**) {
  atalla_report("there is no core");
  return ATALLA_DEVICE_BUSY;
}
void close_nothing(void*) {}
int load_nothing(void*, std::uint32_t, const void*, std::size_t) { return ATALLA_OK; }
int write_nothing(void*, std::uint64_t, const void*, std::size_t) { return ATALLA_OK; }
int read_nothing(void*, std::uint64_t, void*, std::size_t) { return ATALLA_OK; }
int start_nothing(void*, std::uint32_t) { return ATALLA_OK; }
int run_nothing(void*, const atalla_run_options*, atalla_run_result*) { return ATALLA_OK; }

// Devices that come and go.
void devices(const Bytes& loadable, int number, int rounds) {
  const std::string name = "passing" + std::to_string(number);
  const atalla_device_functions functions = {sizeof functions, "refuses",     refuse_core,   close_nothing, load_nothing,
                                             write_nothing,    read_nothing, start_nothing, run_nothing,   nullptr};
  for (int round = 0; round < rounds; ++round) {
    expect(atalla_device_register(name.c_str(), &functions, nullptr), ATALLA_OK, "register");
    atalla_device* device = nullptr;
    atalla_program* program = nullptr;
    expect(atalla_device_open(name.c_str(), &device), ATALLA_OK, "passing device");
    expect(atalla_program_read(device, loadable.data(), loadable.size(), &program), ATALLA_DEVICE_BUSY, "no core");
    expect(atalla_device_unregister(name.c_str()), ATALLA_DEVICE_BUSY, "open device");
    atalla_device_close(device);
    char names[1024];
    require(atalla_device_list(names, sizeof names) <= sizeof names, "list of devices");
    require(std::strstr(names, name.c_str()) != nullptr, "device is listed");
    expect(atalla_device_unregister(name.c_str()), ATALLA_OK, "unregister");
  }
}

void count_line(void* context, atalla_level, const char*) { ++*static_cast<int*>(context); }

// The log's function changes while lines are written; a function is not called any more once another one is set.
void logs(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    int lines = 0;
    atalla_log_to(count_line, &lines, ATALLA_LOG_DEBUG);
    atalla_log_to(count_line, &lines, ATALLA_LOG_INFO);
    std::this_thread::yield();
    atalla_log_to([](void*, atalla_level, const char*) {}, nullptr, ATALLA_LOG_DEBUG);
    const int before = lines;
    std::this_thread::yield();
    require(lines == before, "a log function that was replaced is still called");
  }
}

int run_all(const char* path, int threads, int rounds) {
  std::ifstream file(path, std::ios::binary);
  const Bytes loadable{std::istreambuf_iterator<char>(file), {}};
  Expected expected;
  {
    Bound first(loadable);
    expected.cycles = first.run();
    expected.cycles_again = first.run();
    expected.outputs = first.outputs;
  }
  Bound shared(loadable);
  std::atomic<int> launches{0}, failures{0};
  const auto guarded = [&](auto&& work) {
    return std::thread([&failures, work] {
      try {
        work();
      } catch (const std::exception& problem) {
        std::fprintf(stderr, "stress_runtime: %s\n", problem.what());
        ++failures;
      }
    });
  };
  std::vector<std::thread> running;
  running.push_back(guarded([&] { logs(rounds * 20); }));
  for (int number = 0; number < threads; ++number) {
    running.push_back(guarded([&] { own_programs(loadable, expected, rounds); }));
    running.push_back(guarded([&] { shared_program(shared, launches, rounds); }));
    running.push_back(guarded([=] { errors(number, rounds * 20); }));
    running.push_back(guarded([&loadable, number, rounds] { devices(loadable, number, rounds); }));
  }
  for (std::thread& thread : running) thread.join();
  atalla_log_to(nullptr, nullptr, ATALLA_LOG_WARNING);
  require(failures == 0, "threads failed");
  expect(atalla_program_wait(shared.program, ATALLA_FOREVER), ATALLA_OK, "last launch");
  require(launches > 0 && shared.outputs == expected.outputs, "outputs of the shared program");
  const std::uint64_t last = launches > 1 ? expected.cycles_again : expected.cycles;
  require(shared.cycles() == last, "cycles of the shared program");
  std::printf("%zu threads agree\n", running.size());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: stress_runtime FILE THREADS ROUNDS\n");
    return 2;
  }
  try {
    return run_all(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "stress_runtime: %s\n", problem.what());
    return 1;
  }
}
