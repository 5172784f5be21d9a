// The C interface of programs and cores: checks pointers, keeps exceptions inside.
#include "device_registry.h"
#include "runtime_errors.h"
#include "runtime_program.h"
#include "tensor_layout.h"

struct atalla_program {
  atalla::RuntimeProgram program;
};

struct atalla_core {
  atalla::DeviceCore core;
};

namespace {

using atalla::reported;
using atalla::require;

constexpr const char* kNoProgram = "expected a program, got NULL";
constexpr const char* kNoCore = "expected a core, got NULL";

template <class Load>
int open_program(const atalla_device* device, atalla_program** program, Load load) {
  return reported([&] {
    require(device != nullptr && program != nullptr, "expected a device and a place for the program");
    *program = nullptr;
    *program = new atalla_program{{device->choice, load()}};
  });
}

}  // namespace

int atalla_program_open(const atalla_device* device, const char* path, atalla_program** program) {
  return open_program(device, program, [&] {
    require(path != nullptr, "expected the path of a loadable");
    return atalla::read_file(path);
  });
}

int atalla_program_read(const atalla_device* device, const void* data, size_t size, atalla_program** program) {
  return open_program(device, program, [&] {
    require(data != nullptr || size == 0, "expected the bytes of a loadable");
    return atalla::parse_bytes(data, size);
  });
}

void atalla_program_close(atalla_program* program) { delete program; }

const atalla_loadable* atalla_program_loadable(const atalla_program* program) { return &program->program.handle(); }

int atalla_program_entry(const atalla_program* program, const char* name, size_t* entry) {
  return reported([&] {
    require(program != nullptr && name != nullptr && entry != nullptr, "expected a program, a name and a place");
    const auto& entries = program->program.handle().loadable.entries;
    for (*entry = 0; *entry < entries.size(); ++*entry)
      if (entries[*entry].name == name) return;
    throw atalla::RuntimeError(ATALLA_NO_SUCH_ENTRY, "the program has no entry '" + std::string(name) + "'");
  });
}

size_t atalla_program_points(const atalla_program* program) { return program->program.points().size(); }

const char* atalla_program_point_name(const atalla_program* program, size_t index) {
  const auto& points = program->program.points();
  return index < points.size() ? points[index].c_str() : nullptr;
}

int atalla_program_point(const atalla_program* program, const char* name, size_t* entry) {
  return reported([&] {
    require(program != nullptr && name != nullptr && entry != nullptr, "expected a program, a name and a place");
    const auto& points = program->program.points();
    for (std::size_t i = 0; i < points.size(); ++i) {
      *entry = ATALLA_POINT(i);
      if (points[i] == name) return;
    }
    throw atalla::RuntimeError(ATALLA_NO_SUCH_ENTRY, "the program has no entry point '" + std::string(name) + "'");
  });
}

int64_t atalla_program_tensors(const atalla_program* program, size_t entry, atalla_direction direction) {
  std::size_t count = 0;
  const int code = reported([&] {
    require(program != nullptr, kNoProgram);
    count = program->program.tensors(entry, direction).size();
  });
  return code != ATALLA_OK ? code : static_cast<int64_t>(count);
}

int atalla_program_tensor(const atalla_program* program, size_t entry, atalla_direction direction, size_t index,
                          atalla_tensor* tensor) {
  return reported([&] {
    require(program != nullptr && tensor != nullptr, "expected a program and a place for the tensor");
    const auto& all = program->program.tensors(entry, direction);
    require(index < all.size(), "there is no tensor of that index");
    *tensor = atalla::described(all[index]);
  });
}

int atalla_program_bind(atalla_program* program, size_t entry, atalla_direction direction, size_t index, void* data,
                        size_t bytes) {
  return reported([&] {
    require(program != nullptr, kNoProgram);
    program->program.bind(entry, direction, index, data, bytes);
  });
}

