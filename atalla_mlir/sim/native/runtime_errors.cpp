#include "runtime_errors.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>

namespace atalla {
namespace {

struct Code {
  int number;
  const char* name;
};

#define ATALLA_CODE(name) \
  { name, #name }
constexpr Code kCodes[] = {
    ATALLA_CODE(ATALLA_OK),
    ATALLA_CODE(ATALLA_BAD_ARGUMENT),
    ATALLA_CODE(ATALLA_OUT_OF_MEMORY),
    ATALLA_CODE(ATALLA_NO_SUCH_DEVICE),
    ATALLA_CODE(ATALLA_DEVICE_FAILED),
    ATALLA_CODE(ATALLA_DEVICE_BUSY),
    ATALLA_CODE(ATALLA_BAD_FILE),
    ATALLA_CODE(ATALLA_BAD_LOADABLE),
    ATALLA_CODE(ATALLA_OTHER_MACHINE),
    ATALLA_CODE(ATALLA_NEEDS_HOST),
    ATALLA_CODE(ATALLA_NO_PLAN),
    ATALLA_CODE(ATALLA_NO_SUCH_ENTRY),
    ATALLA_CODE(ATALLA_NOT_BOUND),
    ATALLA_CODE(ATALLA_RUNNING),
    ATALLA_CODE(ATALLA_TIMEOUT),
    ATALLA_CODE(ATALLA_TRAPPED),
    ATALLA_CODE(ATALLA_PANICKED),
    ATALLA_CODE(ATALLA_TOO_LONG),
    ATALLA_CODE(ATALLA_NOT_OFFERED),
    ATALLA_CODE(ATALLA_MISMATCH),
    ATALLA_CODE(ATALLA_OUT_OF_RANGE),
    ATALLA_CODE(ATALLA_NO_PAGES),
};
#undef ATALLA_CODE

constexpr const char* kLevels[] = {"error", "warning", "info", "debug"};

struct Log {
  std::mutex mutex;
  atalla_log_function function = nullptr;
  void* context = nullptr;
  int level = level_of_environment();

  static int level_of_environment() {
    const char* wanted = std::getenv("ATALLA_LOG");
    for (int level = 0; wanted != nullptr && level < static_cast<int>(std::size(kLevels)); ++level)
      if (std::strcmp(wanted, kLevels[level]) == 0) return level;
    if (wanted != nullptr && *wanted != '\0')
      std::fprintf(stderr, "atalla: warning: ATALLA_LOG is '%s'; there are error, warning, info, debug\n", wanted);
    return ATALLA_LOG_WARNING;
  }
};

// Never destroyed: threads may log while the process ends.
Log& the_log() {
  static Log* const log = new Log;
  return *log;
}

thread_local std::string error_text;

}  // namespace

int failed(int code, const std::string& text) {
  error_text = text;
  log_line(ATALLA_LOG_DEBUG, std::string(atalla_error_name(code)) + ": " + text);
  return code;
}

void log_line(atalla_level level, const std::string& text) {
  Log& log = the_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  if (level > log.level) return;
  if (log.function != nullptr)
    log.function(log.context, level, text.c_str());
  else
    std::fprintf(stderr, "atalla: %s: %s\n", kLevels[level], text.c_str());
}

}  // namespace atalla

const char* atalla_error_name(int code) {
  for (const atalla::Code& known : atalla::kCodes)
    if (known.number == code) return known.name;
  return nullptr;
}

const char* atalla_error_text(void) { return atalla::error_text.c_str(); }

void atalla_report(const char* text) { atalla::error_text = text != nullptr ? text : ""; }

void atalla_log_to(atalla_log_function function, void* context, atalla_level level) {
  atalla::Log& log = atalla::the_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  log.function = function;
  log.context = context;
  log.level = level;
}

uint32_t atalla_runtime_version(void) { return ATALLA_RUNTIME_MAJOR << 16 | ATALLA_RUNTIME_MINOR; }
