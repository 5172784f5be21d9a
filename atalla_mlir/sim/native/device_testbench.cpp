// A device for test benches: runs on the simulator, and writes what a bench of the real core needs to run the same.
//
// `testbench:DIR` makes a folder DIR/run0, DIR/run1, .. for each run, with images that $readmemh reads. With
// `testbench:DIR,trace` there is also a line per packet. `testbench:DIR,compare` reads what the bench left in
// results.hex and takes that for the outcome; the run fails when it is not what the simulator computes.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "device_registry.h"
#include "isa_table.h"
#include "memory_files.h"
#include "packet_trace.h"
#include "runtime_errors.h"

namespace atalla {
namespace {

constexpr std::size_t kWordBytes = 4;
constexpr int kShownDifferences = 16;

struct Options {
  std::string folder;
  bool traces = false, compares = false;
};

Options parsed(const std::string& argument) {
  Options options;
  std::size_t start = argument.find(',');
  options.folder = argument.substr(0, start);
  if (options.folder.empty())
    throw RuntimeError(ATALLA_BAD_ARGUMENT, "expected a folder: testbench:DIR, testbench:DIR,trace or ..,compare");
  while (start != std::string::npos) {
    const std::size_t end = argument.find(',', ++start);
    const std::string word = argument.substr(start, end == std::string::npos ? end : end - start);
    if (word != "trace" && word != "compare")
      throw RuntimeError(ATALLA_BAD_ARGUMENT, "expected 'trace' or 'compare' behind the folder, got '" + word + "'");
    (word == "trace" ? options.traces : options.compares) = true;
    start = end;
  }
  return options;
}

void make_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0777) != 0 && errno != EEXIST)
    throw RuntimeError(ATALLA_BAD_FILE, "cannot make folder " + path + ": " + std::strerror(errno));
}

// Runs into one folder are numbered through, whichever program makes them.
std::string next_run(const std::string& folder) {
  static std::mutex mutex;
  static std::map<std::string, int> counts;
  const std::lock_guard<std::mutex> lock(mutex);
  return folder + "/run" + std::to_string(counts[folder]++);
}

std::int64_t parameter(const atalla_core_options& options, const char* name, std::int64_t usual) {
  for (std::size_t i = 0; i < options.parameter_count; ++i)
    if (std::strcmp(options.parameters[i].name, name) == 0) return options.parameters[i].value;
  return usual;
}

struct CloseEngine {
  void operator()(atalla_engine* engine) const { atalla_engine_destroy(engine); }
};

class Bench {
 public:
  explicit Bench(const atalla_core_options& options)
      : options_(parsed(options.argument)),
        lanes_(static_cast<std::size_t>(parameter(options, "vector_lanes", ATALLA_MAX_LANES))),
        dram_bytes_((options.dram_bytes + kWordBytes - 1) / kWordBytes * kWordBytes) {
    char error[ATALLA_MESSAGE_BYTES];
    engine_.reset(atalla_engine_create(options.parameters, options.parameter_count, error, sizeof error));
    if (engine_ == nullptr) throw RuntimeError(ATALLA_OTHER_MACHINE, error);
    make_folder(options_.folder);
  }

  atalla_engine* engine() { return engine_.get(); }

  void load_code(std::uint32_t pc, const void* code, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(code);
    if (atalla_engine_load_code(engine(), pc, code, size) != ATALLA_OK)
      throw RuntimeError(ATALLA_BAD_ARGUMENT, "not whole packets of instruction space");
    for (std::size_t at = 0; at < size; at += isa::kPacketBytes)
      packets_[(pc + at) / isa::kPacketBytes] = hexadecimal_of(bytes + at, isa::kPacketBytes);
  }

