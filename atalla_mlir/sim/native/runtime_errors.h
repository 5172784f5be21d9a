// Error codes with texts, and log lines: what every function of atalla_runtime.h reports with.
#pragma once

#include <new>
#include <stdexcept>
#include <string>

#include "include/atalla_runtime.h"

namespace atalla {

struct RuntimeError : std::runtime_error {
  RuntimeError(int kind, const std::string& text) : std::runtime_error(text), code(kind) {}
  int code;
};

// Makes `text` this thread's error text; returns `code`.
int failed(int code, const std::string& text);
void log_line(atalla_level level, const std::string& text);

// The status of a function that throws, with the text set; no exception gets out.
template <class Function>
int reported(Function function) noexcept {
  try {
    function();
    return ATALLA_OK;
  } catch (const RuntimeError& problem) {
    return failed(problem.code, problem.what());
  } catch (const std::bad_alloc&) {
    return failed(ATALLA_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& problem) {
    return failed(ATALLA_DEVICE_FAILED, problem.what());
  }
}

inline void require(bool holds, const char* text) {
  if (!holds) throw RuntimeError(ATALLA_BAD_ARGUMENT, text);
}

}  // namespace atalla
