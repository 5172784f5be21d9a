// Devices by name: tables of functions, those of this library and those of plug-ins.
#pragma once

#include <memory>
#include <string>

#include "include/atalla_runtime.h"

namespace atalla {

// What is known of a device; lives as long as somebody uses it.
struct Registration {
  std::string name, description;
  atalla_device_functions functions;
  void* context;
};

// A device and the argument that it was opened with. Throws RuntimeError, like everything here.
struct DeviceChoice {
  std::shared_ptr<Registration> registration;
  std::string argument;
};

DeviceChoice choose_device(const char* name);

// A core of a device: calls its functions and turns their codes into RuntimeError.
class DeviceCore {
 public:
  DeviceCore(const DeviceChoice& device, atalla_core_options options);
  ~DeviceCore();
  DeviceCore(const DeviceCore&) = delete;
  DeviceCore& operator=(const DeviceCore&) = delete;

  void load_code(std::uint32_t pc, const void* code, std::size_t size);
  void write_dram(std::uint64_t address, const void* data, std::size_t size);
  void read_dram(std::uint64_t address, void* data, std::size_t size);
  std::uint32_t read_word(std::uint32_t address);
  void write_word(std::uint32_t address, std::uint32_t value);
  void start(std::uint32_t pc);
  void run(const atalla_run_options& options, atalla_run_result& result);
  // False when the device does not count.
  bool counters(atalla_counters& counters);
  const std::string& device_name() const { return device_->name; }

 private:
  void check(int code, const char* what) const;

  std::shared_ptr<Registration> device_;
  void* core_ = nullptr;
};

// The devices that this library brings.
const atalla_device_functions& simulator_functions();
const atalla_device_functions& testbench_functions();

}  // namespace atalla

struct atalla_device {
  atalla::DeviceChoice choice;
};