  void run(const atalla_run_options& options, atalla_run_result& result) {
    if (options.breakpoint_count != 0) throw RuntimeError(ATALLA_NOT_OFFERED, "a test bench has no breakpoints");
    const std::string folder = next_run(options_.folder);
    make_folder(folder);
    const std::vector<std::uint32_t> before = words();
    const std::uint32_t start = atalla_engine_pc(engine());
    write_items(folder + "/code.hex", "packets of 160 bits; address = PC / 20", packets_);
    write_words(folder + "/dram.hex", "DRAM at the start, words of 32 bits; address = byte address / 4; rest is 0",
                present(before));
    execute(folder, options, result);
    const std::vector<std::uint32_t> after = words();
    write_words(folder + "/expected.hex", "words of DRAM that the run changed; address = byte address / 4",
                changed(before, after));
    write_summary(folder, start, result);
    if (options_.compares && result.reason == ATALLA_HALT) compare(folder, before, after);
  }

 private:
  std::vector<std::uint32_t> words() const {
    std::vector<std::uint8_t> bytes(dram_bytes_);
    if (atalla_engine_read_dram(engine_.get(), 0, bytes.data(), bytes.size()) != ATALLA_OK)
      throw RuntimeError(ATALLA_BAD_ARGUMENT, "the program's DRAM is larger than the machine's");
    std::vector<std::uint32_t> found(bytes.size() / kWordBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      found[i / kWordBytes] |= std::uint32_t{bytes[i]} << (8 * (i % kWordBytes));
    return found;
  }

  static WordImage present(const std::vector<std::uint32_t>& words) {
    WordImage image;
    for (std::size_t i = 0; i < words.size(); ++i)
      if (words[i] != 0) image.emplace_hint(image.end(), i, words[i]);
    return image;
  }

  static WordImage changed(const std::vector<std::uint32_t>& before, const std::vector<std::uint32_t>& after) {
    WordImage image;
    for (std::size_t i = 0; i < after.size(); ++i)
      if (before[i] != after[i]) image.emplace_hint(image.end(), i, after[i]);
    return image;
  }

  void execute(const std::string& folder, const atalla_run_options& options, atalla_run_result& result) {
    if (options_.traces)
      step_through(folder + "/trace.txt", options, result);
    else if (atalla_engine_run(engine(), &options, &result) != ATALLA_OK)
      throw RuntimeError(ATALLA_BAD_ARGUMENT, "options or result are of another version");
  }

  void step_through(const std::string& path, const atalla_run_options& options, atalla_run_result& result) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), std::fclose);
    if (file == nullptr) throw RuntimeError(ATALLA_BAD_FILE, path + ": " + std::strerror(errno));
    std::fprintf(file.get(), "# PC, then NAME=VALUE for each register that the packet writes; lane 0 is rightmost\n");
    atalla_run_options one = options;
    one.max_packets = 1;
    for (std::uint64_t left = options.max_packets; left != 0; left -= left != ATALLA_NO_LIMIT) {
      const std::uint32_t pc = atalla_engine_pc(engine());
      if (atalla_engine_run(engine(), &one, &result) != ATALLA_OK)
        throw RuntimeError(ATALLA_BAD_ARGUMENT, "options or result are of another version");
      if (result.reason == ATALLA_TRAP) break;
      std::fprintf(file.get(), "%s\n", trace_line(engine(), pc, lanes_).c_str());
      if (result.reason != ATALLA_LIMIT) break;
    }
    if (std::ferror(file.get()) != 0) throw RuntimeError(ATALLA_BAD_FILE, path + " cannot be written");
  }

  void write_summary(const std::string& folder, std::uint32_t start, const atalla_run_result& result) {
    atalla_counters counters{};
    counters.size = sizeof counters;
    atalla_engine_counters(engine(), &counters);
    const std::string path = folder + "/run.txt";
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), std::fclose);
    if (file == nullptr) throw RuntimeError(ATALLA_BAD_FILE, path + ": " + std::strerror(errno));
    static constexpr const char* kReasons[] = {"halt", "breakpoint", "trap", "limit"};
    std::fprintf(file.get(), "start_pc %x\nend_pc %x\nend %s\npackets %llu\n", start, result.pc,
                 kReasons[result.reason], static_cast<unsigned long long>(counters.packets));
    if (counters.has_timing) std::fprintf(file.get(), "cycles %llu\n", static_cast<unsigned long long>(counters.cycles));
    std::fprintf(file.get(), "dram_words %llu\n", static_cast<unsigned long long>(dram_bytes_ / kWordBytes));
  }

  // The bench's results become those of the run.
  void compare(const std::string& folder, const std::vector<std::uint32_t>& before,
               const std::vector<std::uint32_t>& after) {
    const std::string path = folder + "/results.hex";
    const WordImage results = read_words(path);
    std::uint64_t compared = 0, different = 0;
    std::string first;
    for (std::size_t i = 0; i < after.size(); ++i) {
      const auto found = results.find(i);
      if (found == results.end() && before[i] == after[i]) continue;
      ++compared;
      if (found != results.end() && found->second == after[i]) continue;
      const std::string text = difference(i, after[i], found == results.end() ? nullptr : &found->second);
      if (different++ == 0) first = text;
      if (different <= kShownDifferences) log_line(ATALLA_LOG_WARNING, path + ": " + text);
    }
    for (const auto& [number, word] : results)
      if (number < after.size()) put_word(number, word);
    if (different != 0)
      throw RuntimeError(ATALLA_MISMATCH, path + ": " + std::to_string(different) + " of " + std::to_string(compared) +
                                              " words differ, the first " + first);
    log_line(ATALLA_LOG_INFO, path + ": all " + std::to_string(compared) + " words are right");
  }

  static std::string difference(std::uint64_t number, std::uint32_t expected, const std::uint32_t* found) {
    char text[96];
    std::snprintf(text, sizeof text, "at address 0x%llx: expected %08x, ",
                  static_cast<unsigned long long>(number * kWordBytes), expected);
    if (found == nullptr) return text + std::string("it is not there");
    char value[16];
    std::snprintf(value, sizeof value, "got %08x", *found);
    return text + std::string(value);
  }

  void put_word(std::uint64_t number, std::uint32_t word) {
    std::uint8_t bytes[kWordBytes];
    for (std::size_t i = 0; i < kWordBytes; ++i) bytes[i] = static_cast<std::uint8_t>(word >> (8 * i));
    atalla_engine_write_dram(engine(), number * kWordBytes, bytes, sizeof bytes);
  }

  Options options_;
  std::size_t lanes_;
  std::uint64_t dram_bytes_;
  std::unique_ptr<atalla_engine, CloseEngine> engine_;
  std::map<std::uint64_t, std::string> packets_;
};