int atalla_program_launch(atalla_program* program, size_t entry, const atalla_launch_options* options) {
  return reported([&] {
    require(program != nullptr, kNoProgram);
    const atalla_launch_options usual = {sizeof usual, ATALLA_RUN_TIMING, ATALLA_NO_LIMIT};
    program->program.launch(entry, options != nullptr ? *options : usual);
  });
}

int atalla_program_wait(atalla_program* program, int64_t milliseconds) {
  return reported([&] {
    require(program != nullptr, kNoProgram);
    program->program.wait(milliseconds);
  });
}

int atalla_program_counters(const atalla_program* program, atalla_counters* counters) {
  return reported([&] {
    require(program != nullptr && counters != nullptr, "expected a program and a place for the counters");
    require(counters->size == sizeof *counters, "the counters are not of this version of the runtime");
    *counters = program->program.counters();
  });
}

int atalla_pages_allocate(atalla_program* program, uint32_t pad, uint32_t pages, uint32_t flags, uint32_t* address) {
  return reported([&] {
    require(program != nullptr && address != nullptr, "expected a program and a place for the address");
    *address = program->program.call_service(atalla::kCallAlloc, pad, pages, flags);
    if (*address == atalla::kNoPages)
      throw atalla::RuntimeError(ATALLA_NO_PAGES, "no run of " + std::to_string(pages) + " pages in pad " +
                                                      std::to_string(pad));
  });
}

int atalla_pages_free(atalla_program* program, uint32_t pad, uint32_t address, uint32_t pages) {
  return reported([&] {
    require(program != nullptr, kNoProgram);
    require(program->program.call_service(atalla::kCallFree, pad, address, pages) == 0,
            "not all of these pages are allocated");
  });
}

int atalla_pages_available(atalla_program* program, uint32_t pad, uint32_t* pages) {
  return reported([&] {
    require(program != nullptr && pages != nullptr, "expected a program and a place for the number");
    *pages = program->program.call_service(atalla::kCallAvail, pad, 0, 0);
  });
}

int atalla_core_open(const atalla_device* device, const atalla_core_options* options, atalla_core** core) {
  return reported([&] {
    require(device != nullptr && core != nullptr, "expected a device and a place for the core");
    require(options != nullptr && options->size == sizeof *options, "the options are not of this version of the runtime");
    *core = nullptr;
    *core = new atalla_core{{device->choice, *options}};
  });
}

void atalla_core_close(atalla_core* core) { delete core; }

int atalla_core_load_code(atalla_core* core, uint32_t pc, const void* code, size_t size) {
  return reported([&] {
    require(core != nullptr, kNoCore);
    core->core.load_code(pc, code, size);
  });
}

int atalla_core_write_dram(atalla_core* core, uint64_t address, const void* data, size_t size) {
  return reported([&] {
    require(core != nullptr, kNoCore);
    core->core.write_dram(address, data, size);
  });
}

int atalla_core_read_dram(atalla_core* core, uint64_t address, void* data, size_t size) {
  return reported([&] {
    require(core != nullptr, kNoCore);
    core->core.read_dram(address, data, size);
  });
}

int atalla_core_start(atalla_core* core, uint32_t pc) {
  return reported([&] {
    require(core != nullptr, kNoCore);
    core->core.start(pc);
  });
}

int atalla_core_run(atalla_core* core, const atalla_run_options* options, atalla_run_result* result) {
  return reported([&] {
    require(core != nullptr && options != nullptr && result != nullptr, "expected a core, options and a result");
    core->core.run(*options, *result);
  });
}

int atalla_core_counters(atalla_core* core, atalla_counters* counters) {
  return reported([&] {
    require(core != nullptr && counters != nullptr, "expected a core and a place for the counters");
    if (!core->core.counters(*counters))
      throw atalla::RuntimeError(ATALLA_NOT_OFFERED, "device '" + core->core.device_name() + "' does not count");
  });
}