Bench& bench_of(void* core) { return *static_cast<Bench*>(core); }

int open(void*, const atalla_core_options* options, void** core) {
  return reported([&] { *core = new Bench(*options); });
}

void close(void* core) { delete static_cast<Bench*>(core); }

int load_code(void* core, uint32_t pc, const void* code, size_t size) {
  return reported([&] { bench_of(core).load_code(pc, code, size); });
}

int write_dram(void* core, uint64_t address, const void* data, size_t size) {
  return simulator_functions().write_dram(bench_of(core).engine(), address, data, size);
}

int read_dram(void* core, uint64_t address, void* data, size_t size) {
  return simulator_functions().read_dram(bench_of(core).engine(), address, data, size);
}

int start(void* core, uint32_t pc) { return simulator_functions().start(bench_of(core).engine(), pc); }

int run(void* core, const atalla_run_options* options, atalla_run_result* result) {
  return reported([&] { bench_of(core).run(*options, *result); });
}

int counters(void* core, atalla_counters* counters) {
  return simulator_functions().counters(bench_of(core).engine(), counters);
}

}  // namespace

const atalla_device_functions& testbench_functions() {
  static const atalla_device_functions functions = {
      sizeof functions, "writes images for a test bench of the core and compares its results (testbench:DIR)",
      open,             close,
      load_code,        write_dram,
      read_dram,        start,
      run,              counters};
  return functions;
}

}  // namespace atalla
